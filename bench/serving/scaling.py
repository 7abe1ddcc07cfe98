"""``python -m bench scaling``: how cost grows with utterance length, callers, processors and recording length."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import matplotlib as mpl
from matplotlib.figure import Figure as Plot
from rich.console import Console
from rich.table import Table

from bench.figures import machine
from bench.serving.corpus import cut, joined, recordings
from bench.serving.load import Recorded, closed_loop, send_predict
from bench.serving.observation import Observation, observed
from bench.serving.serve import warm_up
from bench.serving.server import Server, service_command, started
from bench.workbench import Workbench
from model.processors import usable_processors

UTTERANCE_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 16.0, 28.0)
CONCURRENCY: Final = (1, 2, 4, 8, 16, 32)
RECORDING_SECONDS: Final = (30.0, 60.0, 120.0, 300.0)
_REQUESTS: Final = 48
_SPONTANEOUS: Final = "spontaneous_zh"

Series = Mapping[str, Sequence[tuple[float, Observation]]]
"""Observations by what was varied, each with its value."""


def scaling(workbench: Workbench) -> Series:
    """Vary one thing at a time, on one server; the number of threads on a server each."""
    casia = recordings(workbench, "casia", number=_REQUESTS)
    series: dict[str, list[tuple[float, Observation]]] = {}
    with started("ours", _command(workbench), ready_path="/health/ready") as server:
        warm_up(server, casia[:16])
        series["seconds of an utterance"] = [
            (seconds, _at(server, cut(workbench, _SPONTANEOUS, seconds=seconds, number=16), 4, workbench))
            for seconds in UTTERANCE_SECONDS
        ]
        series["callers at a time"] = [
            (callers, _at(server, casia, min(callers, len(casia)), workbench)) for callers in CONCURRENCY
        ]
        series["seconds of a recording"] = [
            (seconds, _at(server, [joined(workbench, _SPONTANEOUS, seconds=seconds)], 1, workbench))
            for seconds in RECORDING_SECONDS
        ]
    series["threads"] = []
    for threads in range(1, usable_processors() + 1):
        with started("ours", _command(workbench, "--threads", str(threads)), ready_path="/health/ready") as server:
            warm_up(server, casia[:16])
            series["threads"].append((threads, _at(server, casia, 16, workbench)))
    return series


def print_series(series: Series, console: Console) -> None:
    """Print one table for each thing that was varied."""
    for name, points in series.items():
        table = Table(title=name, title_justify="left")
        for heading in (name, "answers/s", "p50 ms", "p95 ms", "times real time", "RSS MiB"):
            table.add_column(heading, justify="right")
        for value, one in points:
            load = one.load
            table.add_row(
                f"{value:g}",
                f"{load.throughput:.2f}",
                f"{load.latency_ms(50):.0f}",
                f"{load.latency_ms(95):.0f}",
                f"{times_real_time(one):.1f}",
                f"{one.after.rss_bytes / 2**20:.0f}",
            )
        console.print(table)
    console.print(f"machine: {machine()}", highlight=False)


def times_real_time(one: Observation) -> float:
    """Seconds of recordings answered in a second."""
    return sum(answer.recorded.seconds for answer in one.load.good) / one.load.seconds


def to_json(series: Series) -> dict[str, Any]:
    """Return plain values, with the machine."""
    varied = {
        name: [{"value": value, "times_real_time": times_real_time(one)} | one.to_json() for value, one in points]
        for name, points in series.items()
    }
    return {"machine": machine(), "series": varied}


def save_plot(series: Series, path: Path) -> None:
    """Draw seconds of recordings answered a second over each thing that was varied."""
    with mpl.rc_context({"font.size": 9}):
        plot = Plot(figsize=(2.6 * len(series), 2.8), layout="constrained")
        for axes, (name, points) in zip(plot.subplots(1, len(series)), series.items(), strict=True):
            axes.plot(
                [value for value, _ in points],
                [times_real_time(one) for _, one in points],
                marker="o",
                color="#0072B2",
            )
            axes.set(title=name, ylim=(0, 1.1 * max(axes.get_ylim())))
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.spines[["top", "right"]].set_visible(False)
        plot.supylabel("times real time")
        plot.savefig(path, dpi=150)


def _command(workbench: Workbench, *options: str) -> list[str]:
    return service_command(workbench.bundle, workbench.cache, *options)


def _at(server: Server, recorded: Sequence[Recorded], callers: int, workbench: Workbench) -> Observation:
    load = closed_loop(server.url, recorded, send=send_predict, concurrency=callers)
    found = observed(server, f"{callers} at a time", load)
    workbench.console.print(f"{found.title}: {times_real_time(found):.1f} x real time", highlight=False)
    return found
