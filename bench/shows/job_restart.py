"""kill -9 in the middle of a job: what the next process repeats, and what a busy job costs whoever asks meanwhile."""

import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import httpx
import numpy as np

from bench.figures import Figure, Report
from bench.serving.call import composed
from bench.serving.corpus import recordings
from bench.serving.load import Recorded
from bench.serving.server import Server, service_command, started
from bench.shows.call import done_job, submitted, unlike
from bench.workbench import Workbench

_KILLED_AT_PERCENT: Final = 40
_ASKED: Final = 24
_AT_ONCE: Final = 16
"""Utterances that are judged before they are kept: as many may be judged again."""
_POLL_SECONDS: Final = 0.1


def measure(workbench: Workbench) -> Report:
    """Let one process end a job, and two another, killed in between."""
    call = composed(workbench)
    clips = recordings(workbench, "casia", number=_ASKED)
    with tempfile.TemporaryDirectory() as folder:
        command = service_command(workbench.bundle, workbench.cache, "--state-folder", folder)
        with _serving(command) as (server, client):
            whole, _ = done_job(client, call)
            heard_whole = _heard(server)
            alone = _asked(client, clips)
            meanwhile_url = submitted(client, call)
            _wait_for(client, meanwhile_url, percent=10)
            meanwhile = _asked(client, clips)
            still = client.get(meanwhile_url).json()["status"]
            client.delete(meanwhile_url)
            url = submitted(client, call)
            kept = _wait_for(client, url, percent=_KILLED_AT_PERCENT)
            server.process.kill()
        left = len(list((Path(folder) / "jobs").iterdir()))
        with _serving(command) as (server, client):
            job = _wait_for(client, url, percent=100)
            answer: dict[str, Any] = client.get(job["links"]["result"]).raise_for_status().json()
            heard_after = _heard(server)
            listed = [one["id"] for one in client.get("/v1/jobs").json()["jobs"]]
            remaining = list((Path(folder) / "jobs").iterdir())
    judged = len(answer["segments"])
    return Report(
        title=f"kill -9 at {kept['progress']} % of a job of ten minutes, then the same command again",
        figures=[
            Figure(
                name="segments unlike those of a job left alone", value=unlike(whole, answer), floor=0, better="lower"
            ),
            Figure(name="utterances of the call", value=judged),
            Figure(
                name="of these judged by the second process", value=heard_after, floor=judged * 0.75, better="lower"
            ),
            Figure(name="jobs in the list that were submitted once", value=len(set(listed)) / len(listed), floor=1),
            Figure(name="folders of recordings when killed", value=left),
            Figure(name="folders of recordings left at the end", value=len(remaining), floor=0, better="lower"),
            Figure(name="a clip alone: median ms", value=float(np.median(alone))),
            Figure(name="a clip while a job runs: median ms", value=float(np.median(meanwhile))),
            Figure(name="a clip while a job runs: 95 % within ms", value=float(np.quantile(meanwhile, 0.95))),
            Figure(name="the job still ran when the last was answered", value=still == "running", floor=1),
        ],
        settings={
            "clips": f"{_ASKED} of CASIA, one after the other",
            "heard": f"{heard_whole:.0f} by a job left alone",
        },
        remarks=[
            f"at most {_AT_ONCE} utterances are judged before they are kept; a restart repeats no more than those"
        ],
    )


@contextmanager
def _serving(command: Sequence[str]) -> Iterator[tuple[Server, httpx.Client]]:
    with (
        started("ours", command, ready_path="/health/ready") as server,
        httpx.Client(base_url=server.url, timeout=900, trust_env=False) as client,
    ):
        yield server, client


def _heard(server: Server) -> float:
    """Return how many utterances the recogniser has been given."""
    return server.samples()["vcemo_batch_size_sum", "asr"]


def _asked(client: httpx.Client, clips: Sequence[Recorded]) -> list[float]:
    """Post one clip after the other; return the milliseconds of each."""
    times = []
    for clip in clips:
        began = time.perf_counter()
        client.post("/predict", files={"file": (clip.name, clip.audio)}).raise_for_status()
        times.append((time.perf_counter() - began) * 1000)
    return times


def _wait_for(client: httpx.Client, url: str, *, percent: int) -> dict[str, Any]:
    while True:
        job: dict[str, Any] = client.get(url).raise_for_status().json()
        if job["progress"] >= percent or job["status"] not in ("queued", "running"):
            return job
        time.sleep(_POLL_SECONDS)
