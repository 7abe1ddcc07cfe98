"""Multi-hop attention (Yoon et al., ICASSP 2019), two hops: VCEMO's "Yoon's model".

There is no official code; sizes are those of the nearest public one, CME's authors' ``NeoMHA2``. The accuracy that its
own authors reported was a precision, corrected later from .583 to .543 on seven classes, and folds were random over
utterances. Neither is copied.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from model.attention import length_mask, masked_softmax
from training.baselines.baseline import Baseline, BaselineConfig
from training.baselines.recurrent import run


@dataclass(frozen=True, kw_only=True, slots=True)
class Mha2Config(BaselineConfig):
    """Sizes of ``NeoMHA2``."""

    hidden: int = 256
    """Of each direction of both LSTMs."""
    max_frames: int = 1000
    max_words: int = 128


class Mha2(Baseline):
    """Sound asks the text (first hop), and what was found asks the sound (second hop)."""

    reads: ClassVar = ("mel", "words")

    def __init__(self, config: Mha2Config) -> None:
        super().__init__(config, embedded_size=6 * config.hidden)
        self.longest = {"mel": config.max_frames, "words": config.max_words}
        self.audio = nn.LSTM(config.frame_dimension, config.hidden, batch_first=True, bidirectional=True)
        self.text = nn.LSTM(config.word_dimension, config.hidden, batch_first=True, bidirectional=True)
        self.classifier = nn.Linear(self.embedded_size, config.num_classes)

    def embed(self, **inputs: Tensor) -> Tensor:
        """Return (batch, 6 hidden): last audio state, attended text, attended audio."""
        frames, num_frames = self.read("mel", inputs, longest=self.longest["mel"])
        words, num_words = self.read("words", inputs, longest=self.longest["words"])
        heard, last = run(self.audio, frames, num_frames)
        read, _ = run(self.text, words, num_words)
        of_text = _attended(last, read, num_words)
        of_audio = _attended(of_text, heard, num_frames)
        return torch.cat([last, of_text, of_audio], dim=-1)

    def predict(self, embedded: Tensor) -> Tensor:
        """Return (batch, classes)."""
        logits: Tensor = self.classifier(embedded)
        return logits


def _attended(query: Tensor, x: Tensor, lengths: Tensor) -> Tensor:
    """Average ``x`` (batch, steps, d) by its dot product with ``query`` (batch, d): (batch, d)."""
    weights = masked_softmax((x @ query[..., None]).squeeze(-1), length_mask(lengths, x.shape[1]))
    return (weights[..., None] * x).sum(1)
