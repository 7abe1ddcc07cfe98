import base64
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from drawn_predictions import drawn_rows

from training.comparison import compare
from training.metrics import FIGURES
from training.report import write_report
from training.scores import Scores, score

HOSTILE = '<script>alert("x")</script> & "quotes"'
CURVES = {"anna": [{"epoch": 1, "loss": 2.0, "dev_loss": 1.5}, {"epoch": 2, "loss": 1.0, "dev_loss": 1.4}]}
VOID = {"meta", "img", "br", "link", "hr"}


class Page(HTMLParser):
    """Text, tags and references of a page; fails on tags that are not closed in order."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.references: list[str] = []
        self.text = ""
        self.feed(path.read_text(encoding="utf-8"))
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.references += [value or "" for name, value in attrs if name in ("src", "href", "srcset", "data", "action")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data

    def says(self, text: str) -> bool:
        return " ".join(text.split()) in " ".join(self.text.split())


@pytest.fixture(scope="module")
def scores() -> Scores:
    return score(drawn_rows(seeds=(0, 1)), rounds=50)


@pytest.fixture(scope="module")
def folder(scores: Scores, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report") / "new"
    comparison = compare(drawn_rows(skill=3.0), drawn_rows(), names=("full", HOSTILE), rounds=50)
    write_report(
        folder / "report.html",
        title=f"Run {HOSTILE}",
        scores=replace(scores, warnings=(*scores.warnings, HOSTILE)),
        curves=CURVES,
        settings={"network": {"width": 64, "stacks": [1, 2]}, "note": HOSTILE, "empty": {}},
        against=comparison,
        views={"text": score(drawn_rows(skill=0.0), rounds=20)},
        trained="A small network was trained.",
        protocol=f"one speaker left out {HOSTILE}",
        command="python -m training train --experiment 'a<b'",
        warnings=["The dev set is the test set."],
    )
    return folder


@pytest.fixture(scope="module")
def page(folder: Path) -> Page:
    return Page(folder / "report.html")


def test_nothing_is_fetched_and_nothing_runs(folder: Path, page: Page) -> None:
    assert "script" not in page.tags
    assert all(reference.startswith("data:image/png;base64,") for reference in page.references)
    source = (folder / "report.html").read_text(encoding="utf-8")
    assert not re.search(r"https?:|@import|url\(|<link|<iframe", source)


def test_what_comes_from_data_is_escaped(folder: Path, page: Page) -> None:
    source = (folder / "report.html").read_text(encoding="utf-8")
    assert "<script" not in source
    assert page.text.count(HOSTILE) >= 5
    assert page.says("--experiment 'a<b'")


def test_the_summary_says_protocol_headline_chance_and_warnings(page: Page, scores: Scores) -> None:
    recall = scores.figures["unweighted_average_recall"]
    for expected in (
        "A small network was trained.",
        "Protocol: one speaker left out",
        f"recognises on average {100 * recall.value:.1f} % of an emotion’s clips",
        f"(95 % interval {100 * recall.low:.1f} to {100 * recall.high:.1f} %)",
        "guessing would reach 16.7 %",
        "means over 2 seeds",
        "drawing 20 sentences again and again",
        "The dev set is the test set.",
        "3 speakers: the intervals do not cover other speakers.",
    ):
        assert page.says(expected), expected


def test_the_tables_hold_every_figure(page: Page, scores: Scores) -> None:
    for name, title in FIGURES.items():
        assert page.says(title)
        assert str(scores.figures[name]) in page.text
    for part in scores.by_fold.values():
        assert str(part.figures["macro_f1"]) in page.text
    for figure in scores.recall_by_emotion.values():
        assert str(figure) in page.text
    assert scores.calibration.after is not None
    assert str(scores.calibration.after["brier_score"]) in page.text


def test_a_run_is_compared_with_another_in_words(page: Page) -> None:
    assert page.says("full is better.")
    assert page.says("first better in")


def test_settings_are_listed_by_their_path(page: Page) -> None:
    assert "network.width64" in page.text
    assert "network.stacks1, 2" in page.text


def test_the_plots_in_the_page_are_those_beside_it(folder: Path, page: Page) -> None:
    embedded = {base64.b64decode(reference.partition(",")[2]) for reference in page.references}
    names = {"confusion.png", "recall.png", "reliability.png", "curves.png"}
    assert {path.name for path in folder.glob("*.png")} == names
    assert embedded == {(folder / name).read_bytes() for name in names}


def test_the_figures_lie_beside_the_page_as_json(folder: Path, scores: Scores) -> None:
    document = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    assert document["scores"]["figures"]["accuracy"]["value"] == scores.figures["accuracy"].value
    assert document["settings"]["network"]["width"] == 64
    assert document["warnings"][0] == "The dev set is the test set."
    assert document["views"]["text"]["clips"] == 360
    assert document["against"]["first"] == "full"


def test_a_plain_run_needs_no_curves_seeds_folds_or_rival(tmp_path: Path) -> None:
    rows = [replace(row, fold="only", speaker="") for row in drawn_rows(speakers=("anna",)) if row.emotion != "sad"]
    write_report(tmp_path / "report.html", title="plain", scores=score(rows, rounds=20), curves={}, settings={})
    page = Page(tmp_path / "report.html")
    assert not (tmp_path / "curves.png").exists()
    assert page.says("No temperature was fitted: there is one fold and no dev set.")
    assert page.says("On 100 clips the network recognises")
    assert json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))["against"] is None


def test_no_difference_is_called_none(scores: Scores, tmp_path: Path) -> None:
    rows = drawn_rows()
    path = tmp_path / "report.html"
    write_report(path, title="t", scores=scores, curves={}, settings={}, against=compare(rows, rows, rounds=20))
    assert Page(path).says("The interval holds zero: no difference is shown.")


def test_the_page_is_made_for_print_and_dark_mode(folder: Path) -> None:
    source = (folder / "report.html").read_text(encoding="utf-8")
    assert "@media print" in source
    assert "prefers-color-scheme: dark" in source
    assert source.count('<div class="wide"><table') == source.count("<table")
