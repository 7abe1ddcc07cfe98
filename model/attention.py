"""Attention blocks of the co-attention encoder-decoder (MCAN §3, VCEMO §3.3), in torch.

Only ``model.network`` and ``training`` import this room; serving runs its ONNX export.
"""

import math

import torch
from torch import Tensor, nn

from model.dropout import Dropout


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
        self.dropout = Dropout(dropout)

    def forward(self, query: Tensor, guide: Tensor, guide_mask: Tensor) -> Tensor:
        """Let ``query`` (batch, q, width) read ``guide`` (batch, k, width) where ``guide_mask`` (batch, k) is true."""
        return self.attend(query, guide, guide_mask)[0]

    def attend(self, query: Tensor, guide: Tensor, guide_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what :meth:`forward` does, and the map (batch, heads, q, k) before dropout."""
        q, k, v = (
            self._split(project(x)) for project, x in ((self.query, query), (self.key, guide), (self.value, guide))
        )
        scores = q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1])  # (batch, heads, q, k)
        weights = masked_softmax(scores, guide_mask[:, None, None, :])
        mixed = self.dropout(weights) @ v
        joined: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return joined, weights

    def _split(self, x: Tensor) -> Tensor:
        return x.view(x.shape[0], x.shape[1], self.heads, x.shape[2] // self.heads).transpose(1, 2)


class AttentionLayer(nn.Module):
    """Self-attention, then guided attention if there is a guide, then feed-forward; post-norm (MCAN fig. 2).

    In guided attention the sequence that is refined asks, and its guide gives keys and values. VCEMO §3.3 ("q is from
    another modality") leaves open which of the two is refined; MCAN §3.1, which it follows, refines the one that asks.
    MCAN's own LayerNorm divides by the unbiased deviation; ours is torch's.
    """

    def __init__(self, width: int, heads: int, dropout: float, *, guided: bool, feed_forward_multiple: int = 4) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(width, heads, dropout)
        self.self_norm = nn.LayerNorm(width)
        self.guided_attention = MultiHeadAttention(width, heads, dropout) if guided else None
        self.guided_norm = nn.LayerNorm(width) if guided else None
        hidden = feed_forward_multiple * width
        self.feed_forward = nn.Sequential(
            nn.Linear(width, hidden), nn.ReLU(), Dropout(dropout), nn.Linear(hidden, width)
        )
        self.feed_norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor, guide: Tensor | None = None, guide_mask: Tensor | None = None) -> Tensor:
        """Refine ``x`` (batch, steps, width), valid where ``mask`` (batch, steps)."""
        if self.guided_attention is not None:
            assert guide is not None
            assert guide_mask is not None
            return self.attend(x, mask, guide, guide_mask)[0]
        return self._feed(self._read_itself(x, mask))

    def attend(self, x: Tensor, mask: Tensor, guide: Tensor, guide_mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return what :meth:`forward` does with a guide, and the guided map (batch, heads, steps, guide steps)."""
        assert self.guided_attention is not None
        assert self.guided_norm is not None
        x = self._read_itself(x, mask)
        found, weights = self.guided_attention.attend(x, guide, guide_mask)
        return self._feed(self.guided_norm(x + self.dropout(found))), weights

    def _read_itself(self, x: Tensor, mask: Tensor) -> Tensor:
        normed: Tensor = self.self_norm(x + self.dropout(self.self_attention(x, x, mask)))
        return normed

    def _feed(self, x: Tensor) -> Tensor:
        refined: Tensor = self.feed_norm(x + self.dropout(self.feed_forward(x)))
        return refined


class CoAttention(nn.Module):
    """The encoder-decoder cascade: a self-attention stack on the guide, then a guided stack on the other.

    Every guided layer reads the *final* output of the guide's stack (VCEMO §3.3, fig. 2).
    bidirectional: the guide is refined by a second cascade instead, in which the other guides it.
    aligned: the guide is returned on the grid of the other, averaged through the last guided map (of all heads).
    """

    def __init__(
        self,
        width: int,
        heads: int,
        layers: int,
        dropout: float,
        *,
        feed_forward_multiple: int = 4,
        bidirectional: bool = False,
        aligned: bool = False,
    ) -> None:
        super().__init__()
        self.aligned = aligned

        def stack(*, guided: bool) -> nn.ModuleList:
            return nn.ModuleList(
                AttentionLayer(width, heads, dropout, guided=guided, feed_forward_multiple=feed_forward_multiple)
                for _ in range(layers)
            )

        self.encoder = stack(guided=False)
        self.decoder = stack(guided=True)
        self.reverse = (
            CoAttention(width, heads, layers, dropout, feed_forward_multiple=feed_forward_multiple)
            if bidirectional
            else None
        )

    def forward(self, guide: Tensor, guide_mask: Tensor, x: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Refine both: guide (batch, g, width), or (batch, s, width) if aligned, and x (batch, s, width)."""
        refined = guide
        if self.reverse is not None:
            _, refined = self.reverse(x, mask, guide, guide_mask)
        for layer in self.encoder:
            guide = layer(guide, guide_mask)
        if self.reverse is None:
            refined = guide
        *first, last = self.decoder
        for layer in first:
            x = layer(x, mask, guide, guide_mask)
        assert isinstance(last, AttentionLayer)
        if not self.aligned:
            return refined, last(x, mask, guide, guide_mask)
        x, weights = last.attend(x, mask, guide, guide_mask)
        return weights.mean(1) @ refined, x


class AttentionPooling(nn.Module):
    """One-glimpse attention over time (MCAN's AttFlat, its merge layer left to the caller)."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(width, width), nn.ReLU(), Dropout(dropout), nn.Linear(width, 1))

    def weights(self, x: Tensor, mask: Tensor) -> Tensor:
        """Return the weight of each step, (batch, steps)."""
        return masked_softmax(self.score(x).squeeze(-1), mask)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """Pool ``x`` (batch, steps, width) into (batch, width)."""
        return (self.weights(x, mask).unsqueeze(-1) * x).sum(1)


def attentive_statistics(heads: nn.ModuleList, x: Tensor, mask: Tensor) -> Tensor:
    """Attentive mean and deviation of ``x`` (batch, steps, width) where ``mask``: (batch, 2 width heads).

    heads: :class:`AttentionPooling`.
    """
    statistics: list[Tensor] = []
    for head in heads:
        assert isinstance(head, AttentionPooling)
        weights = head.weights(x, mask)[..., None]
        mean = (weights * x).sum(1)
        variance = (weights * (x - mean[:, None]) ** 2).sum(1)
        statistics += [mean, torch.sqrt(variance + 1e-5)]
    return torch.cat(statistics, dim=-1)


def masked_softmax(scores: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the last axis, where ``mask`` is true; a finite fill keeps the export exact."""
    return torch.softmax(scores.masked_fill(~mask, max(-1e9, torch.finfo(scores.dtype).min)), dim=-1)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """Average ``x`` (batch, steps, width) over time where ``mask`` (batch, steps) is true: (batch, width)."""
    counted = mask[..., None].to(x.dtype)
    return (x * counted).sum(1) / counted.sum(1).clamp(min=1)


def fit_to_steps(x: Tensor, steps: int) -> Tensor:
    """Pad with zeros, or cut, ``x`` (batch, time, width) to (batch, steps, width)."""
    room = torch.zeros_like(x[:, :1]).expand(-1, steps, -1)
    return torch.cat([x, room], dim=1)[:, :steps]


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
