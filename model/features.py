"""Utterance and transcript in, padded batches out: the one front end of training AND serving."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model.acoustic import MelConfig, log_mel
from model.segment import SegmentConfig
from model.sentence import SentenceConfig, SentenceEncoder
from model.speech import SpeechConfig, Transcript
from model.words import WordConfig, WordVectors

Array = npt.NDArray[np.float32]

MODALITIES: Final = ("acoustic", "words", "sentence")
"""Columns of the modality mask."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FeatureConfig:
    """Everything that decides what the network sees; travels in the bundle."""

    segment: SegmentConfig = field(default_factory=SegmentConfig)
    speech: SpeechConfig = field(default_factory=SpeechConfig)
    mel: MelConfig = field(default_factory=MelConfig)
    words: WordConfig = field(default_factory=WordConfig)
    sentence: SentenceConfig = field(default_factory=SentenceConfig)
    state_dimension: int = 512

    def to_json(self) -> dict[str, Any]:
        """Return plain nested dictionaries for ``bundle.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "FeatureConfig":
        """Rebuild from :meth:`to_json`.

        Raises:
            TypeError: a field is unknown.
        """
        # JSON made lists of tuples.
        speech = dict(document["speech"])
        for name in ("bucket_seconds", "other_languages"):
            speech[name] = tuple(speech[name])  # JSON made a list of it
        parts = {
            "segment": SegmentConfig(**document["segment"]),
            "speech": SpeechConfig(**speech),
            "mel": MelConfig(**document["mel"]),
            "words": WordConfig(**document["words"]),
            "sentence": SentenceConfig(**document["sentence"]),
            "state_dimension": document["state_dimension"],
        }
        return cls(**(dict(document) | parts))


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What the network sees of one utterance; a modality that is absent is None.

    mel: (frames, mels). states: (steps, state_dimension). words: (words, word_dimension), None when no
    word is known. sentence: (sentence_dimension,).
    """

    mel: Array | None = None
    states: Array | None = None
    words: Array | None = None
    sentence: Array | None = None

    def __post_init__(self) -> None:
        if (self.mel is None) != (self.states is None):
            raise ValueError("mel and states are two views of one recording: give both or neither")
        if self.mel is None and self.sentence is None:
            raise ValueError("features of nothing: neither sound nor text is present")


class FeatureExtractor:
    """Computes the features of utterances, with the text encoders that a configuration names."""

    def __init__(self, config: FeatureConfig, *, words: WordVectors, sentence: SentenceEncoder) -> None:
        self.config = config
        self._words = words
        self._sentence = sentence

    def of_speech(self, samples: Array, transcript: Transcript) -> Features:
        """Features of one transcribed utterance (samples,).

        Text that cannot be trusted, or in a language that no text was trained on, counts for nothing.
        """
        counts = transcript.status == "ok" and transcript.language == self.config.speech.language
        words, sentence = self._of_text(transcript.text if counts else "")
        return Features(
            mel=log_mel(samples, config=self.config.mel), states=transcript.states, words=words, sentence=sentence
        )

    def of_text(self, text: str) -> Features:
        """Features of text alone.

        Raises:
            ValueError: the text is empty.
        """
        words, sentence = self._of_text(text)
        return Features(words=words, sentence=sentence)

    def _of_text(self, text: str) -> tuple[Array | None, Array | None]:
        if not text.strip():
            return None, None
        words = self._words.encode(text)
        return (words if len(words) else None), self._sentence.encode([text])[0]


def collate(batch: Sequence[Features], *, config: FeatureConfig) -> dict[str, npt.NDArray[Any]]:
    """Pad a batch; names are the network's inputs.

    Returns mel (batch, frames, mels), states (batch, steps, d), words (batch, words, d), each with
    ``*_lengths`` (batch,) int64 of at least one, sentence (batch, d), and modality_mask (batch, 3) float32.
    """
    mel, mel_lengths = _pad([item.mel for item in batch], config.mel.num_mels)
    states, states_lengths = _pad([item.states for item in batch], config.state_dimension)
    words, words_lengths = _pad([item.words for item in batch], config.words.dimension)
    nothing = np.zeros(config.sentence.dimension, dtype=np.float32)
    return {
        "mel": mel,
        "mel_lengths": mel_lengths,
        "states": states,
        "states_lengths": states_lengths,
        "words": words,
        "words_lengths": words_lengths,
        "sentence": np.stack([nothing if item.sentence is None else item.sentence for item in batch]),
        "modality_mask": np.array(
            [[item.mel is not None, item.words is not None, item.sentence is not None] for item in batch],
            dtype=np.float32,
        ),
    }


def _pad(sequences: Sequence[Array | None], dimension: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """Right-pad (length, dimension) sequences with zeros; an absent one becomes a single zero row."""
    lengths = np.array([1 if rows is None else max(1, len(rows)) for rows in sequences], dtype=np.int64)
    padded = np.zeros((len(sequences), int(lengths.max()), dimension), dtype=np.float32)
    for target, rows in zip(padded, sequences, strict=True):
        if rows is not None:
            target[: len(rows)] = rows
    return padded, lengths
