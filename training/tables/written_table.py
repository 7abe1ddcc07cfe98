"""A table as Markdown, CSV and a plot."""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.metrics import FIGURES, short
from training.plots import BLUE, ORANGE, WIDTH_INCHES, save_plot
from training.tables.filled_table import FilledCell, FilledTable, facts_of

_SHORT_NAMES: Final = {"accuracy": "accuracy", "weighted_f1": "F1", "unweighted_average_recall": "UA"}


def markdown(filled_table: FilledTable) -> str:
    """Return the table with its facts above and its remarks below."""
    table = filled_table.table
    heads = [f"{_SHORT_NAMES[name]}, {labels}" for labels in filled_table.labels for name in table.figures]
    columns = ["system", *(part for head in heads for part in (head, "paper"))]
    columns += [f"accuracy less {table.reference}'s, {labels}" for labels in filled_table.labels]
    lines = [
        f"**Table {table.number}: {table.title}**",
        "",
        f"{facts_of(filled_table)}. 95 % intervals, joint for all seeds; they do not cover other speakers.",
        f"`{filled_table.command}`",
        "",
        _line(columns),
        _line(["---"] * len(columns)),
    ]
    for row in filled_table.rows:
        cells = [filled_table.cell(row, labels) for labels in filled_table.labels]
        figures = [
            part for cell in cells for name in table.figures for part in (_measured(cell, name), _printed(cell, name))
        ]
        lines.append(_line([row.title, *figures, *(_against(cell) for cell in cells)]))
    remarks = [f"- {row.title}: {row.remark}." for row in filled_table.rows if row.remark]
    return "\n".join([*lines, "", *remarks, ""])


def write_table(filled_table: FilledTable, folder: Path) -> list[Path]:
    """Write ``table<n>-<corpus>`` as .md, .csv and .png below ``folder``; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    stem = f"table{filled_table.table.number}-{Path(filled_table.corpus).stem}"
    paths = [folder / f"{stem}{suffix}" for suffix in (".md", ".csv", ".png")]
    paths[0].write_text(markdown(filled_table), encoding="utf-8")
    with paths[1].open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=_COLUMNS)
        writer.writeheader()
        writer.writerows(_csv_rows(filled_table))
    save_plot(table_plot(filled_table), paths[2])
    return paths


def table_plot(filled_table: FilledTable) -> Figure:
    """Draw the first figure of every row with its interval, and the paper's; a panel for each number of classes."""
    name = filled_table.table.figures[0]
    figure = Figure(figsize=(WIDTH_INCHES, 1.5 + 0.42 * len(filled_table.rows)), layout="constrained")
    panels = figure.subplots(1, len(filled_table.labels), sharey=True, squeeze=False)[0]
    for axes, labels in zip(panels, filled_table.labels, strict=True):
        _draw(axes, [filled_table.cell(row, labels) for row in filled_table.rows], name=name)
        axes.set_title(f"{labels} classes")
        axes.set_xlabel(FIGURES[name])
    panels[0].set_yticks(range(len(filled_table.rows)), [row.title for row in filled_table.rows])
    panels[0].invert_yaxis()
    handles, labels_shown = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels_shown, loc="outside lower center", ncols=2, frameon=False)
    return figure


_COLUMNS: Final = (
    *("table", "corpus", "protocol", "system", "classes", "figure", "value", "low", "high", "paper", "seeds", "clips"),
    *("difference", "difference_low", "difference_high", "status"),
)


def _draw(axes: Axes, cells: list[FilledCell], *, name: str) -> None:
    for number, cell in enumerate(cells):
        if (found := cell.measured.get(name)) is not None:
            # A percentile interval need not hold its value.
            sides = [[max(0.0, found.value - found.low)], [max(0.0, found.high - found.value)]]
            label = None if axes.containers else "here, 95 % interval"
            axes.errorbar([found.value], [number], xerr=sides, fmt="o", color=BLUE, capsize=4, label=label)
    printed = [(cell.row.printed[cell.labels][name], number) for number, cell in enumerate(cells) if cell.row.printed]
    if printed:
        values, positions = zip(*printed, strict=True)
        axes.scatter(values, positions, marker="D", color=ORANGE, label="the paper, on its own corpus", zorder=3)
    axes.axvline(1 / cells[0].labels, color="grey", linestyle="--", label="guessing")
    axes.set_xlim(0, 1)
    axes.grid(axis="x", alpha=0.3)


def _csv_rows(filled_table: FilledTable) -> Iterator[dict[str, object]]:
    for cell in filled_table.cells:
        for name in filled_table.table.figures:
            found, against = cell.measured.get(name), cell.against if name == "accuracy" else None
            yield {
                "table": filled_table.table.number,
                "corpus": filled_table.corpus,
                "protocol": filled_table.protocol,
                "system": cell.row.title,
                "classes": cell.labels,
                "figure": name,
                "value": found and round(found.value, 4),
                "low": found and round(found.low, 4),
                "high": found and round(found.high, 4),
                "paper": cell.row.printed.get(cell.labels, {}).get(name),
                "seeds": cell.seeds,
                "clips": cell.clips,
                "difference": against and round(against.value, 4),
                "difference_low": against and round(against.low, 4),
                "difference_high": against and round(against.high, 4),
                "status": cell.status,
            }


def _measured(cell: FilledCell, name: str) -> str:
    return str(cell.measured[name]) if cell.measured else cell.status


def _printed(cell: FilledCell, name: str) -> str:
    value = cell.row.printed.get(cell.labels, {}).get(name)
    return "" if value is None else short(value)


def _against(cell: FilledCell) -> str:
    return "" if cell.against is None else str(cell.against)


def _line(parts: list[str]) -> str:
    return f"| {' | '.join(parts)} |"
