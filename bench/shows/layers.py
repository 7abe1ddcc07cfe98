"""Which layer of Whisper's encoder hears emotion best: a linear probe on each, on speakers left out."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from bench.figures import Figure, Report
from bench.workbench import Workbench
from model.audio import decode_audio
from model.errors import AudioError
from model.labels import EMOTIONS
from model.lower_layers import LowerLayers, LowerLayersConfig
from model.processors import usable_processors
from model.segment import find_utterances
from training.corpora.manifest import Clip
from training.experiment import load_experiment
from training.metrics import unweighted_average_recall

_CORPORA = ("ravdess", "emodb")
"""Neither is judged by: what is chosen here is chosen on other speakers than CASIA's."""
_LAYERS = (1, 2, 3, 4, 5, 6)
_FOLDS = 6

Rows = npt.NDArray[np.float32]


def measure(workbench: Workbench) -> Report:
    """Pool each layer over time, and fit a logistic regression on all speakers but some."""
    config = LowerLayersConfig(layers=_LAYERS)
    experiment = load_experiment("default", overrides=[f"features.lower_layers.layers={list(_LAYERS)}"])
    path = workbench.workshop(experiment).lower_layers()
    assert path is not None
    ears = LowerLayers(path, config=config)
    figures = []
    for corpus in _CORPORA:
        clips, pooled = _pooled(ears, [clip for clip in workbench.clips(corpus) if clip.emotion in EMOTIONS])
        for index, layer in enumerate(_LAYERS):
            recall = _recall(pooled[:, index], clips)
            figures.append(Figure(name=f"{corpus}, layer {layer} of {len(_LAYERS)}", value=recall))
    return Report(
        title="Unweighted average recall of a linear probe on one layer of Whisper base, speakers left out",
        figures=figures,
        settings={"probe": "logistic regression on mean and deviation over time, C .003", "folds": str(_FOLDS)},
        remarks=("layers are read at the utterance's own length, without a tail",),
    )


def _pooled(ears: LowerLayers, clips: Sequence[Clip]) -> tuple[list[Clip], Rows]:
    """Mean and deviation over time of each layer, (clips, layers, 2 d), of the clips in which speech is found."""
    with ThreadPoolExecutor(usable_processors()) as pool:
        found = list(pool.map(lambda clip: _pooled_one(ears, clip), clips))
    heard = [(clip, rows) for clip, rows in zip(clips, found, strict=True) if rows is not None]
    return [clip for clip, _ in heard], np.stack([rows for _, rows in heard])


def _pooled_one(ears: LowerLayers, clip: Clip) -> Rows | None:
    assert clip.audio is not None
    try:
        utterances = find_utterances(decode_audio(clip.audio))
    except AudioError:
        return None
    if not utterances:
        return None
    states = np.concatenate([ears.encode(utterance.samples) for utterance in utterances])
    layers = states.reshape(len(states), len(_LAYERS), -1)
    return np.concatenate([layers.mean(0), layers.std(0)], axis=-1)


def _recall(rows: Rows, clips: Sequence[Clip]) -> float:
    truth = np.array([EMOTIONS.index(clip.emotion or "") for clip in clips])
    speakers = [clip.speaker or clip.key for clip in clips]
    probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.003, max_iter=300))
    said = cross_val_predict(probe, rows, truth, groups=speakers, cv=GroupKFold(_FOLDS))
    return unweighted_average_recall(truth, said)
