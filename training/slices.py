"""A new network beside the one that is served, on the same clips: better as a whole, and worse nowhere?"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from training.comparison import Difference, compare
from training.metrics import short
from training.prediction_rows import PredictionRow

Verdict = Literal["better", "same", "worse"]

LEAST_CLIPS: Final = 20
"""Of a slice with fewer, only what resampling does not turn round is held against a network."""
_RECALL: Final = "unweighted_average_recall"


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """Some of the clips: all of a test set, those of one emotion, or of one speaker."""

    name: str
    clips: int
    recall: Difference
    """New less served, paired: every resample draws the same sentences for both."""
    verdict: Verdict


@dataclass(frozen=True, kw_only=True, slots=True)
class Decision:
    """Whether the new network may take the place of the one that is served."""

    overall: Slice
    slices: Sequence[Slice]
    least_gain: float

    @property
    def worse(self) -> list[Slice]:
        """The slices that would lose."""
        return [one for one in self.slices if one.verdict == "worse"]

    @property
    def is_better(self) -> bool:
        """Better by more than the least gain, interval included."""
        return self.overall.recall.low > self.least_gain

    @property
    def promotes(self) -> bool:
        """Better with its interval, and no slice got worse."""
        return self.is_better and not self.worse

    @property
    def reason(self) -> str:
        """Say why, in a sentence."""
        found = self.overall.recall
        gain = f"unweighted average recall {short(found.second)} -> {short(found.first)}, difference {found}"
        if not self.is_better:
            return f"not better: {gain}, whose lower end is not above {short(self.least_gain)}"
        if self.worse:
            names = ", ".join(f"{one.name} ({one.recall})" for one in self.worse)
            return f"better as a whole ({gain}), but worse on {names}"
        return f"better, and worse nowhere: {gain}"

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self) | {"promotes": self.promotes, "reason": self.reason}


def decide(
    new: Sequence[PredictionRow],
    served: Sequence[PredictionRow],
    *,
    labels: Sequence[str],
    least_gain: float = 0.0,
    most_loss: float = 0.1,
) -> Decision:
    """Compare the predictions of the same clips, by a paired bootstrap.

    A slice is worse where the interval of its difference lies below zero; of :data:`LEAST_CLIPS` clips or more also
    where it loses more than ``most_loss``, whatever the interval says.
    """
    slices = [_slice(name, part, served, labels, most_loss) for name, part in _parts(new)]
    return Decision(overall=_slice("all", new, served, labels, most_loss), slices=slices, least_gain=least_gain)


def print_decision(decision: Decision, console: Console) -> None:
    """Print every slice, then the decision."""
    table = Table(title="unweighted average recall on the fixed test sets, new against served")
    for number, heading in enumerate(("slice", "clips", "served", "new", "difference [95 % interval]", "verdict")):
        table.add_column(heading, justify="right" if 0 < number < 5 else "left")
    for one in (decision.overall, *decision.slices):
        found = one.recall
        table.add_row(
            one.name,
            str(one.clips),
            short(found.second),
            short(found.first),
            str(found).replace("[", r"\["),
            one.verdict,
        )
    console.print(table)
    console.print(decision.reason, highlight=False, markup=False, soft_wrap=True)


def _parts(rows: Sequence[PredictionRow]) -> Iterator[tuple[str, list[PredictionRow]]]:
    for test in sorted({row.fold for row in rows}):
        mine = [row for row in rows if row.fold == test]
        yield test, mine
        for emotion in sorted({row.emotion for row in mine}):
            yield f"{test}, {emotion}", [row for row in mine if row.emotion == emotion]
        speakers = sorted({row.speaker for row in mine if row.speaker})
        if len(speakers) > 1:
            for speaker in speakers:
                yield f"{test}, speaker {speaker}", [row for row in mine if row.speaker == speaker]


def _slice(
    name: str,
    new: Sequence[PredictionRow],
    served: Sequence[PredictionRow],
    labels: Sequence[str],
    most_loss: float,
) -> Slice:
    keys = {row.key for row in new}
    found = compare(new, [row for row in served if row.key in keys], names=("new", "served"), labels=labels)
    recall = found.differences[_RECALL]
    return Slice(name=name, clips=found.clips, recall=recall, verdict=_verdict(recall, found.clips, most_loss))


def _verdict(recall: Difference, clips: int, most_loss: float) -> Verdict:
    if recall.high < 0 or (clips >= LEAST_CLIPS and recall.value < -most_loss):
        return "worse"
    return "better" if recall.low > 0 and np.isfinite(recall.low) else "same"
