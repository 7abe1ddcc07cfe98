import re
from dataclasses import replace
from typing import Any

import pytest
from drawn_evaluation import EVALUATION, interval

from model.bundle import Bundle
from training.card import model_card
from training.evaluation_table import prose_lines, recall_lines

CORPORA = [
    {"name": "casia", "title": "CASIA (Mandarin, acted)", "licence": "no licence stated"},
    {"name": "nemo", "title": "nEMO (Polish, acted)", "licence": "CC BY-NC-SA 4.0"},
]
NEMO = replace(EVALUATION, corpus="nemo", mean_recall=interval(0.733), control_shuffled_audio=0.181)


def card_of(bundle: Bundle, **changes: Any) -> str:
    return model_card(
        facts=replace(bundle.facts, name="vcemo-test", version="9.9"),
        evaluation=changes.pop("evaluation", EVALUATION),
        corpora=CORPORA,
        golden_licence="CC BY-SA 3.0.",
        **changes,
    )


@pytest.fixture
def card(bundle: Bundle) -> str:
    return card_of(bundle)


def section(card: str, title: str) -> str:
    """The text below a heading, up to the next one, on one line."""
    (found,) = re.findall(rf"^## {title}\n(.*?)(?=^## |\Z)", card, flags=re.MULTILINE | re.DOTALL)
    return " ".join(str(found).split())


def test_the_card_names_the_bundle_its_parts_and_its_emotions(card: str, bundle: Bundle) -> None:
    assert card.startswith("# vcemo-test 9.9\n")
    assert f"`{bundle.facts.features.speech.asset}`" in card
    assert ", ".join(bundle.facts.labels) in card


def test_the_card_reports_every_recall_with_the_controls(card: str) -> None:
    lines = list(recall_lines(EVALUATION))
    assert len(lines) > 12
    for heading, recall in lines:
        assert f"| {heading} | {recall} |" in card


def test_the_card_reports_what_is_no_recall_as_well(card: str) -> None:
    for line in prose_lines(EVALUATION):
        assert f"- {line}" in card
    assert "- recall by emotion: angry .911" in card


def test_the_card_says_what_seeds_and_intervals_are(card: str) -> None:
    figures = section(card, "Figures")
    assert "mean over the seeds (0, 1, 2), on 900 clips" in figures
    assert "resample sentences" in figures
    assert "do not cover other speakers" in figures


def test_the_card_says_at_which_confidence_to_say_nothing_and_what_that_costs(card: str) -> None:
    found = section(card, "When to say nothing")
    assert "whose `confidence` is 0.48 or more" in found
    assert "answers 70%" in found
    for row in ("| 50% | .222 |", "| 70% | .331 |", "| 100% | .442 |"):
        assert row in found


def test_the_card_says_on_whom_the_recipe_was_chosen(card: str) -> None:
    found = section(card, "How it was chosen")
    assert "speakers of nEMO, RAVDESS and EmoDB that were left out" in found
    assert "chose a setting for it, but they are not untouched" in found.replace("\n", " ")
    assert "earlier recipes were preferred on them" in found


def test_the_card_names_every_corpus_with_its_licence(card: str) -> None:
    for corpus in CORPORA:
        assert f"| {corpus['title']} | {corpus['licence']} |" in card
    assert "`golden.wav` proves a loaded bundle from audio: CC BY-SA 3.0." in card


def test_the_card_says_what_the_model_is_for_and_must_not_be_used_for(card: str) -> None:
    use = section(card, "Intended use")
    for expected in ("people who know", "decisions about a person", "hiring", "credit", "lies", "Article 5(1)(f)"):
        assert expected in use
    assert "but for medical or safety reasons" in use


def test_the_card_says_what_the_figures_do_not(card: str) -> None:
    limits = section(card, "Limits")
    assert "acted by few people" in limits
    assert "spontaneous calls sound different" in limits
    assert "non-commercial" in limits


def test_other_speakers_are_reported_beside(bundle: Bundle) -> None:
    zero_shot = replace(EVALUATION, calls=None, calibration=None, mean_recall=interval(0.444))
    found = section(card_of(bundle, elsewhere={"zero_shot": zero_shot, "nemo": NEMO}), "On other speakers")
    assert "| zero shot, casia, mean, single clips | .444 [.414, .474] |" in found
    assert "zero shot, casia, mean, as a call" not in found
    assert "| nemo, mean, single clips | .733 [.703, .763] |" in found
    assert "| nemo, mean, as a call | .656 [.626, .686] |" in found
    assert "| nemo, control: audio shuffled | .181 |" in found


def test_a_figure_that_was_not_measured_is_not_mentioned(bundle: Bundle) -> None:
    evaluation = replace(
        EVALUATION, text_macro_f1={}, control_transcripts_only=None, calibration=None, calls=None, pairs=None
    )
    card = card_of(bundle, evaluation=evaluation)
    for absent in ("text alone", "transcripts only", "calibration error", "When to say nothing", "other speakers\n"):
        assert absent not in card
    assert "audio shuffled" in card


def test_every_table_of_the_card_has_two_columns(bundle: Bundle) -> None:
    card = card_of(bundle, elsewhere={"nemo": NEMO})
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert len(rows) > 20
    assert all(re.fullmatch(r"\|[^|]+\|[^|]+\|", row) for row in rows)


def test_sections_are_set_apart_by_empty_lines(bundle: Bundle) -> None:
    lines = card_of(bundle, elsewhere={"nemo": NEMO}).splitlines()
    headings = [number for number, line in enumerate(lines) if line.startswith("## ")]
    assert len(headings) == 7
    assert all(lines[number - 1] == lines[number + 1] == "" for number in headings)
    assert "\n\n\n" not in "\n".join(lines)


def test_the_card_names_whose_layers_travel_in_the_bundle(card: str, bundle: Bundle) -> None:
    assert bundle.facts.features.lower_layers.layers == (2, 3, 4)
    assert "`lower_layers.onnx` holds the first 4 layers" in card
    assert "OpenAI, MIT licence" in card
