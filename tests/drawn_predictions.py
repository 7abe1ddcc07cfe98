"""Predictions drawn at random: how good and how sure the network is can be chosen."""

from collections.abc import Iterator

import numpy as np

from model.labels import EMOTIONS
from training.prediction_rows import PredictionRow

SPEAKERS = ("anna", "bernd", "carla")


def drawn_rows(
    *,
    skill: float = 1.5,
    certainty: float = 1.0,
    sentences: int = 20,
    speakers: tuple[str, ...] = SPEAKERS,
    seeds: tuple[int, ...] = (0,),
    labels: tuple[str, ...] = EMOTIONS,
    draw: int = 0,
) -> list[PredictionRow]:
    """Every speaker says every sentence in every emotion."""
    return list(_drawn(skill, certainty, sentences, speakers, seeds, labels, draw))


def _drawn(
    skill: float,
    certainty: float,
    sentences: int,
    speakers: tuple[str, ...],
    seeds: tuple[int, ...],
    labels: tuple[str, ...],
    draw: int,
) -> Iterator[PredictionRow]:
    for seed in seeds:
        generator = np.random.default_rng((draw, seed))
        for speaker in speakers:
            for sentence in range(sentences):
                for truth, emotion in enumerate(labels):
                    logits = generator.normal(size=len(labels))
                    logits[truth] += skill
                    yield PredictionRow(
                        key=f"{speaker}-{emotion}-{sentence}",
                        emotion=emotion,
                        logits=tuple((certainty * logits).tolist()),
                        view="both",
                        speaker=speaker,
                        sentence=str(sentence),
                        seed=seed,
                    )
