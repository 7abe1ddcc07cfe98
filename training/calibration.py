"""Calibration before and after temperature scaling; nothing is judged by a temperature that was fitted on it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from model.bundle import calibrated
from training.metrics import CALIBRATION_BINS, CALIBRATION_FIGURES, calibration_bins, fit_temperature
from training.prediction_rows import PredictionRow
from training.seed_runs import Figure, SeedRun, joint_figures, seed_runs


@dataclass(frozen=True, kw_only=True, slots=True)
class Reliability:
    """What a reliability diagram shows, by bin of confidence and over all seeds."""

    counts: Sequence[int]
    confidence: Sequence[float | None]
    """None for a bin without clips."""
    accuracy: Sequence[float | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Calibration figures and diagrams as the networks are, and with a temperature."""

    before: Mapping[str, Figure]
    reliability_before: Reliability
    after: Mapping[str, Figure] | None
    """None where nothing could be fitted."""
    reliability_after: Reliability | None
    temperatures: Mapping[str, float]
    """By seed and fold."""
    fitted_on: str
    """What the temperatures were fitted on, or why nothing was."""


def calibration(
    runs: Sequence[SeedRun],
    *,
    labels: Sequence[str],
    dev_rows: Sequence[PredictionRow] = (),
    rounds: int = 2000,
    draw_seed: int = 0,
) -> Calibration:
    """Judge the calibration of ``runs``; each fold's temperature comes from the other folds, or from ``dev_rows``.

    dev_rows: what the same networks said of other clips, each with the seed and the fold of its network, or without a
    fold where it goes for all.
    """
    sources = {
        (run.seed, fold): _fitting_part(run, fold=fold, labels=labels, dev_rows=dev_rows)
        for run in runs
        for fold in np.unique(run.folds).tolist()
    }
    obstacle = _obstacle(runs, sources, with_dev_rows=bool(dev_rows))
    temperatures = {key: fit_temperature(part.logits, part.truth) for key, part in sources.items() if not obstacle}
    after = [] if obstacle else [_scaled(run, temperatures) for run in runs]

    def figures_of(some: Sequence[SeedRun]) -> dict[str, Figure]:
        found = joint_figures(some, rounds=rounds, draw_seed=draw_seed)
        return {name: found[name] for name in CALIBRATION_FIGURES}

    return Calibration(
        before=figures_of(runs),
        reliability_before=_reliability(runs),
        after=figures_of(after) if after else None,
        reliability_after=_reliability(after) if after else None,
        temperatures={f"{fold}, seed {seed}": value for (seed, fold), value in temperatures.items()},
        fitted_on=obstacle or ("the dev set" if dev_rows else "the other folds"),
    )


def _fitting_part(run: SeedRun, *, fold: str, labels: Sequence[str], dev_rows: Sequence[PredictionRow]) -> SeedRun:
    if not dev_rows:
        return run.part(run.folds != fold)
    chosen = [row for row in dev_rows if row.seed == run.seed and row.fold in ("", fold)]
    return seed_runs(chosen, labels=labels)[0] if chosen else run.part(np.zeros(len(run.keys), dtype=bool))


def _obstacle(
    runs: Sequence[SeedRun], sources: Mapping[tuple[int, str], SeedRun], *, with_dev_rows: bool
) -> str | None:
    if any(not len(part.keys) for part in sources.values()):
        return "the dev set lacks a fold or a seed" if with_dev_rows else "there is one fold and no dev set"
    judged = {(run.seed, fold): set(run.keys[run.folds == fold]) for run in runs for fold in np.unique(run.folds)}
    if any(judged[key] & set(part.keys) for key, part in sources.items()):
        return "the dev set is the test set, or shares clips with it"
    return None


def _scaled(run: SeedRun, temperatures: Mapping[tuple[int, str], float]) -> SeedRun:
    by_clip = np.array([temperatures[run.seed, fold] for fold in run.folds.tolist()])
    return replace(run, logits=run.logits / by_clip[:, None])


def _reliability(runs: Sequence[SeedRun]) -> Reliability:
    sums = np.zeros((CALIBRATION_BINS, 3))
    for run in runs:
        bin_of_clip, columns = calibration_bins(calibrated(run.logits, 1.0), run.truth)
        np.add.at(sums, bin_of_clip, columns)
    confidence, right, counts = sums.T.tolist()
    return Reliability(
        counts=tuple(map(int, counts)),
        confidence=tuple(total / count if count else None for total, count in zip(confidence, counts, strict=True)),
        accuracy=tuple(total / count if count else None for total, count in zip(right, counts, strict=True)),
    )
