"""A judge of recordings that the network is trained against: it is to hear the emotion, not the corpus.

Ganin & Lempitsky 2015: the judge learns to tell the corpora apart; its gradient reaches the features reversed.
"""

from typing import Any

import torch
from torch import Tensor, nn


class _Reversed(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.clone()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradients[0], None


class CorpusAdversary(nn.Module):
    """Tells corpora apart by the fused features, and teaches those to give nothing away."""

    def __init__(self, size: int, num_corpora: int, *, strength: float, hidden: int = 64) -> None:
        super().__init__()
        self.strength = strength
        self.judge = nn.Sequential(nn.Linear(size, hidden), nn.ReLU(), nn.Linear(hidden, num_corpora))

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (batch, corpora) of features (batch, d)."""
        logits: Tensor = self.judge(_Reversed.apply(features, self.strength))  # type: ignore[no-untyped-call]
        return logits
