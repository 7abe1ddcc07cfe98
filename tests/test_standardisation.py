from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from drawn_features import drawn_features, features_of_every_kind, small_network

from model.encoders import Standardise
from model.features import Features
from model.ngrams import Ngrams
from training.standardisation import LEAST_TEXTS, fit_standardisation


def test_inputs_are_standardised_by_all_rows_of_the_training_part() -> None:
    drawn = features_of_every_kind(np.random.default_rng(0))
    network = small_network("whisper")
    fit_standardisation(network, drawn)
    assert network.states is not None
    assert isinstance(network.sentence[0], Standardise)
    for standardise, rows in (
        (network.mel.standardise, [one.mel for one in drawn if one.mel is not None]),
        (network.states.standardise, [one.states for one in drawn if one.states is not None]),
        (network.words.standardise, [one.words for one in drawn if one.words is not None]),
        (network.sentence[0], [one.sentence[None] for one in drawn if one.sentence is not None]),
    ):
        joined = np.concatenate(rows).astype(np.float64)
        np.testing.assert_allclose(standardise.get_buffer("mean"), joined.mean(0), atol=1e-6)
        np.testing.assert_allclose(standardise.get_buffer("deviation"), joined.std(0).clip(1e-3), atol=1e-6)


def test_a_modality_that_the_training_part_lacks_keeps_its_scale() -> None:
    network = small_network("whisper")
    fit_standardisation(network, [drawn_features(np.random.default_rng(0), words=0)])
    assert not network.words.standardise.get_buffer("mean").any()


def text_of(*buckets: int) -> Features:
    drawn = drawn_features(np.random.default_rng(0), frames=0)
    found = Ngrams(buckets=np.array(buckets, dtype=np.int64), weights=np.ones(len(buckets), dtype=np.float32))
    return replace(drawn, ngrams=found)


def rarity_in(texts: list[Features]) -> npt.NDArray[np.float32]:
    network = small_network("whisper", ngram_buckets=8)
    assert network.text is not None
    fit_standardisation(network, texts)
    rarity: npt.NDArray[np.float32] = network.text.ngrams.get_buffer("rarity").numpy()
    return rarity


def test_an_ngram_tells_the_more_the_fewer_texts_have_it() -> None:
    rarity = rarity_in([text_of(0, 1, 2)] * 3 + [text_of(0, 1)] * 3 + [text_of(0)] * 4)
    assert rarity[0] == pytest.approx(1.0)
    assert rarity[1] == pytest.approx(np.log(11 / 7) + 1)
    assert rarity[2] == pytest.approx(np.log(11 / 4) + 1)


def test_an_ngram_that_too_few_texts_have_counts_for_nothing() -> None:
    rarity = rarity_in([text_of(0, 3)] * (LEAST_TEXTS - 1) + [text_of(0, 4)] * LEAST_TEXTS)
    assert rarity[3] == 0
    assert rarity[4] > 1
    assert not rarity[5:].any()


def test_two_ngrams_of_one_bucket_are_one_text() -> None:
    rarity = rarity_in([text_of(0, 5, 5)] * 2 + [text_of(0)] * 2)
    assert rarity[5] == 0


def test_what_has_no_text_does_not_make_ngrams_rarer() -> None:
    texts = [text_of(0, 1)] * 3 + [text_of(0)] * 3
    sounds = [drawn_features(np.random.default_rng(k), words=0) for k in range(5)]
    np.testing.assert_allclose(rarity_in([*texts, *sounds]), rarity_in(texts))


def test_the_text_branch_standardises_sentences_as_the_fusion_does() -> None:
    network = small_network("whisper")
    fit_standardisation(network, features_of_every_kind(np.random.default_rng(0)))
    assert network.text is not None
    one, other = network.sentence[0], network.text.sentence[0]
    assert isinstance(one, Standardise)
    assert isinstance(other, Standardise)
    np.testing.assert_array_equal(one.get_buffer("mean"), other.get_buffer("mean"))
    assert other.get_buffer("mean").any()
