"""Sound as another day, voice, room or line would have it (VCEMO §3.5, and the telephone).

Noise, pitch and stretch are the paper's three; telephone, background, reverberation and gain are what calls do to
speech, and speed makes another throat of it. The last two are of one strength, to be judged under rather than to be
trained on.
"""

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, Final, Literal

import librosa
import numpy as np
import numpy.typing as npt
import scipy.signal
import soxr

from model.audio import SAMPLE_RATE_HZ

Array = npt.NDArray[np.float32]
Operation = Literal[
    "noise",
    "pitch",
    "stretch",
    "speed",
    "telephone",
    "background",
    "reverberation",
    "gain",
    "background_10db",
    "two_seconds",
]

NOISE_SNR_DB: Final = 30.0
MAX_PITCH_SEMITONES: Final = 2.0
STRETCH_RATES: Final = (0.9, 1.1)
MAX_SPEED_OCTAVES: Final = 0.25
BACKGROUND_SNR_DB: Final = (5.0, 20.0)
BACKGROUND_SLOPES: Final = (0.0, 2.0)
STEADY_BACKGROUND_SNR_DB: Final = 10.0
BEGINNING_SECONDS: Final = 2.0
GAINS_DB: Final = (-12.0, 6.0)
RT60_SECONDS: Final = (0.2, 0.6)
TELEPHONE_RATE_HZ: Final = 8_000
TELEPHONE_BAND_HZ: Final = (300.0, 3_400.0)

_MU: Final = 255.0
_LEVELS_OF_A_SIGN: Final = 127
# 64 ms: librosa's default of 2,048 is for music at 22 kHz and smears the onsets of speech at 16 kHz.
_STRETCH_WINDOW_SAMPLES: Final = 1_024
_BAND_TAPS: Final = 129


@dataclass(frozen=True, slots=True)
class Change:
    """One operation done to the clips of a corpus, as ``seed`` draws it."""

    operation: Operation
    _: KW_ONLY
    seed: int = 0
    of: Literal["utterance", "recording"] = "utterance"
    """``utterance`` changes what was found in the clean recording and keeps its words (VCEMO §3.5); ``recording``
    changes the sound before anything hears it, as a line does, so that it is cut and transcribed anew."""


def augmented(
    samples: Array, operation: Operation, *, generator: np.random.Generator, sample_rate_hz: int = SAMPLE_RATE_HZ
) -> Array:
    """Return a copy of some sound (samples,) with one operation done to it.

    Returns (samples,) float32 within [-1, 1], of the same length but for ``stretch``, ``speed`` and ``two_seconds``.
    Every operation draws its own strength, where it has one, before anything else.
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


def _speed(samples: Array, generator: np.random.Generator, sample_rate_hz: int) -> npt.NDArray[Any]:
    """Tape played faster or slower: pitch, formants and tempo move together, as between throats of other lengths."""
    factor = 2 ** generator.uniform(-MAX_SPEED_OCTAVES, MAX_SPEED_OCTAVES)
    moved: npt.NDArray[Any] = soxr.resample(samples, sample_rate_hz, sample_rate_hz / factor, quality="HQ")
    return moved if len(moved) else samples


def _background(samples: Array, generator: np.random.Generator, _: int) -> npt.NDArray[Any]:
    return _with_background(samples, generator, snr_db=generator.uniform(*BACKGROUND_SNR_DB))


def _background_10db(samples: Array, generator: np.random.Generator, _: int) -> npt.NDArray[Any]:
    return _with_background(samples, generator, snr_db=STEADY_BACKGROUND_SNR_DB)


def _with_background(samples: Array, generator: np.random.Generator, *, snr_db: float) -> npt.NDArray[Any]:
    """Noise of a drawn colour, from white (slope 0) to brown (slope 2: power falls with the frequency squared)."""
    slope = generator.uniform(*BACKGROUND_SLOPES)
    spectrum = np.fft.rfft(generator.standard_normal(len(samples)))
    # What lies below the first bin, the mean, would be infinite.
    spectrum *= np.maximum(np.arange(len(spectrum)), 1) ** (-slope / 2)
    noise = np.fft.irfft(spectrum, len(samples))
    level = _rms(noise)
    return samples + noise * (_rms(samples) * 10 ** (-snr_db / 20) / level) if level else samples


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


def _two_seconds(samples: Array, _: np.random.Generator, sample_rate_hz: int) -> npt.NDArray[Any]:
    return samples[: round(BEGINNING_SECONDS * sample_rate_hz)]


def _rms(samples: npt.NDArray[Any]) -> float:
    return float(np.sqrt(np.mean(np.square(samples, dtype=np.float64))))


_OPERATIONS: Final[Mapping[Operation, Callable[[Array, np.random.Generator, int], npt.NDArray[Any]]]] = {
    "noise": _noise,
    "pitch": _pitch,
    "stretch": _stretch,
    "speed": _speed,
    "telephone": _telephone,
    "background": _background,
    "reverberation": _reverberation,
    "gain": _gain,
    "background_10db": _background_10db,
    "two_seconds": _two_seconds,
}
