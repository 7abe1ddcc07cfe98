"""Four live calls at once, in real time: how soon labels come, and whether uploads give the same."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from bench.figures import Figure, Report
from bench.serving.live_call import (
    ROLES,
    Streamed,
    agreement,
    as_wav,
    decisions_ms,
    drawn_call,
    streamed,
)
from bench.serving.server import Server, service_command, started
from bench.workbench import Workbench
from model.bundle import read_facts

_CALLS: Final = 4
_SECONDS: Final = 100.0
_MAX_P95_SECONDS: Final = 1.2
_MIN_AGREEMENT: Final = 0.98


def measure(workbench: Workbench) -> Report:
    """Stream the calls side by side, then upload them one after the other."""
    calls = [drawn_call(workbench, seconds=_SECONDS, seed=seed) for seed in range(_CALLS)]
    segment = read_facts(Path(workbench.bundle))[0].features.segment
    decided = [decisions_ms(call, segment) for call in calls]
    command = service_command(workbench.bundle, workbench.cache, "--keep-live-calls", "true")
    with started("ours", command, ready_path="/health/ready") as server:
        before = server.usage().cpu_seconds
        found = asyncio.run(_all_streamed(server, calls))
        processors = (server.usage().cpu_seconds - before) / _SECONDS
        uploaded = [_uploaded(server, call) for call in calls]
    same, of = map(sum, zip(*map(_agreement, found, uploaded), strict=True))
    after, hangover = _delays(found, decided)
    return Report(
        title=f"{_CALLS} live calls of two sides at once, {_SECONDS:.0f} s each, {len(after)} segments",
        figures=[
            _seconds("from the end of speech to its label, less the hangover: p95, s", after, 95, _MAX_P95_SECONDS),
            _seconds("the same: median, s", after, 50),
            _seconds("hangover of the voice activity, until the end is certain: median, s", hangover, 50),
            _seconds("hangover: p95, s", hangover, 95),
            _seconds("end of speech to label, all in all: p95, s", np.add(after, hangover), 95),
            Figure(name="segments with the times and label of the upload", value=same / of, floor=_MIN_AGREEMENT),
            Figure(name="processors that the service kept busy meanwhile", value=processors, better="lower"),
        ],
        settings={
            "calls": "CASIA's clips and spontaneous speech in turn, two channels at 8 kHz, in real time",
            "label": "the arrival of the segment message at the client, in the same machine",
            "hangover": "2 s of silence, or the pause at which speech of more than 22 s is split; from the last speech",
        },
    )


async def _all_streamed(server: Server, calls: Sequence[bytes]) -> list[list[Streamed]]:
    return [segments for segments, _ in await asyncio.gather(*(streamed(server.url, call) for call in calls))]


def _uploaded(server: Server, call: bytes) -> list[dict[str, Any]]:
    answer = httpx.post(
        f"{server.url}/predict", params={"channel_roles": ROLES}, content=as_wav(call), timeout=120, trust_env=False
    )
    segments: list[dict[str, Any]] = answer.raise_for_status().json()["segments"]
    return segments


def _agreement(live: Sequence[Streamed], uploaded: Sequence[dict[str, Any]]) -> tuple[int, int]:
    return agreement([one.segment for one in live], uploaded)


def _delays(found: Sequence[Sequence[Streamed]], decided: Sequence[dict[str, int]]) -> tuple[list[float], list[float]]:
    """Seconds from the moment that the end was certain to the label, and from the end to that moment."""
    after, hangover = [], []
    for call, moments in zip(found, decided, strict=True):
        for one in call:
            decision = moments[one.segment["id"]] / 1000
            after.append(one.at_seconds - decision)
            hangover.append(decision - one.segment["end_ms"] / 1000)
    return after, hangover


def _seconds(name: str, values: Any, percentile: float, floor: float | None = None) -> Figure:
    return Figure(name=name, value=float(np.percentile(values, percentile)), floor=floor, better="lower")
