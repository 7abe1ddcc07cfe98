"""The cells of a table as experiments, trained and judged one by one; what has been run is not run again."""

import json
import multiprocessing
import tomllib
import traceback
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from importlib import resources
from pathlib import Path
from typing import Final

import torch
from rich.console import Console

from model.assets import AssetStore
from model.errors import TrainingInterrupted
from training.experiment import Experiment, load_experiment
from training.prediction_rows import PredictionRow, read_predictions
from training.predictions import PREDICTIONS_FILE, predictions, write_predictions
from training.protocols import Corpora, Fold
from training.tables.paper_tables import OURS, PROTOCOLS, PaperTable, TableRow
from training.views import ALONE
from training.workshop import Workshop

ALONE_FILE: Final = "alone.jsonl"
"""Predictions of a table's run: each clip by itself, and none of the views that an evaluation has besides."""

Failures = Mapping[str, str]
"""Why runs failed, with their traceback, by the run's name."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One system on so many classes: what one pair of figures comes from."""

    row: TableRow
    experiment: Experiment

    @property
    def name(self) -> str:
        """Say which it is."""
        return f"{self.row.title}, {self.experiment.labels} classes"


@dataclass(frozen=True, kw_only=True, slots=True)
class Result:
    """What came of a cell. rows: of every run that ended."""

    cell: Cell
    rows: Sequence[PredictionRow]
    runs: int
    missing: int
    """Of the runs: those that failed, or were not asked for."""


def cells_of(table: PaperTable, *, corpus: str, small: bool, overrides: Sequence[str] = ()) -> list[Cell]:
    """Return every cell of a table on a corpus; overrides change all of them alike.

    Raises:
        ValueError: an override is of no field, or has a value that cannot be.
    """
    changes = _small() if small else {}
    name = OURS.get(corpus, "paper_casia")
    ours = load_experiment(name)
    kind = PROTOCOLS.get(corpus, table.protocol)
    dev = "none" if kind == "speakers" else "own"
    found = []
    for row in table.rows:
        experiment = name if row.experiment == "ours" else row.experiment
        common = [
            f"corpora={{{json.dumps(corpus)}=1}}",
            f"protocol={{kind={kind!r}, corpus={json.dumps(corpus)}, dev={dev!r}}}",
            # Nobody to wait for: of three speakers one is left out.
            *(["patience="] if dev == "none" else []),
        ]
        for labels in table.labels:
            own = [*changes.get(experiment, []), *row.overrides]
            loaded = load_experiment(experiment, overrides=[*common, *own, f"labels={labels}", *overrides])
            # Every system reads the corpus in its own language, with the same text.
            found.append(Cell(row=row, experiment=replace(loaded, features=ours.features, text=ours.text)))
    return found


def run_cells(
    workshop: Workshop, cells: Sequence[Cell], *, seeds: int, jobs: int = 1, trains: bool = True
) -> tuple[list[Result], Failures]:
    """Train and judge what is missing of every cell, seed and fold; a run that fails does not lose the others.

    workshop: where and how; each cell brings its own experiment. trains: else only what has been run is recalled.

    Raises:
        TrainingInterrupted: a signal asked to stop; what ended is kept.
    """
    failures = _run_side_by_side(workshop, cells, seeds=seeds, jobs=jobs) if jobs > 1 and trains else {}
    opened = Opened(workshop)
    results = []
    for cell in cells:
        rows: list[PredictionRow] = []
        runs = missing = 0
        for of_seed, corpora, fold in _runs(opened, cell, seeds=seeds, failures=failures):
            runs += 1
            title = f"{cell.name}, seed {of_seed.experiment.seed}, {fold.name}"
            found = recalled(of_seed, corpora, fold)
            if not found and trains and title not in failures:
                found = _attempted(of_seed, corpora, fold, title=title, failures=failures)
            rows += found
            missing += not found
        results.append(Result(cell=cell, rows=rows, runs=runs, missing=missing))
    return results, failures


def recalled(workshop: Workshop, corpora: Corpora, fold: Fold) -> list[PredictionRow]:
    """Return what the network of one fold said of each clip left out; nothing where it has not been asked yet."""
    folder = workshop.run_folder(corpora, fold)
    for path in (folder / ALONE_FILE, folder / PREDICTIONS_FILE):
        if path.is_file():
            return read_predictions(path, view=ALONE)
    return []


def judged(workshop: Workshop, corpora: Corpora, fold: Fold) -> list[PredictionRow]:
    """Train one fold, and return what its network says of each clip left out."""
    network = workshop.network(corpora, fold)
    rows = predictions(
        network, fold.test, features=workshop.inputs, view=ALONE, fold=fold.name, seed=workshop.experiment.seed
    )
    write_predictions(workshop.run_folder(corpora, fold) / ALONE_FILE, rows)
    return rows


class Opened:
    """The corpora as they were read last: neighbouring cells often read the same."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._key = ""
        self._corpora: Corpora | None = None

    def open(self, experiment: Experiment) -> tuple[Workshop, Corpora]:
        """Return a workshop for the experiment, and its corpora."""
        workshop = replace(self._workshop, experiment=experiment)
        read = {name: asdict(experiment)[name] for name in _READ}
        key = json.dumps(read, sort_keys=True, default=list)
        if self._corpora is None or key != self._key:
            self._corpora = None  # let go of the last before the next is read
            self._corpora, self._key = workshop.corpora(), key
        return workshop, self._corpora


_READ: Final = (
    *("corpora", "labels", "features", "frames", "text", "text_corpora", "augmentation", "copies_of"),
    *("conditions", "max_clips", "misheard_probability", "protocol"),
)
"""What of an experiment decides its corpora."""


def _runs(
    opened: Opened, cell: Cell, *, seeds: int, failures: dict[str, str]
) -> Iterator[tuple[Workshop, Corpora, Fold]]:
    try:
        workshop, corpora = opened.open(cell.experiment)
        folds = workshop.folds(corpora)
    except Exception:  # noqa: BLE001 - a cell that cannot be read does not lose the others
        failures[cell.name] = traceback.format_exc()
        return
    for number in range(seeds):
        for fold in folds:
            yield workshop.with_seed(cell.experiment.seed + number), corpora, fold


def _attempted(
    workshop: Workshop, corpora: Corpora, fold: Fold, *, title: str, failures: dict[str, str]
) -> list[PredictionRow]:
    try:
        return judged(workshop, corpora, fold)
    except TrainingInterrupted:
        raise
    except Exception as error:  # noqa: BLE001 - a failed run does not lose the others
        workshop.say(f"{title} failed: {error}")
        failures[title] = traceback.format_exc()
        return []


def _run_side_by_side(workshop: Workshop, cells: Sequence[Cell], *, seeds: int, jobs: int) -> dict[str, str]:
    """Do the work in processes of one thread each, a cell at a time; return why runs failed."""
    # Features first, in this process: the others only read them.
    opened, failures = Opened(workshop), dict[str, str]()
    for cell in cells:
        _ = list(_runs(opened, cell, seeds=1, failures={}))
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context) as pool:
        places = (workshop.data, workshop.cache, workshop.bert, str(workshop.device))
        futures = [pool.submit(_run_cell, cell, seeds, *places) for cell in cells]
        for future in as_completed(futures):
            if isinstance(error := future.exception(), TrainingInterrupted):
                raise error
            if error is not None:
                # A process that died, say: its runs are tried again in this one.
                workshop.say(f"a process failed: {error}")
            else:
                failures |= future.result()
    return failures


def _run_cell(cell: Cell, seeds: int, data: Path, cache: Path, bert: Path | None, device: str) -> dict[str, str]:
    torch.set_num_threads(1)
    workshop = Workshop(
        experiment=cell.experiment,
        data=data,
        cache=cache,
        assets=AssetStore(cache),
        threads=1,
        # No bar: several processes share the terminal.
        console=Console(stderr=True, force_terminal=False),
        bert=bert,
        device=torch.device(device),
    )
    return dict(run_cells(workshop, [cell], seeds=seeds, jobs=1)[1])


def _small() -> dict[str, list[str]]:
    text = (resources.files("training") / "tables" / "small.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)
