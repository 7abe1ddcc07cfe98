"""Predictions of several seeds, and figures over all of them."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from model.errors import CorpusError
from training.metrics import (
    FIGURES,
    Floats,
    Integers,
    Interval,
    Resamples,
    figures,
    mean_of_known,
    percentile_interval,
    recall_by_class,
    recalls_of_counts,
    resampled_figures,
)
from training.prediction_rows import PredictionRow

Cluster = Literal["given", "speaker"]
"""What is resampled together: a row's group or else its sentence or else the clip alone; or a speaker's clips."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SeedRun:
    """What the networks of one seed said of every clip: truth (clips,), logits (clips, classes)."""

    seed: int
    keys: npt.NDArray[np.str_]
    truth: Integers
    logits: Floats
    groups: npt.NDArray[np.str_]
    folds: npt.NDArray[np.str_]
    speakers: npt.NDArray[np.str_]

    def part(self, chosen: npt.NDArray[Any]) -> "SeedRun":
        """Return some of the clips. chosen: a mask or positions."""
        return replace(
            self,
            keys=self.keys[chosen],
            truth=self.truth[chosen],
            logits=self.logits[chosen],
            groups=self.groups[chosen],
            folds=self.folds[chosen],
            speakers=self.speakers[chosen],
        )


def seed_runs(rows: Sequence[PredictionRow], *, labels: Sequence[str], cluster: Cluster = "given") -> list[SeedRun]:
    """Sort the rows of one view into seeds.

    Raises:
        CorpusError: there are no rows, several views, a clip twice in a seed, or rows that do not fit the labels.
    """
    _check_rows(rows, labels=labels)
    seeds = sorted({row.seed for row in rows})
    return [_seed_run([row for row in rows if row.seed == seed], labels=labels, cluster=cluster) for seed in seeds]


def group_of(row: PredictionRow, *, cluster: Cluster) -> tuple[str, str]:
    """Return what kind of group the row is resampled in, and its name."""
    if cluster == "speaker" and row.speaker:
        return "speaker", row.speaker
    if cluster == "given" and (row.group or row.sentence):
        return ("group", row.group) if row.group else ("sentence", row.sentence)
    return "clip", row.key


@dataclass(frozen=True, kw_only=True, slots=True)
class Figure(Interval):
    """Mean over seeds; the interval is of that mean, each resample drawn for all seeds at once."""

    deviation: float | None
    """Standard deviation over seeds; None where there is one."""


def joint_resamples(runs: Sequence[SeedRun], *, rounds: int = 2000, draw_seed: int = 0) -> Resamples:
    """Draw resamples of the groups of all seeds."""
    return Resamples.of([group for run in runs for group in run.groups.tolist()], rounds=rounds, seed=draw_seed)


def joint_figures(runs: Sequence[SeedRun], *, rounds: int = 2000, draw_seed: int = 0) -> dict[str, Figure]:
    """Return every one of :data:`FIGURES`, averaged over seeds."""
    resamples = joint_resamples(runs, rounds=rounds, draw_seed=draw_seed)
    values = [figures(run.truth, run.logits) for run in runs]
    drawn = [resampled_figures(run.truth, run.logits, groups=run.groups.tolist(), resamples=resamples) for run in runs]
    return {name: _figure([one[name] for one in values], [one[name] for one in drawn]) for name in FIGURES}


def joint_recalls(
    runs: Sequence[SeedRun], *, labels: Sequence[str], rounds: int = 2000, draw_seed: int = 0
) -> dict[str, Figure]:
    """Return the recall of every label that occurs, averaged over seeds."""
    resamples = joint_resamples(runs, rounds=rounds, draw_seed=draw_seed)
    values, drawn = [], []
    for run in runs:
        predicted = run.logits.argmax(1)
        values.append(recall_by_class(run.truth, predicted, num_classes=len(labels)))
        counts = resamples.confusions(run.groups.tolist(), run.truth, predicted, num_classes=len(labels))
        drawn.append(recalls_of_counts(counts))
    return {
        label: _figure([one[k] for one in values if np.isfinite(one[k])], [one[:, k] for one in drawn])
        for k, label in enumerate(labels)
        if any(np.isfinite(one[k]) for one in values)
    }


def _figure(values: Sequence[float], drawn: Sequence[Floats]) -> Figure:
    interval = percentile_interval(float(np.mean(values)), mean_of_known(np.stack(drawn, axis=-1)))
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
    return Figure(value=interval.value, low=interval.low, high=interval.high, deviation=deviation)


def _seed_run(rows: Sequence[PredictionRow], *, labels: Sequence[str], cluster: Cluster) -> SeedRun:
    return SeedRun(
        seed=rows[0].seed,
        keys=np.array([row.key for row in rows]),
        truth=np.array([labels.index(row.emotion) for row in rows]),
        logits=np.array([row.logits for row in rows], dtype=np.float64),
        # A sentence and a clip may have one name.
        groups=np.array([" ".join(group_of(row, cluster=cluster)) for row in rows]),
        folds=np.array([row.fold_name for row in rows]),
        speakers=np.array([row.speaker for row in rows]),
    )


def _check_rows(rows: Sequence[PredictionRow], *, labels: Collection[str]) -> None:
    if not rows:
        raise CorpusError("there are no predictions to score")
    views = sorted({row.view for row in rows})
    if len(views) > 1:
        raise CorpusError(f"predictions of several views cannot be scored together: {views}", value=views)
    for row in rows:
        if row.emotion not in labels or len(row.logits) != len(labels):
            raise CorpusError(
                f"prediction of {row.key} ({row.emotion}, {len(row.logits)} logits) does not fit the {len(labels)} "
                f"labels {', '.join(labels)}",
                value=row.emotion,
                limit=list(labels),
            )
    (key, seed), times = Counter((row.key, row.seed) for row in rows).most_common(1)[0]
    if times > 1:
        raise CorpusError(f"{key} was predicted {times} times with seed {seed}", value=key, limit=1)
