import numpy as np
import pytest
from faster_whisper.feature_extractor import FeatureExtractor

from model.speech import SpeechConfig
from model.whisper_spectrum import WhisperSpectrum

CONFIG = SpeechConfig()
SECOND = 16_000


@pytest.mark.parametrize("seconds", [0.02, 1.1, 1.996, 9.7, 29.99, 31.0])
@pytest.mark.parametrize("loudness", [0.0, 1e-4, 0.1])
def test_silence_in_closed_form_equals_zeros_that_are_really_padded(seconds: float, loudness: float) -> None:
    generator = np.random.default_rng(1)
    samples = (generator.normal(size=round(seconds * SECOND)) * loudness).astype(np.float32)
    padded_seconds = CONFIG.padded_seconds(CONFIG.bucket(seconds))
    num_samples = round(padded_seconds * SECOND)
    found = WhisperSpectrum()(samples, num_samples // 160)
    expected = FeatureExtractor()(samples, padding=max(0, num_samples - len(samples)) + SECOND)
    assert found.shape == (80, num_samples // 160)
    np.testing.assert_allclose(found, expected[:, : found.shape[1]], atol=1e-6)


def test_speech_is_cut_where_fewer_frames_are_asked_for() -> None:
    samples = np.random.default_rng(2).normal(size=SECOND).astype(np.float32)
    spectrum = WhisperSpectrum()
    np.testing.assert_array_equal(spectrum(samples, 50), spectrum(samples, 200)[:, :50])
