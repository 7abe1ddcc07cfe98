"""Utterance in, log-mel spectrogram out (VCEMO §3.1)."""

from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import numpy.typing as npt
from faster_whisper.feature_extractor import FeatureExtractor

from model.audio import SAMPLE_RATE_HZ

_BLOCK_FRAMES: Final = 256
"""So many spectra at a time stay in a processor's cache: half the time of all at once, for 16 s."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MelConfig:
    """Windows of 25 ms every 10 ms, 80 bands; the paper leaves them open."""

    num_mels: int = 80
    window_samples: int = 400
    hop_samples: int = 160
    floor: float = 1e-6
    """Added to the power before the logarithm: about the noise of 16-bit telephony."""


def log_mel(samples: npt.NDArray[np.float32], *, config: MelConfig = MelConfig()) -> npt.NDArray[np.float32]:
    """Compute the natural-log mel power spectrogram of one utterance.

    samples: (samples,) float32 at 16 kHz. Returns (frames, mels) float32.
    """
    window, filters = _window(config.window_samples), _filters(config.window_samples, config.num_mels)
    padded = np.pad(samples, config.window_samples // 2)
    num_frames = 1 + (len(padded) - config.window_samples) // config.hop_samples
    power = np.empty((config.num_mels, num_frames), np.float32)
    for begin in range(0, num_frames, _BLOCK_FRAMES):
        end = min(begin + _BLOCK_FRAMES, num_frames)
        heard = padded[begin * config.hop_samples : (end - 1) * config.hop_samples + config.window_samples]
        spectrum = FeatureExtractor.stft(
            heard, config.window_samples, config.hop_samples, window=window, center=False, return_complex=True
        )
        power[:, begin:end] = filters @ (np.abs(spectrum) ** 2)
    spectrogram: npt.NDArray[np.float32] = np.log(power + config.floor).T.astype(np.float32, order="C")
    return spectrogram


@cache
def _window(num_samples: int) -> npt.NDArray[np.float32]:
    """A periodic Hann window."""
    return np.hanning(num_samples + 1)[:-1].astype(np.float32)


@cache
def _filters(window_samples: int, num_mels: int) -> npt.NDArray[np.float32]:
    """Slaney's triangles up to half the sample rate, (mels, bins)."""
    filters: npt.NDArray[np.float32] = FeatureExtractor.get_mel_filters(
        SAMPLE_RATE_HZ, window_samples, num_mels
    ).astype(np.float32)
    return filters
