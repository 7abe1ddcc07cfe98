"""When a new network may take the place of the one that is served."""

import numpy as np
import pytest

from model.labels import EMOTIONS
from training.prediction_rows import PredictionRow
from training.slices import Decision, decide


def rows(rates: dict[str, float], *, per_emotion: int = 40, seed: int = 0, test: str = "fixed") -> list[PredictionRow]:
    """Predictions that are right at these rates, by emotion; two speakers."""
    generator = np.random.default_rng(seed)
    found = []
    for emotion, rate in rates.items():
        for number in range(per_emotion):
            logits = np.zeros(len(EMOTIONS))
            right = generator.random() < rate
            logits[(EMOTIONS.index(emotion) + (0 if right else 1)) % len(EMOTIONS)] = 3.0
            found.append(
                PredictionRow(
                    key=f"{test}/{emotion}-{number}",
                    emotion=emotion,
                    logits=tuple(logits.tolist()),
                    view="both",
                    speaker=f"speaker {number % 2}",
                    fold=test,
                )
            )
    return found


def decision(new: dict[str, float], served: dict[str, float], **terms: float) -> Decision:
    return decide(rows(new, seed=1), rows(served, seed=2), labels=EMOTIONS, **terms)


EVENLY = dict.fromkeys(EMOTIONS, 0.5)


def test_one_that_is_better_everywhere_is_promoted() -> None:
    found = decision(dict.fromkeys(EMOTIONS, 0.8), EVENLY)
    assert found.promotes
    assert found.reason.startswith("better, and worse nowhere")
    assert {one.name for one in found.slices} >= {"fixed", "fixed, fear", "fixed, speaker speaker 0"}


def test_one_that_is_as_good_is_refused() -> None:
    found = decision(dict.fromkeys(EMOTIONS, 0.52), EVENLY)
    assert not found.promotes
    assert found.reason.startswith("not better")


def test_one_that_is_better_as_a_whole_but_loses_an_emotion_is_refused() -> None:
    found = decision(dict.fromkeys(EMOTIONS, 0.95) | {"fear": 0.2}, EVENLY)
    assert found.is_better
    assert not found.promotes
    assert [one.name for one in found.worse] == ["fixed, fear"]
    assert "worse on fixed, fear" in found.reason


def test_a_gain_below_the_least_is_refused() -> None:
    assert not decision(dict.fromkeys(EMOTIONS, 0.7), EVENLY, least_gain=0.3).promotes


def test_the_same_network_is_no_better_than_itself() -> None:
    some = rows(EVENLY)
    found = decide(some, some, labels=EMOTIONS)
    assert found.overall.recall.value == pytest.approx(0)
    assert not found.promotes
    assert found.worse == []
