"""Hostile recordings over real HTTP: how soon each is refused, and what they leave in memory."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx
import psutil

from bench.bombs import Bomb, bombs, silent_flac
from bench.figures import Figure, Report
from bench.serving.server import Server, service_command, started
from bench.workbench import Workbench

_WARM_UP_SECONDS = 60.0


def measure(workbench: Workbench) -> Report:
    """Post an honest recording or two to every worker, then each bomb by itself."""
    command = service_command(workbench.bundle, workbench.cache)
    hostile = bombs()
    with (
        started("ours", command, ready_path="/health/ready") as server,
        httpx.Client(base_url=server.url, timeout=120.0) as client,
    ):
        honest = silent_flac(hours=_WARM_UP_SECONDS / 3600)
        for _ in range(4):
            client.post("/predict", content=honest).raise_for_status()
        before = server.usage().rss_bytes
        with _watched(server) as peak:
            found = [_posted(client, bomb) for bomb in hostile]
        after = server.usage().rss_bytes
        client.post("/predict", content=honest).raise_for_status()
        lost = sum(value for (name, _), value in server.samples().items() if name == "vcemo_decode_workers_lost_total")
    slowest = max(found, key=lambda one: one[1])
    wrong = [f"{bomb.name}: {said}" for (said, _), bomb in zip(found, hostile, strict=True) if said != bomb.code]
    refused = [said for said, _ in found if said != "accepted" and said != "failed"]
    return Report(
        title=f"{len(hostile)} hostile recordings, one after another",
        figures=[
            Figure(name="slowest answer, seconds", value=slowest[1], floor=1.0, better="lower"),
            Figure(name="not answered by 4xx", value=len(found) - len(refused), floor=0, better="lower"),
            Figure(name="answered by another code than theirs", value=len(wrong), floor=0, better="lower"),
            Figure(name="memory grown at its peak, MiB", value=(peak[0] - before) / 2**20, floor=100, better="lower"),
            Figure(name="memory grown afterwards, MiB", value=(after - before) / 2**20, floor=100, better="lower"),
            Figure(name="decode workers lost", value=lost, better="lower"),
        ],
        settings={"memory": "resident, of the service and its workers together, against after four honest recordings"},
        remarks=[
            f"slowest: {hostile[found.index(slowest)].name}",
            *wrong,
        ],
    )


def _posted(client: httpx.Client, bomb: Bomb) -> tuple[str, float]:
    """(code, seconds) of the answer."""
    began = time.perf_counter()
    answer = client.post("/predict", content=bomb.data, headers={"Content-Type": "application/octet-stream"})
    seconds = time.perf_counter() - began
    if not answer.is_client_error:
        return ("accepted" if answer.is_success else "failed"), seconds
    return str(answer.json()["code"]), seconds


@contextmanager
def _watched(server: Server) -> Iterator[list[int]]:
    """Look at the memory fifty times a second; the list holds the most that was seen."""
    peak, is_over = [0], threading.Event()

    def watch() -> None:
        while not is_over.wait(0.02):
            family = [server.process, *server.process.children(recursive=True)]
            try:
                peak[0] = max(peak[0], sum(one.memory_info().rss for one in family))
            except psutil.NoSuchProcess:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        is_over.set()
        watcher.join()
