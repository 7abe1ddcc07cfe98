"""An evaluation as it is printed."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table

from training.abstention import COVERAGE
from training.evaluation import Evaluation
from training.metrics import Interval, short
from training.views import NEUTRAL_SHARE, ORDERS


def print_evaluation(evaluation: Evaluation, console: Console) -> None:
    """Print every figure but the confusion matrix, in at most 120 columns."""
    seeds = f"{len(evaluation.seeds)} seed{'s' if len(evaluation.seeds) > 1 else ''}"
    table = Table(title=f"{evaluation.corpus}: unweighted average recall, {evaluation.clips} clips, {seeds}")
    table.add_column("left out")
    table.add_column("recall [95 % interval]", justify="right")
    for heading, recall in recall_lines(evaluation):
        table.add_row(heading, recall)
    console.print(table)
    for line in [recall_by_emotion(evaluation), *prose_lines(evaluation)]:
        console.print(line, highlight=False, markup=False)


def recall_lines(evaluation: Evaluation) -> Iterator[tuple[str, str]]:
    """Yield what each recall is of, and the recall, with its interval where there is one."""
    for heading, recall in _recalls(evaluation):
        yield heading, str(recall) if isinstance(recall, Interval) else short(recall)


def recall_by_emotion(evaluation: Evaluation) -> str:
    """Return the recalls by emotion as a sentence."""
    recalls = (f"{name} {short(value)}" for name, value in evaluation.recall_by_emotion.items())
    return f"recall by emotion: {', '.join(recalls)}"


def prose_lines(evaluation: Evaluation) -> Iterator[str]:
    """Yield what is no recall by speaker, a sentence each."""
    if (found := evaluation.calibration) is not None:
        confident = found.abstention
        yield (
            f"calibration error {short(found.error_before)} before, {short(found.error_after)} after a temperature "
            f"fitted on the other folds (shipped: {found.temperature:.2f})"
        )
        yield (
            f"accuracy {short(confident.accuracy)}, of the most confident {COVERAGE:.0%} "
            f"{short(confident.accuracy_when_confident)} (confidence {confident.threshold:.2f} or more)"
        )
    if (pairs := evaluation.pairs) is not None:
        yield (
            f"sound paired with a text of its emotion: fused {short(pairs.recall)}, sound alone "
            f"{short(pairs.recall_sound_only)}, text alone {short(pairs.recall_text_only)}, margin {pairs.margin}"
        )
        yield (
            f"mean top probability where they agree {short(pairs.confidence_agreeing)}, where they disagree "
            f"{short(pairs.confidence_disagreeing)}"
        )
    for name, value in evaluation.text_macro_f1.items():
        yield f"text alone, {name}: macro F1 {short(value)}"


def _recalls(evaluation: Evaluation) -> Iterator[tuple[str, Interval | float]]:
    chance = short(1 / len(evaluation.emotions))
    for name, interval in evaluation.recall.items():
        yield f"{name}, single clips", interval
    yield "mean, single clips", evaluation.mean_recall
    yield "mean, single clips, sound only", evaluation.mean_recall_sound_only
    if evaluation.calls is not None:
        calls, neutral = evaluation.calls, f"calls {NEUTRAL_SHARE:.0%} neutral"
        for name, interval in calls.recall.items():
            yield f"{name}, as a call ({ORDERS} random orders)", interval
        yield "mean, as a call", calls.mean_recall
        if calls.neutral_mean_recall is not None and calls.neutral_mean_recall_alone is not None:
            yield f"mean, {neutral}", calls.neutral_mean_recall
            yield f"mean, {neutral}, each clip by itself", calls.neutral_mean_recall_alone
    for name, interval in evaluation.conditions.items():
        yield f"mean, single clips, {name.replace('_', ' ')}", interval
    if evaluation.control_transcripts_only is not None:
        yield f"control: transcripts only (chance {chance})", evaluation.control_transcripts_only
    yield f"control: audio shuffled (chance {chance})", evaluation.control_shuffled_audio
