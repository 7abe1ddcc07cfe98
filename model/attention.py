"""Attention blocks of the co-attention encoder-decoder (MCAN §3, VCEMO §3.3), in torch.

Only ``model.network`` and ``training`` import this room; serving runs its ONNX export.
"""

import math

import torch
from torch import Tensor, nn


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention over several heads (VCEMO eq. 1).

    Written out because ``nn.MultiheadAttention`` does not export with dynamic lengths.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width {width} is not a multiple of heads {heads}")
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.out = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, query: Tensor, guide: Tensor, guide_mask: Tensor) -> Tensor:
        """Let ``query`` (batch, q, width) read ``guide`` (batch, k, width) where ``guide_mask`` (batch, k) is true."""
        q, k, v = (
            self._split(project(x)) for project, x in ((self.query, query), (self.key, guide), (self.value, guide))
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])  # (batch, heads, q, k)
        weights = masked_softmax(scores, guide_mask[:, None, None, :])
        mixed = self.dropout(weights) @ v
        joined: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return joined

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class AttentionLayer(nn.Module):
    """Self-attention, then guided attention if there is a guide, then feed-forward; post-norm (MCAN fig. 2).

    MCAN's own LayerNorm divides by the unbiased deviation; ours is torch's.
    """

    def __init__(self, width: int, heads: int, dropout: float, *, guided: bool) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(width, heads, dropout)
        self.self_norm = nn.LayerNorm(width)
        self.guided_attention = MultiHeadAttention(width, heads, dropout) if guided else None
        self.guided_norm = nn.LayerNorm(width) if guided else None
        self.feed_forward = nn.Sequential(
            nn.Linear(width, 4 * width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(4 * width, width)
        )
        self.feed_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, guide: Tensor | None = None, guide_mask: Tensor | None = None) -> Tensor:
        """Refine ``x`` (batch, steps, width), valid where ``mask`` (batch, steps)."""
        x = self.self_norm(x + self.dropout(self.self_attention(x, x, mask)))
        if self.guided_attention is not None and self.guided_norm is not None:
            assert guide is not None
            assert guide_mask is not None
            x = self.guided_norm(x + self.dropout(self.guided_attention(x, guide, guide_mask)))
        refined: Tensor = self.feed_norm(x + self.dropout(self.feed_forward(x)))
        return refined


class CoAttention(nn.Module):
    """The encoder-decoder cascade: a self-attention stack on the guide, then a guided stack on the other.

    Every guided layer reads the *final* output of the guide's stack (VCEMO §3.3, fig. 2).
    """

    def __init__(self, width: int, heads: int, layers: int, dropout: float) -> None:
        super().__init__()
        self.encoder = nn.ModuleList(AttentionLayer(width, heads, dropout, guided=False) for _ in range(layers))
        self.decoder = nn.ModuleList(AttentionLayer(width, heads, dropout, guided=True) for _ in range(layers))

    def forward(self, guide: Tensor, guide_mask: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Refine both: guide (batch, g, width) and x (batch, s, width)."""
        for layer in self.encoder:
            guide = layer(guide, guide_mask)
        for layer in self.decoder:
            x = layer(x, mask, guide, guide_mask)
        return guide, x


class AttentionPooling(nn.Module):
    """One-glimpse attention over time (MCAN's AttFlat, its merge layer left to the caller)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Dropout(dropout), nn.Linear(width, 1))

    def weights(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the weight of each step, (batch, steps)."""
        return masked_softmax(self.score(x).squeeze(-1), mask)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Pool ``x`` (batch, steps, width) into (batch, width)."""
        return (self.weights(x, mask).unsqueeze(-1) * x).sum(1)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis, where ``mask`` is true; a finite fill keeps the export exact."""
    return torch.softmax(scores.masked_fill(~mask, -1e9), dim=-1)


def length_mask(lengths: Tensor, size: int | Tensor) -> Tensor:
    """Return (batch, size), true inside each sequence."""
    return torch.arange(size, device=lengths.device)[None, :] < lengths[:, None]  # type: ignore[arg-type]


def pool_to_steps(x: Tensor, lengths: Tensor, steps: int) -> Tensor:
    """Average ``x`` (batch, time, width) over its real length into (batch, steps, width).

    Step i averages the frames from floor(i n / steps) to ceil((i + 1) n / steps), as adaptive pooling does,
    so that padding counts for nothing.
    """
    index = torch.arange(steps, device=x.device)[None, :]
    n = lengths[:, None]
    start = (index * n) // steps
    end = ((index + 1) * n + steps - 1) // steps
    time = torch.arange(x.shape[1], device=x.device)[None, None, :]
    inside = (time >= start[..., None]) & (time < end[..., None])  # (batch, steps, time)
    weights = inside.to(x.dtype) / (end - start).clamp(min=1)[..., None].to(x.dtype)
    return weights @ x
