"""Learning alignment (Xu et al., Interspeech 2019): words attend the frames of the audio, then both are read together.

Sizes are those of the authors' recipe in DELTA, whose accuracy is the paper's; the paper itself has 34 descriptors a
frame for the spectrogram. DELTA's recipe validates and reports on the same session; ours has no such fault.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from model.attention import MultiHeadAttention, length_mask, masked_softmax
from training.baselines.baseline import Baseline, BaselineConfig
from training.baselines.recurrent import run


@dataclass(frozen=True, kw_only=True, slots=True)
class Xu2019Config(BaselineConfig):
    """DELTA's ``multimodal-align-emotion.yml``."""

    audio_projection: int = 512
    hidden: int = 100
    """Of each direction of each GRU."""
    heads: int = 8
    dropout: float = 0.5
    max_frames: int = 700
    """Seven seconds."""
    max_words: int = 100


class Xu2019(Baseline):
    """Two BiGRUs, attention from text to audio, a BiGRU over both, hierarchical attention pooling."""

    reads: ClassVar = ("mel", "words")

    def __init__(self, config: Xu2019Config) -> None:
        size = 2 * config.hidden
        super().__init__(config, embedded_size=size)
        self.longest = {"mel": config.max_frames, "words": config.max_words}
        self.dropout = nn.Dropout(config.dropout)
        self.audio_projection = nn.Linear(config.frame_dimension, config.audio_projection)
        self.audio = nn.GRU(config.audio_projection, config.hidden, batch_first=True, bidirectional=True)
        self.text = nn.GRU(config.word_dimension, config.hidden, batch_first=True, bidirectional=True)
        self.alignment = MultiHeadAttention(size, config.heads, 0.0)
        self.both = nn.GRU(2 * size, config.hidden, batch_first=True, bidirectional=True)
        self.pooling = nn.Linear(size, size)
        self.context = nn.Parameter(torch.randn(size) * size**-0.5)
        self.classifier = nn.Linear(size, config.num_classes)

    def embed(self, **inputs: Tensor) -> Tensor:
        """Return (batch, 2 hidden)."""
        frames, num_frames = self.read("mel", inputs, longest=self.longest["mel"])
        words, num_words = self.read("words", inputs, longest=self.longest["words"])
        heard, _ = run(self.audio, self.dropout(torch.relu(self.audio_projection(frames))), num_frames)
        read, _ = run(self.text, self.dropout(words), num_words)
        aligned = self.alignment(read, heard, length_mask(num_frames, heard.shape[1]))  # (batch, words, 2 hidden)
        joined, _ = run(self.both, torch.cat([read, self.dropout(aligned)], dim=-1), num_words)
        scores = torch.tanh(self.pooling(joined)) @ self.context
        weights = masked_softmax(scores, length_mask(num_words, joined.shape[1]))
        return (weights[..., None] * joined).sum(1)

    def predict(self, embedded: Tensor) -> Tensor:
        """Return (batch, classes)."""
        logits: Tensor = self.classifier(self.dropout(embedded))
        return logits
