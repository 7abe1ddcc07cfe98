import numpy as np
import pytest

from model.bundle import calibrated
from training.metrics import (
    Interval,
    bootstrap_interval,
    confusion,
    expected_calibration_error,
    fit_temperature,
    macro_f1,
    negative_log_likelihood,
    unweighted_average_recall,
)

# Four of class 0 (three right), two of class 1 (one right), none of class 2.
TRUTH = np.array([0, 0, 0, 0, 1, 1])
PREDICTED = np.array([0, 0, 0, 1, 1, 2])


def test_recall_is_averaged_over_the_classes_that_occur() -> None:
    assert unweighted_average_recall(TRUTH, PREDICTED) == pytest.approx((3 / 4 + 1 / 2) / 2)


def test_f1_is_averaged_over_the_classes_that_occur() -> None:
    first = 2 * (3 / 3) * (3 / 4) / (3 / 3 + 3 / 4)
    second = 2 * (1 / 2) * (1 / 2) / (1 / 2 + 1 / 2)
    assert macro_f1(TRUTH, PREDICTED) == pytest.approx((first + second) / 2)


def test_confusion_counts_true_classes_in_rows() -> None:
    assert confusion(TRUTH, PREDICTED, num_classes=3).tolist() == [[3, 1, 0], [0, 1, 1], [0, 0, 0]]


def test_an_interval_lies_around_its_value_and_comes_again() -> None:
    generator = np.random.default_rng(0)
    truth = generator.integers(0, 3, 300)
    predicted = np.where(generator.random(300) < 0.7, truth, (truth + 1) % 3)
    groups = [str(clip // 6) for clip in range(300)]
    found = bootstrap_interval(truth, predicted, groups=groups, rounds=300)
    assert found.low < found.value < found.high
    assert found.value == unweighted_average_recall(truth, predicted)
    assert found == bootstrap_interval(truth, predicted, groups=groups, rounds=300)


def test_groups_are_drawn_as_wholes() -> None:
    # Within a group all is right or all is wrong: the groups are the evidence, not the clips.
    truth = np.zeros(400, dtype=int)
    predicted = np.repeat([0, 1], 200)
    by_group = bootstrap_interval(truth, predicted, groups=[str(clip // 100) for clip in range(400)], rounds=300)
    by_clip = bootstrap_interval(truth, predicted, groups=[str(clip) for clip in range(400)], rounds=300)
    assert by_group.high - by_group.low > 4 * (by_clip.high - by_clip.low)


def test_one_group_leaves_no_interval() -> None:
    found = bootstrap_interval(TRUTH, PREDICTED, groups=["all"] * 6, rounds=10)
    assert found.low == found.high == found.value


def test_an_interval_is_printed_short() -> None:
    assert str(Interval(value=0.6041, low=0.5709, high=1.0)) == ".604 [.571, 1.000]"


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_a_known_scale(scale: float) -> None:
    generator = np.random.default_rng(0)
    logits = generator.normal(size=(20_000, 6)) * 2
    probabilities = calibrated(logits, 1.0).astype(np.float64)
    truth = (probabilities.cumsum(1) < generator.random((20_000, 1))).sum(1).clip(max=5)
    assert fit_temperature(logits * scale, truth) == pytest.approx(scale, rel=0.03)


def test_log_likelihood_is_of_the_true_class_and_stays_finite() -> None:
    probabilities = np.array([[0.5, 0.5], [0.25, 0.75]])
    expected = -(np.log(0.5) + np.log(0.75)) / 2
    assert negative_log_likelihood(probabilities, np.array([0, 1])) == pytest.approx(expected)
    assert negative_log_likelihood(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(-np.log(1e-12))


def test_calibration_error_is_the_gap_weighted_by_share() -> None:
    # Three at .9 of which two are right, one at .6 that is wrong.
    probabilities = np.array([[0.9, 0.1], [0.9, 0.1], [0.9, 0.1], [0.4, 0.6]])
    truth = np.array([0, 0, 1, 0])
    expected = abs(0.9 - 2 / 3) * 3 / 4 + 0.6 * 1 / 4
    assert expected_calibration_error(probabilities, truth) == pytest.approx(expected)


def test_certainty_that_is_always_right_has_no_calibration_error() -> None:
    assert expected_calibration_error(np.eye(6), np.arange(6)) == 0.0
