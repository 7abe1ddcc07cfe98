"""Utterance in, log-mel spectrogram out (VCEMO §3.1)."""

from dataclasses import dataclass

import librosa
import numpy as np
import numpy.typing as npt

from model.audio import SAMPLE_RATE_HZ


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
    power = librosa.feature.melspectrogram(
        y=samples,
        sr=SAMPLE_RATE_HZ,
        n_fft=config.window_samples,
        hop_length=config.hop_samples,
        n_mels=config.num_mels,
        center=True,
    )
    spectrogram: npt.NDArray[np.float32] = np.log(power + config.floor).T.astype(np.float32)
    return spectrogram
