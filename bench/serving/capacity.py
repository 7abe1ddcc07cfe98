"""How many replicas a number of calls needs: a queueing simulation of one replica, fed with measured stage times.

Every call is a stream of utterances; those of many calls together arrive as a Poisson process, and a balancer that
picks a replica for each at random gives every replica a Poisson process of its own. One replica is therefore all that
has to be simulated, at the rate that it gets.
"""

import math
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import simpy

from model.speech import SpeechConfig

SINGLE_STAGES: Final = ("decode", "vad", "lower_layers", "features", "fusion")
"""Stages whose items are worked on one by one; fusion's batches cost what its items do."""

_SLICE_SECONDS: Final = 0.01
"""A turn on a processor. Without turns short stages would wait behind whole batches, and no batch would ever fill."""

Steps = Generator[simpy.Event, Any, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class StageCosts:
    """Processor seconds of one utterance at several lengths, as measured.

    seconds: lengths of utterances, ascending. loop: the event loop's, by length, and so on. recognition is what an
    utterance costs where it is alone in its batch; of that, ``shared`` (0 to 1) is paid once a batch.
    """

    seconds: Sequence[float]
    loop: Sequence[float]
    stages: dict[str, Sequence[float]]
    recognition: Sequence[float]
    shared: float

    def of(self, costs: Sequence[float], seconds: float) -> float:
        """Interpolate to an utterance's length."""
        return float(np.interp(seconds, self.seconds, costs))

    def of_batch(self, seconds: float, size: int) -> float:
        """Processor seconds of a batch of utterances of one bucket."""
        return self.of(self.recognition, seconds) * (self.shared + (1 - self.shared) * size)

    def of_utterance(self, seconds: float, *, batch_size: float = 1.0) -> float:
        """Processor seconds of an utterance in all, in batches of a size."""
        others = sum(self.of(costs, seconds) for costs in self.stages.values())
        recognition = self.of(self.recognition, seconds) * (self.shared / batch_size + 1 - self.shared)
        return self.of(self.loop, seconds) + others + recognition


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplicaShape:
    """What a replica has: processors, and workers of each stage, as the service sizes them."""

    processors: int = 2
    max_batch_size: int = 8
    decoders: int = 2
    speech: SpeechConfig

    def workers(self, stage: str) -> int:
        """Threads of a stage."""
        return {"decode": self.decoders, "vad": self.decoders, "fusion": 1}.get(stage, self.processors)


@dataclass(frozen=True, kw_only=True, slots=True)
class Simulated:
    """What callers of a simulated replica met."""

    latencies_ms: Sequence[float]
    seconds: float
    mean_batch_size: float
    busy: float
    """Share of the processors' time that was worked."""

    @property
    def throughput(self) -> float:
        """Answers a second."""
        return len(self.latencies_ms) / self.seconds

    def latency_ms(self, percentile: float) -> float:
        """A percentile of the latencies."""
        return float(np.percentile(self.latencies_ms, percentile))


@dataclass(slots=True)
class _Waiting:
    seconds: float
    bucket: float
    done: simpy.Event


class Replica:
    """One replica: stages with workers, who take turns on the processors as threads do; recognition takes batches."""

    def __init__(self, env: simpy.Environment, costs: StageCosts, shape: ReplicaShape) -> None:
        self._env, self._costs, self._shape = env, costs, shape
        self._processors = simpy.Resource(env, shape.processors)
        self._loop = simpy.Resource(env, 1)
        self._workers = {stage: simpy.Resource(env, shape.workers(stage)) for stage in SINGLE_STAGES}
        self._line: deque[_Waiting] = deque()
        self._arrived = env.event()
        self._at_work = 0
        self.latencies_ms: list[float] = []
        self.batch_sizes: list[int] = []
        self.worked_seconds = 0.0
        for _ in range(shape.workers("asr")):
            env.process(self._recognise())

    def answer(self, seconds: float) -> Steps:
        """Take an utterance the whole way."""
        began = self._env.now
        yield from self._work(self._loop, self._costs.of(self._costs.loop, seconds))
        yield from self._stage("decode", seconds)
        yield from self._stage("vad", seconds)
        beside = self._env.process(self._stage("lower_layers", seconds))
        waiting = _Waiting(seconds, self._shape.speech.bucket(seconds), self._env.event())
        self._line.append(waiting)
        self._arrived.succeed()
        self._arrived = self._env.event()
        yield waiting.done & beside
        yield from self._stage("features", seconds)
        yield from self._stage("fusion", seconds)
        self.latencies_ms.append((self._env.now - began) * 1000)

    def _stage(self, stage: str, seconds: float) -> Steps:
        costs = self._costs.stages.get(stage)
        if costs is not None:
            yield from self._work(self._workers[stage], self._costs.of(costs, seconds))

    def _work(self, workers: simpy.Resource, cost_seconds: float) -> Steps:
        with workers.request() as worker:
            yield worker
            yield from self._compute(cost_seconds)

    def _compute(self, cost_seconds: float) -> Steps:
        self.worked_seconds += cost_seconds
        while cost_seconds > 0:
            slice_seconds = min(cost_seconds, _SLICE_SECONDS)
            with self._processors.request() as processor:
                yield processor
                yield self._env.timeout(slice_seconds)
            cost_seconds -= slice_seconds

    def _recognise(self) -> Steps:
        while True:
            while not self._line:
                yield self._arrived
            batch = self._take()
            self._at_work += 1
            longest = max(waiting.seconds for waiting in batch)
            yield from self._compute(self._costs.of_batch(longest, len(batch)))
            self._at_work -= 1
            for waiting in batch:
                waiting.done.succeed()

    def _take(self) -> list[_Waiting]:
        """The first, and others of its bucket up to this worker's fair share, as the service's batcher does."""
        alike = [waiting for waiting in self._line if waiting.bucket == self._line[0].bucket]
        free = self._shape.workers("asr") - self._at_work
        batch = alike[: min(self._shape.max_batch_size, math.ceil(len(alike) / free))]
        for waiting in batch:
            self._line.remove(waiting)
        self.batch_sizes.append(len(batch))
        return batch


def simulate_open(
    costs: StageCosts, shape: ReplicaShape, *, seconds_of: Sequence[float], per_second: float, seed: int = 0
) -> Simulated:
    """Let utterances of the given lengths arrive as a Poisson process, and wait for the last answer."""
    gaps = np.random.default_rng(seed).exponential(1 / per_second, len(seconds_of))

    def arrive(env: simpy.Environment, replica: Replica) -> Steps:
        for gap, seconds in zip(gaps, seconds_of, strict=True):
            yield env.timeout(gap)
            env.process(replica.answer(seconds))

    return _run(costs, shape, [arrive])


def simulate_closed(costs: StageCosts, shape: ReplicaShape, *, seconds_of: Sequence[float], callers: int) -> Simulated:
    """Let callers ask one utterance after the other, each when the one before is answered."""
    line: Iterator[float] = iter(seconds_of)

    def call(env: simpy.Environment, replica: Replica) -> Steps:
        for seconds in line:
            yield env.process(replica.answer(seconds))

    return _run(costs, shape, [call] * callers)


def greatest_rate(
    costs: StageCosts,
    shape: ReplicaShape,
    *,
    seconds_of: Sequence[float],
    target_p95_ms: float,
    seed: int = 0,
    steps: int = 9,
) -> float:
    """Halve in on the arrivals a second at which 95 % of the answers just come within the target."""
    cheapest = np.mean([costs.of_utterance(seconds, batch_size=shape.max_batch_size) for seconds in seconds_of])
    low, high = 0.0, shape.processors / float(cheapest)
    for _ in range(steps):
        rate = (low + high) / 2
        found = simulate_open(costs, shape, seconds_of=seconds_of, per_second=rate, seed=seed)
        if found.latency_ms(95) <= target_p95_ms:
            low = rate
        else:
            high = rate
    return low


def _run(costs: StageCosts, shape: ReplicaShape, sources: Sequence[Any]) -> Simulated:
    env = simpy.Environment()
    replica = Replica(env, costs, shape)
    for source in sources:
        env.process(source(env, replica))
    env.run()
    return Simulated(
        latencies_ms=replica.latencies_ms,
        seconds=env.now,
        mean_batch_size=float(np.mean(replica.batch_sizes)),
        busy=replica.worked_seconds / (env.now * shape.processors),
    )
