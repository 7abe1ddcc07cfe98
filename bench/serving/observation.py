"""One run of requests against our service, seen from both sides: what callers met, and what the machine did."""

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from bench.serving.load import Load
from bench.serving.server import STAGES, WHISPER_STAGES, Server, Usage


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """A run of requests with what the server used for it."""

    title: str
    load: Load
    before: Usage
    after: Usage
    metrics: Mapping[tuple[str, str], float]
    """What each of the server's metrics grew by."""

    @property
    def cpu_seconds(self) -> float:
        """Processor time of the server in this run."""
        return self.after.cpu_seconds - self.before.cpu_seconds

    @property
    def processors_used(self) -> float:
        """Processors busy with the server, on average."""
        return self.cpu_seconds / self.load.seconds

    def mean_batch_size(self, stage: str) -> float:
        """Items in a batch of a stage, on average."""
        return self._grown("vcemo_batch_size_sum", stage) / max(1.0, self._grown("vcemo_batch_size_count", stage))

    def share_of_time(self, stage: str) -> float:
        """Share of all stages' working time (of the clock, not of the processor)."""
        total = sum(self._grown("vcemo_batch_seconds_sum", each) for each in STAGES)
        return self._grown("vcemo_batch_seconds_sum", stage) / total if total else 0.0

    def mean_queue_ms(self, stage: str) -> float:
        """Wait before a stage, on average."""
        waits = self._grown("vcemo_queue_wait_seconds_count", stage)
        return self._grown("vcemo_queue_wait_seconds_sum", stage) / max(1.0, waits) * 1000

    @property
    def cpu_share_without_whisper(self) -> float:
        """Share of processor time that is not Whisper's: the other stages' threads, and the event loop.

        Whisper's is its spectrogram, encoder and decoder: the stage asr with CTranslate2's threads, and that of the
        lower layers for bundles that read them.
        """
        others = [stage for stage in STAGES if stage not in WHISPER_STAGES]
        stages = sum(self._grown("vcemo_stage_cpu_seconds_total", stage) for stage in others)
        loop = self.after.main_thread_cpu_seconds - self.before.main_thread_cpu_seconds
        return (stages + loop) / self.cpu_seconds

    def cpu_share(self, stage: str) -> float:
        """Share of processor time that a stage's own threads used."""
        return self._grown("vcemo_stage_cpu_seconds_total", stage) / self.cpu_seconds

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        load = self.load
        return {
            "title": self.title,
            "requests": len(load.answers),
            "good": len(load.good),
            "seconds": load.seconds,
            "throughput_per_second": load.throughput,
            "latency_ms": {f"p{p}": load.latency_ms(p) for p in (50, 95, 99)},
            "processors_used": self.processors_used,
            "rss_mib": self.after.rss_bytes / 2**20,
            "cpu_share_without_whisper": self.cpu_share_without_whisper,
            "mean_batch_size": {stage: self.mean_batch_size(stage) for stage in STAGES},
            "share_of_time": {stage: self.share_of_time(stage) for stage in STAGES},
            "mean_queue_ms": {stage: self.mean_queue_ms(stage) for stage in STAGES},
        }

    def _grown(self, name: str, stage: str) -> float:
        return self.metrics.get((name, stage), 0.0)


def observed(server: Server, title: str, load: Coroutine[Any, Any, Load]) -> Observation:
    """Run ``load`` and read the server before and after it."""
    metrics, usage = server.samples(), server.usage()
    found = asyncio.run(load)
    after, grown = server.usage(), server.samples()
    return Observation(
        title=title,
        load=found,
        before=usage,
        after=after,
        metrics={key: value - metrics.get(key, 0.0) for key, value in grown.items()},
    )
