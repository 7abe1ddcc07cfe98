"""Examples in, shuffled training batches out: balanced corpora, modality dropout, paired text, masking."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.features import FeatureConfig, Features, collate
from training.experiment import Experiment
from training.feature_cache import Example


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Padded network inputs, as :func:`model.features.collate` names them, and labels (batch,)."""

    inputs: Mapping[str, npt.NDArray[Any]]
    labels: npt.NDArray[np.int64]


class TrainingSet:
    """The examples one network learns from.

    clips have sound (and a transcript, perhaps); texts have none.
    """

    def __init__(
        self, clips: Sequence[Example], texts: Sequence[Example], *, experiment: Experiment, features: FeatureConfig
    ) -> None:
        self.clips = clips
        self.texts = texts
        self._experiment = experiment
        self._features = features
        self._texts_by_emotion: dict[str, list[Features]] = defaultdict(list)
        for text in texts:
            self._texts_by_emotion[label_of(text)].append(text.features)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield one epoch; the order follows from the experiment's seed and ``epoch``."""
        experiment = self._experiment
        generator = np.random.default_rng([experiment.seed, epoch])
        clips = [self.clips[index] for index in self._drawn_clips(generator)]
        # Neighbours in a batch have similar lengths (less padding); batches come in random order.
        clips.sort(key=lambda clip: clip.seconds * generator.uniform(0.8, 1.25))
        chosen = generator.permutation(len(self.texts))[: self._num_texts(len(clips))]
        texts = [self.texts[index] for index in chosen]
        size = experiment.batch_size
        parts = [some[start : start + size] for some in (clips, texts) for start in range(0, len(some), size)]
        for index in generator.permutation(len(parts)):
            yield self._batch(parts[index], generator)

    def steps_per_epoch(self) -> int:
        """Number of batches an epoch yields."""
        num_clips = len(self._drawn_clips(np.random.default_rng(0)))
        size = self._experiment.batch_size
        return math.ceil(num_clips / size) + math.ceil(self._num_texts(num_clips) / size)

    def _num_texts(self, num_clips: int) -> int:
        return min(len(self.texts), round(num_clips * self._experiment.texts_per_clip))

    def _drawn_clips(self, generator: np.random.Generator) -> list[int]:
        by_corpus: dict[str, list[int]] = defaultdict(list)
        for index, clip in enumerate(self.clips):
            by_corpus[clip.clip.corpus].append(index)
        drawn: list[int] = []
        for corpus, members in sorted(by_corpus.items()):
            times = self._experiment.corpora[corpus]
            drawn += members * int(times)
            rest = round((times % 1) * len(members))
            drawn += [members[index] for index in generator.permutation(len(members))[:rest]]
        return drawn

    def _batch(self, examples: Sequence[Example], generator: np.random.Generator) -> Batch:
        features = [self._varied(example, generator) for example in examples]
        labels = np.array([self._experiment.emotions.index(label_of(one)) for one in examples], dtype=np.int64)
        return Batch(inputs=collate(features, config=self._features), labels=labels)

    def _varied(self, example: Example, generator: np.random.Generator) -> Features:
        features = example.features
        if features.mel is None or features.states is None:
            return features
        features = replace(
            features,
            mel=self._masked(features.mel, generator),
            states=self._masked(features.states, generator),
        )
        draw = generator.random()
        if draw < self._experiment.own_text_probability:
            return features
        candidates = self._texts_by_emotion.get(label_of(example), [])
        paired = draw < self._experiment.own_text_probability + self._experiment.paired_text_probability
        if paired and candidates:
            text = candidates[generator.integers(len(candidates))]
            return replace(features, words=text.words, sentence=text.sentence)
        return replace(features, words=None, sentence=None)

    def _masked(self, rows: npt.NDArray[np.float32], generator: np.random.Generator) -> npt.NDArray[np.float32]:
        """Blank one stretch of (time, d) with the utterance's mean."""
        longest = int(len(rows) * self._experiment.time_mask_share)
        if longest < 1:
            return rows
        size = int(generator.integers(0, longest + 1))
        start = int(generator.integers(0, len(rows) - size + 1))
        masked = rows.copy()
        masked[start : start + size] = rows.mean(0)
        return masked


def label_of(example: Example) -> str:
    """Return the emotion of a labelled example."""
    assert example.clip.emotion is not None, f"{example.clip.key} has no label"
    return example.clip.emotion
