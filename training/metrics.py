"""Figures of merit of a classifier, and what is known of them from resampling groups of clips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.optimize import minimize_scalar
from sklearn.metrics import accuracy_score, brier_score_loss, confusion_matrix, f1_score, recall_score
from torchmetrics.functional.classification import multiclass_calibration_error

from model.bundle import calibrated

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]

FIGURES: Final[Mapping[str, str]] = {
    "unweighted_average_recall": "unweighted average recall (UA)",
    "macro_f1": "macro F1",
    "accuracy": "accuracy (WA)",
    "weighted_f1": "weighted F1",
    "calibration_error": "calibration error (ECE)",
    "brier_score": "Brier score",
    "negative_log_likelihood": "negative log likelihood",
}
"""Every figure, and what people call it. Macro F1 is ours; weighted F1 is most likely what VCEMO §4 prints as F1."""

CALIBRATION_FIGURES: Final = ("calibration_error", "brier_score", "negative_log_likelihood")
"""Those that a temperature changes; less is better."""

CALIBRATION_BINS: Final = 15
_LEAST_PROBABILITY: Final = 1e-12


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return as ``.604 [.571, .636]``."""
        return f"{short(self.value)} [{short(self.low)}, {short(self.high)}]"


def accuracy(truth: Integers, predicted: Integers) -> float:
    """Share of clips that are right (WA: recall weighted by how often a class occurs)."""
    return float(accuracy_score(truth, predicted))


def unweighted_average_recall(truth: Integers, predicted: Integers) -> float:
    """Mean recall of the classes that occur in ``truth`` (UA, UAR)."""
    return float(recall_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0))


def macro_f1(truth: Integers, predicted: Integers) -> float:
    """Mean F1 of the classes that occur in ``truth``."""
    return float(f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0))


def weighted_f1(truth: Integers, predicted: Integers) -> float:
    """Mean F1 of the classes, weighted by how often each occurs in ``truth``."""
    return float(f1_score(truth, predicted, labels=np.unique(truth), average="weighted", zero_division=0))


def recall_by_class(truth: Integers, predicted: Integers, *, num_classes: int) -> Floats:
    """Recall of each class; NaN for one that does not occur in ``truth``."""
    recalls: Floats = recall_score(truth, predicted, labels=range(num_classes), average=None, zero_division=np.nan)
    return recalls


def confusion(truth: Integers, predicted: Integers, *, num_classes: int) -> Integers:
    """Count (true class, predicted class)."""
    counts: Integers = confusion_matrix(truth, predicted, labels=range(num_classes))
    return counts


def negative_log_likelihood(probabilities: Floats, truth: Integers) -> float:
    """Mean of -log p(true class)."""
    return float(_surprise(probabilities, truth).mean())


def brier_score(probabilities: Floats, truth: Integers) -> float:
    """Mean squared distance from the true class, summed over the classes (Brier 1950): 0 to 2."""
    labels = range(probabilities.shape[1])
    return float(brier_score_loss(truth, probabilities, labels=labels, scale_by_half=False))


def expected_calibration_error(probabilities: Floats, truth: Integers, *, bins: int = CALIBRATION_BINS) -> float:
    """Gap between confidence and accuracy, averaged over equal-width bins by their share of clips."""
    shown = torch.from_numpy(_below_one(probabilities))
    target = torch.from_numpy(np.asarray(truth, dtype=np.int64))
    return float(multiclass_calibration_error(shown, target, num_classes=probabilities.shape[1], n_bins=bins))


def fit_temperature(logits: Floats, truth: Integers) -> float:
    """Return the temperature that minimises the negative log likelihood of ``truth`` (Guo et al. 2017).

    logits: (clips, classes) of speakers that were not trained on.
    """

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(calibrated(logits, float(np.exp(log_temperature))), truth)

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 3.0), method="bounded").x))


def figures(truth: Integers, logits: Floats) -> dict[str, float]:
    """Return every one of :data:`FIGURES`. logits: (clips, classes), divided by a temperature if there is one."""
    predicted, probabilities = logits.argmax(1), calibrated(logits, 1.0)
    return {
        "unweighted_average_recall": unweighted_average_recall(truth, predicted),
        "macro_f1": macro_f1(truth, predicted),
        "accuracy": accuracy(truth, predicted),
        "weighted_f1": weighted_f1(truth, predicted),
        "calibration_error": expected_calibration_error(probabilities, truth),
        "brier_score": brier_score(probabilities, truth),
        "negative_log_likelihood": negative_log_likelihood(probabilities, truth),
    }


@dataclass(frozen=True, kw_only=True, slots=True)
class Resamples:
    """Bootstrap resamples of groups of clips that are not independent: sentences, dialogues, speakers.

    With three speakers a bootstrap by speaker says little: it has ten different draws, and its interval is far
    too short on average. Then resample sentences, and say that the interval does not cover other speakers.
    """

    names: npt.NDArray[np.str_]
    draws: Floats
    """How often each round draws each group: (rounds, groups)."""

    @classmethod
    def of(cls, groups: Sequence[str], *, rounds: int = 2000, seed: int = 0) -> "Resamples":
        """Draw as many groups as there are, ``rounds`` times. groups: one name a clip."""
        names = np.unique(np.asarray(groups))
        generator, count = np.random.default_rng(seed), len(names)
        draws = [np.bincount(generator.integers(0, count, count), minlength=count) for _ in range(rounds)]
        return cls(names=names, draws=np.array(draws, dtype=np.float64))

    def totals(self, groups: Sequence[str], columns: Floats) -> Floats:
        """Sum ``columns`` (clips, ...) over the clips of each resample: (rounds, ...)."""
        sums = np.zeros((len(self.names), *columns.shape[1:]))
        np.add.at(sums, np.searchsorted(self.names, np.asarray(groups)), columns)
        return np.tensordot(self.draws, sums, axes=1)

    def confusions(self, groups: Sequence[str], truth: Integers, predicted: Integers, *, num_classes: int) -> Floats:
        """Count (true class, predicted class) in each resample: (rounds, classes, classes)."""
        cells = np.eye(num_classes * num_classes)[truth * num_classes + predicted]
        return self.totals(groups, cells).reshape(-1, num_classes, num_classes)


def resampled_figures(
    truth: Integers, logits: Floats, *, groups: Sequence[str], resamples: Resamples
) -> dict[str, Floats]:
    """Return every one of :data:`FIGURES` in each resample, (rounds,); all follow from sums over groups.

    Resampling adds noise to the bins, so the calibration error's interval lies high: it may not hold its value.
    """
    counts = resamples.confusions(groups, truth, logits.argmax(1), num_classes=logits.shape[1])
    probabilities = calibrated(logits, 1.0)
    missed = ((probabilities - np.eye(logits.shape[1])[truth]) ** 2).sum(1)
    sums = resamples.totals(groups, np.stack([missed, _surprise(probabilities, truth), np.ones(len(truth))], axis=1))
    f1, support = f1_of_counts(counts), counts.sum(2)
    return {
        "unweighted_average_recall": mean_of_known(recalls_of_counts(counts)),
        "macro_f1": mean_of_known(f1),
        "accuracy": _share(np.trace(counts, axis1=1, axis2=2), support.sum(1)),
        "weighted_f1": _share((np.nan_to_num(f1) * support).sum(1), support.sum(1)),
        "calibration_error": _resampled_calibration_error(probabilities, truth, groups=groups, resamples=resamples),
        "brier_score": _share(sums[:, 0], sums[:, 2]),
        "negative_log_likelihood": _share(sums[:, 1], sums[:, 2]),
    }


def recalls_of_counts(counts: Floats) -> Floats:
    """Recall of each class from confusion counts (..., classes, classes); NaN where a class does not occur."""
    right, support = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1)
    return _share(right, support)


def f1_of_counts(counts: Floats) -> Floats:
    """F1 of each class from confusion counts (..., classes, classes); NaN where a class does not occur."""
    right, support = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(-1)
    # Where the class does not occur the numerator is undefined, and so is its F1.
    return _share(np.where(support > 0, 2 * right, np.nan), support + counts.sum(-2))


def mean_of_known(values: Floats) -> Floats:
    """Mean over the last axis of what is not NaN; NaN where nothing is."""
    return _share(np.nansum(values, axis=-1), np.isfinite(values).sum(-1).astype(np.float64))


def percentile_interval(value: float, resampled: Floats) -> Interval:
    """95 % of the resampled values lie in the interval; rounds in which the figure is undefined are left out."""
    low, high = np.nanquantile(resampled, [0.025, 0.975])
    return Interval(value=value, low=float(low), high=float(high))


def bootstrap_interval(
    truth: Integers, predicted: Integers, *, groups: Sequence[str], rounds: int = 2000, seed: int = 0
) -> Interval:
    """95 % interval of the unweighted average recall, resampling whole groups.

    groups: one name a clip; clips of one group (a speaker's sentence in every emotion, say) are not
    independent and are drawn together.
    """
    num_classes = int(max(truth.max(), predicted.max())) + 1
    resamples = Resamples.of(groups, rounds=rounds, seed=seed)
    counts = resamples.confusions(groups, truth, predicted, num_classes=num_classes)
    value = unweighted_average_recall(truth, predicted)
    return percentile_interval(value, mean_of_known(recalls_of_counts(counts)))


def bootstrap_intervals(
    truth: Integers, logits: Floats, *, groups: Sequence[str], rounds: int = 2000, seed: int = 0
) -> dict[str, Interval]:
    """95 % interval of every one of :data:`FIGURES`, resampling whole groups (see :class:`Resamples`)."""
    resamples = Resamples.of(groups, rounds=rounds, seed=seed)
    resampled = resampled_figures(truth, logits, groups=groups, resamples=resamples)
    return {name: percentile_interval(value, resampled[name]) for name, value in figures(truth, logits).items()}


def calibration_bins(
    probabilities: Floats, truth: Integers, *, bins: int = CALIBRATION_BINS
) -> tuple[Integers, Floats]:
    """Return the bin of each clip's confidence, and (confidence, right, one) of each clip: (clips, 3)."""
    confidence = _below_one(probabilities).max(1)
    # torchmetrics keeps the edges in float32.
    bin_of_clip = np.digitize(confidence, np.linspace(0, 1, bins + 1, dtype=np.float32)) - 1
    right = probabilities.argmax(1) == truth
    return bin_of_clip, np.stack([confidence, right, np.ones(len(truth))], axis=1)


def short(value: float) -> str:
    """Return as ``.604``."""
    text = f"{value:.3f}"
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def _resampled_calibration_error(
    probabilities: Floats, truth: Integers, *, groups: Sequence[str], resamples: Resamples
) -> Floats:
    bin_of_clip, columns = calibration_bins(probabilities, truth)
    sums = resamples.totals(groups, np.eye(CALIBRATION_BINS)[bin_of_clip][:, :, None] * columns[:, None, :])
    return _share(np.abs(sums[..., 0] - sums[..., 1]).sum(1), sums[..., 2].sum(1))


def _share(part: Floats, whole: Floats) -> Floats:
    share: Floats = np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
    return share


def _surprise(probabilities: Floats, truth: Integers) -> Floats:
    chosen = probabilities[np.arange(len(truth)), truth]
    surprise: Floats = -np.log(np.maximum(chosen, _LEAST_PROBABILITY))
    return surprise


def _below_one(probabilities: Floats) -> npt.NDArray[np.float32]:
    # torchmetrics puts a confidence of exactly 1 into a bin of its own.
    below: npt.NDArray[np.float32] = np.minimum(
        np.asarray(probabilities, dtype=np.float32), np.nextafter(np.float32(1), np.float32(0))
    )
    return below
