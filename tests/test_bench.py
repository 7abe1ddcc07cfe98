import importlib
import io
import json

import pytest
from rich.console import Console

from bench.__main__ import SHOWS, main
from bench.figures import Figure, Report, print_report


def printed(report: Report) -> str:
    console = Console(file=io.StringIO(), width=120)
    print_report(report, console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


@pytest.mark.parametrize("name", SHOWS)
def test_every_figure_that_is_listed_can_be_measured(name: str) -> None:
    assert callable(importlib.import_module(f"bench.shows.{name.replace('-', '_')}").measure)


@pytest.mark.parametrize(
    ("figure", "holds"),
    [
        (Figure(name="recall", value=0.5, floor=0.5), True),
        (Figure(name="recall", value=0.49, floor=0.5), False),
        (Figure(name="time", value=0.3, floor=0.35, better="lower"), True),
        (Figure(name="time", value=0.36, floor=0.35, better="lower"), False),
        (Figure(name="no floor", value=-1.0), True),
        (Figure(name="not a number", value=float("nan"), floor=0.5), False),
    ],
)
def test_a_floor_holds_on_its_own_side_only(figure: Figure, holds: bool) -> None:
    assert figure.holds is holds


def test_a_report_holds_when_every_floor_does() -> None:
    good, bad = Figure(name="a", value=1, floor=0), Figure(name="b", value=0, floor=1)
    assert Report(title="t", figures=[good]).holds
    assert not Report(title="t", figures=[good, bad]).holds


def test_a_report_prints_values_floors_intervals_and_settings() -> None:
    figure = Figure(name="recall", value=0.612, floor=0.5, goal=0.6, interval=(0.55, 0.67))
    text = printed(Report(title="Title", figures=[figure], settings={"ours": "int8"}, remarks=["seen"]))
    for expected in ("Title", "recall", "0.612", "≥ 0.500", "≥ 0.600", "0.550 … 0.670", "yes", "ours: int8", "seen"):
        assert expected in text


def test_a_report_is_json_with_the_machine_it_was_measured_on() -> None:
    document = json.loads(json.dumps(Report(title="t", figures=[Figure(name="a", value=1.0)]).to_json()))
    assert document["holds"] is True
    assert "processors" in document["machine"]


def test_the_help_lists_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["shows", "--help"])
    text = capsys.readouterr().out
    assert all(name in text for name in SHOWS)
