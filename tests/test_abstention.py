import numpy as np
import pytest

from model.bundle import calibrated
from training.abstention import COVERAGE, abstention
from training.metrics import Floats, Integers


def drawn(count: int, *, seed: int = 0) -> tuple[Floats, Integers]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 6, count)
    logits = generator.normal(size=(count, 6)) + 1.5 * np.eye(6)[truth]
    return calibrated(logits, 1.0), truth


def test_the_threshold_answers_seventy_percent() -> None:
    probabilities, truth = drawn(1000)
    found = abstention(probabilities, truth)
    answered = probabilities.max(1) >= found.threshold
    assert answered.sum() == 700 == round(COVERAGE * 1000)
    right = probabilities.argmax(1) == truth
    assert found.accuracy == pytest.approx(right.mean())
    assert found.accuracy_when_confident == pytest.approx(right[answered].mean())
    assert found.accuracy_when_confident > found.accuracy + 0.05


def test_the_curve_ends_with_the_risk_of_answering_everything() -> None:
    found = abstention(*drawn(1000))
    assert [coverage for coverage, _ in found.curve] == pytest.approx([0.1 * step for step in range(1, 11)])
    risks = [risk for _, risk in found.curve]
    assert risks[-1] == pytest.approx(1 - found.accuracy)
    assert dict(found.curve)[COVERAGE] == pytest.approx(1 - found.accuracy_when_confident)
    assert risks[0] < risks[4] < risks[9]


def test_confidence_that_knows_what_is_right_makes_no_mistake_until_it_must() -> None:
    truth = np.zeros(10, dtype=np.int64)
    confidence = np.linspace(0.95, 0.55, 10)
    probabilities = np.stack([confidence, 1 - confidence], axis=1)
    probabilities[8:] = probabilities[8:, ::-1]
    found = abstention(probabilities, truth)
    assert [risk for _, risk in found.curve] == pytest.approx([0.0] * 8 + [1 / 9, 2 / 10])
    assert found.accuracy_when_confident == 1.0
    assert found.threshold == pytest.approx(confidence[6])


def test_where_all_are_equally_sure_nothing_is_gained() -> None:
    probabilities = np.tile([0.6, 0.4], (1000, 1))
    truth = np.random.default_rng(0).integers(0, 2, 1000)
    found = abstention(probabilities, truth)
    assert found.threshold == 0.6
    assert found.accuracy_when_confident == pytest.approx(found.accuracy, abs=0.05)


def test_a_single_clip_is_answered_at_every_coverage() -> None:
    found = abstention(np.array([[0.2, 0.8]]), np.array([1]))
    assert (found.threshold, found.accuracy, found.accuracy_when_confident) == (0.8, 1.0, 1.0)
    assert {risk for _, risk in found.curve} == {0.0}
