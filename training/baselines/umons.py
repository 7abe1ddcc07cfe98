"""Transformer-based joint encoding (Delbrouck et al., 2020; UMONS): words guide the sound, block by block.

Ours computes LayerNorm as torch does; theirs divides by the unbiased deviation. Theirs hides padding in the first block
only, and so does ours: each block ends in as many glimpses as there are steps.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from model.attention import AttentionLayer, fit_to_steps, length_mask, masked_softmax
from training.baselines.baseline import Baseline, BaselineConfig
from training.baselines.recurrent import run

Sequence = tuple[Tensor, Tensor]
"""Steps (batch, steps, width) and their mask (batch, steps)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UmonsConfig(BaselineConfig):
    """The command of the authors' README."""

    width: int = 512
    heads: int = 4
    feed_forward_multiple: int = 2
    blocks: int = 4
    dropout: float = 0.1
    steps: int = 60
    """Both sequences are padded or cut to it."""


class Umons(Baseline):
    """Both modalities through self-attention, the sound guided by the words as they stand at each block."""

    reads: ClassVar = ("mel", "words")

    def __init__(self, config: UmonsConfig) -> None:
        super().__init__(config, embedded_size=2 * config.width)
        self.steps = config.steps
        self.words = nn.LSTM(config.word_dimension, config.width, batch_first=True)
        self.sound = nn.Linear(config.frame_dimension, config.width)
        last = config.blocks - 1
        self.blocks = nn.ModuleList(Block(config, glimpses=index < last) for index in range(config.blocks))
        self.words_pooling = Glimpses(config.width, 1, config.dropout)
        self.sound_pooling = Glimpses(config.width, 1, config.dropout)
        self.words_merge = nn.Linear(config.width, self.embedded_size)
        self.sound_merge = nn.Linear(config.width, self.embedded_size)
        self.norm = nn.LayerNorm(self.embedded_size)
        self.classifier = nn.Linear(self.embedded_size, config.num_classes)

    def embed(self, **inputs: Tensor) -> Tensor:
        """Return (batch, 2 width)."""
        words, num_words = self.read("words", inputs, longest=self.steps)
        frames, num_frames = self.read("mel", inputs, longest=self.steps)
        read, _ = run(self.words, words, num_words)
        x = fit_to_steps(read, self.steps), length_mask(num_words, self.steps)
        # Filled up before the Linear: what stands where nothing is must not depend on the longest of a batch.
        y = self.sound(fit_to_steps(frames, self.steps)), length_mask(num_frames, self.steps)
        for block in self.blocks:
            x, y = block(x, y)
        pooled = self.words_merge(self.words_pooling(*x)[:, 0]) + self.sound_merge(self.sound_pooling(*y)[:, 0])
        normed: Tensor = self.norm(pooled)
        return normed

    def predict(self, embedded: Tensor) -> Tensor:
        """Return (batch, classes)."""
        logits: Tensor = self.classifier(embedded)
        return logits


class Block(nn.Module):
    """Self-attention on words, guided attention on sound, a residual around each, then glimpses of both."""

    def __init__(self, config: UmonsConfig, *, glimpses: bool) -> None:
        super().__init__()
        width, heads, dropout = config.width, config.heads, config.dropout
        multiple = config.feed_forward_multiple
        self.words = AttentionLayer(width, heads, dropout, guided=False, feed_forward_multiple=multiple)
        self.sound = AttentionLayer(width, heads, dropout, guided=True, feed_forward_multiple=multiple)
        self.glimpses: nn.ModuleList | None = None
        if glimpses:
            self.glimpses = nn.ModuleList(Glimpses(width, config.steps, dropout) for _ in range(2))
            self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
            self.dropout = nn.Dropout(dropout)

    def forward(self, x: Sequence, y: Sequence) -> tuple[Sequence, Sequence]:
        """Refine words ``x`` and sound ``y``."""
        (words, words_mask), (sound, sound_mask) = x, y
        # Guided by the words as they came into the block, not as they leave it.
        guided = self.sound(sound, sound_mask, words, words_mask) + sound
        words = self.words(words, words_mask) + words
        if self.glimpses is None:
            return (words, words_mask), (guided, sound_mask)
        refined = [
            norm(rows + self.dropout(glimpses(rows, mask)))
            for norm, glimpses, rows, mask in zip(
                self.norms, self.glimpses, (words, guided), (words_mask, sound_mask), strict=True
            )
        ]
        everywhere = torch.ones_like(words_mask)
        return (refined[0], everywhere), (refined[1], everywhere)


class Glimpses(nn.Module):
    """MCAN's AttFlat without its merge: as many attention poolings over time as there are glimpses."""

    def __init__(self, width: int, glimpses: int, dropout: float) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, glimpses))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Pool ``x`` (batch, steps, width) into (batch, glimpses, width)."""
        weights = masked_softmax(self.score(x).transpose(1, 2), mask[:, None])
        return weights @ x
