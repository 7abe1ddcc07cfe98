"""What comparison systems hear of an utterance in place of VCEMO's log mel: each as its paper says, by librosa."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

import librosa
import numpy as np
import numpy.typing as npt

from model.acoustic import MelConfig, log_mel
from model.audio import SAMPLE_RATE_HZ

Array = npt.NDArray[np.float32]
Floats = npt.NDArray[np.floating[Any]]
FrameKind = Literal["log_mel", "spectrogram", "mfcc", "fbank", "encoder"]

_FFT_BINS: Final = 257
_BANDS: Final = 40
_CEPSTRA: Final = 12
_PREEMPHASIS: Final = 0.97
_FLOOR: Final = 1e-6
_WINDOW_SAMPLES: Final = 400
_HOP_SAMPLES: Final = 160
_LOWEST_PITCH_HZ: Final = 70.0
_HIGHEST_PITCH_HZ: Final = 500.0
_PITCH_WINDOW_SAMPLES: Final = 1024
_QUANTILES: Final = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)

PROSODY_DIMENSION: Final = 35
"""Eleven functionals each of pitch, voicing and loudness; the share that is voiced, and the length."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameConfig:
    """Windows of 25 ms every 10 ms, whatever the kind."""

    kind: FrameKind = "log_mel"
    """``log_mel``: what VCEMO's network reads. ``spectrogram``: 257 log powers, pre-emphasised, mean and deviation of
    the utterance taken away (Xu). ``mfcc``: 12 cepstra and log energy with both deltas (Yoon). ``fbank``: 40 log bands
    (CME, MHA-2). ``encoder``: states of a pre-trained audio encoder, 50 a second (:mod:`training.audio_encoder`)."""
    average: int = 1
    """How many neighbouring frames are averaged into one; 1 in every paper. 4 trains four times as fast on a CPU."""
    prosody: bool = False
    """Whether the utterance also has a vector of prosody, :data:`PROSODY_DIMENSION` (Yoon, MDRE)."""
    word_times: bool = False
    """Whether it is known when each word is said (CME)."""
    encoder: str = ""
    """Folder, or name on the hub, of ``encoder``."""
    layer: int = -1
    """Of its hidden states; 0 is what goes into the first layer."""
    encoder_dimension: int = 768

    def __post_init__(self) -> None:
        if (self.kind == "encoder") != bool(self.encoder):
            raise ValueError(f"frames of kind {self.kind!r} and encoder {self.encoder!r}: one goes with the other")
        if self.average < 1:
            raise ValueError(f"average {self.average} is less than 1")

    @property
    def dimension(self) -> int:
        """Length of one frame."""
        bands = MelConfig().num_mels
        sizes = {"log_mel": bands, "spectrogram": _FFT_BINS, "mfcc": 3 * (_CEPSTRA + 1), "fbank": _BANDS}
        return sizes.get(self.kind, self.encoder_dimension)

    @property
    def is_default(self) -> bool:
        """Whether an utterance has nothing but what the service computes."""
        return self == FrameConfig()


def frames_of(samples: Array, config: FrameConfig) -> Array:
    """Compute the frames (frames, dimension) of one utterance (samples,) at 16 kHz; not for kind ``encoder``."""
    samples = np.pad(samples, (0, max(0, 2 * (_FFT_BINS - 1) - len(samples))))
    compute: Mapping[str, Callable[[Array], Array]] = {
        "log_mel": log_mel,
        "spectrogram": _spectrogram,
        "mfcc": _mfcc,
        "fbank": _fbank,
    }
    return averaged(compute[config.kind](samples), config.average)


def averaged(frames: Array, number: int) -> Array:
    """Average ``number`` neighbouring frames (frames, d) into one; the last may hold fewer."""
    starts = np.arange(0, len(frames), number)
    counts = np.diff(np.append(starts, len(frames)))
    steps: Array = (np.add.reduceat(frames, starts, axis=0) / counts[:, None]).astype(np.float32)
    return steps


def prosody_of(samples: Array) -> Array:
    """Summarise pitch, voicing and loudness of one utterance (samples,): (PROSODY_DIMENSION,), each about one in size.

    The authors' 35 are openSMILE's; these are its three contours by librosa, and their functionals.
    """
    padded = np.pad(samples, (0, max(0, _PITCH_WINDOW_SAMPLES - len(samples))))
    pitch = librosa.yin(
        padded,
        fmin=_LOWEST_PITCH_HZ,
        fmax=_HIGHEST_PITCH_HZ,
        sr=SAMPLE_RATE_HZ,
        frame_length=_PITCH_WINDOW_SAMPLES,
        hop_length=_HOP_SAMPLES,
    )
    power = librosa.feature.rms(y=padded, frame_length=_PITCH_WINDOW_SAMPLES, hop_length=_HOP_SAMPLES)[0]
    loudness = np.log(power + _FLOOR)
    voicing = _periodicity(padded, pitch)
    voiced = voicing > 0.5
    octaves = np.log2(pitch / _LOWEST_PITCH_HZ)
    contours = (octaves[voiced] if voiced.any() else np.zeros(1), voicing, loudness / 5)
    summary = [_functionals(contour) for contour in contours]
    seconds = len(samples) / SAMPLE_RATE_HZ
    return np.concatenate([*summary, [voiced.mean(), np.log1p(seconds)]]).astype(np.float32)


def _functionals(contour: Floats) -> Floats:
    """Seven quantiles, mean, deviation, slope over the utterance, and mean absolute change: (11,)."""
    slope = np.polyfit(np.linspace(-1, 1, len(contour)), contour, 1)[0] if len(contour) > 1 else 0.0
    change = np.abs(np.diff(contour)).mean() if len(contour) > 1 else 0.0
    return np.array([*np.quantile(contour, _QUANTILES), contour.mean(), contour.std(), slope, change])


def _periodicity(samples: Array, pitch: Floats) -> Floats:
    """Correlation of each window with itself one period later, 0 to 1: about the probability that it is voiced."""
    half = _PITCH_WINDOW_SAMPLES // 2
    centred = np.pad(samples, half)
    found = np.zeros(len(pitch))
    for index, hertz in enumerate(pitch):
        window = centred[index * _HOP_SAMPLES : index * _HOP_SAMPLES + _PITCH_WINDOW_SAMPLES]
        lag = round(SAMPLE_RATE_HZ / hertz)
        first, second = window[:-lag], window[lag:]
        scale = np.linalg.norm(first) * np.linalg.norm(second)
        if scale > _FLOOR:
            found[index] = max(0.0, float(first @ second) / float(scale))
    return found


def _spectrogram(samples: Array) -> Array:
    emphasised = librosa.effects.preemphasis(samples, coef=_PREEMPHASIS)
    powers = np.abs(
        librosa.stft(emphasised, n_fft=2 * (_FFT_BINS - 1), win_length=_WINDOW_SAMPLES, hop_length=_HOP_SAMPLES)
    )
    logs = np.log(powers**2 + _FLOOR).T
    scaled: Array = ((logs - logs.mean(0)) / (logs.std(0) + 1e-3)).astype(np.float32)
    return scaled


def _fbank(samples: Array) -> Array:
    return log_mel(librosa.effects.preemphasis(samples, coef=_PREEMPHASIS), config=MelConfig(num_mels=_BANDS))


def _mfcc(samples: Array) -> Array:
    logs = _fbank(samples).T
    cepstra = librosa.feature.mfcc(S=logs, n_mfcc=_CEPSTRA + 1, lifter=22)[1:]
    energy = librosa.feature.rms(y=samples, frame_length=_WINDOW_SAMPLES, hop_length=_HOP_SAMPLES)
    columns = np.concatenate([cepstra, np.log(energy[:, : cepstra.shape[1]] + _FLOOR)])
    if columns.shape[1] < 9:
        # The window of a delta.
        columns = np.pad(columns, ((0, 0), (0, 9 - columns.shape[1])), mode="edge")
    deltas = [librosa.feature.delta(columns, order=order) for order in (1, 2)]
    frames: Array = np.concatenate([columns, *deltas]).T.astype(np.float32)
    return frames
