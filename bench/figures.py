"""A measured figure beside what it must be, and how it is printed."""

import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from rich.console import Console
from rich.table import Table

from model.processors import usable_processors


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure:
    """One measured value with its bounds.

    floor must hold and goal is aimed at; ``better`` says on which side. interval is a 95 % interval.
    """

    name: str
    value: float
    floor: float | None = None
    goal: float | None = None
    better: Literal["higher", "lower"] = "higher"
    interval: tuple[float, float] | None = None

    @property
    def holds(self) -> bool:
        """True where there is no floor, or the value is on its right side."""
        if self.floor is None:
            return True
        return self.value >= self.floor if self.better == "higher" else self.value <= self.floor


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """What one ``shows`` command found.

    settings: what each side ran with. remarks: what was seen, in words.
    """

    title: str
    figures: Sequence[Figure]
    settings: Mapping[str, Any] = field(default_factory=dict)
    remarks: Sequence[str] = ()

    @property
    def holds(self) -> bool:
        """True where every floor holds."""
        return all(figure.holds for figure in self.figures)

    def to_json(self) -> dict[str, Any]:
        """Return plain values, with the machine they were measured on."""
        return asdict(self) | {"holds": self.holds, "machine": machine()}


def print_report(report: Report, console: Console) -> None:
    """Print a table of figures, then the settings and remarks."""
    table = Table(title=report.title, title_justify="left")
    for heading in ("figure", "value", "95 % interval", "floor", "goal", "holds"):
        table.add_column(heading, justify="left" if heading == "figure" else "right")
    for figure in report.figures:
        sign = "≥" if figure.better == "higher" else "≤"
        table.add_row(
            figure.name,
            _number(figure.value),
            "" if figure.interval is None else f"{_number(figure.interval[0])} … {_number(figure.interval[1])}",
            "" if figure.floor is None else f"{sign} {_number(figure.floor)}",
            "" if figure.goal is None else f"{sign} {_number(figure.goal)}",
            "" if figure.floor is None else ("yes" if figure.holds else "NO"),
        )
    console.print(table)
    for side, setting in report.settings.items():
        console.print(f"{side}: {setting}", highlight=False, markup=False)
    for remark in report.remarks:
        console.print(remark, highlight=False, markup=False)
    console.print(f"machine: {machine()}", highlight=False, markup=False)


def _number(value: float) -> str:
    if value and abs(value) < 1e-3:
        return f"{value:.1e}"
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.0f}"


def machine() -> str:
    """Name what was measured on."""
    return f"{usable_processors()} processors, {platform.machine()}, Python {platform.python_version()}"
