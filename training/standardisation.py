"""Input statistics of a training part, set in the network before its first step."""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch

from model.encoders import Standardise
from model.features import Features
from model.ngrams import Ngrams
from training.baselines.baseline import Baseline
from training.systems import Network

LEAST_TEXTS: Final = 3


def fit_standardisation(network: Network, features: Sequence[Features]) -> None:
    """Set the input statistics of ``network`` from the training part."""
    if isinstance(network, Baseline):
        for name, standardise in network.standardise.items():
            assert isinstance(standardise, Standardise)
            _fit(standardise, [getattr(one, name) for one in features])
        return
    _fit(network.mel.standardise, [one.mel for one in features])
    if network.states is not None:
        columns = network.config.state_dimension - network.config.expert_dimension
        _fit(network.states.standardise, [one.states[:, :columns] for one in features if one.states is not None])
        if network.expert is not None:
            above = [one.states[:, columns:] for one in features if one.states is not None]
            _fit(network.expert.steps.standardise, above)
    _fit(network.words.standardise, [one.words for one in features])
    sentence = network.sentence[0]
    assert isinstance(sentence, Standardise)
    sentences = [None if one.sentence is None else one.sentence[None] for one in features]
    _fit(sentence, sentences)
    if network.text is not None:
        branch = network.text.sentence[0]
        assert isinstance(branch, Standardise)
        _fit(branch, sentences)
        # Of texts alone, where there are some: what is read aloud comes in as many copies as it was recorded in.
        texts = [one.ngrams for one in features if one.mel is None] or [one.ngrams for one in features]
        network.text.ngrams.fit(_rarity(texts, network.config.ngram_buckets))


def _rarity(texts: Sequence[Ngrams | None], buckets: int) -> torch.Tensor:
    """Inverse document frequency of each bucket (buckets,); zero for what too few texts hold to learn from."""
    counts = np.zeros(buckets)
    present = [text for text in texts if text is not None]
    for text in present:
        counts[np.unique(text.buckets)] += 1
    rarity = np.log((1 + len(present)) / (1 + counts)) + 1
    return torch.from_numpy(np.where(counts >= LEAST_TEXTS, rarity, 0.0)).float()


def _fit(standardise: Standardise, sequences: Sequence[npt.NDArray[np.float32] | None]) -> None:
    """Fit on (rows, d) sequences, in double precision and without joining them."""
    present = [rows for rows in sequences if rows is not None and len(rows)]
    if not present:
        return
    count = sum(len(rows) for rows in present)
    mean = np.sum([rows.sum(0, dtype=np.float64) for rows in present], axis=0) / count
    square = np.sum([((rows - mean) ** 2).sum(0) for rows in present], axis=0) / count
    standardise.fit(torch.from_numpy(mean).float(), torch.from_numpy(np.sqrt(square)).float())
