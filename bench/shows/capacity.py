"""Replicas, GPUs and money for 10, 1,000 and 100,000 calls: a simulation of a replica, held against a real one."""

from typing import Final

import numpy as np

from bench.figures import Figure, Report
from bench.serving.capacity import ReplicaShape, StageCosts, greatest_rate, simulate_closed, simulate_open
from bench.serving.fleet import NUMBERS_OF_CALLS, Calls, Prices, fleet_for
from bench.serving.stage_costs import CALLERS, LENGTHS_SECONDS, Measured, measure_costs
from bench.workbench import Workbench
from model.bundle import Bundle
from model.processors import usable_processors

_MIXED: Final = 96
_SIMULATED: Final = 1_200
_SEEDS: Final = (0, 1, 2)
_TARGET_P95_MS: Final = 1_000.0


def measure(workbench: Workbench) -> Report:
    """Measure stages, simulate the loads that were measured as well, then look for the most that a replica answers."""
    calls, prices = Calls(), Prices()
    found = measure_costs(workbench, calls.lengths(_MIXED))
    speech = Bundle.load(workbench.bundle).facts.features.speech
    shape = ReplicaShape(processors=usable_processors(), speech=speech)
    costs = found.costs
    with workbench.console.status("simulating"):
        rates = sorted(
            greatest_rate(
                costs, shape, seconds_of=calls.lengths(_SIMULATED, seed=seed), target_p95_ms=_TARGET_P95_MS, seed=seed
            )
            for seed in _SEEDS
        )
    per_replica = [rate / calls.utterances_per_second for rate in rates]
    fleets = [
        fleet_for(number, calls_per_replica=per_replica[1], processors_per_replica=shape.processors, prices=prices)
        for number in NUMBERS_OF_CALLS
    ]
    speech_seconds = sum(answer.recorded.seconds for answer in found.full.load.good)
    per_hour = found.full.cpu_seconds / speech_seconds * 3600
    return Report(
        title="Capacity: measured stages, a simulated replica, and what calls take",
        figures=[
            Figure(name="processor seconds an hour of speech, saturated", value=per_hour, better="lower"),
            Figure(name="dollars an hour of speech", value=per_hour / 3600 * prices.dollars_per_processor_hour),
            *_validation(found, shape),
            Figure(
                name=f"calls a replica of {shape.processors} processors carries",
                value=per_replica[1],
                interval=(per_replica[0], per_replica[-1]),
            ),
            Figure(name="share of its processors that is then busy", value=_busy(costs, shape, calls, rates[1])),
            *(Figure(name=f"replicas for {fleet.calls:,} calls", value=fleet.replicas) for fleet in fleets),
        ],
        settings={
            "assumed of calls": calls,
            "assumed prices": prices,
            "promised": f"95 % of the answers within {_TARGET_P95_MS:g} ms of an utterance's end",
            "interval": f"lowest and highest of {len(_SEEDS)} draws of arrivals",
            "batches": f"{costs.shared:.0%} of an utterance's recognition is paid once a batch",
        },
        remarks=[*_stage_lines(costs), *map(str, fleets)],
    )


def _busy(costs: StageCosts, shape: ReplicaShape, calls: Calls, per_second: float) -> float:
    return simulate_open(costs, shape, seconds_of=calls.lengths(_SIMULATED), per_second=per_second).busy


def _validation(found: Measured, shape: ReplicaShape) -> list[Figure]:
    """The loads that were measured, simulated: one is right, and neither side may be a third off."""
    full = simulate_closed(found.costs, shape, seconds_of=found.mixed_seconds, callers=CALLERS)
    half = [
        simulate_open(
            found.costs, shape, seconds_of=found.mixed_seconds, per_second=found.half_per_second, seed=seed
        ).latency_ms(95)
        for seed in range(10)
    ]
    pairs = {
        "answers a second, saturated": (full.throughput, found.full.load.throughput),
        "p50, saturated": (full.latency_ms(50), found.full.load.latency_ms(50)),
        "p95 at half of saturation": (float(np.median(half)), found.half.load.latency_ms(95)),
    }
    return [
        figure
        for name, (simulated, measured) in pairs.items()
        for figure in (
            Figure(name=f"{name}: measured", value=measured),
            Figure(name=f"{name}: simulated", value=simulated),
            Figure(
                name=f"{name}: how far off the simulation is",
                value=abs(simulated / measured - 1),
                floor=0.35,
                goal=0.15,
                better="lower",
            ),
        )
    ]


def _stage_lines(costs: StageCosts) -> list[str]:
    rows = {"event loop": costs.loop, **costs.stages, "recognition, alone in its batch": costs.recognition}
    lengths = ", ".join(f"{seconds:g}" for seconds in LENGTHS_SECONDS)
    return [f"processor ms of an utterance of {lengths} s:"] + [
        f"  {name}: {', '.join(f'{one * 1000:.1f}' for one in found)}" for name, found in rows.items()
    ]
