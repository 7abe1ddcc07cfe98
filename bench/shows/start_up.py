"""From the command to the first sign of readiness, with warm files."""

import statistics

from bench.figures import Figure, Report
from bench.serving.server import service_command, started
from bench.workbench import Workbench

_STARTS = 6


def measure(workbench: Workbench) -> Report:
    """Start it some times; the first, which warms the files, does not count."""
    command = service_command(workbench.bundle, workbench.cache)
    seconds: list[float] = []
    for _ in range(_STARTS):
        with started("ours", command, ready_path="/health/ready") as server:
            seconds.append(server.start_seconds)
            resident = server.usage().rss_bytes
    counted = sorted(seconds[1:])
    return Report(
        title="Start of the service",
        figures=[
            Figure(
                name="seconds to ready, median of five",
                value=statistics.median(counted),
                floor=6.0,
                better="lower",
                interval=(counted[0], counted[-1]),
            ),
            Figure(name="resident memory when ready, MiB", value=resident / 2**20, better="lower"),
        ],
    )
