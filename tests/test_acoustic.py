import librosa
import numpy as np
import numpy.typing as npt
import pytest

from model.acoustic import MelConfig, log_mel


def tone(hertz: float, *, loudness: float = 0.5, seconds: float = 0.5) -> npt.NDArray[np.float32]:
    times = np.arange(round(seconds * 16_000)) / 16_000
    return (loudness * np.sin(2 * np.pi * hertz * times)).astype(np.float32)


@pytest.mark.parametrize("num_samples", [400, 559, 560, 16_000, 16_161])
def test_there_is_a_frame_every_ten_milliseconds(num_samples: int) -> None:
    spectrogram = log_mel(tone(200)[:1].repeat(num_samples))
    assert spectrogram.shape == (1 + num_samples // 160, 80)
    assert spectrogram.dtype == np.float32


@pytest.mark.parametrize("num_mels", [40, 80])
@pytest.mark.parametrize("num_samples", [400, 559, 16_161, 255 * 160, 256 * 160, 100_000])
def test_it_is_librosas_to_the_last_digits(num_samples: int, num_mels: int) -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, num_samples).astype(np.float32)
    power = librosa.feature.melspectrogram(y=samples, sr=16_000, n_fft=400, hop_length=160, n_mels=num_mels)
    expected = np.log(power + MelConfig().floor).T
    np.testing.assert_allclose(log_mel(samples, config=MelConfig(num_mels=num_mels)), expected, atol=1e-4)


def test_silence_is_the_floor() -> None:
    spectrogram = log_mel(np.zeros(8_000, dtype=np.float32))
    np.testing.assert_allclose(spectrogram, np.log(MelConfig().floor), rtol=1e-6)


def test_a_higher_tone_lies_in_a_higher_band() -> None:
    bands = [int(log_mel(tone(hertz))[20:30].mean(0).argmax()) for hertz in (200, 800, 3000, 7000)]
    assert bands == sorted(set(bands))


def test_ten_times_louder_is_a_hundred_times_the_power() -> None:
    quiet, loud = (log_mel(tone(1000, loudness=loudness))[20:30] for loudness in (0.05, 0.5))
    band = int(loud.mean(0).argmax())
    np.testing.assert_allclose((loud - quiet)[:, band], np.log(100), atol=1e-3)


def test_the_number_of_bands_follows_the_configuration() -> None:
    assert log_mel(tone(500), config=MelConfig(num_mels=40)).shape[1] == 40
