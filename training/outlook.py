"""How the clips that a network was judged on look from outside: the reference of drift that travels in a bundle."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from model.bundle import calibrated
from model.reference import Seen, reference_of
from training.feature_cache import Example
from training.prediction_rows import PredictionRow


def reference_of_rows(
    rows: Sequence[PredictionRow], examples: Sequence[Example], *, labels: Sequence[str], temperature: float
) -> dict[str, Any]:
    """Count what was judged, as a service counts it. rows: of one view, their keys among the examples'."""
    example_of_key = {example.clip.key: example for example in examples}
    seen = []
    for row in rows:
        probabilities = calibrated(np.array(row.logits), temperature)
        example = example_of_key[row.key]
        seen.append(
            Seen.of(
                emotion=labels[int(probabilities.argmax())],
                confidence=float(probabilities.max()),
                status=example.transcript_status,
                seconds=example.seconds,
                features=example.features,
            )
        )
    return reference_of(seen, labels=labels)
