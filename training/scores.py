"""Every figure of a set of predictions: over seeds, with intervals, by fold, by speaker and by emotion."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from model.labels import EMOTIONS
from training.calibration import Calibration, calibration
from training.metrics import CALIBRATION_FIGURES, FIGURES, confusion, figures, short
from training.prediction_rows import PredictionRow
from training.seed_runs import Cluster, Figure, SeedRun, group_of, joint_figures, joint_recalls, seed_runs

FEW = 10
"""With fewer speakers or groups, a warning says what an interval does not cover."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """The clips of one fold or of one speaker."""

    clips: int
    figures: Mapping[str, Figure]


@dataclass(frozen=True, kw_only=True, slots=True)
class Scores:
    """Every figure of one view of some clips."""

    view: str
    labels: Sequence[str]
    clips: int
    seeds: Sequence[int]
    speakers: int
    resampled: str
    """What is drawn together: speaker, group, sentence or clip."""
    groups: int
    chance: float
    """Unweighted average recall of guessing."""
    figures: Mapping[str, Figure]
    """Of all folds pooled."""
    recall_by_emotion: Mapping[str, Figure]
    """Only of emotions that occur."""
    support: Mapping[str, int]
    """Clips of each emotion."""
    confusion: Sequence[Sequence[int]]
    """Counts over all seeds, true emotions in rows."""
    by_fold: Mapping[str, Part]
    mean_over_folds: Mapping[str, float]
    """As results on IEMOCAP are often printed; the same as pooled where folds are alike."""
    by_speaker: Mapping[str, Part]
    by_seed: Mapping[int, Mapping[str, float]]
    calibration: Calibration
    warnings: Sequence[str]

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``metrics.json``."""
        return asdict(self)


def score(
    rows: Sequence[PredictionRow],
    *,
    labels: Sequence[str] = EMOTIONS,
    dev_rows: Sequence[PredictionRow] = (),
    cluster: Cluster = "given",
    rounds: int = 2000,
    draw_seed: int = 0,
) -> Scores:
    """Compute every figure of the rows of one view; ``dev_rows`` as in :func:`calibration`.

    Raises:
        CorpusError: the rows cannot be scored together, see :func:`seed_runs`.
    """
    runs = seed_runs(rows, labels=labels, cluster=cluster)

    def figures_of(some: Sequence[SeedRun]) -> dict[str, Figure]:
        return joint_figures(some, rounds=rounds, draw_seed=draw_seed)

    support = _support(runs, labels=labels)
    counts = [confusion(run.truth, run.logits.argmax(1), num_classes=len(labels)) for run in runs]
    by_fold = _parts(runs, figures_of, by=lambda run: run.folds)
    scores = Scores(
        view=rows[0].view,
        labels=tuple(labels),
        clips=sum(support.values()),
        seeds=tuple(run.seed for run in runs),
        speakers=len({row.speaker for row in rows if row.speaker}),
        resampled=" or ".join(sorted({group_of(row, cluster=cluster)[0] for row in rows})),
        groups=len({group for run in runs for group in run.groups.tolist()}),
        chance=1 / sum(count > 0 for count in support.values()),
        figures=figures_of(runs),
        recall_by_emotion=joint_recalls(runs, labels=labels, rounds=rounds, draw_seed=draw_seed),
        support=support,
        confusion=np.sum(counts, axis=0).tolist(),
        by_fold=by_fold,
        mean_over_folds={name: _mean(part.figures[name].value for part in by_fold.values()) for name in FIGURES},
        by_speaker=_parts(runs, figures_of, by=lambda run: run.speakers),
        by_seed={run.seed: figures(run.truth, run.logits) for run in runs},
        calibration=calibration(runs, labels=labels, dev_rows=dev_rows, rounds=rounds, draw_seed=draw_seed),
        warnings=(),
    )
    return replace(scores, warnings=tuple(_warnings(scores, rows)))


def print_scores(scores: Scores, console: Console) -> None:
    """Print the figures of all clips, then by fold and by emotion, and what to be careful about."""
    counts = [(scores.clips, "clip"), (scores.speakers, "speaker"), (len(scores.seeds), "seed")]
    subject = [*filter(None, [escape(scores.view)]), *(counted(count, noun) for count, noun in counts)]
    table = Table(title=", ".join(subject))
    for name in ("figure", r"value \[95 % interval]", "sd over seeds", "with a temperature"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    for name, title in FIGURES.items():
        figure, after = scores.figures[name], (scores.calibration.after or {}).get(name)
        table.add_row(title, str(figure), _deviation(figure), str(after or ""))
    console.print(table)
    for title, parts in (("fold", scores.by_fold), ("speaker", scores.by_speaker)):
        if parts and (title == "fold" or parts != scores.by_fold):
            console.print(_table_of_parts(title, parts))
    recalls = ", ".join(f"{emotion} {short(figure.value)}" for emotion, figure in scores.recall_by_emotion.items())
    console.print(f"recall by emotion: {recalls}; guessing gives {short(scores.chance)}")
    for warning in scores.warnings:
        console.print(f"note: {warning}", style="yellow", markup=False)


def counted(count: int, noun: str) -> str:
    """Return as ``1 seed`` or ``3 seeds``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _table_of_parts(title: str, parts: Mapping[str, Part]) -> Table:
    names = [name for name in FIGURES if name not in CALIBRATION_FIGURES]
    table = Table()
    for name in (title, "clips", *(FIGURES[name] for name in names)):
        table.add_column(name, justify="left" if name == title else "right")
    for part_name, part in parts.items():
        table.add_row(escape(part_name), str(part.clips), *(str(part.figures[name]) for name in names))
    return table


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _deviation(figure: Figure) -> str:
    return "" if figure.deviation is None else short(figure.deviation)


def _support(runs: Sequence[SeedRun], *, labels: Sequence[str]) -> dict[str, int]:
    truth_of_clip = {key: truth for run in runs for key, truth in zip(run.keys.tolist(), run.truth, strict=True)}
    counts = np.bincount(list(truth_of_clip.values()), minlength=len(labels))
    return dict(zip(labels, counts.tolist(), strict=True))


def _parts(
    runs: Sequence[SeedRun],
    figures_of: Callable[[Sequence[SeedRun]], dict[str, Figure]],
    *,
    by: Callable[[SeedRun], npt.NDArray[np.str_]],
) -> dict[str, Part]:
    found = {}
    for name in sorted({name for run in runs for name in by(run).tolist() if name}):
        parts = [run.part(by(run) == name) for run in runs if (by(run) == name).any()]
        found[name] = Part(clips=len({key for part in parts for key in part.keys.tolist()}), figures=figures_of(parts))
    return found


def _warnings(scores: Scores, rows: Sequence[PredictionRow]) -> Iterator[str]:
    recall = scores.figures["unweighted_average_recall"]
    if recall.low <= scores.chance:
        yield f"The interval of the recall holds chance, {short(scores.chance)}: nothing is shown to be learnt."
    if scores.speakers < FEW:
        known = counted(scores.speakers, "speaker") if scores.speakers else "The speakers are not known"
        yield f"{known}: the intervals do not cover other speakers."
    if scores.groups < FEW:
        yield f"Only {counted(scores.groups, scores.resampled)} to resample: the intervals say little."
    if "clip" in scores.resampled:
        yield "Clips were resampled one by one; if several share a sentence or a dialogue, the intervals are too short."
    if len(scores.seeds) == 1:
        yield "One seed: how far the figures move from one training to the next is not known."
    if missing := [label for label, count in scores.support.items() if not count]:
        yield f"No clip is {' or '.join(missing)}: averages are over the other emotions."
    yield from _leaks(scores, rows)
    if scores.calibration.after is None:
        yield f"No temperature was fitted: {scores.calibration.fitted_on}."


def _leaks(scores: Scores, rows: Sequence[PredictionRow]) -> Iterator[str]:
    for noun in ("speaker", "sentence"):
        folds_of: dict[str, set[str]] = {}
        for row in rows:
            folds_of.setdefault(getattr(row, noun), set()).add(row.fold_name)
        shared = sum(len(folds) > 1 for name, folds in folds_of.items() if name)
        if shared:
            consequence = {"speaker": "speakers were heard", "sentence": "the words were read"}[noun]
            yield f"{counted(shared, noun)} in more than one fold: {consequence} in training, unless it left them out."
