"""Four times more callers than can be answered: what is still answered in time, and how soon the rest hear no."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Final

import httpx
import numpy as np
import psutil

from bench.figures import Figure, Report
from bench.serving.corpus import recordings
from bench.serving.load import Recorded, closed_loop, open_loop, send_predict
from bench.serving.serve import warm_up
from bench.serving.server import service_command, started
from bench.workbench import Workbench

_SATURATING: Final = 192
_CALLERS: Final = 16
_TIMES: Final = 4
_SECONDS: Final = 60.0
_DEADLINE_SECONDS: Final = 8.0
_GENERATOR_NICE: Final = 5
_SMALL: Final = Recorded(name="small.wav", audio=b"RIFF", seconds=0.0)


def measure(workbench: Workbench) -> Report:
    """Measure saturation, then send four times as much for a minute, whoever still waits."""
    clips = recordings(workbench, "casia", number=_SATURATING)
    command = service_command(workbench.bundle, workbench.cache, "--request-timeout-seconds", f"{_DEADLINE_SECONDS:g}")
    with started("ours", command, ready_path="/health/ready") as server, _niced(_GENERATOR_NICE):
        warm_up(server, clips[:32])
        small = asyncio.run(closed_loop(server.url, [_SMALL] * 200, send=send_predict, concurrency=1))
        full = asyncio.run(closed_loop(server.url, clips, send=send_predict, concurrency=_CALLERS))
        rate = _TIMES * full.throughput
        calls = [clips[index % len(clips)] for index in range(round(rate * _SECONDS))]
        flood = asyncio.run(open_loop(server.url, calls, send=send_predict, requests_per_second=rate))
    refused = [one for one in flood.answers if one.status == httpx.codes.SERVICE_UNAVAILABLE]
    in_time = [one for one in flood.good if one.latency_ms <= _DEADLINE_SECONDS * 1000]
    alone_ms = float(np.median([one.latency_ms for one in small.answers]))
    known = {httpx.codes.OK, httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT}
    return Report(
        title=f"{_TIMES} times more than can be answered, for {_SECONDS:.0f} s",
        figures=[
            Figure(name="answers a second, saturated", value=full.throughput),
            Figure(name="answers in time a second, overloaded", value=len(in_time) / flood.seconds),
            Figure(
                name="of saturation, answered in time",
                value=len(in_time) / flood.seconds / full.throughput,
                floor=0.9,
            ),
            Figure(
                name="refused hear within, p99, ms",
                value=float(np.percentile([one.latency_ms for one in refused], 99)) if refused else float("nan"),
                floor=alone_ms + 50,
                better="lower",
            ),
            Figure(
                name="accepted answered within, p95, ms",
                value=flood.latency_ms(95),
                floor=_DEADLINE_SECONDS * 1000,
                better="lower",
            ),
            Figure(
                name="answers that were neither 200 nor 503 nor 504",
                value=sum(one.status not in known for one in flood.answers),
                floor=0,
                better="lower",
            ),
        ],
        settings={
            "load": f"{rate:.1f} arrivals a second, a Poisson process, {len(calls)} requests; generator at nice "
            f"{_GENERATOR_NICE}; deadline {_DEADLINE_SECONDS:g} s",
            "small request": f"four bytes that are no recording: {alone_ms:.1f} ms alone, median",
        },
        remarks=[f"{len(flood.good)} answered, {len(refused)} refused of {len(flood.answers)}"],
    )


@contextmanager
def _niced(nice: int) -> Iterator[None]:
    """Let the servers that were started before go first."""
    process = psutil.Process()
    before = process.nice()
    process.nice(nice)
    try:
        yield
    finally:
        with suppress(psutil.AccessDenied):  # who is not root stays polite
            process.nice(before)
