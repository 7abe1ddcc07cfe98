"""Ten thousand hostile requests among a thousand good ones: who is answered, and what is left behind."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Final

import httpx
from rich.progress import Progress

from bench.figures import Figure, Report
from bench.serving.corpus import recordings
from bench.serving.hostile import attacks
from bench.serving.load import Answered, Recorded, closed_loop, send_predict
from bench.serving.server import Server, Usage, service_command, started
from bench.workbench import Workbench

_HOSTILE: Final = 10_000
_GOOD: Final = 1_000
_CLIPS: Final = 100
_CALLERS: Final = 8
_BY_DESIGN: Final = (httpx.codes.SERVICE_UNAVAILABLE, httpx.codes.GATEWAY_TIMEOUT)


def measure(workbench: Workbench) -> Report:
    """Learn the right answers alone, then ask again among attackers."""
    clips = recordings(workbench, "casia", number=_CLIPS)
    command = service_command(workbench.bundle, workbench.cache)
    with started("ours", command, ready_path="/health/ready") as server:
        right = {one.recorded.name: one.document["emotion"] for one in _asked(server, clips * 2)}
        asyncio.run(_attacked(server, [], number=500, progress=None))
        before = server.usage()
        with Progress(console=workbench.console) as progress:
            statuses, good = asyncio.run(_attacked(server, clips, number=_HOSTILE, progress=progress))
        _asked(server, clips[:16])
        after = _settled(server, before)
    failures = {
        f"{name} {status}": times
        for (name, status), times in statuses.items()
        if status >= httpx.codes.INTERNAL_SERVER_ERROR and status not in _BY_DESIGN
    }
    wrong = sum(one.status != httpx.codes.OK or one.document["emotion"] != right[one.recorded.name] for one in good)
    return Report(
        title=f"{_HOSTILE} hostile requests among {len(good)} good ones",
        figures=[
            Figure(name="answers of 5xx, but 503 and 504", value=sum(failures.values()), floor=0, better="lower"),
            Figure(name="good ones answered wrongly or not at all", value=wrong, floor=0, better="lower"),
            Figure(
                name="resident memory, grown by a share of",
                value=after.rss_bytes / before.rss_bytes - 1,
                floor=0.05,
                better="lower",
            ),
            Figure(name="open files more", value=after.open_files - before.open_files, floor=0, better="lower"),
            Figure(name="threads more", value=after.threads - before.threads, floor=0, better="lower"),
        ],
        settings={"hostile": f"{len(attacks())} kinds, {_CALLERS} at a time, beside {_CALLERS} good callers"},
        remarks=[
            "statuses: " + ", ".join(f"{status or 'left'} {times}" for status, times in _by_status(statuses)),
            f"failures: {failures or 'none'}",
        ],
    )


def _asked(server: Server, clips: list[Recorded]) -> list[Answered]:
    return list(asyncio.run(closed_loop(server.url, clips, send=send_predict, concurrency=_CALLERS)).answers)


async def _attacked(
    server: Server, clips: list[Recorded], *, number: int, progress: Progress | None
) -> tuple[Counter[tuple[str, int]], Sequence[Answered]]:
    kinds, draw = list(attacks().items()), random.Random(0)  # noqa: S311 - the same attacks in every run
    statuses: Counter[tuple[str, int]] = Counter()
    task = progress.add_task("attacking", total=number) if progress else None
    left = iter(range(number))

    async def attacker(client: httpx.AsyncClient) -> None:
        for index in left:
            name, attack = kinds[index % len(kinds)]
            try:
                statuses[name, await attack(client, draw)] += 1
            except (httpx.HTTPError, ConnectionError):
                statuses[name, 0] += 1
            if progress is not None and task is not None:
                progress.advance(task)

    asked = [clips[index % len(clips)] for index in range(_GOOD)] if clips else []
    good = asyncio.ensure_future(closed_loop(server.url, asked, send=send_predict, concurrency=_CALLERS))
    async with httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False) as client:
        await asyncio.gather(*(attacker(client) for _ in range(_CALLERS)))
    return statuses, (await good).answers


def _settled(server: Server, before: Usage) -> Usage:
    """Wait a little for connections that are being closed."""
    usage = server.usage()
    for _ in range(20):
        if usage.open_files <= before.open_files and usage.threads <= before.threads:
            break
        time.sleep(0.5)
        usage = server.usage()
    return usage


def _by_status(statuses: Counter[tuple[str, int]]) -> list[tuple[int, int]]:
    found: Counter[int] = Counter()
    for (_, status), times in statuses.items():
        found[status] += times
    return sorted(found.items())
