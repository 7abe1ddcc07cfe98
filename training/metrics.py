"""Figures of merit: recall, calibration, intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from sklearn.metrics import confusion_matrix, f1_score, recall_score

from model.bundle import calibrated

Floats = npt.NDArray[np.floating[Any]]
Integers = npt.NDArray[np.integer[Any]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A figure with its 95 % interval."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        """Return as ``.604 [.571, .636]``."""
        return f"{_short(self.value)} [{_short(self.low)}, {_short(self.high)}]"


def unweighted_average_recall(truth: Integers, predicted: Integers) -> float:
    """Mean recall of the classes that occur in ``truth`` (UA, UAR)."""
    return float(recall_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0))


def macro_f1(truth: Integers, predicted: Integers) -> float:
    """Mean F1 of the classes that occur in ``truth``."""
    return float(f1_score(truth, predicted, labels=np.unique(truth), average="macro", zero_division=0))


def confusion(truth: Integers, predicted: Integers, *, num_classes: int) -> Integers:
    """Count (true class, predicted class)."""
    counts: Integers = confusion_matrix(truth, predicted, labels=range(num_classes))
    return counts


def bootstrap_interval(
    truth: Integers, predicted: Integers, *, groups: Sequence[str], rounds: int = 2000, seed: int = 0
) -> Interval:
    """95 % interval of the unweighted average recall, resampling whole groups.

    groups: one name a clip; clips of one group (a speaker's sentence in every emotion, say) are not
    independent and are drawn together.
    """
    names, group_of_clip = np.unique(np.asarray(groups), return_inverse=True)
    members = [np.flatnonzero(group_of_clip == index) for index in range(len(names))]
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(rounds):
        drawn = np.concatenate([members[index] for index in generator.integers(0, len(names), len(names))])
        values.append(_recall(truth[drawn], predicted[drawn]))
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(value=unweighted_average_recall(truth, predicted), low=float(low), high=float(high))


def fit_temperature(logits: Floats, truth: Integers) -> float:
    """Return the temperature that minimises the negative log likelihood of ``truth``.

    logits: (clips, classes) of speakers that were not trained on.
    """

    def loss(log_temperature: float) -> float:
        return negative_log_likelihood(calibrated(logits, float(np.exp(log_temperature))), truth)

    return float(np.exp(minimize_scalar(loss, bounds=(-2.0, 3.0), method="bounded").x))


def negative_log_likelihood(probabilities: Floats, truth: Integers) -> float:
    """Mean of -log p(true class)."""
    chosen = probabilities[np.arange(len(truth)), truth]
    return float(-np.log(np.maximum(chosen, 1e-12)).mean())


def expected_calibration_error(probabilities: Floats, truth: Integers, *, bins: int = 15) -> float:
    """Gap between confidence and accuracy, averaged over equal-width bins by their share of clips."""
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == truth
    bin_of_clip = np.minimum((confidence * bins).astype(int), bins - 1)
    gaps = [
        abs(confidence[inside].mean() - correct[inside].mean()) * inside.mean()
        for inside in (bin_of_clip == index for index in range(bins))
        if inside.any()
    ]
    return float(sum(gaps))


def _recall(truth: Integers, predicted: Integers) -> float:
    correct = truth == predicted
    return float(np.mean([correct[truth == label].mean() for label in np.unique(truth)]))


def _short(value: float) -> str:
    return f"{value:.3f}".replace("0.", ".", 1)
