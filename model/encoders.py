"""Per-modality encoders of the VCEMO network, before the fusions (VCEMO §3.2), in torch."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from model.attention import fit_to_steps, length_mask, pool_to_steps
from model.dropout import Dropout


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

    def adapt(self, x: Tensor, count: Tensor, statistics: Tensor, *, prior: float) -> Tensor:
        """Move ``x`` (batch, rows, dimension) so that its speaker resembles the training fold.

        statistics: mean and deviation (batch, 2, dimension) of the ``count`` (batch,) rows heard of the speaker. They
        are taken as if ``prior`` rows with the training fold's statistics had been heard before: a count of zero
        changes nothing, and a few rows change little.
        """
        mean, deviation = self.get_buffer("mean"), self.get_buffer("deviation")
        weight = (count / (count + prior))[:, None, None]
        own_mean = (statistics[:, :1] - mean) / deviation
        own_square = (statistics[:, 1:] / deviation) ** 2 + own_mean**2
        shift = weight * own_mean
        scale = torch.sqrt((weight * own_square + (1 - weight) - shift**2).clamp(min=0.05))
        # Scaled, then shifted by a difference that is zero for a stranger: to the bit.
        return x / scale + (mean - (mean + shift * deviation) / scale)


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose statistics count the real frames only, in single precision at least."""

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise ``x`` (batch, channels, frames, bands), valid where ``mask`` (batch, 1, frames, 1) is one."""
        if not self.training or mask is None or not bool(mask.any()):
            return nn.functional.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, training=False, eps=self.eps
            )
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        count = mask.sum() * x.shape[3]
        mean = (exact * mask).sum((0, 2, 3)) / count
        centred = exact - mean[:, None, None]
        variance = (centred**2 * mask).sum((0, 2, 3)) / count
        with torch.no_grad():
            momentum = 0.1 if self.momentum is None else self.momentum
            assert self.running_mean is not None
            assert self.running_var is not None
            self.running_mean.lerp_(mean, momentum)
            self.running_var.lerp_(variance, momentum)
        scale = self.weight / torch.sqrt(variance + self.eps)
        return (centred * scale[:, None, None] + self.bias[:, None, None]).to(x.dtype)


class MelEncoder(nn.Module):
    """Log-mel -> Conv-BatchNorm-ReLU over time and frequency -> LSTM (VCEMO §3.2).

    The Linear between them only gives the LSTM's input matrix a lower rank: nothing bends in between.
    """

    def __init__(
        self,
        num_mels: int,
        width: int,
        channels: Sequence[int],
        time_strides: Sequence[int],
        *,
        frequency_stride: int = 2,
        kernel: int = 3,
        lstm_layers: int = 1,
    ) -> None:
        super().__init__()
        if len(channels) != len(time_strides):
            raise ValueError(f"{len(channels)} conv channels, but {len(time_strides)} time strides")
        self.standardise = Standardise(num_mels)
        self.time_strides = tuple(time_strides)
        inputs = (1, *channels[:-1])
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel, stride=(stride, frequency_stride), padding=kernel // 2)
            for before, after, stride in zip(inputs, channels, time_strides, strict=True)
        )
        self.norms = nn.ModuleList(MaskedBatchNorm(size) for size in channels)
        bands = num_mels
        for _ in channels:
            bands = (bands + frequency_stride - 1) // frequency_stride
        self.flatten = nn.Linear(channels[-1] * bands, width)
        # One direction and right padding: the valid steps cannot see the padding.
        self.lstm = nn.LSTM(width, width, num_layers=lstm_layers, batch_first=True)

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


class MelStatistics(nn.Module):
    """Log-mel -> mean and deviation of each band over the frames of a step: what sound adds to the states."""

    def __init__(self, num_mels: int, frames_per_step: int) -> None:
        super().__init__()
        self.frames_per_step = frames_per_step
        self.standardise = Standardise(num_mels)

    def forward(self, mel: Tensor, lengths: Tensor, steps: Tensor) -> Tensor:
        """Describe (batch, frames, mels) at the steps of ``steps`` (batch, steps, d): (batch, steps, 2 mels).

        A step that no frame falls into is described by zeros.
        """
        x = self.standardise(mel)
        start = torch.arange(steps.shape[1], device=mel.device)[None, :, None] * self.frames_per_step
        time = torch.arange(mel.shape[1], device=mel.device)[None, None, :]
        inside = (time >= start) & (time < start + self.frames_per_step) & (time < lengths[:, None, None])
        weights = inside.to(x.dtype)
        weights = weights / weights.sum(2, keepdim=True).clamp(min=1)
        mean = weights @ x
        variance = weights @ (x * x) - mean * mean
        return torch.cat([mean, torch.sqrt(variance.clamp(min=0) + 1e-5)], dim=-1)


class StepEncoder(nn.Module):
    """Whisper encoder states and what the mel adds -> width, at the states' own steps."""

    def __init__(self, dimension: int, added: int, width: int, *, input_dropout: float, dropout: float) -> None:
        super().__init__()
        self.standardise = Standardise(dimension)
        # Whole features are dropped, for all steps of a sample: neighbouring states say the same.
        self.dropout = nn.Dropout1d(input_dropout)
        self.project = nn.Sequential(
            nn.Linear(dimension + added, width), nn.LayerNorm(width), nn.ReLU(), Dropout(dropout)
        )

    def forward(self, states: Tensor, added: Tensor) -> Tensor:
        """Encode (batch, steps, dimension) beside (batch, steps, added) into (batch, steps, width)."""
        joined = torch.cat([self.standardise(states), added], dim=-1)
        kept = self.dropout(joined.transpose(1, 2)).transpose(1, 2)
        encoded: Tensor = self.project(kept)
        return encoded


class WordEncoder(nn.Module):
    """Word vectors -> LSTM -> 1-D convolution (VCEMO §3.2).

    convolution ``kernel``: over the words. ``time_mix``: over all of them at once, with ``steps`` inputs and
    outputs for channels and a kernel of one, as neighbouring features mean nothing. ``none``: left out.
    """

    def __init__(
        self,
        dimension: int,
        width: int,
        *,
        convolution: Literal["kernel", "time_mix", "none"] = "kernel",
        kernel: int = 3,
        steps: int = 64,
        lstm_layers: int = 1,
    ) -> None:
        super().__init__()
        self.steps = steps
        self.mixes_time = convolution == "time_mix"
        self.standardise = Standardise(dimension)
        self.lstm = nn.LSTM(dimension, width, num_layers=lstm_layers, batch_first=True)
        self.convolution: nn.Conv1d | None = None
        if convolution == "kernel":
            self.convolution = nn.Conv1d(width, width, kernel, padding=kernel // 2)
        elif convolution == "time_mix":
            self.convolution = nn.Conv1d(steps, steps, 1)

    def forward(self, words: Tensor, lengths: Tensor) -> Tensor:
        """Encode (batch, words, dimension) into (batch, words, width), zero beyond each length.

        With ``time_mix`` into (batch, steps, width), all of it filled; words beyond ``steps`` are not read.
        """
        mask = length_mask(lengths, words.shape[1])[..., None].to(words.dtype)
        states, _ = self.lstm(self.standardise(words) * mask)
        sequence: Tensor = states * mask
        if self.convolution is None:
            return sequence
        if self.mixes_time:
            timeline: Tensor = self.convolution(fit_to_steps(sequence, self.steps))
            return timeline
        mixed = self.convolution(sequence.transpose(1, 2)).transpose(1, 2)
        encoded: Tensor = mixed * mask
        return encoded


def _frame_mask(lengths: Tensor, x: Tensor) -> Tensor:
    return length_mask(lengths, x.shape[2])[:, None, :, None].to(x.dtype)
