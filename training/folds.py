"""Leave one speaker out: who trains, who is tested, and what each network said."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from model.features import FeatureConfig
from model.labels import EMOTIONS, emotion_index
from model.network import VcemoNetwork
from training.dataset import TrainingSet, label_of
from training.experiment import Experiment
from training.feature_cache import Example, without_sound, without_text
from training.trainer import OnEpoch, load_network, predict_logits, save_network, train_network

VIEWS = ("both", "sound", "text")
"""What a network was shown of a test clip."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Prediction:
    """Logits of one clip of a speaker that the network was not trained on."""

    key: str
    speaker: str
    sentence: str
    emotion: int
    logits: tuple[float, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Corpora:
    """The examples an experiment works on."""

    clips: Sequence[Example]
    texts: Sequence[Example]

    def speakers(self, corpus: str) -> list[str]:
        """Return the speakers of ``corpus``, sorted."""
        return sorted({clip.clip.speaker or "" for clip in self.clips if clip.clip.corpus == corpus})

    def training_part(self, *, corpus: str, left_out: str | None) -> list[Example]:
        """Return every clip but those of the speaker that is left out of ``corpus``."""
        return [
            clip
            for clip in self.clips
            if left_out is None or clip.clip.corpus != corpus or clip.clip.speaker != left_out
        ]

    def of_speaker(self, *, corpus: str, speaker: str) -> list[Example]:
        """Return the clips of one speaker."""
        return [clip for clip in self.clips if clip.clip.corpus == corpus and clip.clip.speaker == speaker]


def trained_network(
    corpora: Corpora,
    *,
    left_out: str | None,
    experiment: Experiment,
    features: FeatureConfig,
    runs: Path,
    on_epoch: OnEpoch,
) -> VcemoNetwork:
    """Return the network trained without one speaker (or on all), from ``runs`` where it was trained before."""
    path = runs / f"{left_out or 'all'}.safetensors"
    if path.is_file():
        return load_network(path, experiment=experiment)
    part = corpora.training_part(corpus=experiment.test_corpus, left_out=left_out)
    training_set = TrainingSet(part, corpora.texts, experiment=experiment, features=features)
    network = train_network(training_set, experiment=experiment, on_epoch=on_epoch)
    save_network(network, path)
    return network


def predictions(
    network: VcemoNetwork, examples: Sequence[Example], *, features: FeatureConfig, view: str
) -> list[Prediction]:
    """Predict every clip under one of :data:`VIEWS`; utterances of one clip are averaged by their length.

    A clip that has no text is left out of the view ``text``.
    """
    shown = [example for example in examples if view != "text" or example.features.sentence is not None]
    change = {"both": lambda example: example, "sound": without_text, "text": without_sound}[view]
    logits = predict_logits(network, [change(example).features for example in shown], config=features)
    return list(_by_clip(shown, logits))


def _by_clip(examples: Sequence[Example], logits: npt.NDArray[Any]) -> Iterator[Prediction]:
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
            emotion=emotion_index(label_of(example)),
            logits=tuple(np.average(logits[rows], axis=0, weights=weights).tolist()),
        )


def write_predictions(path: Path, rows: Mapping[str, Sequence[Prediction]]) -> None:
    """Write one JSON line a prediction, so that every figure can be computed again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        for view, some in rows.items():
            for one in some:
                line = {"view": view, "key": one.key, "speaker": one.speaker, "emotion": EMOTIONS[one.emotion]}
                file.write(json.dumps(line | {"logits": [round(value, 5) for value in one.logits]}) + "\n")
