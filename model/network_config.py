"""Every open choice of the VCEMO network, by name; no torch here."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints

Modality = Literal["acoustic", "words", "sentence"]
"""Columns of the modality mask (VCEMO §3.1: mel-spectrogram, word embeddings, BERT)."""

_PRESETS: Final[Mapping[str, Mapping[str, Any]]] = {
    "paper": {"sentence_norm": False},
    "mcan": {"preset": "paper", "sentence_norm": False, "width": 512, "heads": 8, "layers": 6},
    "whisper": {
        "width": 128,
        "layers": 1,
        "feed_forward_multiple": 2,
        "dropout": 0.2,
        "input_dropout": 0.0,
        "fusion_steps": 8,
        "mel_encoder": "statistics",
        "statistics_heads": 4,
        "text_branch": True,
        # For mel_encoder "conv", which was the preset's first.
        "conv_channels": (8, 16, 32),
        "conv_time_strides": (4, 2, 1),
    },
}

_COUNTS: Final = (
    *("layers", "final_layers", "mel_lstm_layers", "word_lstm_layers", "fusion_steps", "statistics_heads"),
    *("text_width", "ngram_buckets"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """Every open choice of the paper, with our default (see ``docs/decisions.md``).

    A default is what a bundle means that does not carry the field; what :meth:`preset_named` changes is the
    preset's own. Sections and figures are VCEMO's.

    Raises:
        ValueError: a value that is not offered, or two that exclude each other.
    """

    preset: Literal["paper", "whisper"] = "whisper"
    """``whisper`` also reads the recogniser's encoder states, and adds attentive statistics of the acoustic steps."""
    modalities: tuple[Modality, ...] = ("acoustic", "words", "sentence")
    """What is read (table 3); any other is missing in every sample, and its encoder stays untrained."""
    num_mels: int = 80
    state_dimension: int = 512
    word_dimension: int = 100
    """300 for spaCy's vectors (§4.2)."""
    sentence_dimension: int = 384
    """768 for BERT (§3.2)."""
    width: int = 256
    """Channels of every branch and of the fusions; not given in the paper, 512 in MCAN."""
    heads: int = 4
    """Not given in the paper, 8 in MCAN."""
    layers: int = 2
    """Layers of each stack of a co-attention fusion (fig. 2); not given in the paper, 6 in MCAN."""
    feed_forward_multiple: int = 4
    """Hidden width of a feed-forward block over its own, 4 in MCAN (fig. 2)."""
    dropout: float = 0.1
    """In the attention maps, after each block and in the heads, as in MCAN; §3.5 needs some."""
    input_dropout: float = 0.0
    """Dropout on the pre-trained inputs (states, sentence); they are wide for small corpora. None in the paper."""
    speaker_prior_steps: float = 40.0
    """Where statistics of the speaker are given: steps that must have been heard of somebody before half of what is
    particular about the voice is taken away. An utterance of two seconds has 25."""
    mel_encoder: Literal["conv", "statistics"] = "conv"
    """How the mel is read. ``conv``: §3.2's convolutions and LSTM.

    ``statistics``, preset ``whisper`` only: mean and deviation of each band over the frames of a state's step, beside
    the state; attentive statistics are then taken over the states' own steps.
    """
    statistics_heads: int = 1
    """Attention heads of the acoustic statistics of preset ``whisper``."""
    expert_dimension: int = 0
    """Last columns of the states that the fusions leave to an expert of the sound, which learns by itself; its opinion
    and theirs are averaged (:mod:`model.sound_expert`). ``mel_encoder: statistics`` only."""
    text_branch: bool = False
    """Whether the text also goes past the fusions to the prediction, n-grams and all."""
    text_width: int = 64
    """Features each of the sentence and of the words in the text branch."""
    ngram_buckets: int = 65_536
    frames_per_step: int = 8
    """Mel frames (10 ms) under one averaged state (80 ms), for ``mel_encoder: statistics``."""
    conv_channels: tuple[int, ...] = (32, 64, 128)
    """One Conv-BatchNorm-ReLU block each (§3.2: "classic", in time and frequency)."""
    conv_time_strides: tuple[int, ...] = (2, 2, 1)
    conv_frequency_stride: int = 2
    """Of every block."""
    conv_kernel: int = 3
    """Odd, square (§3.2)."""
    mel_lstm_layers: int = 1
    """One direction, after the convolutions (§3.2)."""
    word_lstm_layers: int = 1
    """One direction, before the convolution (§3.2)."""
    word_conv: Literal["kernel", "time_mix", "none"] = "kernel"
    """The 1-D convolution "to incorporate the information from the entire timeline" (§3.2).

    ``kernel`` runs over the words. ``time_mix`` takes the steps for channels, so that each of the fusion's steps
    sees every word. ``none`` leaves it out.
    """
    word_kernel: int = 3
    """Odd; words that one output of ``word_conv: kernel`` sees."""
    sentence_norm: bool = True
    """LayerNorm behind the sentence's Linear; the paper has the Linear alone (§3.2)."""
    fusion_steps: int = 64
    """Common length of the two sequences that fusion 1 adds (§3.3); sound is averaged, words are padded or cut."""
    fusion1_guide: Literal["audio", "words"] = "audio"
    """Which is §3.3's "first modality", and guides; the other asks."""
    bidirectional: bool = False
    """Fusion 1 also the other way round (§3.3: "convey the presence of another modality to *each* modality").

    Fusion 2 has one way only: the sequence guides. A sentence of one step would add the same to every step.
    """
    add_mode: Literal["pooled", "aligned"] = "pooled"
    """How fusion 1's element-wise addition finds its pairs (§3.3).

    ``pooled``: step by step at ``fusion_steps``. ``aligned``: the guide is averaged onto the steps of the guided
    through the last guided-attention map.
    """
    concat: Literal["time", "channel"] = "time"
    """What fusion 2 concatenates (§3.3, fig. 1).

    ``time``: the sentence is one more step. ``channel``: it is tiled beside every step, and the final
    self-attention works at twice the width: a Linear back would give up what concatenation is there "to retain".
    """
    final_layers: int = 1
    """Layers of the "additional self-attention" (§3.3)."""
    pooling: Literal["attention", "mean", "bert_token"] = "attention"
    """From the final steps to one vector, which §3.3 leaves open.

    ``attention``: MCAN's AttFlat with one glimpse. ``bert_token``: the sentence's own step of ``concat: time``.
    """
    predictor_hidden: int | None = None
    """Hidden units of the "two-layer MLP" (§3.3), None for the width; 0 makes it one Linear (§3.4: "one-layer")."""
    projector_hidden: int | None = None
    """The same for the projector of the contrastive feature."""
    num_classes: int = 6
    projection: int = 128
    """Size of the contrastive feature (§4.2)."""

    def __post_init__(self) -> None:
        for name, hint in get_type_hints(type(self)).items():
            if get_origin(hint) is Literal and getattr(self, name) not in get_args(hint):
                offered = ", ".join(get_args(hint))
                raise ValueError(f"{name} {getattr(self, name)!r} is not one of: {offered}")
        read, known = self.modalities, get_args(Modality)
        if not read or len(set(read)) < len(read) or not set(read) <= set(known):
            raise ValueError(f"modalities {read!r} are not one or more of: {', '.join(known)}")
        if self.mel_encoder == "statistics" and self.preset != "whisper":
            raise ValueError(f"mel_encoder 'statistics' goes with states, which preset {self.preset!r} does not read")
        if not 0 <= self.expert_dimension < self.state_dimension:
            left = f"expert_dimension {self.expert_dimension} leaves the fusions nothing"
            raise ValueError(f"{left} of states of {self.state_dimension}")
        if self.expert_dimension and self.mel_encoder != "statistics":
            raise ValueError(f"expert_dimension goes with mel_encoder 'statistics', not {self.mel_encoder!r}")
        if self.pooling == "bert_token" and self.concat != "time":
            raise ValueError(f"pooling 'bert_token' needs concat 'time', not {self.concat!r}")
        if len(self.conv_channels) != len(self.conv_time_strides):
            given = f"{len(self.conv_channels)} conv channels"
            raise ValueError(f"{given}, but {len(self.conv_time_strides)} time strides")
        for name in ("conv_kernel", "word_kernel"):
            if getattr(self, name) % 2 == 0:
                raise ValueError(f"{name} {getattr(self, name)} is not odd")
        if self.speaker_prior_steps <= 0:
            raise ValueError(f"speaker_prior_steps {self.speaker_prior_steps} is not more than 0")
        for name in _COUNTS:
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is less than 1")

    @classmethod
    def preset_named(cls, preset: Literal["paper", "mcan", "whisper"], **changes: Any) -> "NetworkConfig":
        """Return a preset, with changes; ``mcan`` is ``paper`` in the size that MCAN was published with.

        Raises:
            ValueError: there is no such preset.
        """
        if preset not in _PRESETS:
            raise ValueError(f"no preset {preset!r}; known: {', '.join(_PRESETS)}")
        return cls(**({"preset": preset} | dict(_PRESETS[preset]) | changes))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "NetworkConfig":
        """Rebuild from :meth:`to_json`, also after JSON made lists of tuples; what is missing takes its default."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        return asdict(self)
