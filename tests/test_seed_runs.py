from dataclasses import replace

import numpy as np
import pytest
from drawn_predictions import drawn_rows

from model.errors import CorpusError
from model.labels import EMOTIONS, FOUR_EMOTIONS
from training.metrics import bootstrap_intervals, figures
from training.seed_runs import group_of, joint_figures, joint_recalls, seed_runs


def test_rows_are_sorted_by_seed_and_keep_what_they_say() -> None:
    rows = drawn_rows(seeds=(3, 1), sentences=2)
    first, second = seed_runs(rows, labels=EMOTIONS)
    assert (first.seed, second.seed) == (1, 3)
    assert [EMOTIONS[truth] for truth in first.truth[:6]] == list(EMOTIONS)
    assert first.logits[0].tolist() == list(next(row for row in rows if row.seed == 1).logits)
    assert first.part(first.folds == "anna").keys.tolist() == [key for key in first.keys.tolist() if "anna" in key]


def test_groups_are_the_given_ones_or_else_sentences_or_else_clips() -> None:
    row = drawn_rows(sentences=1)[0]
    assert group_of(replace(row, group="Ses01"), cluster="given") == ("group", "Ses01")
    assert group_of(row, cluster="given") == ("sentence", "0")
    assert group_of(replace(row, sentence=""), cluster="given") == ("clip", row.key)
    assert group_of(row, cluster="speaker") == ("speaker", "anna")
    assert group_of(replace(row, speaker=""), cluster="speaker") == ("clip", row.key)


def test_one_seed_has_the_figures_and_intervals_of_its_clips() -> None:
    (run,) = seed_runs(drawn_rows(), labels=EMOTIONS)
    alone = bootstrap_intervals(run.truth, run.logits, groups=run.groups.tolist(), rounds=200)
    for name, figure in joint_figures([run], rounds=200).items():
        assert (figure.value, figure.low, figure.high) == pytest.approx(
            (alone[name].value, alone[name].low, alone[name].high)
        )
        assert figure.deviation is None


def test_several_seeds_give_mean_and_deviation() -> None:
    runs = seed_runs(drawn_rows(seeds=(0, 1, 2)), labels=EMOTIONS)
    values = [figures(run.truth, run.logits)["accuracy"] for run in runs]
    found = joint_figures(runs, rounds=50)["accuracy"]
    assert found.value == pytest.approx(sum(values) / 3)
    mean = sum(values) / 3
    assert found.deviation == pytest.approx((sum((value - mean) ** 2 for value in values) / 2) ** 0.5)


def test_a_seed_that_says_the_same_again_is_no_evidence() -> None:
    rows = drawn_rows()
    again = rows + [replace(row, seed=1) for row in rows]
    once, twice = (joint_figures(seed_runs(some, labels=EMOTIONS), rounds=200)["macro_f1"] for some in (rows, again))
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high))
    assert twice.deviation == 0.0


def test_seeds_may_have_been_tested_on_different_clips() -> None:
    rows = [row for row in drawn_rows(seeds=(0, 1)) if (row.speaker == "anna") == (row.seed == 0)]
    runs = seed_runs(rows, labels=EMOTIONS)
    values = [figures(run.truth, run.logits)["accuracy"] for run in runs]
    assert joint_figures(runs, rounds=50)["accuracy"].value == pytest.approx(sum(values) / 2)


def test_recalls_are_of_the_labels_that_occur() -> None:
    rows = [row for row in drawn_rows(seeds=(0, 1)) if row.emotion != "surprise"]
    runs = seed_runs(rows, labels=EMOTIONS)
    found = joint_recalls(runs, labels=EMOTIONS, rounds=100)
    assert list(found) == list(EMOTIONS[:5])
    sad = [(run.logits[run.truth == 4].argmax(1) == 4).mean() for run in runs]
    assert found["sad"].value == pytest.approx(np.mean(sad))
    assert found["sad"].low < found["sad"].value < found["sad"].high


def test_rows_that_cannot_be_scored_together_are_refused() -> None:
    rows = drawn_rows(sentences=1)
    with pytest.raises(CorpusError, match="no predictions"):
        seed_runs([], labels=EMOTIONS)
    with pytest.raises(CorpusError, match="several views"):
        seed_runs([*rows, replace(rows[0], view="text")], labels=EMOTIONS)
    with pytest.raises(CorpusError, match="anna-angry-0 was predicted 2 times with seed 0"):
        seed_runs([*rows, rows[0]], labels=EMOTIONS)
    with pytest.raises(CorpusError, match="does not fit the 4 labels angry, happy, neutral, sad"):
        seed_runs(rows, labels=FOUR_EMOTIONS)
    with pytest.raises(CorpusError, match=r"\(bored, 6 logits\)"):
        seed_runs([replace(rows[0], emotion="bored")], labels=EMOTIONS)
