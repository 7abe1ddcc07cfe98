"""Two runs over the same clips: the difference, and whether resampling the clips would turn it round."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from model.errors import CorpusError
from model.labels import EMOTIONS
from training.metrics import (
    CALIBRATION_FIGURES,
    FIGURES,
    Floats,
    Interval,
    Resamples,
    figures,
    mean_of_known,
    percentile_interval,
    resampled_figures,
    short,
)
from training.prediction_rows import PredictionRow
from training.scores import counted
from training.seed_runs import Cluster, SeedRun, joint_resamples, seed_runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference(Interval):
    """First run minus second, with the interval of the difference."""

    first: float
    second: float
    share_better: float
    """Share of resamples in which the first run is the better one; half of those where they are equal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Every figure of two runs on the clips and seeds that both predicted."""

    first: str
    second: str
    clips: int
    seeds: Sequence[int]
    groups: int
    dropped: int
    """Predictions of either run that the other lacks."""
    differences: Mapping[str, Difference]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``metrics.json``."""
        return asdict(self)


def compare(
    rows_a: Sequence[PredictionRow],
    rows_b: Sequence[PredictionRow],
    *,
    names: tuple[str, str] = ("A", "B"),
    labels: Sequence[str] = EMOTIONS,
    cluster: Cluster = "given",
    rounds: int = 2000,
    draw_seed: int = 0,
) -> Comparison:
    """Compare run A with run B by a paired bootstrap: a resample draws the same groups for both and for every seed.

    Raises:
        CorpusError: they share no clip, do not agree on a label, or cannot be scored (see :func:`seed_runs`).
    """
    runs_a, runs_b = (seed_runs(rows, labels=labels, cluster=cluster) for rows in (rows_a, rows_b))
    by_seed = {run.seed: run for run in runs_b}
    pairs = [_paired(run, by_seed[run.seed]) for run in runs_a if run.seed in by_seed]
    firsts, seconds = [a for a, _ in pairs if len(a.keys)], [b for _, b in pairs if len(b.keys)]
    if not firsts:
        raise CorpusError("the runs have no clip and seed in common", value=[run.seed for run in runs_a])
    kept = sum(len(run.keys) for run in firsts)
    values_a, values_b = _mean_figures(firsts), _mean_figures(seconds)
    resamples = joint_resamples(firsts, rounds=rounds, draw_seed=draw_seed)
    drawn = [_drawn_differences(*pair, resamples) for pair in zip(firsts, seconds, strict=True)]
    means = {name: mean_of_known(np.stack([one[name] for one in drawn], axis=-1)) for name in FIGURES}
    return Comparison(
        first=names[0],
        second=names[1],
        clips=len({key for run in firsts for key in run.keys.tolist()}),
        seeds=tuple(run.seed for run in firsts),
        groups=len(resamples.names),
        dropped=len(rows_a) + len(rows_b) - 2 * kept,
        differences={
            name: _difference(values_a[name], values_b[name], means[name], less_is_better=name in CALIBRATION_FIGURES)
            for name in FIGURES
        },
    )


def print_comparison(comparison: Comparison, console: Console) -> None:
    """Print every figure of both runs, the difference, and how often the first is better."""
    first, second = escape(comparison.first), escape(comparison.second)
    table = Table(title=f"{first} against {second}, {counted(comparison.clips, 'clip')} in common")
    columns = ("figure", first, second, r"difference \[95 % interval]", f"{first} better")
    for number, name in enumerate(columns):
        table.add_column(name, justify="right" if number else "left")
    for name, difference in comparison.differences.items():
        both = (short(difference.first), short(difference.second))
        table.add_row(FIGURES[name], *both, str(difference), f"{difference.share_better:.1%}")
    console.print(table)


def _paired(first: SeedRun, second: SeedRun) -> tuple[SeedRun, SeedRun]:
    _, of_first, of_second = np.intersect1d(first.keys, second.keys, return_indices=True)
    first, second = first.part(of_first), second.part(of_second)
    if (first.truth != second.truth).any():
        key = str(first.keys[first.truth != second.truth][0])
        raise CorpusError(f"the runs do not agree on the emotion of {key}", value=key)
    return first, second


def _mean_figures(runs: Sequence[SeedRun]) -> dict[str, float]:
    found = [figures(run.truth, run.logits) for run in runs]
    return {name: float(np.mean([one[name] for one in found])) for name in FIGURES}


def _drawn_differences(first: SeedRun, second: SeedRun, resamples: Resamples) -> dict[str, Floats]:
    # The second run's clips are in the order of the first's, and take its groups.
    drawn_a, drawn_b = (
        resampled_figures(run.truth, run.logits, groups=first.groups.tolist(), resamples=resamples)
        for run in (first, second)
    )
    return {name: drawn_a[name] - drawn_b[name] for name in FIGURES}


def _difference(first: float, second: float, drawn: Floats, *, less_is_better: bool) -> Difference:
    interval = percentile_interval(first - second, drawn)
    better = -drawn if less_is_better else drawn
    return Difference(
        value=interval.value,
        low=interval.low,
        high=interval.high,
        first=first,
        second=second,
        share_better=float(np.mean((better > 0) + 0.5 * (better == 0))),
    )
