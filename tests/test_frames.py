import numpy as np
import pytest

from model.acoustic import log_mel
from training.frames import PROSODY_DIMENSION, FrameConfig, FrameKind, averaged, frames_of, prosody_of

RATE_HZ = 16_000


def voice(*, hertz: float = 150.0, loudness: float = 0.3, seconds: float = 1.0) -> np.ndarray:
    """A buzz with harmonics and a little noise."""
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    harmonics = sum(np.sin(2 * np.pi * hertz * number * time) / number for number in range(1, 9))
    noise = np.random.default_rng(0).normal(size=len(time)) * 0.01
    return (loudness * (harmonics / 2 + noise)).astype(np.float32)


@pytest.mark.parametrize(("kind", "size"), [("spectrogram", 257), ("mfcc", 39), ("fbank", 40), ("log_mel", 80)])
def test_every_kind_has_its_size_and_a_frame_every_ten_milliseconds(kind: FrameKind, size: int) -> None:
    frames = frames_of(voice(), FrameConfig(kind=kind))
    assert frames.shape == (101, size) == (101, FrameConfig(kind=kind).dimension)
    assert frames.dtype == np.float32
    assert np.isfinite(frames).all()


@pytest.mark.parametrize("kind", ["spectrogram", "mfcc", "fbank"])
def test_a_tenth_of_a_second_and_silence_have_frames_too(kind: FrameKind) -> None:
    for samples in (voice(seconds=0.03), np.zeros(RATE_HZ // 10, dtype=np.float32)):
        assert np.isfinite(frames_of(samples, FrameConfig(kind=kind))).all()
        assert np.isfinite(prosody_of(samples)).all()


def test_vcemos_own_frames_are_the_services() -> None:
    samples = voice()
    np.testing.assert_array_equal(frames_of(samples, FrameConfig()), log_mel(samples))
    assert FrameConfig().is_default
    assert not FrameConfig(prosody=True).is_default


def test_neighbours_are_averaged_and_the_last_may_have_none() -> None:
    frames = np.array([[0.0], [2.0], [4.0], [6.0], [9.0]], dtype=np.float32)
    np.testing.assert_array_equal(averaged(frames, 2), [[1.0], [5.0], [9.0]])
    assert frames_of(voice(), FrameConfig(kind="fbank", average=4)).shape == (26, 40)


def test_the_spectrogram_is_the_same_however_loud_the_recording() -> None:
    quiet, loud = (frames_of(voice(loudness=x), FrameConfig(kind="spectrogram")) for x in (0.1, 0.8))
    np.testing.assert_allclose(quiet.mean(0), 0, atol=1e-3)
    assert np.corrcoef(quiet.flatten(), loud.flatten())[0, 1] > 0.95


def test_prosody_hears_pitch_loudness_and_length() -> None:
    low, high, loud, long = (
        prosody_of(voice(**{"seconds": 0.5} | changes))
        for changes in ({}, {"hertz": 300.0}, {"loudness": 0.9}, {"seconds": 2.0})
    )
    assert low.shape == (PROSODY_DIMENSION,)
    median_pitch, median_loudness, length = 3, 2 * 11 + 3, PROSODY_DIMENSION - 1
    assert high[median_pitch] - low[median_pitch] == pytest.approx(1.0, abs=0.05)  # an octave
    assert loud[median_loudness] > low[median_loudness]
    assert long[length] > low[length]
    assert np.abs(low).max() < 5


def test_noise_is_less_voiced_than_a_voice() -> None:
    noise = np.random.default_rng(1).normal(size=RATE_HZ // 2).astype(np.float32) * 0.1
    assert prosody_of(noise)[-2] < 0.2 < 0.8 < prosody_of(voice(seconds=0.5))[-2]


def test_an_encoder_needs_a_name_and_a_name_an_encoder() -> None:
    for options in ({"kind": "encoder"}, {"encoder": "hubert"}):
        with pytest.raises(ValueError, match="one goes with the other"):
            FrameConfig(**options)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="average 0"):
        FrameConfig(average=0)
    assert FrameConfig(kind="encoder", encoder="some", encoder_dimension=1024).dimension == 1024
