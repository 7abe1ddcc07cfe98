"""Folds and seeds trained in several processes, one thread each: two such take less time than one with two threads."""

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import torch
from rich.console import Console

from model.assets import AssetStore
from training.experiment import Experiment
from training.protocols import Corpora
from training.workshop import NETWORK_FILE, Workshop

Cell = tuple[Experiment, str]
"""One network to train: the experiment (its seed included) and the fold's name."""


def train_side_by_side(
    workshop: Workshop, corpora: Corpora, *, seeds: Sequence[int], folds: Sequence[str], jobs: int, resume: bool = True
) -> None:
    """Train what is missing of every seed and fold; a cell that fails does not lose the others.

    The features must be in the cache already: the processes only read them.

    Raises:
        VcemoError: a cell failed; the first failure is raised when all others have ended.
    """
    missing: list[Cell] = [
        (of_seed.experiment, name)
        for of_seed in map(workshop.with_seed, seeds)
        for name in folds
        if not (of_seed.run_folder(corpora, of_seed.fold(corpora, name)) / NETWORK_FILE).is_file()
    ]
    if jobs < 2 or len(missing) < 2:
        for experiment, name in missing:
            of_seed = workshop.with_seed(experiment.seed)
            of_seed.network(corpora, of_seed.fold(corpora, name), resume=resume)
        return
    failures: list[BaseException] = []
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(jobs, len(missing)), mp_context=context) as pool:
        futures = [
            pool.submit(_train_cell, cell, workshop.data, workshop.cache, workshop.bert, str(workshop.device), resume)
            for cell in missing
        ]
        for future in as_completed(futures):
            error = future.exception()
            if error is not None:
                workshop.say(f"a fold failed: {error}")
                failures.append(error)
    if failures:
        raise failures[0]


_opened: dict[str, Corpora] = {}


def _corpora_of(workshop: Workshop) -> Corpora:
    """Read the corpora once a process: all of its cells differ by seed and fold only."""
    key = workshop.with_seed(0).experiment.digest
    if key not in _opened:
        _opened.clear()
        _opened[key] = workshop.corpora()
    return _opened[key]


def _train_cell(cell: Cell, data: Path, cache: Path, bert: Path | None, device: str, resume: bool) -> None:
    torch.set_num_threads(1)
    experiment, name = cell
    # No bar: several processes share the terminal.
    console = Console(stderr=True, force_terminal=False)
    workshop = Workshop(
        experiment=experiment,
        data=data,
        cache=cache,
        assets=AssetStore(cache),
        threads=1,
        console=console,
        bert=bert,
        device=torch.device(device),
    )
    corpora = _corpora_of(workshop)
    fold = workshop.fold(corpora, name)
    workshop.network(corpora, fold, resume=resume)
    if fold.test:
        workshop.judged_fold(corpora, fold)
