"""Thousands of requests on one process: resident memory, open files, threads."""

import asyncio
import statistics
from collections.abc import Sequence

from bench.figures import Figure, Report
from bench.serving.corpus import recordings
from bench.serving.load import closed_loop, send_predict
from bench.serving.sampling import sampled
from bench.serving.server import service_command, started
from bench.workbench import Workbench

_WARM_UP, _REQUESTS, _CALLERS = 500, 5_000, 16
_READING_SECONDS, _READINGS = 1.0, 30


def measure(workbench: Workbench) -> Report:
    """Warm up, count, post on, and count again."""
    clips = recordings(workbench, "casia", number=_WARM_UP + _REQUESTS)
    command = service_command(workbench.bundle, workbench.cache)
    with started("ours", command, ready_path="/health/ready") as server:
        with sampled(lambda: server.usage().rss_bytes, every_seconds=_READING_SECONDS) as early:
            asyncio.run(closed_loop(server.url, clips[:_WARM_UP], send=send_predict, concurrency=_CALLERS))
        before = server.usage()
        with sampled(lambda: server.usage().rss_bytes, every_seconds=_READING_SECONDS) as late:
            load = asyncio.run(closed_loop(server.url, clips[_WARM_UP:], send=send_predict, concurrency=_CALLERS))
        after = server.usage()
    grown = _settled(late) / _settled(early) - 1
    return Report(
        title=f"{_REQUESTS} requests after {_WARM_UP} to warm up, {_CALLERS} at a time",
        figures=[
            Figure(
                name="resident memory, GB, the most that was read", value=max(late) / 1e9, floor=1.3, better="lower"
            ),
            Figure(name="resident memory, grown by a share of", value=grown, floor=0.03, better="lower"),
            Figure(name="the same, first and last reading alone", value=late[-1] / early[-1] - 1, better="lower"),
            Figure(name="open files more", value=after.open_files - before.open_files, floor=2, better="lower"),
            Figure(name="threads more", value=after.threads - before.threads, floor=2, better="lower"),
            Figure(name="answers that were not 200", value=len(load.answers) - len(load.good), floor=0, better="lower"),
            Figure(name="answers a second", value=load.throughput),
        ],
        settings={
            "grown": f"medians of the last {_READINGS} readings, one a second: batches come and go by tens of megabytes"
        },
        remarks=[f"resident, MB, every minute: {', '.join(f'{bytes_ / 1e6:.0f}' for bytes_ in late[::60])}"],
    )


def _settled(readings: Sequence[int]) -> float:
    return statistics.median(readings[-_READINGS:])
