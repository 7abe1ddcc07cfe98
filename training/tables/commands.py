"""What ``python -m training table`` does."""

import argparse
import shlex
import sys
from pathlib import Path

from rich.console import Console

from model.errors import TableIncomplete
from training.tables.cells import Failures, cells_of, run_cells
from training.tables.filled_table import filled, protocol_of
from training.tables.paper_tables import TABLES
from training.tables.written_table import markdown, write_table
from training.workshop import Workshop


def fill_table(options: argparse.Namespace, workshop: Workshop) -> None:
    """Run or recall every cell of a table, print it, and write it down.

    Raises:
        TableIncomplete: some runs failed; the table is written all the same, and why they did is beside it.
        TrainingInterrupted: a signal asked to stop; the same command goes on from there.
    """
    table = TABLES[options.number]
    cells = cells_of(table, corpus=options.corpus, small=options.small, overrides=options.set)
    cells = [cell for cell in cells if options.classes in (None, cell.experiment.labels)]
    if not cells:
        raise ValueError(f"table {table.number} has no part of {options.classes} classes; it has {table.labels}")
    results, failures = run_cells(workshop, cells, seeds=options.seeds, jobs=options.jobs, trains=not options.recall)
    command = f"python -m training {shlex.join(sys.argv[1:])}"
    found = filled(table, results, corpus=options.corpus, protocol=protocol_of(cells[0]), command=command)
    paths = write_table(found, options.out)
    Console(width=200).print(markdown(found), highlight=False, markup=False, soft_wrap=True)
    workshop.say(f"wrote {', '.join(map(str, paths))}")
    _keep(failures, paths[0].with_suffix(".failures.txt"))
    if failures:
        names = "; ".join(failures)
        where = paths[0].with_suffix(".failures.txt")
        raise TableIncomplete(f"{len(failures)} failed, see {where}: {names}", value=len(failures))


def _keep(failures: Failures, path: Path) -> None:
    if not failures:
        path.unlink(missing_ok=True)
        return
    path.write_text("\n".join(f"== {name}\n{reason}" for name, reason in failures.items()), encoding="utf-8")
