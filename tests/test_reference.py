"""What is known of the clips that a bundle was judged on, and how far others are from them."""

import numpy as np
import pytest

from model.bundle import Bundle
from model.labels import EMOTIONS
from model.reference import Seen, bins_of, divergence, reference_of


def seen(*, emotion: str = "angry", confidence: float = 0.5, seconds: float = 2.0, status: str = "ok") -> Seen:
    return Seen.of(emotion=emotion, confidence=confidence, status=status, seconds=seconds, features=None)


def test_a_reference_cuts_quantities_where_each_bin_holds_as_many() -> None:
    generator = np.random.default_rng(0)
    found = reference_of([seen(seconds=value) for value in generator.lognormal(1, 1, 800)], labels=EMOTIONS)
    assert found["seconds"]["shares"] == pytest.approx([1 / 8] * 8, abs=0.01)
    assert found["emotion"]["shares"] == [1, 0, 0, 0, 0, 0]
    assert "level" not in found


def test_a_quantity_that_never_varies_is_one_value_among_others() -> None:
    found = reference_of([seen(confidence=0.5)] * 50, labels=EMOTIONS)["confidence"]
    assert found["edges"] == [0.5]
    assert found["shares"] == [0, 1]


def test_a_bundle_that_was_sealed_without_a_reference_tells_what_its_figures_do(bundle: Bundle) -> None:
    assert not bundle.facts.reference
    found = bins_of(bundle.facts)
    assert set(found) == {"emotion", "confidence"}
    assert sum(found["emotion"].shares) == pytest.approx(1)
    assert found["confidence"].edges == (bundle.facts.abstain_below,)


def test_divergence_is_nothing_for_the_same_and_a_bit_for_the_disjoint() -> None:
    assert divergence([1, 2, 1], [0.25, 0.5, 0.25]) == pytest.approx(0, abs=1e-12)
    assert divergence([1, 0], [0, 7]) == pytest.approx(1)
    assert 0 < divergence([0.5, 0.5], [0.6, 0.4]) < 0.02


def test_a_status_that_the_reference_does_not_name_counts_as_untrusted() -> None:
    found = reference_of([seen(), seen(status="low_confidence")], labels=EMOTIONS)["status"]
    assert found["names"] == ["ok", "low_confidence"]
    assert found["shares"] == [0.5, 0.5]
