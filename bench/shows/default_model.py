"""The shipped recipe on CASIA speakers left out: alone, in calls, on the phone, with words that fit or clash."""

from bench.figures import Figure, Report
from bench.workbench import Workbench
from model.processors import usable_processors
from training.evaluation import Calls, Evaluation, Pairs
from training.experiment import load_experiment
from training.metrics import Interval
from training.reproduction import evaluation_of


def measure(workbench: Workbench) -> Report:
    """Judge three seeds of every fold; what is not trained yet is trained, which takes an hour."""
    experiment = load_experiment("default")
    evaluation = evaluation_of(workbench.workshop(experiment), jobs=usable_processors())
    return Report(
        title=f"CASIA, one speaker left out, {len(evaluation.seeds)} seeds, unweighted average recall of six emotions",
        figures=[
            *(interval_figure(f"{name}, single clips", found) for name, found in evaluation.recall.items()),
            interval_figure("mean, single clips", evaluation.mean_recall, floor=0.62, goal=0.68),
            Figure(
                name="worst speaker, single clips",
                value=min(found.value for found in evaluation.recall.values()),
                floor=0.55,
            ),
            *call_figures(evaluation.calls, floor=0.66, goal=0.72),
            *_condition_figures(evaluation),
            *_calibration_figures(evaluation),
            *_pair_figures(evaluation.pairs),
            *_control_figures(evaluation),
        ],
        settings={"experiment": str(experiment)},
        remarks=("intervals resample sentences, for all seeds at once; three speakers give none by speaker",),
    )


def interval_figure(name: str, found: Interval, *, floor: float | None = None, goal: float | None = None) -> Figure:
    """Return a recall with its interval."""
    return Figure(name=name, value=found.value, interval=(found.low, found.high), floor=floor, goal=goal)


def call_figures(calls: Calls | None, *, floor: float, goal: float) -> list[Figure]:
    """Return the recalls within calls: by speaker, mean, and on calls that are mostly neutral."""
    if calls is None:
        return []
    figures = [interval_figure(f"{name}, as a call", found) for name, found in calls.recall.items()]
    figures.append(interval_figure("mean, as a call (20 random orders)", calls.mean_recall, floor=floor, goal=goal))
    if calls.neutral_mean_recall is not None and calls.neutral_mean_recall_alone is not None:
        adapted, alone = calls.neutral_mean_recall, calls.neutral_mean_recall_alone
        figures += [
            interval_figure("mean, calls 80 % neutral", adapted),
            interval_figure("mean, the same clips each by itself", alone),
            Figure(name="gain of adaptation on calls 80 % neutral", value=adapted.value - alone.value, floor=0.0),
        ]
    return figures


def _condition_figures(evaluation: Evaluation) -> list[Figure]:
    figures = [
        interval_figure(f"mean, {name.replace('_', ' ')}", found) for name, found in evaluation.conditions.items()
    ]
    lost = evaluation.mean_recall.value - evaluation.conditions["telephone"].value
    return [*figures, Figure(name="lost on the telephone (8 kHz mu-law)", value=lost, floor=0.04, better="lower")]


def _calibration_figures(evaluation: Evaluation) -> list[Figure]:
    found = evaluation.calibration
    if found is None:
        return []
    gained = found.abstention.accuracy_when_confident - found.abstention.accuracy
    return [
        Figure(name="calibration error before", value=found.error_before, better="lower"),
        Figure(
            name="calibration error, temperature of other folds", value=found.error_after, floor=0.06, better="lower"
        ),
        Figure(name="accuracy", value=found.abstention.accuracy),
        Figure(name="accuracy of the most confident 70 %, less that", value=gained, floor=0.08),
    ]


def _pair_figures(pairs: Pairs | None) -> list[Figure]:
    if pairs is None:
        return []
    louder = pairs.confidence_agreeing - pairs.confidence_disagreeing
    return [
        Figure(name="paired with a text of the same emotion: fused", value=pairs.recall),
        Figure(name="paired: sound alone", value=pairs.recall_sound_only),
        Figure(name="paired: text alone", value=pairs.recall_text_only),
        interval_figure("paired: fused less the better of the two", pairs.margin),
        Figure(name="paired: lower end of that interval", value=pairs.margin.low, floor=0.0),
        Figure(name="mean top probability, agreeing less disagreeing pairs", value=louder, floor=0.0),
    ]


def _control_figures(evaluation: Evaluation) -> list[Figure]:
    controls = {
        "transcripts only": evaluation.control_transcripts_only,
        "audio shuffled": evaluation.control_shuffled_audio,
    }
    return [Figure(name=f"control: {name}", value=value) for name, value in controls.items() if value is not None]
