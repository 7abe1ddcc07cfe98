"""Utterance and transcript in, padded batches out: the one front end of training AND serving."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from model.acoustic import MelConfig, log_mel
from model.lower_layers import LowerLayers, LowerLayersConfig
from model.ngrams import NgramConfig, Ngrams, ngrams
from model.sentence import SentenceConfig, SentenceEncoder
from model.spans import SegmentConfig
from model.speaker import SpeakerStatistics
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
    ngrams: NgramConfig = field(default_factory=NgramConfig)
    lower_layers: LowerLayersConfig = field(default_factory=LowerLayersConfig)
    state_dimension: int = 512
    """Of the recogniser's last layer."""

    def __post_init__(self) -> None:
        own, beside = self.lower_layers.states_per_step, self.speech.states_per_step
        if self.lower_layers.layers and self.reads_last_layer and own != beside:
            raise ValueError(f"lower layers of {own} states a step do not stand beside the last layer's {beside}")

    @property
    def step_dimension(self) -> int:
        """Length of one step of the states: the last layer if it is read, then the lower ones."""
        return self.state_dimension * self.reads_last_layer + self.lower_layers.dimension

    @property
    def reads_last_layer(self) -> bool:
        """Whether the recogniser's own states are read."""
        return self.lower_layers.with_last or not self.lower_layers.layers

    def to_json(self) -> dict[str, Any]:
        """Return plain nested dictionaries for ``bundle.json``."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "FeatureConfig":
        """Rebuild from :meth:`to_json`.

        Raises:
            TypeError: a field is unknown.
        """
        speech = dict(document["speech"])
        for name in ("bucket_seconds", "other_languages"):
            speech[name] = tuple(speech[name])  # JSON made a list of it
        lower_layers = dict(document.get("lower_layers", {}))
        if "layers" in lower_layers:
            lower_layers["layers"] = tuple(lower_layers["layers"])
        parts = {
            "segment": SegmentConfig(**document["segment"]),
            "speech": SpeechConfig(**speech),
            "mel": MelConfig(**document["mel"]),
            "words": WordConfig(**document["words"]),
            "sentence": SentenceConfig(**document["sentence"]),
            # Bundles of before had none, and their networks read none.
            "ngrams": NgramConfig(**document.get("ngrams", {})),
            "lower_layers": LowerLayersConfig(**lower_layers),
            "state_dimension": document["state_dimension"],
        }
        return cls(**(dict(document) | parts))


@dataclass(frozen=True, kw_only=True, slots=True)
class Features:
    """What the network sees of one utterance; a modality that is absent is None.

    mel: (frames, mels). states: (steps, step_dimension). words: (words, word_dimension), None when no word is
    known. sentence: (sentence_dimension,). ngrams: of the same text as the sentence. speaker: what has been heard
    of the speaker up to the end of this utterance; None judges it as a stranger's.
    """

    mel: Array | None = None
    states: Array | None = None
    words: Array | None = None
    sentence: Array | None = None
    ngrams: Ngrams | None = None
    speaker: SpeakerStatistics | None = None

    def __post_init__(self) -> None:
        if (self.mel is None) != (self.states is None):
            raise ValueError("mel and states are two views of one recording: give both or neither")
        if self.mel is None and self.sentence is None:
            raise ValueError("features of nothing: neither sound nor text is present")
        if self.speaker is not None and self.mel is None:
            raise ValueError("statistics of a speaker who is not heard: sound is missing")

    def with_text_of(self, other: "Features | None") -> "Features":
        """Return this sound with the words of another utterance, or with none."""
        if other is None:
            return replace(self, words=None, sentence=None, ngrams=None)
        return replace(self, words=other.words, sentence=other.sentence, ngrams=other.ngrams)

    def without_sound(self) -> "Features":
        """Return the text alone."""
        return replace(self, mel=None, states=None, speaker=None)


class FeatureExtractor:
    """Computes the features of utterances, with the text encoders that a configuration names."""

    def __init__(
        self,
        config: FeatureConfig,
        *,
        words: WordVectors,
        sentence: SentenceEncoder,
        lower_layers: LowerLayers | None = None,
    ) -> None:
        """Take the encoders. lower_layers: where the configuration names some."""
        if bool(config.lower_layers.layers) != (lower_layers is not None):
            raise ValueError(f"lower layers {config.lower_layers.layers} are to be read, and given: {lower_layers}")
        self.config = config
        self._lower_layers = lower_layers
        self._words = words
        self._sentence = sentence

    def lower_layers(self, samples: Array) -> Array | None:
        """States (steps, d) of the lower layers for one utterance (samples,), None where none are read."""
        return self._lower_layers.encode(samples) if self._lower_layers is not None else None

    def of_speech(self, samples: Array, transcript: Transcript, lower_layers: Array | None = None) -> Features:
        """Features of one transcribed utterance (samples,).

        Text that cannot be trusted, or in a language that no text was trained on, counts for nothing.
        lower_layers: what :meth:`lower_layers` gave, where it was asked already.
        """
        counts = transcript.status == "ok" and transcript.language == self.config.speech.language
        sound = self.of_sound(samples, transcript.states, lower_layers)
        return sound.with_text_of(self.of_text(transcript.text) if counts and transcript.text.strip() else None)

    def of_sound(self, samples: Array, last_layer: Array | None, lower_layers: Array | None = None) -> Features:
        """Features of one utterance (samples,) without its words.

        last_layer: the recogniser's states (steps, d); may be None where the configuration does not read them.
        """
        read = [last_layer] if self.config.reads_last_layer and last_layer is not None else []
        lower = self.lower_layers(samples) if lower_layers is None else lower_layers
        if lower is not None:
            read.append(lower)
        return Features(mel=log_mel(samples, config=self.config.mel), states=np.concatenate(read, axis=1))

    def of_text(self, text: str) -> Features:
        """Features of text alone.

        Raises:
            ValueError: the text is empty.
        """
        if not text.strip():
            raise ValueError("features of nothing: the text is empty")
        words = self._words.encode(text)
        return Features(
            words=words if len(words) else None,
            sentence=self._sentence.encode([text])[0],
            ngrams=ngrams(text, config=self.config.ngrams),
        )


def collate(batch: Sequence[Features], *, config: FeatureConfig) -> dict[str, npt.NDArray[Any]]:
    """Pad a batch; names are the network's inputs.

    Returns mel (batch, frames, mels), states (batch, steps, d), words (batch, words, d), each with
    ``*_lengths`` (batch,) int64 of at least one; sentence (batch, d); modality_mask (batch, 3) float32;
    ngrams (batch, n) int64 and ngram_weights (batch, n), zero beyond a text's own; speaker_rows (batch, 2), how
    many mel frames and states were heard of the speaker, zero for a stranger; speaker_mel (batch, 2, mels) and
    speaker_states (batch, 2, d), mean and deviation.
    """
    mel, mel_lengths = _pad([item.mel for item in batch], config.mel.num_mels)
    states, states_lengths = _pad([item.states for item in batch], config.step_dimension)
    words, words_lengths = _pad([item.words for item in batch], config.words.dimension)
    buckets, weights = _pad_ngrams([item.ngrams for item in batch])
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
        "ngrams": buckets,
        "ngram_weights": weights,
        **_speakers([item.speaker for item in batch], config),
    }


def _speakers(speakers: Sequence[SpeakerStatistics | None], config: FeatureConfig) -> dict[str, Array]:
    rows = np.zeros((len(speakers), 2), dtype=np.float32)
    mel = np.zeros((len(speakers), 2, config.mel.num_mels), dtype=np.float32)
    states = np.zeros((len(speakers), 2, config.step_dimension), dtype=np.float32)
    for index, speaker in enumerate(speakers):
        if speaker is not None:
            rows[index] = speaker.mel.count, speaker.states.count
            mel[index], states[index] = speaker.mel.mean_and_deviation, speaker.states.mean_and_deviation
    return {"speaker_rows": rows, "speaker_mel": mel, "speaker_states": states}


def _pad_ngrams(texts: Sequence[Ngrams | None]) -> tuple[npt.NDArray[np.int64], Array]:
    most = max([1, *(len(text.buckets) for text in texts if text is not None)])
    buckets = np.zeros((len(texts), most), dtype=np.int64)
    weights = np.zeros((len(texts), most), dtype=np.float32)
    for index, text in enumerate(texts):
        if text is not None:
            buckets[index, : len(text.buckets)] = text.buckets
            weights[index, : len(text.weights)] = text.weights
    return buckets, weights


def _pad(sequences: Sequence[Array | None], dimension: int) -> tuple[Array, npt.NDArray[np.int64]]:
    """Right-pad (length, dimension) sequences with zeros; an absent one becomes a single zero row."""
    lengths = np.array([1 if rows is None else max(1, len(rows)) for rows in sequences], dtype=np.int64)
    padded = np.zeros((len(sequences), int(lengths.max()), dimension), dtype=np.float32)
    for target, rows in zip(padded, sequences, strict=True):
        if rows is not None:
            target[: len(rows)] = rows
    return padded, lengths
