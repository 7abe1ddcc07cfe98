"""What a recipe is worth on speakers it has not heard, over all seeds, and the controls that must be at chance."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from model.bundle import calibrated
from training.abstention import Abstention, abstention
from training.mean_recall import mean_recall, recall_by_fold
from training.metrics import (
    Floats,
    Integers,
    Interval,
    confusion,
    expected_calibration_error,
    fit_temperature,
    macro_f1,
    negative_log_likelihood,
    percentile_interval,
)
from training.prediction_rows import PredictionRow
from training.seed_runs import SeedRun, seed_runs
from training.views import ALONE, CALL, CLASH, CONDITION, NEUTRAL_CALL, PAIR, PAIR_TEXT, POSTS, SHUFFLED, SOUND, TEXT


@dataclass(frozen=True, kw_only=True, slots=True)
class Calls:
    """Recalls with what was heard of the speaker before, averaged over random orders of the clips."""

    recall: Mapping[str, Interval]
    mean_recall: Interval
    neutral_mean_recall: Interval | None
    """Of calls that are 80 % neutral; None where no clip is."""
    neutral_mean_recall_alone: Interval | None
    """Of the same clips, each judged by itself."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """Before and after a temperature; each fold's is fitted on what the networks of the other folds said."""

    temperature: float
    """Fitted on all folds: what ships."""
    error_before: float
    error_after: float
    negative_log_likelihood_after: float
    abstention: Abstention


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairs:
    """The sound of clips left out with the words of labelled texts."""

    recall: float
    recall_sound_only: float
    recall_text_only: float
    margin: Interval
    """Fused less the better of the two alone, paired."""
    confidence_agreeing: float
    confidence_disagreeing: float
    """Mean top probability, calibrated."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Every figure of the model card; recalls are unweighted averages over the emotions, and means over the seeds.

    What could not be measured on this corpus is None or empty.
    """

    corpus: str
    emotions: Sequence[str]
    seeds: Sequence[int]
    clips: int
    recall: Mapping[str, Interval]
    """By who was left out; sound and transcript together, each clip by itself, as served."""
    mean_recall: Interval
    mean_recall_sound_only: float
    control_transcripts_only: float | None
    control_shuffled_audio: float
    macro_f1: float
    recall_by_emotion: Mapping[str, float]
    confusion: Sequence[Sequence[int]]
    calls: Calls | None
    conditions: Mapping[str, Interval]
    """Mean recalls on a phone line, in noise, of short clips."""
    calibration: Calibration | None
    """None where one fold leaves nobody to fit a temperature on."""
    pairs: Pairs | None
    text_macro_f1: Mapping[str, float]
    """Of texts that were not trained on, by corpus."""

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``bundle.json``."""
        return asdict(self)


def evaluate(rows: Sequence[PredictionRow], *, corpus: str, emotions: Sequence[str]) -> Evaluation:
    """Compute every figure of the predictions of all folds and seeds, under all of :func:`training.views.views`."""
    by_view: dict[str, list[PredictionRow]] = defaultdict(list)
    for row in rows:
        by_view[row.view].append(row)
    runs = {
        view: seed_runs(some, labels=emotions) for view, some in by_view.items() if not view.startswith(f"{POSTS} ")
    }
    alone = runs[ALONE]
    truth, predicted = _pooled(alone)
    counts = confusion(truth, predicted, num_classes=len(emotions))
    calibration = _calibration(alone)
    return Evaluation(
        corpus=corpus,
        emotions=emotions,
        seeds=[run.seed for run in alone],
        clips=len(alone[0].keys),
        recall=recall_by_fold(alone),
        mean_recall=mean_recall(alone).interval,
        mean_recall_sound_only=mean_recall(runs[SOUND]).value,
        control_transcripts_only=mean_recall(runs[TEXT]).value if TEXT in runs else None,
        control_shuffled_audio=mean_recall(runs[SHUFFLED]).value,
        macro_f1=macro_f1(truth, predicted),
        recall_by_emotion={name: float(counts[k, k] / max(1, counts[k].sum())) for k, name in enumerate(emotions)},
        confusion=counts.tolist(),
        calls=_calls(runs),
        conditions={
            view.removeprefix(f"{CONDITION} "): mean_recall(some).interval
            for view, some in runs.items()
            if view.startswith(f"{CONDITION} ")
        },
        calibration=calibration,
        pairs=_pairs(runs, temperature=calibration.temperature if calibration else 1.0),
        text_macro_f1={
            view.removeprefix(f"{POSTS} "): _macro_f1_of_posts(some, emotions)
            for view, some in by_view.items()
            if view.startswith(f"{POSTS} ")
        },
    )


def _calls(runs: Mapping[str, Sequence[SeedRun]]) -> Calls | None:
    heard = [run for view, some in runs.items() if view.startswith(f"{CALL} ") for run in some]
    if not heard:
        return None
    neutral = [run for view, some in runs.items() if view.startswith(f"{NEUTRAL_CALL} ") for run in some]
    alone_of_seed = {run.seed: run for run in runs[ALONE]}
    same = [_of_keys(alone_of_seed[run.seed], run) for run in neutral]
    return Calls(
        recall=recall_by_fold(heard),
        mean_recall=mean_recall(heard).interval,
        neutral_mean_recall=mean_recall(neutral).interval if neutral else None,
        neutral_mean_recall_alone=mean_recall(same).interval if neutral else None,
    )


def _of_keys(run: SeedRun, other: SeedRun) -> SeedRun:
    """Return the clips of ``run`` that ``other`` has, in the same folds."""
    wanted = set(zip(other.folds.tolist(), other.keys.tolist(), strict=True))
    found = zip(run.folds.tolist(), run.keys.tolist(), strict=True)
    return run.part(np.array([one in wanted for one in found]))


def _calibration(runs: Sequence[SeedRun]) -> Calibration | None:
    if len(np.unique(runs[0].folds)) < 2:
        return None
    truth = np.concatenate([run.truth for run in runs])
    logits = np.concatenate([run.logits for run in runs])
    held_out = np.concatenate([_cross_calibrated(run) for run in runs])
    return Calibration(
        temperature=fit_temperature(logits, truth),
        error_before=expected_calibration_error(calibrated(logits, 1.0), truth),
        error_after=expected_calibration_error(held_out, truth),
        negative_log_likelihood_after=negative_log_likelihood(held_out, truth),
        abstention=abstention(held_out, truth),
    )


def _cross_calibrated(run: SeedRun) -> Floats:
    """Probabilities of each fold under the temperature fitted on the other folds."""
    probabilities = np.zeros_like(run.logits)
    for fold in np.unique(run.folds):
        mine = run.folds == fold
        temperature = fit_temperature(run.logits[~mine], run.truth[~mine])
        probabilities[mine] = calibrated(run.logits[mine], temperature)
    return probabilities


def _pairs(runs: Mapping[str, Sequence[SeedRun]], *, temperature: float) -> Pairs | None:
    if PAIR not in runs or CLASH not in runs:
        return None
    # A clip whose emotion no text has is not paired.
    sound_of_seed = {run.seed: run for run in runs[SOUND]}
    heard = [_of_keys(sound_of_seed[run.seed], run) for run in runs[PAIR]]
    fused, sound, text = (mean_recall(some) for some in (runs[PAIR], heard, runs[PAIR_TEXT]))
    best = max(sound, text, key=lambda one: one.value)
    confidence = {
        view: float(np.mean([calibrated(run.logits, temperature).max(1).mean() for run in runs[view]]))
        for view in (PAIR, CLASH)
    }
    return Pairs(
        recall=fused.value,
        recall_sound_only=sound.value,
        recall_text_only=text.value,
        margin=percentile_interval(fused.value - best.value, fused.resampled - best.resampled),
        confidence_agreeing=confidence[PAIR],
        confidence_disagreeing=confidence[CLASH],
    )


def _macro_f1_of_posts(rows: Sequence[PredictionRow], emotions: Sequence[str]) -> float:
    """Mean over the networks, each of which read every post."""
    by_network: dict[tuple[int, str], list[PredictionRow]] = defaultdict(list)
    for row in rows:
        by_network[row.seed, row.fold].append(row)
    return float(
        np.mean(
            [
                macro_f1(
                    np.array([emotions.index(row.emotion) for row in some]),
                    np.array([row.logits for row in some]).argmax(1),
                )
                for some in by_network.values()
            ]
        )
    )


def _pooled(runs: Sequence[SeedRun]) -> tuple[Integers, Integers]:
    return np.concatenate([run.truth for run in runs]), np.concatenate([run.logits.argmax(1) for run in runs])
