"""The VCEMO network in torch: three modalities, two co-attention fusions, one prediction.

Two presets share the fusions. ``paper``: the acoustic branch is mel -> Conv-BatchNorm-ReLU -> LSTM.
``whisper``: the acoustic branch also reads the encoder states that speech recognition has computed anyway.
Padding never changes a result: every sequence is masked by its own length.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from model.attention import AttentionLayer, AttentionPooling, CoAttention, length_mask, pool_to_steps
from model.encoders import MelEncoder, Standardise, StateEncoder, WordEncoder


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkConfig:
    """Every open choice of the paper, with our default (see ``docs/decisions.md``)."""

    preset: Literal["paper", "whisper"] = "whisper"
    num_mels: int = 80
    state_dimension: int = 512
    word_dimension: int = 100
    sentence_dimension: int = 384
    width: int = 256
    heads: int = 4
    layers: int = 2
    """Layers of each stack of a co-attention fusion."""
    dropout: float = 0.1
    input_dropout: float = 0.0
    """Dropout on the pre-trained inputs (states, sentence); they are wide for small corpora."""
    conv_channels: tuple[int, ...] = (32, 64, 128)
    conv_time_strides: tuple[int, ...] = (2, 2, 1)
    fusion_steps: int = 64
    """Common length of the two sequences that fusion 1 adds."""
    num_classes: int = 6
    projection: int = 128
    """Size of the contrastive feature (VCEMO §4.2)."""

    @classmethod
    def preset_named(cls, preset: Literal["paper", "whisper"], **changes: Any) -> "NetworkConfig":
        """Return a preset, with changes."""
        small = {"width": 64, "layers": 1, "dropout": 0.2, "input_dropout": 0.3, "fusion_steps": 16}
        tuned: dict[str, Any] = small | {"conv_channels": (8, 16, 32), "conv_time_strides": (4, 2, 1)}
        return cls(preset=preset, **((tuned if preset == "whisper" else {}) | changes))

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "NetworkConfig":
        """Rebuild from :meth:`to_json`, also after JSON made lists of tuples."""
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in document.items()
        }
        return cls(**fields)

    def to_json(self) -> dict[str, Any]:
        """Return a plain dictionary."""
        return asdict(self)


class VcemoNetwork(nn.Module):
    """Emotion logits of a padded batch (VCEMO fig. 1)."""

    INPUTS = ("mel", "mel_lengths", "states", "states_lengths", "words", "words_lengths", "sentence", "modality_mask")

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.config = config
        width, heads, layers, dropout = config.width, config.heads, config.layers, config.dropout
        self.mel = MelEncoder(config.num_mels, width, config.conv_channels, config.conv_time_strides)
        self.states = (
            StateEncoder(config.state_dimension, width, config.fusion_steps, config.input_dropout)
            if config.preset == "whisper"
            else None
        )
        self.words = WordEncoder(config.word_dimension, width)
        self.sentence = nn.Sequential(
            Standardise(config.sentence_dimension),
            nn.Dropout(config.input_dropout),
            nn.Linear(config.sentence_dimension, width),
            nn.LayerNorm(width),
        )
        self.absent = nn.Parameter(torch.zeros(3, width))
        self.fusion1 = CoAttention(width, heads, layers, dropout)
        self.fusion2 = CoAttention(width, heads, layers, dropout)
        self.final = AttentionLayer(width, heads, dropout, guided=False)
        self.pooling = AttentionPooling(width, dropout)
        self.statistics = AttentionPooling(width, dropout) if config.preset == "whisper" else None
        pooled = width * (3 if config.preset == "whisper" else 1)
        self.predictor = nn.Sequential(
            nn.Linear(pooled, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, config.num_classes)
        )
        self.projector = nn.Sequential(nn.Linear(pooled, width), nn.ReLU(), nn.Linear(width, config.projection))

    def forward(
        self,
        mel: Tensor,
        mel_lengths: Tensor,
        states: Tensor,
        states_lengths: Tensor,
        words: Tensor,
        words_lengths: Tensor,
        sentence: Tensor,
        modality_mask: Tensor,
    ) -> Tensor:
        """Return logits (batch, classes).

        mel: (batch, frames, mels). states: (batch, steps, d). words: (batch, words, d). sentence: (batch, d).
        Lengths: (batch,) int64. modality_mask: (batch, 3), columns acoustic, words, sentence.
        """
        logits: Tensor = self.predictor(
            self.embed(mel, mel_lengths, states, states_lengths, words, words_lengths, sentence, modality_mask)
        )
        return logits

    def project(self, embedded: Tensor) -> Tensor:
        """Return the L2-normalised contrastive feature (batch, projection) of :meth:`embed`'s output."""
        return nn.functional.normalize(self.projector(embedded), dim=-1)

    def embed(
        self,
        mel: Tensor,
        mel_lengths: Tensor,
        states: Tensor,
        states_lengths: Tensor,
        words: Tensor,
        words_lengths: Tensor,
        sentence: Tensor,
        modality_mask: Tensor,
    ) -> Tensor:
        """Fuse the modalities into one vector a sample; what predictor and projector both read (VCEMO §3.4)."""
        steps = self.config.fusion_steps
        heard = modality_mask[:, 0:1] > 0
        audible = mel_lengths * heard[:, 0].to(mel_lengths.dtype)
        acoustic = self._acoustic(mel, audible, states, states_lengths)  # (batch, steps, width)
        acoustic = torch.where(heard[..., None], acoustic, self.absent[0])
        acoustic_mask = torch.ones_like(acoustic[..., 0]) > 0

        word_sequence, word_mask = self._words(words, words_lengths, modality_mask[:, 1:2] > 0)
        guide, guided = self.fusion1(acoustic, acoustic_mask, word_sequence, word_mask)
        fused = guide + guided * word_mask[..., None].to(guided.dtype)  # element-wise addition

        read = modality_mask[:, 2:3] > 0
        knowledge = torch.where(read, self.sentence(sentence), self.absent[2])[:, None]  # (batch, 1, width)
        single = torch.ones_like(knowledge[..., 0]) > 0
        fused, knowledge = self.fusion2(fused, acoustic_mask, knowledge, single)

        joined = torch.cat([fused, knowledge], dim=1)  # concatenation along time, (batch, steps + 1, width)
        mask = torch.cat([acoustic_mask, single], dim=1)
        joined = self.final(joined, mask)
        pooled: Tensor = self.pooling(joined, mask)
        if self.statistics is not None:
            pooled = torch.cat([pooled, self._statistics(acoustic, acoustic_mask)], dim=-1)
        assert guide.shape[1] == steps
        return pooled

    def _acoustic(self, mel: Tensor, mel_lengths: Tensor, states: Tensor, states_lengths: Tensor) -> Tensor:
        heard, heard_lengths = self.mel(mel, mel_lengths)
        sequence = pool_to_steps(heard, heard_lengths, self.config.fusion_steps)
        if self.states is not None:
            sequence = sequence + self.states(states, states_lengths)
        return sequence

    def _words(self, words: Tensor, lengths: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Encode, then pad or cut to the fusion's steps: (batch, steps, width) and its mask."""
        steps = self.config.fusion_steps
        encoded = self.words(words, lengths)
        room = torch.zeros_like(encoded[:, :1]).expand(-1, steps, -1)
        sequence = torch.cat([encoded, room], dim=1)[:, :steps]
        sequence = torch.where(present[..., None], sequence, self.absent[1])
        mask = length_mask(torch.where(present[:, 0], lengths, torch.ones_like(lengths)), steps)
        return sequence, mask

    def _statistics(self, x: Tensor, mask: Tensor) -> Tensor:
        """Attentive mean and deviation of (batch, steps, width): (batch, 2 width)."""
        assert self.statistics is not None
        weights = self.statistics.weights(x, mask)[..., None]
        mean = (weights * x).sum(1)
        variance = (weights * (x - mean[:, None]) ** 2).sum(1)
        return torch.cat([mean, torch.sqrt(variance + 1e-5)], dim=-1)
