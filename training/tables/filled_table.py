"""A table's figures with intervals, beside the paper's, and each row against the reference on the same clips."""

from collections.abc import Sequence
from dataclasses import dataclass

from training.comparison import Difference, compare
from training.metrics import Interval
from training.scores import counted
from training.seed_runs import joint_figures, seed_runs
from training.tables.cells import Cell, Result
from training.tables.paper_tables import PaperTable, TableRow


@dataclass(frozen=True, kw_only=True, slots=True)
class FilledCell:
    """One system on so many classes. measured: by figure; empty where a run failed, or is still to come."""

    row: TableRow
    labels: int
    measured: dict[str, Interval]
    against: Difference | None
    """Accuracy less the reference row's."""
    seeds: int
    clips: int
    runs: int
    missing: int

    @property
    def status(self) -> str:
        """Say why there are no figures; empty where there are."""
        return "" if self.measured else f"{self.missing} of {self.runs} runs missing" if self.runs else "failed"


@dataclass(frozen=True, kw_only=True, slots=True)
class FilledTable:
    """A table as it was run."""

    table: PaperTable
    corpus: str
    protocol: str
    cells: Sequence[FilledCell]
    command: str

    @property
    def rows(self) -> list[TableRow]:
        """The systems that were run, in the paper's order."""
        return [row for row in self.table.rows if any(cell.row is row for cell in self.cells)]

    @property
    def labels(self) -> list[int]:
        """The numbers of classes that were run."""
        return sorted({cell.labels for cell in self.cells})

    def cell(self, row: TableRow, labels: int) -> FilledCell:
        """Return the cell of a row."""
        return next(cell for cell in self.cells if cell.row is row and cell.labels == labels)


def filled(table: PaperTable, results: Sequence[Result], *, corpus: str, protocol: str, command: str) -> FilledTable:
    """Score every cell whose runs all ended."""
    references = {
        result.cell.experiment.labels: result for result in results if result.cell.row.title == table.reference
    }
    cells = [_filled(table, result, references.get(result.cell.experiment.labels)) for result in results]
    return FilledTable(table=table, corpus=corpus, protocol=protocol, cells=cells, command=command)


def facts_of(filled_table: FilledTable) -> str:
    """Say on what the figures stand."""
    clips = {cell.labels: cell.clips for cell in filled_table.cells if cell.measured}
    seeds = max((cell.seeds for cell in filled_table.cells), default=0)
    tested = ", ".join(f"{counted(number, 'clip')} of {labels} classes" for labels, number in sorted(clips.items()))
    return (
        f"{filled_table.corpus}, {filled_table.protocol}; tested on {tested or 'nothing yet'}; {counted(seeds, 'seed')}"
    )


def _filled(table: PaperTable, result: Result, reference: Result | None) -> FilledCell:
    cell, is_whole = result.cell, bool(result.rows) and not result.missing
    labels = cell.experiment.emotions
    measured: dict[str, Interval] = {}
    against = None
    if is_whole:
        figures = joint_figures(seed_runs(result.rows, labels=labels))
        measured = {name: figures[name] for name in (*table.figures, "unweighted_average_recall", "macro_f1")}
        if reference is not None and result is not reference and reference.rows and not reference.missing:
            against = compare(result.rows, reference.rows, labels=labels).differences["accuracy"]
    return FilledCell(
        row=cell.row,
        labels=cell.experiment.labels,
        measured=measured,
        against=against,
        seeds=len({row.seed for row in result.rows}),
        clips=len({row.key for row in result.rows}),
        runs=result.runs,
        missing=result.missing,
    )


def protocol_of(cell: Cell) -> str:
    """Say who is tested and what selects."""
    kinds = {
        "speakers": "one speaker left out at a time, nothing selected",
        "sessions": "five sessions, one tested and another selecting at a time",
        "split": "one division, the dev part selecting",
    }
    return kinds[cell.experiment.protocol.kind]
