import re
from dataclasses import replace

import pytest

from model.bundle import Bundle
from model.labels import EMOTIONS
from training.card import model_card
from training.evaluation import Evaluation
from training.metrics import Interval

CORPORA = [
    {"name": "casia", "title": "CASIA (Mandarin, acted)", "licence": "no licence stated"},
    {"name": "nemo", "title": "nEMO (Polish, acted)", "licence": "CC BY-NC-SA 4.0"},
]
EVALUATION = Evaluation(
    emotions=EMOTIONS,
    corpus="casia",
    recall={"anna": Interval(value=0.604, low=0.571, high=0.636), "bernd": Interval(value=0.5, low=0.4, high=0.6)},
    mean_recall=0.552,
    mean_recall_sound_only=0.541,
    macro_f1=0.53,
    control_transcripts_only=0.167,
    control_shuffled_audio=0.161,
    recall_by_emotion={"angry": 0.91, "sad": 0.32},
    confusion=[[1]],
    temperature=1.234,
    calibration_error_before=0.211,
    calibration_error_after=0.054,
    negative_log_likelihood_after=1.1,
    text_macro_f1=0.612,
)


@pytest.fixture
def card(bundle: Bundle) -> str:
    return model_card(
        facts=replace(bundle.facts, name="vcemo-test", version="9.9"),
        evaluation=EVALUATION,
        corpora=CORPORA,
        golden_licence="CC BY-SA 3.0.",
    )


@pytest.mark.parametrize(
    "figure",
    [
        ".604 [.571, .636]",
        ".500 [.400, .600]",
        "| 0.552 |",
        "| 0.541 |",
        "| 0.167 |",
        "| 0.161 |",
        "angry 0.91",
        "sad 0.32",
        "temperature 1.23",
        "0.211 before",
        "0.054 after",
        "macro F1 0.612",
    ],
)
def test_the_card_reports_every_figure_with_the_controls(card: str, figure: str) -> None:
    assert figure in card


def test_the_card_names_the_bundle_its_parts_and_its_emotions(card: str, bundle: Bundle) -> None:
    assert card.startswith("# vcemo-test 9.9\n")
    assert f"`{bundle.facts.features.speech.asset}`" in card
    assert ", ".join(bundle.facts.labels) in card


def test_the_card_names_every_corpus_with_its_licence(card: str) -> None:
    for corpus in CORPORA:
        assert f"| {corpus['title']} | {corpus['licence']} |" in card
    assert "CC BY-SA 3.0." in card


def test_the_card_says_what_the_model_must_not_do(card: str) -> None:
    limits = card.partition("## Limits")[2]
    assert "acted by few people" in limits
    assert "Article 5(1)(f)" in limits
    assert "non-commercial" in limits


def test_a_figure_that_was_not_measured_is_not_mentioned(bundle: Bundle) -> None:
    evaluation = replace(EVALUATION, text_macro_f1=None, control_transcripts_only=None)
    card = model_card(facts=bundle.facts, evaluation=evaluation, corpora=CORPORA, golden_licence="")
    assert "Text alone" not in card
    assert "transcripts only" not in card
    assert "audio shuffled" in card


def test_every_table_of_the_card_has_two_columns(card: str) -> None:
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert len(rows) > 8
    assert all(re.fullmatch(r"\|[^|]+\|[^|]+\|", row) for row in rows)
