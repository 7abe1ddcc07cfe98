"""What an utterance costs at each stage, measured on the running service, for :mod:`bench.serving.capacity`."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from bench.serving.capacity import SINGLE_STAGES, StageCosts
from bench.serving.corpus import cut, recordings
from bench.serving.load import Recorded, closed_loop, open_loop, send_predict
from bench.serving.observation import Observation, observed
from bench.serving.serve import warm_up
from bench.serving.server import service_command, started
from bench.workbench import Workbench

LENGTHS_SECONDS: Final = (2.0, 4.0, 8.0, 16.0)
CALLERS: Final = 16

_PIECES: Final = 16
_CASIA: Final = 96
_SPONTANEOUS: Final = "spontaneous_zh"


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Costs, and a mixed load that they were not taken from, to hold a simulation against.

    full: so many callers that nothing idles. half: arrivals at half of that rate, not waiting for each other.
    """

    costs: StageCosts
    mixed_seconds: Sequence[float]
    full: Observation
    half: Observation
    half_per_second: float


def measure_costs(workbench: Workbench, mixed_seconds: Sequence[float]) -> Measured:
    """Drive one server: clips alone and together, pieces of each length, then pieces of the mixed lengths."""
    casia = recordings(workbench, "casia", number=_CASIA)
    mixed = mixed_pieces(workbench, mixed_seconds)
    with started("ours", service_command(workbench.bundle, workbench.cache), ready_path="/health/ready") as server:
        warm_up(server, casia[:32])

        def saturated(title: str, recorded: Sequence[Recorded], callers: int) -> Observation:
            with workbench.console.status(title):
                return observed(
                    server, title, closed_loop(server.url, recorded, send=send_predict, concurrency=callers)
                )

        alone = saturated("alone", casia[: _CASIA // 3], 1)
        together = saturated("together", casia, CALLERS)
        pieces = [
            saturated(f"{seconds:g} s", cut(workbench, _SPONTANEOUS, seconds=seconds, number=_PIECES), 4)
            for seconds in LENGTHS_SECONDS
        ]
        full = saturated("mixed lengths", mixed, CALLERS)
        rate = full.load.throughput / 2
        with workbench.console.status("mixed lengths, half"):
            half = observed(server, "half", open_loop(server.url, mixed, send=send_predict, requests_per_second=rate))
    costs = costs_from(alone, together, pieces)
    return Measured(costs=costs, mixed_seconds=mixed_seconds, full=full, half=half, half_per_second=rate)


def costs_from(alone: Observation, together: Observation, pieces: Sequence[Observation]) -> StageCosts:
    """Split what the processors did by stage, and what batches save from clips alone and together."""
    saved = 1 - recognition_of(together) / recognition_of(alone)
    shared = float(np.clip(saved / (1 - 1 / together.mean_batch_size("asr")), 0.0, 0.95))
    stages = {stage: [_of_stage(one, stage) for one in pieces] for stage in SINGLE_STAGES}
    return StageCosts(
        seconds=LENGTHS_SECONDS,
        loop=[_loop_of(one) for one in pieces],
        stages={stage: costs for stage, costs in stages.items() if any(costs)},
        recognition=[
            recognition_of(one) / (shared / max(1.0, one.mean_batch_size("asr")) + 1 - shared) for one in pieces
        ],
        shared=shared,
    )


def recognition_of(one: Observation) -> float:
    """Processor seconds of recognition in a request: what neither another stage nor the event loop used."""
    others = sum(_of_stage(one, stage) for stage in SINGLE_STAGES) + _loop_of(one)
    return one.cpu_seconds / len(one.load.good) - others


def mixed_pieces(workbench: Workbench, lengths: Sequence[float]) -> list[Recorded]:
    """Cut one piece of speech of each length, no two alike."""
    cuts = {
        seconds: iter(cut(workbench, _SPONTANEOUS, seconds=seconds, number=number))
        for seconds, number in Counter(lengths).items()
    }
    return [next(cuts[seconds]) for seconds in lengths]


def _of_stage(one: Observation, stage: str) -> float:
    return one.cpu_share(stage) * one.cpu_seconds / len(one.load.good)


def _loop_of(one: Observation) -> float:
    return (one.after.main_thread_cpu_seconds - one.before.main_thread_cpu_seconds) / len(one.load.good)
