from collections.abc import Mapping

import numpy as np
import pytest
from conftest import MandarinClip

from model.assets import AssetStore
from model.speech import SpeechConfig
from model.words import WordVectors
from training.word_times import WordAligner, proportional_spans


def test_without_sound_words_take_as_long_as_they_are_written() -> None:
    np.testing.assert_allclose(
        proportional_spans(["就是", "下雨", "也"]), [[0, 0.4], [0.4, 0.8], [0.8, 1.0]], atol=1e-6
    )
    assert proportional_spans([]).shape == (0, 2)


@pytest.fixture(scope="module")
def aligner(assets: AssetStore) -> WordAligner:
    return WordAligner(assets.path("whisper-base"), config=SpeechConfig())


def test_words_are_found_where_they_are_said(
    aligner: WordAligner, word_vectors: WordVectors, mandarin_clips: Mapping[str, MandarinClip]
) -> None:
    """Silence before a clip moves every word but the first's beginning by as much as there is of it."""
    clip = mandarin_clips["liuchanhg-angry-201"]
    words = word_vectors.known_words(clip.text)
    silent = np.zeros(8_000, dtype=np.float32)
    found, later = (
        aligner.spans(samples, clip.text, words) * len(samples) / 16_000
        for samples in (clip.samples, np.concatenate([silent, clip.samples]))
    )
    assert words == ["就是", "下雨", "也", "去"]
    assert found.shape == (4, 2)
    assert (np.diff(found, axis=0) >= 0).all()
    assert (found[:, 0] < found[:, 1]).all()
    assert found[-1, 1] <= len(clip.samples) / 16_000
    np.testing.assert_allclose(later[1:, 0] - found[1:, 0], 0.5, atol=0.15)


def test_a_word_that_is_not_in_the_text_does_not_upset_the_others(
    aligner: WordAligner, mandarin_clips: Mapping[str, MandarinClip]
) -> None:
    clip = mandarin_clips["liuchanhg-angry-201"]
    spans = aligner.spans(clip.samples, clip.text, ["就是", "大象", "去"])
    assert spans.shape == (3, 2)
    assert ((spans >= 0) & (spans <= 1)).all()
    assert aligner.spans(clip.samples, "", []).shape == (0, 2)
