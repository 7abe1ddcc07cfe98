"""How far what is heard has drifted from what the bundle was judged on."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from model.bundle import BundleFacts
from model.recognizer import JudgedUtterance
from model.reference import Seen, bins_of, divergence

WINDOW_UTTERANCES: Final = 1000
"""Of the past, what counts still: older utterances fade away."""
LEAST_UTTERANCES: Final = 100
"""Of fewer nothing is said: by chance alone they look different."""


class Drift:
    """Counts the utterances that one bundle judges into the bins of its reference; keeps nothing else of them."""

    def __init__(self, facts: BundleFacts) -> None:
        self._labels = facts.labels
        self._bins = bins_of(facts)
        self._counts = {measure: np.zeros(len(bins.shares)) for measure, bins in self._bins.items()}
        self._num_seen = dict.fromkeys(self._bins, 0)

    def observe(self, judged: Sequence[JudgedUtterance]) -> None:
        """Count utterances."""
        for one in judged:
            if one.probabilities is None:
                continue
            best = int(one.probabilities.argmax())
            self._count(
                Seen.of(
                    emotion=self._labels[best],
                    confidence=float(one.probabilities[best]),
                    status=one.transcript.status,
                    seconds=one.utterance.seconds,
                    features=one.features,
                )
            )

    def divergences(self) -> dict[str, float]:
        """Return the Jensen-Shannon divergence from the reference by measure, in bits, where enough was seen."""
        return {
            measure: divergence(bins.shares, self._counts[measure])
            for measure, bins in self._bins.items()
            if self._num_seen[measure] >= LEAST_UTTERANCES
        }

    def _count(self, seen: Seen) -> None:
        for measure, bins in self._bins.items():
            index = bins.bin_of(measure, seen)
            if index is not None:
                self._counts[measure] *= 1 - 1 / WINDOW_UTTERANCES
                self._counts[measure][index] += 1
                self._num_seen[measure] += 1
