"""The paper's claims on CASIA, preset `paper`: does contrast help, does augmentation; and two controls at chance."""

from collections.abc import Sequence

from bench.figures import Figure, Report
from bench.workbench import Workbench
from model.processors import usable_processors
from training.comparison import Comparison, compare
from training.experiment import Experiment, load_experiment
from training.prediction_rows import PredictionRow
from training.scores import score
from training.side_by_side import train_side_by_side

_SEEDS = (0, 1, 2)
_CHANCE_MARGIN = 0.03
_VARIANTS: dict[str, list[str]] = {
    "SupCon": [],
    "cross entropy alone": ["contrast.alpha=0"],
    # Four times the clips an epoch: a quarter of the epochs are as many updates.
    "augmentation": ["augmentation=['noise', 'pitch', 'stretch']", "epochs=10"],
    "labels shuffled": ["shuffle_labels=true"],
}


def measure(workbench: Workbench) -> Report:
    """Train every variant with three seeds (the control with one); what was trained before is recalled."""
    experiments = {name: load_experiment("paper_casia", overrides=changes) for name, changes in _VARIANTS.items()}
    rows = {
        name: _rows(workbench, experiment, seeds=_SEEDS[:1] if experiment.shuffle_labels else _SEEDS)
        for name, experiment in experiments.items()
    }
    both = {name: _view(some, "both") for name, some in rows.items()}
    chance = 1 / len(experiments["SupCon"].emotions)
    text_only = score(_view(rows["SupCon"], "text")).mean_over_folds["unweighted_average_recall"]
    shuffled = score(both["labels shuffled"]).mean_over_folds["unweighted_average_recall"]
    return Report(
        title="VCEMO's recipe on CASIA, one speaker left out, three seeds, unweighted average recall",
        figures=[
            *(_recall(name, some) for name, some in both.items()),
            _difference("SupCon less cross entropy alone", compare(both["SupCon"], both["cross entropy alone"])),
            _difference("augmentation less none", compare(both["augmentation"], both["SupCon"])),
            _control("transcripts only", text_only, chance),
            _control("labels shuffled", shuffled, chance),
        ],
        settings={name: ", ".join(changes) or "experiments/paper_casia.toml" for name, changes in _VARIANTS.items()},
        remarks=("intervals resample sentences, jointly for all seeds; they do not cover other speakers",),
    )


def _rows(workbench: Workbench, experiment: Experiment, *, seeds: Sequence[int]) -> list[PredictionRow]:
    workshop = workbench.workshop(experiment)
    corpora = workshop.corpora()
    folds = [fold.name for fold in workshop.folds(corpora)]
    train_side_by_side(workshop, corpora, seeds=seeds, folds=folds, jobs=usable_processors())
    return [row for of_seed in map(workshop.with_seed, seeds) for row in of_seed.judged(corpora)]


def _view(rows: Sequence[PredictionRow], view: str) -> list[PredictionRow]:
    return [row for row in rows if row.view == view]


def _recall(name: str, rows: Sequence[PredictionRow]) -> Figure:
    found = score(rows).figures["unweighted_average_recall"]
    return Figure(name=f"recall, {name}", value=found.value, interval=(found.low, found.high))


def _difference(name: str, comparison: Comparison) -> Figure:
    found = comparison.differences["unweighted_average_recall"]
    return Figure(name=name, value=found.value, interval=(found.low, found.high))


def _control(name: str, recall: float, chance: float) -> Figure:
    return Figure(
        name=f"control {name}: distance from chance", value=abs(recall - chance), floor=_CHANCE_MARGIN, better="lower"
    )
