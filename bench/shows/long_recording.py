"""Ten minutes of spontaneous speech in one upload: speed, and what it leaves in memory."""

import asyncio

from bench.figures import Figure, Report
from bench.serving.corpus import joined, recordings
from bench.serving.load import closed_loop, send_predict
from bench.serving.observation import observed
from bench.serving.serve import warm_up
from bench.serving.server import service_command, started
from bench.workbench import Workbench
from model.audio import SAMPLE_RATE_HZ

_SECONDS = 600.0
_BYTES_PER_SAMPLE = 4


def measure(workbench: Workbench) -> Report:
    """Post it three times: the median's speed, and memory against what it was after the shorter ones."""
    recorded = joined(workbench, "spontaneous_zh", seconds=_SECONDS)
    short = joined(workbench, "spontaneous_zh", seconds=60)
    clips = recordings(workbench, "casia", number=32)
    command = service_command(workbench.bundle, workbench.cache)
    with started("ours", command, ready_path="/health/ready") as server:
        warm_up(server, clips)
        asyncio.run(closed_loop(server.url, [short, short], send=send_predict, concurrency=1))
        found = [
            observed(server, "ten minutes", closed_loop(server.url, [recorded], send=send_predict, concurrency=1))
            for _ in range(3)
        ]
    speeds = sorted(_SECONDS / one.load.seconds for one in found)
    grown = found[-1].after.rss_bytes - found[0].before.rss_bytes
    samples = _SECONDS * SAMPLE_RATE_HZ * _BYTES_PER_SAMPLE
    answer = found[0].load.answers[0]
    return Report(
        title="Ten minutes of spontaneous speech, joined and repeated with pauses of a second",
        figures=[
            Figure(name="times real time", value=speeds[1], floor=15.0, interval=(speeds[0], speeds[-1])),
            Figure(name="memory grown, MiB", value=grown / 2**20, floor=samples / 2**20, better="lower"),
            Figure(name="answers that were 200", value=sum(len(one.load.good) for one in found), floor=len(found)),
        ],
        settings={"memory": "resident, after three of them, against after two of a minute; the floor is its samples"},
        remarks=[f"{len(answer.document['segments'])} segments, {answer.document['audio']['speech_ms']} ms of speech"],
    )
