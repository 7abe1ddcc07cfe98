from dataclasses import replace

import numpy as np
import pytest
from drawn_predictions import drawn_rows

from model.labels import EMOTIONS
from training.mean_recall import mean_recall, recall_by_fold
from training.metrics import unweighted_average_recall
from training.seed_runs import SeedRun, seed_runs


def runs_of(*, skill: float = 1.5, sentences: int = 20, seeds: tuple[int, ...] = (0, 1)) -> list[SeedRun]:
    return seed_runs(drawn_rows(skill=skill, sentences=sentences, seeds=seeds), labels=EMOTIONS)


def recall_of(run: SeedRun, fold: str) -> float:
    mine = run.part(run.folds == fold)
    return unweighted_average_recall(mine.truth, mine.logits.argmax(1))


def test_the_value_is_the_mean_over_folds_and_runs() -> None:
    runs = runs_of()
    expected = np.mean([recall_of(run, fold) for run in runs for fold in ("anna", "bernd", "carla")])
    found = mean_recall(runs, rounds=200)
    assert found.value == pytest.approx(expected)
    assert found.interval.value == found.value
    assert found.interval.low < found.value < found.interval.high


def test_a_fold_of_few_clips_counts_like_one_of_many() -> None:
    (run,) = runs_of(seeds=(0,))
    few = run.part((run.folds != "anna") | (np.arange(len(run.folds)) < 12))
    expected = np.mean([recall_of(few, fold) for fold in ("anna", "bernd", "carla")])
    assert mean_recall([few], rounds=20).value == pytest.approx(expected)


def test_fewer_sentences_make_a_wider_interval() -> None:
    widths = []
    for sentences in (5, 20, 80):
        interval = mean_recall(runs_of(sentences=sentences), rounds=400).interval
        widths.append(interval.high - interval.low)
    assert widths[0] > 1.5 * widths[1] > 2 * widths[2]


def test_more_seeds_are_not_more_sentences() -> None:
    """Two runs that say the same are the evidence of one."""
    (run,) = runs_of(seeds=(0,))
    once, twice = mean_recall([run], rounds=200), mean_recall([run, replace(run, seed=1)], rounds=200)
    np.testing.assert_allclose(once.resampled, twice.resampled)


def test_two_recalls_on_the_same_sentences_are_paired() -> None:
    one, other = (mean_recall(runs_of(skill=skill), rounds=400) for skill in (1.5, 1.6))
    margin = np.quantile(other.resampled - one.resampled, [0.025, 0.975])
    apart = one.interval.high - one.interval.low
    assert margin[1] - margin[0] < 0.8 * apart


def test_a_fold_by_itself_is_the_mean_over_its_runs() -> None:
    runs = runs_of()
    found = recall_by_fold(runs)
    assert list(found) == ["anna", "bernd", "carla"]
    for fold, interval in found.items():
        assert interval.value == pytest.approx(np.mean([recall_of(run, fold) for run in runs]))
        assert interval.low < interval.value < interval.high


def test_a_fold_that_only_one_run_has_is_judged_by_that_run() -> None:
    first, second = runs_of()
    without = second.part(second.folds != "carla")
    assert recall_by_fold([first, without])["carla"].value == pytest.approx(recall_of(first, "carla"))


def test_a_perfect_network_has_an_interval_of_no_width() -> None:
    interval = mean_recall(runs_of(skill=50.0, sentences=3), rounds=100).interval
    assert (interval.low, interval.value, interval.high) == (1.0, 1.0, 1.0)
