"""Ended under load, and given other bundles under load: what callers notice of it."""

import asyncio
import hashlib
import itertools
import json
import shutil
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import httpx

from bench.figures import Figure, Report
from bench.serving.corpus import recordings
from bench.serving.load import Load, Recorded, closed_loop, send_predict
from bench.serving.server import Server, free_port, service_command, started
from bench.workbench import Workbench
from model.bundle import FACTS_FILE, write_facts

_TIMES: Final = 20
_CALLERS: Final = 8
_KEY: Final = "the admin port of a measurement"
_EXIT_SECONDS: Final = 90.0


def measure(workbench: Workbench) -> Report:
    """End a service that is busy, again and again, then give a busy one other bundles."""
    clips = recordings(workbench, "casia", number=64)
    ends = [_ended(workbench, clips, seconds=1.0 + 0.1 * number, linger=0.5 * (number % 2)) for number in range(_TIMES)]
    reloads, versions, growth = _reloaded(workbench, clips)
    answered = sum(len(load.good) for load, _ in ends)
    return Report(
        title=f"kill -TERM, and another bundle, {_TIMES} times each, {_CALLERS} callers at a time",
        figures=[
            Figure(
                name="kill -TERM: accepted requests lost",
                value=sum(len(load.lost) for load, _ in ends),
                floor=0,
                better="lower",
            ),
            Figure(name="kill -TERM: exit code 0", value=sum(code == 0 for _, code in ends), floor=_TIMES),
            Figure(name="kill -TERM: requests answered", value=answered),
            Figure(name="reload: errors", value=len(reloads.answers) - len(reloads.good), floor=0, better="lower"),
            Figure(name="reload: versions switched", value=versions, floor=_TIMES),
            Figure(name="reload: requests answered", value=len(reloads.good)),
            Figure(name="reload: resident memory, grown by a share of", value=growth, better="lower"),
        ],
        settings={
            "load": "CASIA clips; each caller asks again as soon as it is answered, until nobody listens",
            "lost": "connected, and not answered with 200; every second end lingers for half a second",
        },
    )


def _ended(workbench: Workbench, clips: Sequence[Recorded], *, seconds: float, linger: float) -> tuple[Load, int]:
    """Send SIGTERM after ``seconds`` of load; return what callers met, and the exit code."""
    command = service_command(workbench.bundle, workbench.cache, "--linger-seconds", str(linger))
    with started("ours", command, ready_path="/health/ready") as server:

        async def end() -> None:
            await asyncio.sleep(seconds)
            server.process.terminate()
            await asyncio.to_thread(server.process.wait, _EXIT_SECONDS)

        load = asyncio.run(_under_load(server, clips, end))
        code = server.process.wait(_EXIT_SECONDS)
        workbench.console.print(f"ended with {code}: {len(load.good)} answered, {len(load.lost)} lost", highlight=False)
        return load, code


def _reloaded(workbench: Workbench, clips: Sequence[Recorded]) -> tuple[Load, int, float]:
    """Give a busy service two bundles in turn; return what callers met, how often answers switched, and the growth."""
    with tempfile.TemporaryDirectory() as folder:
        names = [_copied(workbench.bundle, Path(folder), version) for version in ("a", "b")]
        port = free_port()
        command = service_command(Path(folder) / names[0], workbench.cache, *_admin_options(port))
        with started("ours", command, ready_path="/health/ready") as server:
            asyncio.run(closed_loop(server.url, clips, send=send_predict, concurrency=_CALLERS))
            before, switched = server.usage().rss_bytes, 0

            async def reload() -> None:
                nonlocal switched
                for number in range(_TIMES):
                    wanted = names[(number + 1) % 2]
                    switched += await _switched(server.url, f"http://127.0.0.1:{port}", wanted, clips[number])

            load = asyncio.run(_under_load(server, clips, reload))
            return load, switched, server.usage().rss_bytes / before - 1


async def _switched(url: str, admin_url: str, version: str, recorded: Recorded) -> bool:
    """Ask for a bundle; whether the next answer is of its version."""
    async with httpx.AsyncClient(timeout=120, trust_env=False) as client:
        done = await client.post(
            f"{admin_url}/admin/reload", json={"bundle": version}, headers={"Authorization": f"Bearer {_KEY}"}
        )
        answer = await client.post(f"{url}/predict", files={"file": (recorded.name, recorded.audio)})
    return bool(done.is_success and answer.is_success and answer.json()["model"]["version"] == version)


async def _under_load(server: Server, clips: Sequence[Recorded], action: Callable[[], Awaitable[None]]) -> Load:
    """Post recordings until ``action`` has ended."""
    acting = asyncio.ensure_future(action())

    def until_ended() -> Iterator[Recorded]:
        yield from itertools.takewhile(lambda _: not acting.done(), itertools.cycle(clips))

    load = await closed_loop(server.url, until_ended(), send=_unhurried, concurrency=_CALLERS)
    await acting
    return load


async def _unhurried(client: httpx.AsyncClient, recorded: Recorded) -> httpx.Response:
    """Post as :func:`send_predict`; who is let in nowhere waits a little before the next asks."""
    try:
        return await send_predict(client, recorded)
    except httpx.ConnectError:
        await asyncio.sleep(0.05)
        raise


def _copied(bundle: Path, folder: Path, version: str) -> str:
    shutil.copytree(bundle, folder / version)
    document = json.loads((folder / version / FACTS_FILE).read_text(encoding="utf-8"))
    write_facts(folder / version, document | {"version": version})
    return version


def _admin_options(port: int) -> tuple[str, ...]:
    return "--admin-port", str(port), "--admin-key-sha256", hashlib.sha256(_KEY.encode()).hexdigest()
