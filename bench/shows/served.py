"""Files through the recogniser against the training evaluation: the same networks, the same clips, the same recall."""

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.figures import Figure, Report
from bench.workbench import Workbench
from model.bundle import Bundle
from model.recognizer import EmotionRecognizer
from training.corpora.manifest import Clip
from training.experiment import load_experiment
from training.export import write_bundle
from training.metrics import unweighted_average_recall
from training.protocols import Corpora, Fold
from training.views import ALONE
from training.workshop import Workshop

_TOLERANCE = 0.005


def measure(workbench: Workbench) -> Report:
    """Seal each fold's network into a bundle of its own, and recognise the files of the speaker who was left out."""
    experiment = load_experiment("default")
    workshop = workbench.workshop(experiment)
    corpora = workshop.corpora()
    shipped = Bundle.load(workbench.bundle)
    figures = []
    differences = []
    for fold in workshop.folds(corpora):
        trained = _trained_recall(workshop, corpora, fold)
        with tempfile.TemporaryDirectory() as folder:
            recognizer = write_bundle(
                Path(folder) / "bundle",
                network=workshop.servable(corpora, fold),
                facts=replace(shipped.facts, features=workshop.features, network=experiment.network_config.to_json()),
                lower_layers=workshop.lower_layers(),
                card=f"The network of fold {fold.name}: not to be used.\n",
                assets=workbench.assets,
                compute_types=(workshop.features.speech.compute_type,),
                threads=workshop.threads,
            )
            served = _served_recall(recognizer, [example.clip for example in fold.test], experiment.emotions)
        differences.append(abs(served - trained))
        figures += [
            Figure(name=f"{fold.name}: recall of the training evaluation", value=trained),
            Figure(name=f"{fold.name}: recall of the served path", value=served),
        ]
    return Report(
        title="CASIA files through EmotionRecognizer, against the training evaluation",
        figures=[
            *figures,
            Figure(name="largest difference of a fold", value=max(differences), floor=_TOLERANCE, better="lower"),
        ],
        settings={"experiment": experiment.name, "seed": experiment.seed, "network": "ONNX, one utterance a call"},
    )


def _trained_recall(workshop: Workshop, corpora: Corpora, fold: Fold) -> float:
    rows = [row for row in workshop.judged(corpora) if row.fold == fold.name and row.view == ALONE]
    emotions = workshop.experiment.emotions
    truth = np.array([emotions.index(row.emotion) for row in rows])
    return unweighted_average_recall(truth, np.array([row.logits for row in rows]).argmax(1))


def _served_recall(recognizer: EmotionRecognizer, clips: list[Clip], emotions: tuple[str, ...]) -> float:
    truth, found = [], []
    for clip in {clip.key: clip for clip in clips}.values():
        assert clip.audio is not None
        assert clip.emotion is not None
        emotion = recognizer.recognize(clip.audio).emotion
        truth.append(emotions.index(clip.emotion))
        # Whoever is not heard is not recognised.
        found.append(emotions.index(emotion) if emotion else -1)
    return unweighted_average_recall(np.array(truth), np.array(found))
