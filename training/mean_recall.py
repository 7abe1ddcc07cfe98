"""Unweighted average recall as it is reported: the mean over those left out, over seeds, with one interval."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from training.metrics import Floats, Interval, mean_of_known, percentile_interval, recalls_of_counts
from training.metrics import unweighted_average_recall as recall_of
from training.seed_runs import SeedRun, joint_resamples


@dataclass(frozen=True, kw_only=True, slots=True)
class MeanRecall:
    """A mean recall, and the same of every resample (rounds,); those of the same sentences are paired."""

    value: float
    resampled: Floats

    @property
    def interval(self) -> Interval:
        """The value with its 95 % interval, which does not cover other speakers."""
        return percentile_interval(self.value, self.resampled)


def mean_recall(runs: Sequence[SeedRun], *, rounds: int = 2000) -> MeanRecall:
    """Average the recalls of every fold of every run; sentences are resampled, for all of them at once."""
    resamples = joint_resamples(runs, rounds=rounds)
    values: list[float] = []
    total = np.zeros(rounds)
    for run in runs:
        predicted = run.logits.argmax(1)
        for fold in np.unique(run.folds):
            mine = run.folds == fold
            values.append(recall_of(run.truth[mine], predicted[mine]))
            counts = resamples.confusions(
                run.groups[mine].tolist(), run.truth[mine], predicted[mine], num_classes=run.logits.shape[1]
            )
            total += mean_of_known(recalls_of_counts(counts))
    return MeanRecall(value=float(np.mean(values)), resampled=total / len(values))


def recall_by_fold(runs: Sequence[SeedRun]) -> Mapping[str, Interval]:
    """Return the mean over runs for each fold by itself."""
    names = np.unique(np.concatenate([run.folds for run in runs])).tolist()
    return {name: mean_recall([run.part(run.folds == name) for run in runs]).interval for name in names}
