"""What a network said of clips that it was not trained on, and the file that keeps it."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model.features import FeatureConfig
from model.network import VcemoNetwork
from training.dataset import label_of
from training.feature_cache import Example, without_sound, without_text
from training.inference import predict_logits

PREDICTIONS_FILE: Final = "predictions.jsonl"
VIEWS: Final = ("both", "sound", "text")
"""What a network was shown of a test clip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Logits of one clip, in the order of the experiment's emotions; emotion is the index of the true one."""

    key: str
    speaker: str
    sentence: str
    emotion: int
    logits: tuple[float, ...]


def predictions(
    network: VcemoNetwork,
    examples: Sequence[Example],
    *,
    features: FeatureConfig,
    emotions: Sequence[str],
    view: str = "both",
) -> list[Prediction]:
    """Predict every clip under one of :data:`VIEWS`; utterances of one clip are averaged by their length.

    A clip that has no text is left out of the view ``text``.
    """
    shown = [example for example in examples if view != "text" or example.features.sentence is not None]
    change = {"both": lambda example: example, "sound": without_text, "text": without_sound}[view]
    logits = predict_logits(network, [change(example).features for example in shown], config=features)
    return list(_by_clip(shown, logits, emotions))


def write_predictions(
    path: Path, rows: Mapping[str, Sequence[Prediction]], *, emotions: Sequence[str], fold: str, seed: int
) -> None:
    """Write one JSON line a prediction of each view, so that every figure can be computed again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for view, some in rows.items():
            for one in some:
                line: dict[str, Any] = {"view": view, "fold": fold, "seed": seed, "key": one.key}
                line |= {"speaker": one.speaker, "sentence": one.sentence, "emotion": emotions[one.emotion]}
                file.write(json.dumps(line | {"logits": [round(value, 5) for value in one.logits]}) + "\n")


def _by_clip(examples: Sequence[Example], logits: npt.NDArray[Any], emotions: Sequence[str]) -> Iterator[Prediction]:
    rows_of_key: dict[str, list[int]] = {}
    for row, example in enumerate(examples):
        rows_of_key.setdefault(example.clip.key, []).append(row)
    for key, rows in rows_of_key.items():
        example = examples[rows[0]]
        weights = [max(examples[row].seconds, 1e-3) for row in rows]
        yield Prediction(
            key=key,
            speaker=example.clip.speaker or "",
            sentence=example.clip.sentence or "",
            emotion=emotions.index(label_of(example)),
            logits=tuple(np.average(logits[rows], axis=0, weights=weights).tolist()),
        )
