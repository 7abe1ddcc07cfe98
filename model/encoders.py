"""Per-modality encoders of the VCEMO network, before the fusions (VCEMO §3.2), in torch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from model.attention import length_mask, pool_to_steps


class Standardise(nn.Module):
    """Shift and scale an input by the statistics of the training fold, kept as buffers."""

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("deviation", torch.ones(dimension))

    def fit(self, mean: Tensor, deviation: Tensor) -> None:
        """Take the statistics of the training fold, each (dimension,)."""
        self.get_buffer("mean").copy_(mean)
        self.get_buffer("deviation").copy_(deviation.clamp(min=1e-3))

    def forward(self, x: Tensor) -> Tensor:
        """Standardise ``x`` (..., dimension)."""
        return (x - self.get_buffer("mean")) / self.get_buffer("deviation")


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics count the real frames only."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise ``x`` (batch, channels, frames, bands), valid where ``mask`` (batch, 1, frames, 1) is one."""
        if not self.training or mask is None or not bool(mask.any()):
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        count = mask.sum() * x.shape[3]
        mean = (x * mask).sum((0, 2, 3)) / count
        centred = x - mean[:, None, None]
        variance = (centred**2 * mask).sum((0, 2, 3)) / count
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            assert self.running_mean is not None
            assert self.running_var is not None
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance, momentum)
        scale = self.weight / torch.sqrt(variance + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]


class MelEncoder(nn.Module):
    """Log-mel -> Conv-BatchNorm-ReLU over time and frequency -> LSTM."""

    def __init__(self, num_mels: int, width: int, channels: Sequence[int], time_strides: Sequence[int]) -> None:
        super().__init__()
        if len(channels) != len(time_strides):
            raise ValueError(f"{len(channels)} conv channels, but {len(time_strides)} time strides")
        self.standardise = Standardise(num_mels)
        self.time_strides = tuple(time_strides)
        inputs = (1, *channels[:-1])
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, 3, stride=(stride, 2), padding=1)
            for before, after, stride in zip(inputs, channels, time_strides, strict=True)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm(size) for size in channels)
        bands = num_mels
        for _ in channels:
            bands = (bands + 1) // 2
        self.flatten = nn.Linear(channels[-1] * bands, width)
        # One direction and right padding: the valid steps cannot see the padding.
        self.lstm = nn.LSTM(width, width, batch_first=True)

    def forward(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Encode (batch, frames, mels) into (batch, frames / stride, width) and its lengths.

        A length of zero says that there is no sound; its rows count in no statistic.
        """
        x = self.standardise(mel)[:, None]
        mask = _frame_mask(lengths, x)
        x = x * mask
        for convolution, norm, stride in zip(self.convolutions, self.norms, self.time_strides, strict=True):
            x = convolution(x)
            lengths = (lengths + stride - 1) // stride
            mask = _frame_mask(lengths, x)
            x = torch.relu(norm(x, mask)) * mask
        flat = self.flatten(x.transpose(1, 2).flatten(2))
        sequence, _ = self.lstm(flat)
        return sequence, lengths


class StateEncoder(nn.Module):
    """Whisper encoder states -> width, at the fusion's steps."""

    def __init__(self, dimension: int, width: int, steps: int, dropout: float) -> None:
        super().__init__()
        self.steps = steps
        self.standardise = Standardise(dimension)
        # Whole features are dropped, for all steps of a sample: neighbouring states say the same.
        self.dropout = nn.Dropout1d(dropout)
        self.project = nn.Sequential(nn.Linear(dimension, width), nn.GELU(), nn.LayerNorm(width))

    def forward(self, states: Tensor, lengths: Tensor) -> Tensor:
        """Encode (batch, time, dimension) into (batch, steps, width)."""
        pooled = pool_to_steps(self.standardise(states), lengths, self.steps)
        kept = self.dropout(pooled.transpose(1, 2)).transpose(1, 2)
        encoded: Tensor = self.project(kept)
        return encoded


class WordEncoder(nn.Module):
    """Word vectors -> LSTM -> 1-D convolution over the words."""

    def __init__(self, dimension: int, width: int) -> None:
        super().__init__()
        self.standardise = Standardise(dimension)
        self.lstm = nn.LSTM(dimension, width, batch_first=True)
        self.convolution = nn.Conv1d(width, width, 3, padding=1)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Encode (batch, words, dimension) into (batch, words, width); zero beyond each length."""
        mask = length_mask(lengths, words.shape[1])[..., None].to(words.dtype)
        sequence, _ = self.lstm(self.standardise(words) * mask)
        mixed = self.convolution((sequence * mask).transpose(1, 2)).transpose(1, 2)
        encoded: Tensor = mixed * mask
        return encoded


def _frame_mask(lengths: Tensor, x: Tensor) -> Tensor:
    return length_mask(lengths, x.shape[2])[:, None, :, None].to(x.dtype)
