"""How what a bundle was judged on looks from outside, so that a service can tell when its callers look different.

Shares of utterances only: nothing in it, or in what a service counts beside it, belongs to a person.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt

from model.bundle import BundleFacts
from model.features import Features

CATEGORIES: Final = ("emotion", "status")
QUANTITIES: Final = ("confidence", "seconds", "level")
"""The network's top probability, the utterance's length, and the mean of its log-mel spectrogram."""
MEASURES: Final = (*CATEGORIES, *QUANTITIES)

_STATUSES: Final = ("ok", "low_confidence")
_ABOVE_THRESHOLD: Final = 0.7
"""Share of clips of speakers left out that reach ``abstain_below``: that is how it is chosen."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Seen:
    """What is counted of one utterance, by measure."""

    categories: Mapping[str, str]
    quantities: Mapping[str, float]

    @classmethod
    def of(cls, *, emotion: str, confidence: float, status: str, seconds: float, features: Features | None) -> Self:
        """Measure one utterance; without features nothing is known of its level."""
        quantities = {"confidence": confidence, "seconds": seconds}
        if features is not None and features.mel is not None:
            quantities["level"] = float(np.mean(features.mel, dtype=np.float64))
        return cls(categories={"emotion": emotion, "status": status}, quantities=quantities)


@dataclass(frozen=True, kw_only=True, slots=True)
class Bins:
    """Where one measure is cut, and the share of utterances in each bin.

    names: of the bins of a category, in which whatever is not named counts as the last. edges: between the bins of a
    quantity, rising. One of both is empty.
    """

    names: tuple[str, ...] = ()
    edges: tuple[float, ...] = ()
    shares: tuple[float, ...]

    def bin_of(self, measure: str, seen: Seen) -> int | None:
        """Return the bin of an utterance, None where the measure is not known of it."""
        if self.names:
            value = seen.categories.get(measure)
            if value is None:
                return None
            return self.names.index(value) if value in self.names else len(self.names) - 1
        quantity = seen.quantities.get(measure)
        return None if quantity is None else int(np.searchsorted(self.edges, quantity, side="right"))

    def to_json(self) -> dict[str, Any]:
        """Return plain values for ``bundle.json``."""
        return {"names": list(self.names), "edges": list(self.edges), "shares": list(self.shares)}


def reference_of(seen: Sequence[Seen], *, labels: Sequence[str], num_bins: int = 8) -> dict[str, Any]:
    """Count utterances into bins, for ``bundle.json``: quantities are cut where each bin holds as many of them."""
    names = {"emotion": tuple(labels), "status": _STATUSES}
    found: dict[str, Any] = {}
    for measure in MEASURES:
        cut = Bins(names=names.get(measure, ()), edges=_edges(measure, seen, num_bins), shares=())
        bins = [index for one in seen if (index := cut.bin_of(measure, one)) is not None]
        if bins:
            counts = np.bincount(bins, minlength=len(cut.names) or len(cut.edges) + 1)
            shares = tuple((counts / counts.sum()).round(6).tolist())
            found[measure] = Bins(names=cut.names, edges=cut.edges, shares=shares).to_json()
    return found


def bins_of(facts: BundleFacts) -> dict[str, Bins]:
    """Return the reference of a bundle by measure; of those that were sealed without one, what their figures tell."""
    if facts.reference:
        return {
            measure: Bins(
                names=tuple(found["names"]), edges=tuple(found["edges"]), shares=tuple(map(float, found["shares"]))
            )
            for measure, found in facts.reference.items()
            if measure in MEASURES
        }
    known: dict[str, Bins] = {}
    counts = np.array(facts.metrics.get("confusion") or 0, dtype=np.float64)
    if counts.shape == (len(facts.labels), len(facts.labels)) and counts.sum() > 0:
        shares = tuple((counts.sum(0) / counts.sum()).tolist())
        known["emotion"] = Bins(names=facts.labels, shares=shares)
    if facts.abstain_below > 0:
        known["confidence"] = Bins(edges=(facts.abstain_below,), shares=(1 - _ABOVE_THRESHOLD, _ABOVE_THRESHOLD))
    return known


def divergence(expected: npt.ArrayLike, found: npt.ArrayLike) -> float:
    """Jensen-Shannon divergence of two lists of shares, in bits: 0 where they are the same, 1 where none is shared."""
    first, second = (np.asarray(shares, dtype=np.float64) for shares in (expected, found))
    first, second = first / first.sum(), second / second.sum()
    middle = (first + second) / 2
    return float((_relative_entropy(first, middle) + _relative_entropy(second, middle)) / 2)


def _relative_entropy(shares: Any, middle: Any) -> float:
    present = shares > 0
    return float(np.sum(shares[present] * np.log2(shares[present] / middle[present])))


def _edges(measure: str, seen: Sequence[Seen], num_bins: int) -> tuple[float, ...]:
    if measure in CATEGORIES:
        return ()
    values = [one.quantities[measure] for one in seen if measure in one.quantities]
    if not values:
        return ()
    inner = np.quantile(values, np.linspace(0, 1, num_bins + 1)[1:-1])
    return tuple(np.unique(inner.round(6)).tolist())
