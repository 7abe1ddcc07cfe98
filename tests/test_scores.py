import io
import json
from dataclasses import replace

import numpy as np
import pytest
from drawn_predictions import drawn_rows
from rich.console import Console

from model.labels import EMOTIONS, FOUR_EMOTIONS
from training.metrics import FIGURES
from training.prediction_rows import PredictionRow
from training.scores import Scores, counted, print_scores, score


@pytest.fixture(scope="module")
def rows() -> list[PredictionRow]:
    return drawn_rows(seeds=(0, 1, 2))


@pytest.fixture(scope="module")
def scores(rows: list[PredictionRow]) -> Scores:
    return score(rows, rounds=200)


def right(row: PredictionRow) -> bool:
    return EMOTIONS[int(np.argmax(row.logits))] == row.emotion


def share(rows: list[PredictionRow]) -> float:
    return sum(map(right, rows)) / len(rows)


def test_what_was_scored_is_said(scores: Scores) -> None:
    assert (scores.view, scores.clips, scores.speakers, scores.seeds) == ("both", 360, 3, (0, 1, 2))
    assert (scores.resampled, scores.groups) == ("sentence", 20)
    assert scores.chance == pytest.approx(1 / 6)
    assert scores.support == dict.fromkeys(EMOTIONS, 60)


def test_figures_are_those_of_plain_counting(scores: Scores, rows: list[PredictionRow]) -> None:
    assert scores.figures["accuracy"].value == pytest.approx(share(rows))
    recalls = {emotion: share([row for row in rows if row.emotion == emotion]) for emotion in EMOTIONS}
    assert {name: figure.value for name, figure in scores.recall_by_emotion.items()} == pytest.approx(recalls)
    assert scores.figures["unweighted_average_recall"].value == pytest.approx(sum(recalls.values()) / 6)
    for seed in (0, 1, 2):
        assert scores.by_seed[seed]["accuracy"] == pytest.approx(share([row for row in rows if row.seed == seed]))


def test_the_confusion_counts_every_seed(scores: Scores, rows: list[PredictionRow]) -> None:
    assert np.sum(scores.confusion) == len(rows)
    assert np.trace(scores.confusion) == sum(map(right, rows))
    assert scores.confusion[1][4] == sum(
        row.emotion == "fear" and int(np.argmax(row.logits)) == EMOTIONS.index("sad") for row in rows
    )


def test_folds_and_speakers_have_figures_of_their_own(scores: Scores, rows: list[PredictionRow]) -> None:
    assert list(scores.by_fold) == ["anna", "bernd", "carla"]
    assert scores.by_fold == scores.by_speaker
    bernd = scores.by_fold["bernd"]
    assert bernd.clips == 120
    assert bernd.figures["accuracy"].value == pytest.approx(share([row for row in rows if row.speaker == "bernd"]))
    accuracies = [part.figures["accuracy"].value for part in scores.by_fold.values()]
    assert scores.mean_over_folds["accuracy"] == pytest.approx(sum(accuracies) / 3)


def test_calibration_is_judged_across_folds(scores: Scores) -> None:
    assert scores.calibration.fitted_on == "the other folds"
    assert scores.calibration.before["brier_score"] == scores.figures["brier_score"]
    assert len(scores.calibration.temperatures) == 9


def test_four_emotions_are_scored_as_well() -> None:
    found = score(drawn_rows(labels=FOUR_EMOTIONS), labels=FOUR_EMOTIONS, rounds=20)
    assert found.chance == 0.25
    assert list(found.recall_by_emotion) == list(FOUR_EMOTIONS)
    assert len(found.confusion) == 4


def test_speakers_can_be_resampled_and_are_too_few(rows: list[PredictionRow]) -> None:
    found = score(rows, cluster="speaker", rounds=50)
    assert (found.resampled, found.groups) == ("speaker", 3)
    assert "Only 3 speakers to resample: the intervals say little." in found.warnings


def test_few_speakers_and_sentences_that_come_again_are_pointed_out(scores: Scores) -> None:
    assert scores.warnings == (
        "3 speakers: the intervals do not cover other speakers.",
        "20 sentences in more than one fold: the words were read in training, unless it left them out.",
    )


@pytest.mark.parametrize(
    ("change", "warning"),
    [
        ({"fold": "one"}, "No temperature was fitted: there is one fold and no dev set."),
        ({"sentence": ""}, "Clips were resampled one by one"),
        ({"speaker": "", "fold": "1"}, "The speakers are not known"),
        ({}, "One seed: how far the figures move"),
        ({"logits": (0.0, 0.0, 0.0, 0.0, 0.0, 1.0)}, "holds chance, .167: nothing is shown"),
    ],
    ids=str,
)
def test_weak_evidence_is_pointed_out(change: dict[str, str], warning: str) -> None:
    found = score([replace(row, **change) for row in drawn_rows()], rounds=20)  # type: ignore[arg-type]
    assert any(warning in text for text in found.warnings), found.warnings


def test_a_speaker_in_several_folds_is_pointed_out() -> None:
    rows = [replace(row, fold=str(number % 2)) for number, row in enumerate(drawn_rows())]
    warnings = score(rows, rounds=20).warnings
    assert any("3 speakers in more than one fold: speakers were heard" in text for text in warnings)


def test_an_emotion_that_does_not_occur_is_left_out_of_averages() -> None:
    found = score([row for row in drawn_rows() if row.emotion != "fear"], rounds=20)
    assert found.chance == 0.2
    assert "fear" not in found.recall_by_emotion
    assert found.support["fear"] == 0
    assert "No clip is fear: averages are over the other emotions." in found.warnings


def test_scores_are_plain_json(scores: Scores) -> None:
    document = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert document["figures"]["macro_f1"]["deviation"] == scores.figures["macro_f1"].deviation
    assert document["by_fold"]["anna"]["clips"] == 120
    assert document["by_seed"]["2"]["accuracy"] == scores.by_seed[2]["accuracy"]


def test_what_is_printed_names_every_figure_fold_and_warning(scores: Scores) -> None:
    file = io.StringIO()
    print_scores(replace(scores, view="both [x]"), Console(file=file, width=200))
    printed = file.getvalue()
    recall = scores.figures["unweighted_average_recall"]
    for expected in ("both [x], 360 clips, 3 speakers, 3 seeds", str(recall), "bernd", "guessing gives .167"):
        assert expected in printed
    for expected in (*FIGURES.values(), *scores.warnings):
        assert expected in printed


def test_speakers_are_printed_where_they_are_not_the_folds() -> None:
    file = io.StringIO()
    rows = [replace(row, fold=str(int(row.sentence) % 2)) for row in drawn_rows()]
    print_scores(score(rows, rounds=20), Console(file=file, width=200))
    assert "carla" in file.getvalue()


def test_nouns_are_counted() -> None:
    assert counted(1, "seed") == "1 seed"
    assert counted(0, "clip") == "0 clips"
