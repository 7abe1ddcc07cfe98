"""What a recipe is worth on speakers it has not heard, and the controls that must be at chance."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from model.bundle import calibrated
from model.features import FeatureConfig
from model.network import VcemoNetwork
from training.dataset import label_of
from training.feature_cache import Example
from training.inference import predict_logits
from training.metrics import (
    Interval,
    bootstrap_interval,
    confusion,
    expected_calibration_error,
    fit_temperature,
    macro_f1,
    negative_log_likelihood,
)
from training.predictions import VIEWS, Prediction, predictions


@dataclass(frozen=True, kw_only=True, slots=True)
class FoldResult:
    """One fold's test part, named after who was left out. views: predictions by what the network was shown."""

    name: str
    views: Mapping[str, Sequence[Prediction]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Evaluation:
    """Every figure of the model card; recalls are unweighted averages over the emotions."""

    corpus: str
    emotions: Sequence[str]
    recall: Mapping[str, Interval]
    """By who was left out; sound and transcript together, as served."""
    mean_recall: float
    mean_recall_sound_only: float
    macro_f1: float
    control_transcripts_only: float | None
    """None where no clip of those left out has a transcript to be trusted."""
    control_shuffled_audio: float
    recall_by_emotion: Mapping[str, float]
    confusion: Sequence[Sequence[int]]
    temperature: float
    calibration_error_before: float
    calibration_error_after: float
    negative_log_likelihood_after: float
    text_macro_f1: float | None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``bundle.json``."""
        return asdict(self)


def fold_result(
    network: VcemoNetwork,
    examples: Sequence[Example],
    *,
    name: str,
    features: FeatureConfig,
    emotions: Sequence[str],
) -> FoldResult:
    """Predict the clips that were left out: both modalities, each alone, and with the audio shuffled."""
    predict = partial(predictions, network, features=features, emotions=emotions)
    views = {view: predict(examples, view=view) for view in VIEWS}
    return FoldResult(name=name, views=views | {"shuffled": predict(shuffled_audio(examples))})


def shuffled_audio(examples: Sequence[Example], *, seed: int = 0) -> list[Example]:
    """Give every example the sound of another; text and label stay."""
    order = np.random.default_rng(seed).permutation(len(examples))
    return [
        replace(
            example,
            features=replace(example.features, mel=examples[k].features.mel, states=examples[k].features.states),
        )
        for example, k in zip(examples, order, strict=True)
    ]


def evaluate(
    folds: Sequence[FoldResult], *, corpus: str, emotions: Sequence[str], text_macro_f1: float | None
) -> Evaluation:
    """Compute every figure; the temperature is fitted on those left out, and checked across folds."""
    everyone = [one for fold in folds for one in fold.views["both"]]
    truth, logits = _truth(everyone), _logits(everyone)
    predicted = logits.argmax(1)
    counts = confusion(truth, predicted, num_classes=len(emotions))
    temperature = fit_temperature(logits, truth)
    held_out = _cross_calibrated(folds)
    return Evaluation(
        corpus=corpus,
        emotions=emotions,
        recall={fold.name: _interval(fold.views["both"]) for fold in folds},
        mean_recall=_mean_recall(folds, "both"),
        mean_recall_sound_only=_mean_recall(folds, "sound"),
        macro_f1=macro_f1(truth, predicted),
        control_transcripts_only=_mean_recall(folds, "text") if any(fold.views["text"] for fold in folds) else None,
        control_shuffled_audio=_mean_recall(folds, "shuffled"),
        recall_by_emotion={name: float(counts[k, k] / max(1, counts[k].sum())) for k, name in enumerate(emotions)},
        confusion=counts.tolist(),
        temperature=temperature,
        calibration_error_before=expected_calibration_error(calibrated(logits, 1.0), truth),
        calibration_error_after=expected_calibration_error(held_out, truth),
        negative_log_likelihood_after=negative_log_likelihood(held_out, truth),
        text_macro_f1=text_macro_f1,
    )


def text_score(
    network: VcemoNetwork, texts: Sequence[Example], *, features: FeatureConfig, emotions: Sequence[str]
) -> float:
    """Macro F1 over texts that were not trained on."""
    truth = np.array([emotions.index(label_of(text)) for text in texts])
    return macro_f1(truth, predict_logits(network, [text.features for text in texts], config=features).argmax(1))


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print what the model card says."""
    chance = 1 / len(evaluation.emotions)
    table = Table(title=f"{evaluation.corpus}: unweighted average recall, sound and transcript")
    table.add_column("left out")
    table.add_column("recall [95 % interval]", justify="right")
    for speaker, interval in evaluation.recall.items():
        table.add_row(speaker, str(interval))
    table.add_section()
    table.add_row("mean", f"{evaluation.mean_recall:.3f}")
    table.add_row("mean, sound only", f"{evaluation.mean_recall_sound_only:.3f}")
    if evaluation.control_transcripts_only is not None:
        table.add_row(f"control: transcripts only (chance {chance:.3f})", f"{evaluation.control_transcripts_only:.3f}")
    table.add_row(f"control: audio shuffled (chance {chance:.3f})", f"{evaluation.control_shuffled_audio:.3f}")
    console.print(table)
    by_emotion = ", ".join(f"{name} {value:.2f}" for name, value in evaluation.recall_by_emotion.items())
    console.print(f"recall by emotion: {by_emotion}")
    console.print(
        f"calibration error {evaluation.calibration_error_before:.3f} before, "
        f"{evaluation.calibration_error_after:.3f} after a temperature fitted on the other folds "
        f"(shipped: {evaluation.temperature:.2f})"
    )
    if evaluation.text_macro_f1 is not None:
        console.print(f"text alone, microblogs of the development part: macro F1 {evaluation.text_macro_f1:.3f}")


def _cross_calibrated(folds: Sequence[FoldResult]) -> npt.NDArray[np.float32]:
    """Probabilities of each fold under the temperature fitted on the other folds."""
    rows = []
    for fold in folds:
        others = [one for other in folds if other is not fold for one in other.views["both"]] or fold.views["both"]
        rows.append(calibrated(_logits(fold.views["both"]), fit_temperature(_logits(others), _truth(others))))
    return np.concatenate(rows)


def _mean_recall(folds: Sequence[FoldResult], view: str) -> float:
    return float(np.mean([_interval(fold.views[view], rounds=1).value for fold in folds if fold.views[view]]))


def _interval(some: Sequence[Prediction], *, rounds: int = 2000) -> Interval:
    # A sentence is read in every emotion: its clips are drawn together.
    groups = [one.sentence or one.key for one in some]
    return bootstrap_interval(_truth(some), _logits(some).argmax(1), groups=groups, rounds=rounds)


def _truth(some: Sequence[Prediction]) -> npt.NDArray[np.int64]:
    return np.array([one.emotion for one in some], dtype=np.int64)


def _logits(some: Sequence[Prediction]) -> npt.NDArray[np.float64]:
    return np.array([one.logits for one in some], dtype=np.float64)
