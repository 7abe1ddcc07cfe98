"""Replicas, GPUs and money for a number of concurrent calls. Whatever is not measured is an input with its default."""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

NUMBERS_OF_CALLS: Final = (10, 1_000, 100_000)
"""At the same time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Calls:
    """What a call is taken to be.

    speech_share: speech in a second of a call, both sides together. Lengths of utterances are drawn from a gamma
    distribution of shape 2 and kept between the shortest and the longest.
    """

    speech_share: float = 0.9
    mean_utterance_seconds: float = 4.0
    shortest_seconds: float = 1.0
    longest_seconds: float = 16.0

    def lengths(self, number: int, *, seed: int = 0) -> list[float]:
        """Draw lengths of utterances, to half a second."""
        drawn = np.random.default_rng(seed).gamma(2.0, self.mean_utterance_seconds / 2, number)
        return [float(one) for one in np.round(np.clip(drawn, self.shortest_seconds, self.longest_seconds) * 2) / 2]

    @property
    def utterances_per_second(self) -> float:
        """Of one call."""
        return self.speech_share / self.mean_utterance_seconds


@dataclass(frozen=True, kw_only=True, slots=True)
class Prices:
    """Assumptions, in US dollars; put in your own.

    gpu_times: how many replicas of two processors one GPU replaces; nobody measured it here. spare: capacity beyond
    what is needed on average, for waves, a lost zone, and the minutes that the autoscaler takes.
    """

    dollars_per_processor_hour: float = 0.04
    dollars_per_gpu_hour: float = 0.80
    gpu_times: float = 15.0
    spare: float = 0.3


@dataclass(frozen=True, kw_only=True, slots=True)
class Fleet:
    """What a number of concurrent calls takes."""

    calls: int
    replicas: int
    processors: int
    dollars_per_hour: float
    gpus: int
    gpu_dollars_per_hour: float

    @property
    def dollars_per_call_hour(self) -> float:
        """On processors."""
        return self.dollars_per_hour / self.calls

    def __str__(self) -> str:
        """One line for people."""
        return (
            f"{self.calls:,} calls: {self.replicas:,} replicas, {self.processors:,} processors, "
            f"${self.dollars_per_hour:,.2f} an hour, ${self.dollars_per_call_hour:.4f} a call and hour; "
            f"or {self.gpus:,} GPUs, ${self.gpu_dollars_per_hour:,.2f} an hour (a GPU's speed is assumed)"
        )


def fleet_for(calls: int, *, calls_per_replica: float, processors_per_replica: int, prices: Prices) -> Fleet:
    """Divide, leave the spare, and never run one replica alone."""
    needed = calls * (1 + prices.spare) / calls_per_replica
    replicas, gpus = max(2, math.ceil(needed)), max(2, math.ceil(needed / prices.gpu_times))
    processors = replicas * processors_per_replica
    return Fleet(
        calls=calls,
        replicas=replicas,
        processors=processors,
        dollars_per_hour=processors * prices.dollars_per_processor_hour,
        gpus=gpus,
        gpu_dollars_per_hour=gpus * prices.dollars_per_gpu_hour,
    )
