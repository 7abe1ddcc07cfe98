"""Posts that were never trained on, read by the bundle's text path."""

import numpy as np
import numpy.typing as npt

from bench.figures import Figure, Report
from bench.workbench import Workbench
from model.bundle import LOWER_LAYERS_FILE, Bundle
from model.features import FeatureExtractor
from model.lower_layers import load_lower_layers
from model.sentence import load_sentence_encoder
from model.words import WordVectors
from training.metrics import macro_f1

_FLOORS = {"ewect_dev": (0.53, 0.63), "ewect_tenth": (0.61, 0.68)}
_BATCH = 32


def measure(workbench: Workbench) -> Report:
    """Compute features of text alone as the service does, and the probabilities of the shipped network."""
    bundle = Bundle.load(workbench.bundle)
    features = bundle.facts.features
    extractor = FeatureExtractor(
        features,
        lower_layers=load_lower_layers(workbench.bundle / LOWER_LAYERS_FILE, features.lower_layers),
        words=WordVectors.load(workbench.assets.path(features.words.asset), config=features.words),
        sentence=load_sentence_encoder(features.sentence, folder=workbench.bundle / "sentence_encoder"),
    )
    figures = []
    for corpus, (floor, goal) in _FLOORS.items():
        truth, predicted = _judged(corpus, workbench, bundle, extractor)
        value = macro_f1(truth, predicted)
        figures.append(Figure(name=f"macro F1, {corpus}, {len(truth)} posts", value=value, floor=floor, goal=goal))
    return Report(
        title="EWECT, text alone",
        figures=figures,
        settings={"bundle": f"{bundle.facts.name} {bundle.facts.version}"},
        remarks=("one seed, the one that ships; ewect_tenth is a tenth of usual_train by a hash of the key",),
    )


def _judged(
    corpus: str, workbench: Workbench, bundle: Bundle, extractor: FeatureExtractor
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    clips = [clip for clip in workbench.clips(corpus) if clip.text and clip.text.strip() and clip.emotion]
    features = [extractor.of_text(clip.text or "") for clip in clips]
    batches = [bundle.predict(features[start : start + _BATCH]) for start in range(0, len(features), _BATCH)]
    truth = [bundle.facts.labels.index(clip.emotion or "") for clip in clips]
    return np.array(truth), np.concatenate(batches).argmax(1)
