"""A linear probe: mean and deviation over time of frozen states, and one Linear. The modern anchor of the tables."""

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from model.attention import length_mask, masked_mean
from training.baselines.baseline import Baseline, BaselineConfig


@dataclass(frozen=True, kw_only=True, slots=True)
class ProbeConfig(BaselineConfig):
    """What is probed."""

    sequence: Literal["states", "mel"] = "states"
    """The recogniser's encoder states, or what stands for the mel: frames of HuBERT, WavLM, emotion2vec."""


class Probe(Baseline):
    """No hidden layer, no text: what a linear map finds in the states."""

    reads: ClassVar = ("mel", "states")

    def __init__(self, config: ProbeConfig) -> None:
        self.sequence = config.sequence
        size = config.state_dimension if config.sequence == "states" else config.frame_dimension
        super().__init__(config, embedded_size=2 * size)
        self.classifier = nn.Linear(2 * size, config.num_classes)

    def embed(self, **inputs: Tensor) -> Tensor:
        """Return (batch, 2 d): mean and deviation of each standardised feature."""
        x, lengths = self.read(self.sequence, inputs, longest=inputs[self.sequence].shape[1])
        mask = length_mask(lengths, x.shape[1])
        mean = masked_mean(x, mask)
        variance = masked_mean((x - mean[:, None]) ** 2, mask)
        return torch.cat([mean, torch.sqrt(variance + 1e-5)], dim=-1)

    def predict(self, embedded: Tensor) -> Tensor:
        """Return (batch, classes)."""
        logits: Tensor = self.classifier(embedded)
        return logits
