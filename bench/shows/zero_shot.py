"""The shipped recipe trained without CASIA, judged on all of it."""

from bench.figures import Report
from bench.shows.default_model import interval_figure
from bench.workbench import Workbench
from model.processors import usable_processors
from training.experiment import load_experiment
from training.reproduction import ELSEWHERE, evaluation_of


def measure(workbench: Workbench) -> Report:
    """Judge three seeds; what is not trained yet is trained."""
    changes = ELSEWHERE["zero_shot"]
    experiment = load_experiment("default", overrides=changes)
    evaluation = evaluation_of(workbench.workshop(experiment), jobs=usable_processors())
    calls = evaluation.calls
    return Report(
        title="CASIA, none of it in training, unweighted average recall",
        figures=[
            interval_figure("mean of three seeds, single clips", evaluation.mean_recall, floor=0.46, goal=0.55),
            *([interval_figure("the same, as calls", calls.mean_recall)] if calls else []),
            *(interval_figure(f"the same, {name}", found) for name, found in evaluation.conditions.items()),
        ],
        settings={"changes": " ".join(changes), "experiment": str(experiment)},
        remarks=("intervals resample sentences, for all seeds at once",),
    )
