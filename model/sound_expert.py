"""A second opinion on the sound, from states that the fusions do not read, in torch."""

import torch
from torch import Tensor, nn

from model.attention import AttentionPooling, attentive_statistics
from model.dropout import Dropout
from model.encoders import StepEncoder


class SoundExpert(nn.Module):
    """Attentive statistics of states beside the mel, learnt apart from everything else.

    What the last layer of a recogniser tells and what its lower layers tell is wrong at different clips: two
    networks that each learnt by themselves and are averaged afterwards beat one that reads both.
    """

    def __init__(
        self, dimension: int, added: int, width: int, *, heads: int, input_dropout: float, dropout: float
    ) -> None:
        super().__init__()
        self.dimension = dimension
        self.size = 2 * width * heads
        self.steps = StepEncoder(dimension, added, width, input_dropout=input_dropout, dropout=dropout)
        self.heads = nn.ModuleList(AttentionPooling(width, dropout) for _ in range(heads))
        self.norm = nn.Sequential(nn.LayerNorm(self.size), Dropout(dropout))

    def forward(self, states: Tensor, added: Tensor, mask: Tensor) -> Tensor:
        """Describe (batch, steps, dimension) beside (batch, steps, added), real where ``mask``: (batch, size)."""
        described: Tensor = self.norm(attentive_statistics(self.heads, self.steps(states, added), mask))
        return described


def mean_of_opinions(fused: Tensor, expert: Tensor, heard: Tensor) -> Tensor:
    """Average two sets of logits (batch, classes) as log-probabilities where sound was ``heard`` (batch, 1).

    Elsewhere the expert has nothing to say.
    """
    own, other = torch.log_softmax(fused, dim=-1), torch.log_softmax(expert, dim=-1)
    return torch.where(heard, (own + other) / 2, own)
