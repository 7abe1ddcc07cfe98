import time

import numpy as np
import pytest

from model.bundle import calibrated
from training.metrics import (
    CALIBRATION_BINS,
    FIGURES,
    Floats,
    Integers,
    Interval,
    Resamples,
    accuracy,
    bootstrap_interval,
    bootstrap_intervals,
    brier_score,
    calibration_bins,
    confusion,
    expected_calibration_error,
    figures,
    fit_temperature,
    macro_f1,
    mean_of_known,
    negative_log_likelihood,
    recall_by_class,
    recalls_of_counts,
    resampled_figures,
    short,
    unweighted_average_recall,
    weighted_f1,
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


def test_weighted_f1_counts_classes_by_how_often_they_occur() -> None:
    first, second = 6 / 7, 1 / 2
    assert weighted_f1(TRUTH, PREDICTED) == pytest.approx((4 * first + 2 * second) / 6)


def test_accuracy_counts_clips() -> None:
    assert accuracy(TRUTH, PREDICTED) == pytest.approx(4 / 6)


def test_recall_of_a_class_that_does_not_occur_is_unknown() -> None:
    assert recall_by_class(TRUTH, PREDICTED, num_classes=3).tolist() == [0.75, 0.5, pytest.approx(np.nan, nan_ok=True)]


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
    assert expected_calibration_error(np.eye(6), np.arange(6)) == pytest.approx(0.0, abs=1e-6)


def test_full_certainty_shares_the_last_bin() -> None:
    # At 1 all are wrong, at .95 all are right: one bin of confidence .975 and accuracy .5.
    probabilities = np.array([[1.0, 0.0], [0.95, 0.05]])
    assert expected_calibration_error(probabilities, np.array([1, 0])) == pytest.approx(0.475, abs=1e-6)


def test_the_bins_give_the_calibration_error_again() -> None:
    truth, logits = drawn_logits(500, seed=3)
    probabilities = calibrated(logits * 3, 1.0)
    bin_of_clip, columns = calibration_bins(probabilities, truth)
    gap = 0.0
    for index in range(CALIBRATION_BINS):
        confidence, right, _ = columns[bin_of_clip == index].sum(0)
        gap += abs(confidence - right) / 500
    assert gap == pytest.approx(expected_calibration_error(probabilities, truth), abs=1e-6)


def test_the_brier_score_is_summed_over_classes() -> None:
    probabilities = np.array([[0.5, 0.3, 0.2], [0.1, 0.8, 0.1]])
    first = 0.5**2 + 0.3**2 + 0.2**2
    second = 0.1**2 + 0.8**2 + 0.9**2
    assert brier_score(probabilities, np.array([0, 2])) == pytest.approx((first + second) / 2)
    assert brier_score(np.array([[1.0, 0.0]]), np.array([1])) == pytest.approx(2.0)


def drawn_logits(clips: int, *, seed: int, skill: float = 1.0) -> tuple[Integers, Floats]:
    generator = np.random.default_rng(seed)
    truth = generator.integers(0, 6, clips)
    logits = generator.normal(size=(clips, 6))
    logits[np.arange(clips), truth] += skill
    return truth, logits


def test_every_figure_has_a_name() -> None:
    truth, logits = drawn_logits(60, seed=0)
    assert list(figures(truth, logits)) == list(FIGURES)


@pytest.mark.parametrize("missing", [False, True], ids=["all classes", "a class missing"])
def test_a_resample_has_the_figures_of_its_clips(missing: bool) -> None:
    truth, logits = drawn_logits(90, seed=1)
    truth = np.where(truth == 5, 0, truth) if missing else truth
    names = [str(clip // 9) for clip in range(90)]
    resamples = Resamples.of(names, rounds=20, seed=4)
    found = resampled_figures(truth, logits, groups=names, resamples=resamples)
    for number, draw in enumerate(resamples.draws):
        clips = [
            clip
            for name, times in zip(resamples.names.tolist(), draw, strict=True)
            for clip in range(90)
            for _ in range(int(times))
            if names[clip] == name
        ]
        assert len(clips) == 90
        for name, value in figures(truth[clips], logits[clips]).items():
            assert found[name][number] == pytest.approx(value, abs=1e-6), name


def test_the_recall_of_a_resample_without_the_class_is_unknown() -> None:
    recalls = recalls_of_counts(np.array([[[3.0, 1.0], [0.0, 0.0]]]))
    assert recalls[0, 0] == 0.75
    assert np.isnan(recalls[0, 1])
    assert mean_of_known(recalls).tolist() == [0.75]
    assert np.isnan(mean_of_known(np.array([[np.nan, np.nan]]))).all()


def test_the_interval_of_an_accuracy_is_the_binomial_one() -> None:
    generator = np.random.default_rng(5)
    truth = generator.integers(0, 2, 1000)
    predicted = np.where(generator.random(1000) < 0.8, truth, 1 - truth)
    found = bootstrap_intervals(truth, np.eye(2)[predicted], groups=[str(clip) for clip in range(1000)])["accuracy"]
    half = 1.96 * np.sqrt(found.value * (1 - found.value) / 1000)
    assert found.high - found.value == pytest.approx(half, rel=0.1)
    assert found.value - found.low == pytest.approx(half, rel=0.1)


def test_clips_that_are_copies_are_no_evidence() -> None:
    # Ten copies of a clip, drawn together, are worth one clip.
    truth, logits = drawn_logits(200, seed=6)
    once = bootstrap_intervals(truth, logits, groups=[f"{clip:03}" for clip in range(200)])
    copies = bootstrap_intervals(
        truth.repeat(10), logits.repeat(10, axis=0), groups=[f"{clip // 10:03}" for clip in range(2000)]
    )
    for name in FIGURES:
        assert copies[name].low == pytest.approx(once[name].low, abs=1e-6)
        assert copies[name].high == pytest.approx(once[name].high, abs=1e-6)


def test_two_thousand_rounds_over_a_thousand_clips_take_less_than_two_seconds() -> None:
    truth, logits = drawn_logits(1000, seed=7)
    started = time.perf_counter()
    bootstrap_intervals(truth, logits, groups=[str(clip) for clip in range(1000)], rounds=2000)
    assert time.perf_counter() - started < 2


@pytest.mark.parametrize(
    ("value", "printed"), [(0.5, ".500"), (-0.25, "-.250"), (1.0, "1.000"), (10.25, "10.250"), (0.0, ".000")]
)
def test_only_a_leading_zero_is_dropped(value: float, printed: str) -> None:
    assert short(value) == printed
