"""The emotions we answer with, and how other label sets map onto them."""

from collections.abc import Mapping
from typing import Final

EMOTIONS: Final = ("angry", "fear", "happy", "neutral", "sad", "surprise")
"""Six classes in the order of every probability vector (VCEMO §4.1)."""

FOUR_EMOTIONS: Final = ("angry", "happy", "neutral", "sad")
"""The common four-class setting (VCEMO §4.2)."""

VALENCE: Final[Mapping[str, float]] = {
    "angry": -1.0,
    "fear": -1.0,
    "happy": 1.0,
    "neutral": 0.0,
    "sad": -1.0,
    "surprise": 0.0,
}
"""Sign of each emotion for the sentiment score; surprise may be of either sign and counts for nothing."""


def sentiment(probabilities: Mapping[str, float]) -> tuple[str, float]:
    """Fold emotion probabilities into ``(label, score)``, score in [-1, 1] as expected valence."""
    score = sum(VALENCE[emotion] * probability for emotion, probability in probabilities.items())
    label = "positive" if score > 0.25 else "negative" if score < -0.25 else "neutral"
    return label, score
