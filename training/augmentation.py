"""Copies of an utterance as another day, voice, room or line would have it (VCEMO §3.5, and the telephone).

Noise, pitch and stretch are the paper's three; telephone, reverberation and gain are what calls do to speech.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Literal

import librosa
import numpy as np
import numpy.typing as npt
import scipy.signal
import soxr

from model.audio import SAMPLE_RATE_HZ

Array = npt.NDArray[np.float32]
Operation = Literal["noise", "pitch", "stretch", "telephone", "reverberation", "gain"]

NOISE_SNR_DB: Final = 30.0
MAX_PITCH_SEMITONES: Final = 2.0
STRETCH_RATES: Final = (0.9, 1.1)
GAINS_DB: Final = (-12.0, 6.0)
RT60_SECONDS: Final = (0.2, 0.6)
TELEPHONE_RATE_HZ: Final = 8_000
TELEPHONE_BAND_HZ: Final = (300.0, 3_400.0)

_MU: Final = 255.0
_LEVELS_OF_A_SIGN: Final = 127
# 64 ms: librosa's default of 2,048 is for music at 22 kHz and smears the onsets of speech at 16 kHz.
_STRETCH_WINDOW_SAMPLES: Final = 1_024
_BAND_TAPS: Final = 129


def augmented(
    samples: Array, operation: Operation, *, generator: np.random.Generator, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> Array:
    """Return a copy of an utterance (samples,) with one operation done to it.

    Returns (samples,) float32 within [-1, 1], of the same length but for ``stretch``. Every operation draws its
    own strength, where it has one, before anything else.
    """
    if not len(samples):
        return samples.astype(np.float32)
    changed = _OPERATIONS[operation](samples.astype(np.float32), generator, sample_rate_hz)
    bounded: Array = np.clip(changed, -1.0, 1.0).astype(np.float32)
    return bounded


def _noise(samples: Array, generator: np.random.Generator, _: int) -> npt.NDArray[Any]:
    return samples + generator.standard_normal(len(samples)) * _rms(samples) * 10 ** (-NOISE_SNR_DB / 20)


def _pitch(samples: Array, generator: np.random.Generator, sample_rate_hz: int) -> npt.NDArray[Any]:
    semitones = generator.uniform(-MAX_PITCH_SEMITONES, MAX_PITCH_SEMITONES)
    padded = librosa.util.fix_length(samples, size=max(len(samples), _STRETCH_WINDOW_SAMPLES))
    shifted: npt.NDArray[Any] = librosa.effects.pitch_shift(
        padded, sr=sample_rate_hz, n_steps=semitones, n_fft=_STRETCH_WINDOW_SAMPLES
    )
    return shifted[: len(samples)]


def _stretch(samples: Array, generator: np.random.Generator, _: int) -> npt.NDArray[Any]:
    rate = generator.uniform(*STRETCH_RATES)
    padded = librosa.util.fix_length(samples, size=max(len(samples), _STRETCH_WINDOW_SAMPLES))
    stretched: npt.NDArray[Any] = librosa.effects.time_stretch(padded, rate=rate, n_fft=_STRETCH_WINDOW_SAMPLES)
    return stretched[: max(1, round(len(samples) / rate))]


def _telephone(samples: Array, _: np.random.Generator, sample_rate_hz: int) -> npt.NDArray[Any]:
    """Narrow band, 8-bit mu-law: G.711 by its formula, not by its table of segments."""
    narrow = np.clip(soxr.resample(samples, sample_rate_hz, TELEPHONE_RATE_HZ, quality="HQ"), -1.0, 1.0)
    compressed = np.sign(narrow) * np.log1p(_MU * np.abs(narrow)) / np.log1p(_MU)
    sent = np.round(compressed * _LEVELS_OF_A_SIGN) / _LEVELS_OF_A_SIGN
    heard = np.sign(sent) * np.expm1(np.abs(sent) * np.log1p(_MU)) / _MU
    taps = scipy.signal.firwin(_BAND_TAPS, TELEPHONE_BAND_HZ, pass_zero=False, fs=TELEPHONE_RATE_HZ)
    start = _BAND_TAPS // 2  # of a linear phase: the copy is not delayed
    banded = scipy.signal.fftconvolve(heard, taps)[start : start + len(heard)]
    wide = soxr.resample(banded, TELEPHONE_RATE_HZ, sample_rate_hz, quality="HQ")
    fixed: npt.NDArray[Any] = librosa.util.fix_length(wide, size=len(samples))
    return fixed


def _reverberation(samples: Array, generator: np.random.Generator, sample_rate_hz: int) -> npt.NDArray[Any]:
    """Sound in a diffuse room: noise that decays by 60 dB within the reverberation time."""
    rt60_seconds = generator.uniform(*RT60_SECONDS)
    num_samples = round(rt60_seconds * sample_rate_hz)
    decay = 10 ** (-3.0 * np.arange(num_samples) / num_samples)
    response = generator.standard_normal(num_samples) * decay
    wet: npt.NDArray[Any] = scipy.signal.fftconvolve(samples, response)[: len(samples)]
    level = _rms(wet)
    return wet * (_rms(samples) / level) if level else wet


def _gain(samples: Array, generator: np.random.Generator, _: int) -> npt.NDArray[Any]:
    return samples * 10 ** (generator.uniform(*GAINS_DB) / 20)


def _rms(samples: npt.NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


_OPERATIONS: Final[Mapping[Operation, Callable[[Array, np.random.Generator, int], npt.NDArray[Any]]]] = {
    "noise": _noise,
    "pitch": _pitch,
    "stretch": _stretch,
    "telephone": _telephone,
    "reverberation": _reverberation,
    "gain": _gain,
}
