import io
from dataclasses import replace

import pytest
from drawn_evaluation import EVALUATION
from rich.console import Console

from training.evaluation import Evaluation
from training.evaluation_table import print_evaluation, prose_lines, recall_by_emotion, recall_lines


def printed(evaluation: Evaluation, *, width: int = 120) -> str:
    file = io.StringIO()
    print_evaluation(evaluation, Console(file=file, width=width))
    return file.getvalue()


@pytest.mark.parametrize(
    ("heading", "recall"),
    [
        ("zhaoquanyin, single clips", ".604 [.574, .634]"),
        ("mean, single clips", ".557 [.527, .587]"),
        ("mean, single clips, sound only", ".541"),
        ("wangzhe, as a call (20 random orders)", ".652 [.622, .682]"),
        ("mean, as a call", ".656 [.626, .686]"),
        ("mean, calls 80% neutral", ".633 [.603, .663]"),
        ("mean, calls 80% neutral, each clip by itself", ".587 [.557, .617]"),
        ("mean, single clips, background 10db", ".482 [.452, .512]"),
        ("control: transcripts only (chance .167)", ".164"),
        ("control: audio shuffled (chance .167)", ".171"),
    ],
)
def test_every_recall_has_a_line_that_says_what_it_is_of(heading: str, recall: str) -> None:
    assert dict(recall_lines(EVALUATION))[heading] == recall
    (line,) = [line for line in printed(EVALUATION).splitlines() if f" {heading} " in line]
    assert recall in line


@pytest.mark.parametrize(
    "figure",
    [
        ".211 before, .054 after",
        "shipped: 1.23",
        "accuracy .558, of the most confident 70% .669 (confidence 0.48 or more)",
        "fused .781, sound alone .542, text alone .672, margin -.109 [-.145, -.073]",
        "agree .714, where they disagree .523",
        "ewect_dev: macro F1 .612",
        "ewect_tenth: macro F1 .638",
    ],
)
def test_what_is_no_recall_is_said_in_a_sentence(figure: str) -> None:
    assert any(figure in line for line in prose_lines(EVALUATION))
    assert figure in printed(EVALUATION)


def test_the_title_names_the_corpus_its_clips_and_the_seeds() -> None:
    assert "casia: unweighted average recall, 900 clips, 3 seeds" in printed(EVALUATION)
    assert "900 clips, 1 seed " in printed(replace(EVALUATION, seeds=(4,)))


def test_recall_by_emotion_names_every_emotion() -> None:
    assert recall_by_emotion(EVALUATION).startswith("recall by emotion: angry .911, fear .451,")
    assert "surprise .801" in printed(EVALUATION)


def test_nothing_is_wider_than_120_columns_nor_folded() -> None:
    lines = printed(EVALUATION, width=400).splitlines()
    assert max(map(len, (line.rstrip() for line in lines if "unweighted" not in line))) <= 120
    assert len(printed(EVALUATION).splitlines()) == len(lines)


def test_what_was_not_measured_is_not_mentioned() -> None:
    bare = replace(
        EVALUATION,
        calls=None,
        conditions={},
        calibration=None,
        pairs=None,
        text_macro_f1={},
        control_transcripts_only=None,
    )
    assert [heading for heading, _ in recall_lines(bare)] == [
        "zhaoquanyin, single clips",
        "wangzhe, single clips",
        "mean, single clips",
        "mean, single clips, sound only",
        "control: audio shuffled (chance .167)",
    ]
    assert list(prose_lines(bare)) == []


def test_a_corpus_without_neutral_clips_has_no_line_of_neutral_calls() -> None:
    assert EVALUATION.calls is not None
    loud = replace(
        EVALUATION, calls=replace(EVALUATION.calls, neutral_mean_recall=None, neutral_mean_recall_alone=None)
    )
    headings = [heading for heading, _ in recall_lines(loud)]
    assert "mean, as a call" in headings
    assert not [heading for heading in headings if "neutral" in heading]


def test_chance_follows_from_the_number_of_emotions() -> None:
    four = replace(EVALUATION, emotions=EVALUATION.emotions[:4])
    assert "control: audio shuffled (chance .250)" in dict(recall_lines(four))
