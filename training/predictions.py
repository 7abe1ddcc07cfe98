"""What a network says of clips that it was not trained on, and the file that keeps it."""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model.features import FeatureConfig
from training.dataset import label_of
from training.feature_cache import Example
from training.inference import predict_logits
from training.prediction_rows import PredictionRow
from training.systems import Network

PREDICTIONS_FILE: Final = "predictions.jsonl"
_DIGITS: Final = 5
"""Of the logits, behind the point."""


def predictions(
    network: Network, examples: Sequence[Example], *, features: FeatureConfig, view: str, fold: str, seed: int
) -> list[PredictionRow]:
    """Predict every clip as it is shown; utterances of one clip are averaged by their length."""
    logits = predict_logits(network, [example.features for example in examples], config=features)
    return list(_by_clip(examples, logits, view=view, fold=fold, seed=seed))


def write_predictions(path: Path, rows: Iterable[PredictionRow]) -> None:
    """Write one JSON line a prediction, whole or not at all, so that every figure can be computed again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".part")
    with partial.open("w", encoding="utf-8") as file:
        for row in rows:
            known = {name: value for name, value in asdict(row).items() if value != ""}
            file.write(json.dumps(known) + "\n")
    partial.replace(path)


def _by_clip(
    examples: Sequence[Example], logits: npt.NDArray[Any], *, view: str, fold: str, seed: int
) -> Iterator[PredictionRow]:
    rows_of_key: dict[str, list[int]] = {}
    for row, example in enumerate(examples):
        rows_of_key.setdefault(example.clip.key, []).append(row)
    for key, rows in rows_of_key.items():
        example = examples[rows[0]]
        weights = [max(examples[row].seconds, 1e-3) for row in rows]
        yield PredictionRow(
            key=key,
            speaker=example.clip.speaker or "",
            sentence=example.clip.sentence or "",
            emotion=label_of(example),
            # As they are kept: figures of today are those of the file.
            logits=tuple(np.average(logits[rows], axis=0, weights=weights).round(_DIGITS).tolist()),
            view=view,
            fold=fold,
            seed=seed,
        )
