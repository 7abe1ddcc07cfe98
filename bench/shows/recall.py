"""Recall on speakers left out, and the controls at chance."""

from bench.figures import Figure, Report
from bench.workbench import Workbench
from model.labels import EMOTIONS
from training.experiment import load_experiment
from training.metrics import Interval

_CHANCE = 1 / len(EMOTIONS)
_CHANCE_MARGIN = 0.03


def measure(workbench: Workbench) -> Report:
    """Evaluate the default experiment; networks that were trained before are recalled from the cache."""
    experiment = load_experiment("default")
    workshop = workbench.workshop(experiment)
    evaluation = workshop.evaluation(workshop.corpora())
    folds = [_with_interval(f"recall without {speaker}", found) for speaker, found in evaluation.recall.items()]
    calibration = evaluation.calibration
    controls = [
        Figure(
            name=f"control {name}: distance from chance",
            value=abs(value - _CHANCE),
            floor=_CHANCE_MARGIN,
            better="lower",
        )
        for name, value in (
            ("transcripts only", evaluation.control_transcripts_only),
            ("audio shuffled", evaluation.control_shuffled_audio),
        )
        if value is not None
    ]
    return Report(
        title="CASIA, leave one speaker out, unweighted average recall of six emotions",
        figures=[
            *folds,
            _with_interval("mean recall", evaluation.mean_recall, floor=0.50),
            Figure(name="mean recall, sound only", value=evaluation.mean_recall_sound_only),
            *controls,
            *(
                [Figure(name="calibration error across speakers", value=calibration.error_after, better="lower")]
                if calibration is not None
                else []
            ),
        ],
        settings={"experiment": str(experiment)},
        remarks=("intervals resample sentences within a speaker; three speakers say little about a fourth",),
    )


def _with_interval(name: str, found: Interval, *, floor: float | None = None) -> Figure:
    return Figure(name=name, value=found.value, interval=(found.low, found.high), floor=floor)
