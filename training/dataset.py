"""Examples in, shuffled training batches out: balanced corpora, modality dropout, paired text, masking."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.features import FeatureConfig, Features
from training.acquaintance import Acquaintance
from training.collation import collate_inputs
from training.experiment import Experiment
from training.feature_cache import Example


@dataclass(frozen=True, kw_only=True, slots=True)
class Batch:
    """Padded network inputs, as :func:`model.features.collate` names them, and labels (batch,).

    corpora: positions (batch,) among the experiment's audio corpora; -1 for text.
    """

    inputs: Mapping[str, npt.NDArray[Any]]
    labels: npt.NDArray[np.int64]
    corpora: npt.NDArray[np.int64]


class TrainingSet:
    """The examples one network learns from.

    clips have sound (and a transcript, perhaps); texts have none. Misheard copies among the texts are only ever shown
    instead of their originals.
    """

    def __init__(
        self, clips: Sequence[Example], texts: Sequence[Example], *, experiment: Experiment, features: FeatureConfig
    ) -> None:
        self.clips = clips
        self.texts, self._misheard_of = _with_their_copies(texts)
        self._shown = list(clips)
        self._copies_of: list[list[Example]] = []
        if experiment.copy_probability is not None:
            self._shown, self._copies_of = _with_their_copies(clips)
        self._acquaintance = Acquaintance(clips) if experiment.known_speaker_probability else None
        self._experiment = experiment
        self._features = features
        self._texts_by_emotion: dict[str, list[int]] = defaultdict(list)
        for index, text in enumerate(self.texts):
            self._texts_by_emotion[label_of(text)].append(index)
        self._text_shares = _shares(self.texts, balance=experiment.text_balance)

    def batches(self, epoch: int) -> Iterator[Batch]:
        """Yield one epoch; the order follows from the experiment's seed and ``epoch``."""
        experiment = self._experiment
        generator = np.random.default_rng([experiment.seed, epoch])
        clips = [self._clip_or_copy(index, generator) for index in self._drawn_clips(generator)]
        # Neighbours in a batch have similar lengths (less padding); batches come in random order.
        clips.sort(key=lambda clip: clip.seconds * generator.uniform(0.8, 1.25))
        chosen = generator.choice(len(self.texts), self._num_texts(len(clips)), replace=False, p=self._text_shares)
        texts = [self._text_or_misheard(index, generator) for index in chosen]
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
        for index, clip in enumerate(self._shown):
            by_corpus[clip.clip.corpus].append(index)
        drawn: list[int] = []
        for corpus, members in sorted(by_corpus.items()):
            times = self._experiment.corpora[corpus]
            drawn += members * int(times)
            rest = round((times % 1) * len(members))
            drawn += [members[index] for index in generator.permutation(len(members))[:rest]]
        return drawn

    def _clip_or_copy(self, index: int, generator: np.random.Generator) -> Example:
        share = self._experiment.copy_probability
        if share is None:
            return self._shown[index]
        return _or_copy(self._shown[index], self._copies_of[index], share, generator)

    def _text_or_misheard(self, index: int, generator: np.random.Generator) -> Example:
        share = self._experiment.misheard_probability
        return _or_copy(self.texts[index], self._misheard_of[index], share, generator)

    def _batch(self, examples: Sequence[Example], generator: np.random.Generator) -> Batch:
        features = [self._varied(example, generator) for example in examples]
        labels = np.array([self._experiment.emotions.index(label_of(one)) for one in examples], dtype=np.int64)
        names = list(self._experiment.corpora)
        corpora = [names.index(one.clip.corpus) if one.clip.corpus in names else -1 for one in examples]
        return Batch(
            inputs=collate_inputs(features, config=self._features),
            labels=labels,
            corpora=np.array(corpora, dtype=np.int64),
        )

    def _varied(self, example: Example, generator: np.random.Generator) -> Features:
        features = example.features
        if features.mel is None or features.states is None:
            return features
        share, start = generator.uniform(0, self._experiment.time_mask_share), generator.random()
        features = replace(
            features, mel=_blanked(features.mel, share, start), states=_blanked(features.states, share, start)
        )
        if self._acquaintance is not None and generator.random() < self._experiment.known_speaker_probability:
            features = replace(features, speaker=self._acquaintance.drawn(example, generator))
        draw = generator.random()
        if draw < self._experiment.own_text_probability:
            return features
        candidates = self._texts_by_emotion.get(label_of(example), [])
        paired = draw < self._experiment.own_text_probability + self._experiment.paired_text_probability
        if paired and candidates:
            text = self._text_or_misheard(candidates[generator.integers(len(candidates))], generator)
            return features.with_text_of(text.features)
        return features.with_text_of(None)


def _blanked(rows: npt.NDArray[np.float32], share: float, start: float) -> npt.NDArray[np.float32]:
    """Blank one stretch of (time, d) with the utterance's mean: the same of mel and states, or each tells the other."""
    size = int(len(rows) * share)
    if size < 1:
        return rows
    first = int((len(rows) - size) * start)
    masked = rows.copy()
    masked[first : first + size] = rows.mean(0)
    return masked


def _shares(texts: Sequence[Example], *, balance: float) -> npt.NDArray[np.float64] | None:
    """Return the probability that each text is the next to be drawn."""
    if not texts:
        return None
    counts = Counter(map(label_of, texts))
    weights = np.array([counts[label_of(text)] ** -balance for text in texts])
    shares: npt.NDArray[np.float64] = weights / weights.sum()
    return shares


def _or_copy(
    original: Example, copies: Sequence[Example], probability: float, generator: np.random.Generator
) -> Example:
    if not copies or generator.random() >= probability:
        return original
    return copies[int(generator.integers(len(copies)))]


def _with_their_copies(clips: Sequence[Example]) -> tuple[list[Example], list[list[Example]]]:
    """Return the utterances as recorded (or the texts as written), and the copies of each."""
    ordinals: Counter[tuple[str, str, str]] = Counter()
    recorded: dict[tuple[str, str, int], Example] = {}
    copies: dict[tuple[str, str, int], list[Example]] = defaultdict(list)
    for clip in clips:
        counted = (clip.clip.corpus, clip.clip.key, clip.variant)
        utterance = (clip.clip.corpus, clip.clip.key, ordinals[counted])
        ordinals[counted] += 1
        if clip.variant:
            copies[utterance].append(clip)
        else:
            recorded[utterance] = clip
    return list(recorded.values()), [copies[utterance] for utterance in recorded]


def label_of(example: Example) -> str:
    """Return the emotion of a labelled example."""
    assert example.clip.emotion is not None, f"{example.clip.key} has no label"
    return example.clip.emotion
