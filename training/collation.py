"""Padded batches for any system: VCEMO's own inputs, and what only comparison systems read."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from model.features import Array, FeatureConfig, Features, collate
from training.frames import PROSODY_DIMENSION


@dataclass(frozen=True, kw_only=True, slots=True)
class HeardFeatures(Features):
    """Features with what some comparison systems read besides; the mel is of another kind, perhaps.

    prosody: (PROSODY_DIMENSION,). word_spans: start and end of each row of ``words`` as shares of the utterance,
    (words, 2); None where the words are not those of the recording, which are then taken to be spread over it evenly.
    """

    prosody: Array | None = None
    word_spans: Array | None = None

    def with_text_of(self, other: Features | None) -> Features:
        """Return this sound with the words of another utterance, or with none; nobody says when they are said."""
        changed = Features.with_text_of(self, other)
        assert isinstance(changed, HeardFeatures)
        return replace(changed, word_spans=None)


def heard_in_silence(features: Features) -> HeardFeatures:
    """Return the features as a comparison system gets them, with nothing in what it reads besides."""
    given = {each.name: getattr(features, each.name) for each in fields(features)}
    return HeardFeatures(**given)


def collate_inputs(batch: Sequence[Features], *, config: FeatureConfig) -> dict[str, npt.NDArray[Any]]:
    """Pad as :func:`model.features.collate`; where the features are :class:`HeardFeatures`, add what those have.

    That is prosody (batch, PROSODY_DIMENSION), zero without sound, and word_spans (batch, words, 2).
    """
    inputs = collate(batch, config=config)
    heard = [item for item in batch if isinstance(item, HeardFeatures)]
    if not heard:
        return inputs
    silent = np.zeros(PROSODY_DIMENSION, dtype=np.float32)
    prosody = [getattr(item, "prosody", None) for item in batch]
    spans = np.zeros((len(batch), inputs["words"].shape[1], 2), dtype=np.float32)
    for target, item, length in zip(spans, batch, inputs["words_lengths"], strict=True):
        own = getattr(item, "word_spans", None)
        target[:length] = own if own is not None and len(own) == length else _evenly(int(length))
    return inputs | {"prosody": np.stack([silent if one is None else one for one in prosody]), "word_spans": spans}


def _evenly(words: int) -> Array:
    edges = np.linspace(0, 1, words + 1, dtype=np.float32)
    return np.stack([edges[:-1], edges[1:]], axis=1)
