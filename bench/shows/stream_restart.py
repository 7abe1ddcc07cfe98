"""The service is killed in the middle of a live call, twice; its client and the next process go on."""

import asyncio
import itertools
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx

from bench.figures import Figure, Report
from bench.serving.live_call import ROLES, agreement, as_wav, drawn_call, streamed
from bench.serving.server import free_port, service_command, started
from bench.workbench import Workbench

_SECONDS: Final = 60.0
_KILLED_AFTER_SECONDS: Final = (16.0, 38.0)
_MIN_AGREEMENT: Final = 0.98
_RULES: Final = """
[[rule]]
name = "negative"
sentiment_below = -0.3
cooldown_seconds = 0
"""


def measure(workbench: Workbench) -> Report:
    """Stream a call in real time to a service that is killed and started again, then upload it."""
    call = drawn_call(workbench, seconds=_SECONDS, seed=11)
    with tempfile.TemporaryDirectory() as folder:
        rules = Path(folder) / "rules.toml"
        rules.write_text(_RULES, encoding="utf-8")
        options = ("--state-folder", folder, "--alert-rules-file", str(rules))
        with _killed_and_restarted(workbench, *options) as url:
            segments, events = asyncio.run(streamed(url, call))
            uploaded = _uploaded(url, call)
        left = [path.name for path in (Path(folder) / "live").iterdir()]
    live = [one.segment for one in segments]
    ids, alerts = (
        Counter(one["id"] for one in live),
        Counter(one["alert"]["id"] for one in events if one["type"] == "alert"),
    )
    same, of = agreement(live, uploaded["segments"])
    return Report(
        title=f"a live call of {_SECONDS:g} s, kill -9 after {' and '.join(map(str, _KILLED_AFTER_SECONDS))} s",
        figures=[
            Figure(name="segments", value=len(live)),
            _none("segments lost", len({one["id"] for one in uploaded["segments"]} - set(ids))),
            _none("segments that came twice", sum(ids.values()) - len(ids)),
            Figure(name="segments with the times and label of the upload", value=same / of, floor=_MIN_AGREEMENT),
            _none("alerts that came twice", sum(alerts.values()) - len(alerts)),
            _none("alerts lost", len({alert["id"] for alert in uploaded["alerts"]} - set(alerts))),
            Figure(name="connections of the client", value=_count(events, "session"), floor=3),
            _none("messages out of order", _out_of_order(events)),
            _none("files of the call left behind", len(left)),
        ],
        settings={"client": "service.client, with resume built in; sound goes on to be spoken meanwhile, in real time"},
        remarks=[f"alerts: {len(alerts)}"],
    )


@contextmanager
def _killed_and_restarted(workbench: Workbench, *options: str) -> Iterator[str]:
    """Run a service that is killed and started again behind the scenes, on one port."""
    port, command = free_port(), service_command(workbench.bundle, workbench.cache, *options)
    is_up, is_over = threading.Event(), threading.Event()

    def run() -> None:
        began: float | None = None
        for seconds in (*_KILLED_AFTER_SECONDS, None):
            with started("ours", command, ready_path="/health/ready", port=port) as server:
                began = began or time.monotonic()
                is_up.set()
                if seconds is None:
                    is_over.wait()
                elif not is_over.wait(max(0.0, began + seconds - time.monotonic())):
                    os.kill(server.process.pid, signal.SIGKILL)
                    server.process.wait()
                    workbench.console.print(f"killed after {seconds:g} s", highlight=False)

    thread = threading.Thread(target=run, name="restarter")
    thread.start()
    is_up.wait()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        is_over.set()
        thread.join()


def _uploaded(url: str, call: bytes) -> dict[str, Any]:
    asked = {"channel_roles": ROLES}
    answer = httpx.post(f"{url}/predict", params=asked, content=as_wav(call), timeout=120, trust_env=False)
    document: dict[str, Any] = answer.raise_for_status().json()
    return document


def _count(events: list[dict[str, Any]], kind: str) -> int:
    return sum(event["type"] == kind for event in events)


def _out_of_order(events: list[dict[str, Any]]) -> int:
    """Count kept messages whose number does not rise; a session message tells the newest of its connection only."""
    kept = [event["seq"] for event in events if event["type"] in ("segment", "alert", "summary")]
    return sum(later <= earlier for earlier, later in itertools.pairwise(kept))


def _none(name: str, value: int) -> Figure:
    return Figure(name=name, value=value, floor=0, better="lower")
