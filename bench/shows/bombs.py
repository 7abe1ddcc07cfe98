"""Hostile recordings over real HTTP: how soon each is refused, and what it takes in memory."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import httpx
import psutil

from bench.figures import Figure, Report
from bench.serving.bombs import Bomb, bombs, silent_flac
from bench.serving.sampling import sampled
from bench.serving.server import Server, service_command, started
from bench.workbench import Workbench

_LOST: Final = "vcemo_decode_workers_lost_total"
_LOOK_SECONDS: Final = 0.01


@dataclass(frozen=True, kw_only=True, slots=True)
class _Refused:
    bomb: Bomb
    status: int
    code: str
    seconds: float
    grown_bytes: int
    """Of the service and its workers, at its most while they worked on this one."""


def measure(workbench: Workbench) -> Report:
    """Post honest recordings to every worker, then each bomb by itself."""
    command = service_command(workbench.bundle, workbench.cache)
    hostile = bombs()
    with (
        started("ours", command, ready_path="/health/ready") as server,
        httpx.Client(base_url=server.url, timeout=120.0) as client,
    ):
        honest = silent_flac(hours=1 / 60)
        for _ in range(4):
            client.post("/predict", content=honest).raise_for_status()
        before = server.usage().rss_bytes
        found = [_refused(bomb, server, client) for bomb in hostile]
        after = server.usage().rss_bytes
        client.post("/predict", content=honest).raise_for_status()
        lost = sum(value for (name, _), value in server.samples().items() if name == _LOST)
    return Report(
        title=f"{len(hostile)} hostile recordings, one after another",
        figures=_figures(found, grown_bytes=after - before, lost=lost),
        settings={"memory": "resident, of the service and its workers together"},
        remarks=_remarks(found),
    )


def _figures(found: Sequence[_Refused], *, grown_bytes: int, lost: float) -> list[Figure]:
    accepted = [one for one in found if not 400 <= one.status < 500]
    otherwise = [one for one in found if one.code != one.bomb.code]
    swollen = max(one.grown_bytes for one in found)
    return [
        Figure(name="slowest answer, seconds", value=max(one.seconds for one in found), floor=1.0, better="lower"),
        Figure(name="not answered by 4xx", value=len(accepted), floor=0, better="lower"),
        Figure(name="answered by another code than theirs", value=len(otherwise), floor=0, better="lower"),
        Figure(name="memory grown after all of them, MiB", value=grown_bytes / 2**20, floor=100, better="lower"),
        Figure(name="memory grown during one at most, MiB", value=swollen / 2**20, floor=100, better="lower"),
        Figure(name="decode workers lost", value=lost, better="lower"),
    ]


def _remarks(found: Sequence[_Refused]) -> list[str]:
    slow = sorted(found, key=lambda one: -one.seconds)[:3]
    large = sorted(found, key=lambda one: -one.grown_bytes)[:3]
    return [
        *(f"slow: {one.bomb.name}, {one.seconds:.2f} s" for one in slow),
        *(f"large: {one.bomb.name}, {one.grown_bytes / 2**20:.0f} MiB" for one in large),
        *(f"{one.bomb.name}: {one.status} {one.code}" for one in found if one.code != one.bomb.code),
    ]


def _refused(bomb: Bomb, server: Server, client: httpx.Client) -> _Refused:
    family = [server.process, *server.process.children(recursive=True)]
    with sampled(lambda: _resident(family), every_seconds=_LOOK_SECONDS) as sizes:
        began = time.perf_counter()
        answer = client.post("/predict", content=bomb.data)
        seconds = time.perf_counter() - began
    code = "" if answer.is_success else str(answer.json()["code"])
    grown = max(sizes) - sizes[0]
    return _Refused(bomb=bomb, status=answer.status_code, code=code, seconds=seconds, grown_bytes=grown)


def _resident(family: Sequence[psutil.Process]) -> int:
    return sum(one.memory_info().rss for one in family)
