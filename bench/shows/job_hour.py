"""An hour of a call as a job: speed, the most memory it takes, and what it leaves on the disk."""

import tempfile
from pathlib import Path
from typing import Final

import httpx

from bench.figures import Figure, Report
from bench.serving.call import ROLES, composed
from bench.serving.sampling import sampled
from bench.serving.server import service_command, started
from bench.shows.call import done_job
from bench.workbench import Workbench
from model.audio import SAMPLE_RATE_HZ

_SECONDS: Final = 3600
_BYTES_PER_SAMPLE: Final = 4
_LOOK_SECONDS: Final = 0.5


def measure(workbench: Workbench) -> Report:
    """Submit ten minutes first, so that what the first job loads does not count, then the hour."""
    short, hour = composed(workbench), composed(workbench, seconds=_SECONDS)
    with tempfile.TemporaryDirectory() as folder:
        command = service_command(workbench.bundle, workbench.cache, "--state-folder", folder)
        with (
            started("ours", command, ready_path="/health/ready") as server,
            httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client,
        ):
            done_job(client, short)
            before = server.usage().rss_bytes
            with sampled(lambda: server.usage().rss_bytes, every_seconds=_LOOK_SECONDS) as seen:
                answer, seconds = done_job(client, hour)
            after = server.usage().rss_bytes
        left = sum(path.stat().st_size for path in (Path(folder) / "jobs").rglob("*"))
    samples = _SECONDS * SAMPLE_RATE_HZ * _BYTES_PER_SAMPLE * len(ROLES)
    return Report(
        title="An hour of a call on two channels as a job",
        figures=[
            Figure(name="times real time", value=_SECONDS / seconds),
            Figure(name="segments", value=len(answer["segments"])),
            Figure(
                name="memory: most above what it was, MiB",
                value=(max(seen) - before) / 2**20,
                floor=samples / 2**20,
                goal=200,
                better="lower",
            ),
            Figure(
                name="memory: left above what it was, MiB", value=(after - before) / 2**20, floor=64, better="lower"
            ),
            Figure(name="bytes of recordings left on the disk", value=left, floor=0, better="lower"),
        ],
        settings={
            "memory": "resident, of all processes, the one that decodes included; the floor is the hour's samples"
        },
    )
