"""The bundle that ships, from the corpora, with one command: every network that its card speaks of."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final

from training.evaluation import Evaluation
from training.experiment import load_experiment
from training.protocols import Corpora
from training.side_by_side import train_side_by_side
from training.workshop import Workshop

SEEDS: Final = (0, 1, 2)
ELSEWHERE: Final[Mapping[str, Sequence[str]]] = {
    "zero_shot": ("protocol.kind=corpus",),
    "nemo": ("protocol.corpus=nemo", "text_corpora=[]", "conditions=[]"),
}
"""The same recipe judged otherwise: trained without CASIA, and on Polish speakers left out, who say nothing in Mandarin
and so learn from no Mandarin text."""


def evaluations(workshop: Workshop, *, name: str, overrides: Sequence[str], jobs: int) -> dict[str, Evaluation]:
    """Judge a recipe as it is and :data:`ELSEWHERE`; what is not trained yet is trained, and kept."""
    variants = {workshop.experiment.protocol.corpus: (), **ELSEWHERE}
    return {
        title: evaluation_of(
            replace(workshop, experiment=load_experiment(name, overrides=[*overrides, *changes])), jobs=jobs
        )
        for title, changes in variants.items()
    }


def evaluation_of(workshop: Workshop, *, jobs: int, corpora: Corpora | None = None) -> Evaluation:
    """Train what is missing of three seeds and every fold, and judge them."""
    found = corpora or workshop.corpora()
    folds = [fold.name for fold in workshop.folds(found)]
    workshop.say(f"{workshop.experiment.name}: folds {', '.join(folds)}; seeds {', '.join(map(str, SEEDS))}")
    train_side_by_side(workshop, found, seeds=SEEDS, folds=folds, jobs=jobs)
    return workshop.evaluation(found, seeds=SEEDS)
