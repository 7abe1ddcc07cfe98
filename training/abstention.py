"""When to say nothing: how right the network is where it is sure (selective prediction, El-Yaniv & Wiener 2010)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from training.metrics import Floats, Integers

COVERAGE: Final = 0.7
"""Share of the clips that is answered at the threshold."""
_CURVE: Final = tuple(round(0.1 * step, 1) for step in range(1, 11))


@dataclass(frozen=True, kw_only=True, slots=True)
class Abstention:
    """Accuracy of all answers, and of the most confident :data:`COVERAGE`."""

    threshold: float
    """The confidence below which the rest lies."""
    accuracy: float
    accuracy_when_confident: float
    curve: Sequence[tuple[float, float]]
    """Coverage and risk: the share that is answered, and the share of it that is wrong."""


def abstention(probabilities: Floats, truth: Integers) -> Abstention:
    """Rank clips by their top probability. probabilities: (clips, classes), calibrated on other clips."""
    confidence = probabilities.max(1)
    # A stable order: equal confidences keep the order of the clips.
    order = np.argsort(-confidence, kind="stable")
    right = (probabilities.argmax(1) == truth)[order]

    def answered(coverage: float) -> int:
        return max(1, round(coverage * len(right)))

    return Abstention(
        threshold=float(confidence[order[answered(COVERAGE) - 1]]),
        accuracy=float(right.mean()),
        accuracy_when_confident=float(right[: answered(COVERAGE)].mean()),
        curve=[(coverage, float(1 - right[: answered(coverage)].mean())) for coverage in _CURVE],
    )
