from typing import Any

import numpy as np
from drawn_features import FEATURES, drawn_features

from model.features import Features
from training.collation import HeardFeatures, collate_inputs
from training.frames import PROSODY_DIMENSION

SPANS = np.array([[0.0, 0.2], [0.2, 0.9], [0.9, 1.0]], dtype=np.float32)


def heard(words: int = 3, **changes: Any) -> HeardFeatures:
    drawn = drawn_features(np.random.default_rng(0), words=words)
    given = {name: getattr(drawn, name) for name in ("mel", "states", "words", "sentence", "ngrams")}
    return HeardFeatures(**(given | changes))


def test_vcemos_network_gets_what_the_service_gives_it() -> None:
    drawn = drawn_features(np.random.default_rng(0))
    assert "prosody" not in collate_inputs([drawn], config=FEATURES)


def test_prosody_and_word_times_come_padded() -> None:
    prosody = np.ones(PROSODY_DIMENSION, dtype=np.float32)
    inputs = collate_inputs([heard(prosody=prosody, word_spans=SPANS), heard(words=5)], config=FEATURES)
    assert inputs["prosody"].sum(1).tolist() == [PROSODY_DIMENSION, 0]
    np.testing.assert_array_equal(inputs["word_spans"][0], [*SPANS, [0, 0], [0, 0]])
    np.testing.assert_allclose(inputs["word_spans"][1, 1], [0.2, 0.4], atol=1e-6)


def test_other_words_are_not_said_when_the_own_ones_were() -> None:
    other = drawn_features(np.random.default_rng(1), words=3)
    changed = heard(word_spans=SPANS).with_text_of(other)
    assert isinstance(changed, HeardFeatures)
    assert changed.words is other.words
    np.testing.assert_allclose(collate_inputs([changed], config=FEATURES)["word_spans"][0, 0], [0, 1 / 3], atol=1e-6)


def test_text_alone_may_stand_beside_heard_utterances() -> None:
    batch: list[Features] = [heard(word_spans=SPANS), drawn_features(np.random.default_rng(1), frames=0)]
    assert collate_inputs(batch, config=FEATURES)["word_spans"].shape == (2, 4, 2)
