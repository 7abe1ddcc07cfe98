"""Bounded decoding: bytes of any supported container in, a 16 kHz float recording out."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

SAMPLE_RATE_HZ = 16_000
"""The one rate every room below works at."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioLimits:
    """What a recording may claim, checked before and while it is decoded."""

    max_bytes: int = 100 * 1024 * 1024
    max_seconds: float = 600.0
    min_sample_rate_hz: int = 4_000
    max_sample_rate_hz: int = 192_000
    max_channels: int = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """A decoded recording and the facts of its source.

    samples: (channels, samples) float32 in [-1, 1] at 16 kHz; identical channels are kept once.
    """

    samples: npt.NDArray[np.float32]
    source_sample_rate_hz: int
    source_channels: int
    clipped: bool
    warnings: tuple[str, ...] = ()

    @property
    def duration_ms(self) -> int:
        """Length in integer milliseconds."""
        return round(self.samples.shape[1] * 1000 / SAMPLE_RATE_HZ)


def decode_audio(source: bytes | Path, *, limits: AudioLimits = AudioLimits()) -> Recording:
    """Decode a recording."""
    raise NotImplementedError
