"""Multimodal dual recurrent encoder (Yoon et al., SLT 2018): the last states of two GRUs, side by side.

Published folds are random over utterances, speakers shared between training and test, and precision was reported as
accuracy (the authors' correction stands in their later repository); neither is copied.
"""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from training.baselines.baseline import Baseline, BaselineConfig
from training.baselines.recurrent import run
from training.frames import PROSODY_DIMENSION


@dataclass(frozen=True, kw_only=True, slots=True)
class MdreConfig(BaselineConfig):
    """The authors' settings."""

    hidden: int = 200
    audio_dropout: float = 0.3
    text_dropout: float = 0.7
    """Kept: .7 and .3."""
    text_features: int = 100
    max_frames: int = 750
    max_words: int = 128


class Mdre(Baseline):
    """Frames -> GRU, beside the utterance's prosody; words -> GRU; one Linear each, then one over both."""

    reads: ClassVar = ("mel", "words")

    def __init__(self, config: MdreConfig) -> None:
        heard = config.hidden + PROSODY_DIMENSION
        super().__init__(config, embedded_size=heard // 2 + config.text_features)
        self.longest = {"mel": config.max_frames, "words": config.max_words}
        self.audio = nn.GRU(config.frame_dimension, config.hidden, batch_first=True)
        self.text = nn.GRU(config.word_dimension, config.hidden, batch_first=True)
        self.audio_dropout, self.text_dropout = nn.Dropout(config.audio_dropout), nn.Dropout(config.text_dropout)
        self.audio_projection = nn.Linear(heard, heard // 2)
        self.text_projection = nn.Linear(config.hidden, config.text_features)
        self.classifier = nn.Linear(self.embedded_size, config.num_classes)

    def embed(self, **inputs: Tensor) -> Tensor:
        """Return (batch, half of what was heard + text features)."""
        frames, num_frames = self.read("mel", inputs, longest=self.longest["mel"])
        words, num_words = self.read("words", inputs, longest=self.longest["words"])
        _, heard = run(self.audio, self.audio_dropout(frames), num_frames)
        _, read = run(self.text, self.text_dropout(words), num_words)
        heard = torch.cat([self.audio_dropout(heard), inputs["prosody"]], dim=-1)
        return torch.cat([self.audio_projection(heard), self.text_projection(self.text_dropout(read))], dim=-1)

    def predict(self, embedded: Tensor) -> Tensor:
        """Return (batch, classes)."""
        logits: Tensor = self.classifier(embedded)
        return logits
