"""``python -m bench serve``: our service under real recordings, at given concurrencies and arrival rates."""

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure as Plot
from rich.console import Console
from rich.table import Table

from bench.figures import machine
from bench.serving.corpus import recordings
from bench.serving.load import Recorded, closed_loop, open_loop, send_predict
from bench.serving.observation import Observation, observed
from bench.serving.server import STAGES, Server, service_command, started
from bench.workbench import Workbench


@dataclass(frozen=True, kw_only=True, slots=True)
class ServePlan:
    """What is driven, and how hard.

    concurrency: callers who wait for their answer before they ask again. requests_per_second: arrivals that do not
    wait. requests: of each level. options: further ones of ``python -m service``.
    """

    corpus: str = "casia"
    concurrency: Sequence[int] = (1, 4, 16)
    requests_per_second: Sequence[float] = ()
    requests: int = 96
    warm_up_requests: int = 16
    options: Sequence[str] = ()


def serve(plan: ServePlan, workbench: Workbench) -> list[Observation]:
    """Start the service and drive it at every level of the plan."""
    drawn = recordings(workbench, plan.corpus, number=plan.requests + plan.warm_up_requests)
    warming, recorded = drawn[: plan.warm_up_requests], drawn[plan.warm_up_requests :]
    found: list[Observation] = []
    command = service_command(workbench.bundle, workbench.cache, *plan.options)
    with started("ours", command, ready_path="/health/ready") as server:
        warm_up(server, warming)
        for callers in plan.concurrency:
            load = closed_loop(server.url, recorded, send=send_predict, concurrency=callers)
            found.append(observed(server, f"{callers} at a time", load))
            workbench.console.print(_line(found[-1]), highlight=False)
        for rate in plan.requests_per_second:
            load = open_loop(server.url, recorded, send=send_predict, requests_per_second=rate)
            found.append(observed(server, f"{rate:g} a second", load))
            workbench.console.print(_line(found[-1]), highlight=False)
    return found


def warm_up(server: Server, recorded: Sequence[Recorded]) -> None:
    """Post recordings whose answers nobody reads, so that pools and caches are what they will be."""
    asyncio.run(closed_loop(server.url, recorded, send=send_predict, concurrency=4))


def to_json(plan: ServePlan, found: Sequence[Observation]) -> dict[str, Any]:
    """Return plain values, with the plan and the machine."""
    return {"plan": asdict(plan), "machine": machine(), "levels": [one.to_json() for one in found]}


def print_observations(plan: ServePlan, found: Sequence[Observation], console: Console) -> None:
    """Print what callers met, then what each stage did."""
    callers = Table(title=f"{plan.corpus}, {plan.requests} requests a level", title_justify="left")
    for heading in ("level", "good", "answers/s", "p50 ms", "p95 ms", "p99 ms", "processors", "RSS MiB", "not Whisper"):
        callers.add_column(heading, justify="left" if heading == "level" else "right")
    stages = Table(title="share of the stages' time / items in a batch / wait in ms", title_justify="left")
    stages.add_column("level")
    for stage in STAGES:
        stages.add_column(stage, justify="right")
    for one in found:
        load = one.load
        callers.add_row(
            one.title,
            f"{len(load.good)} of {len(load.answers)}",
            f"{load.throughput:.2f}",
            *(f"{load.latency_ms(percentile):.0f}" for percentile in (50, 95, 99)),
            f"{one.processors_used:.2f}",
            f"{one.after.rss_bytes / 2**20:.0f}",
            f"{one.cpu_share_without_whisper:.1%}",
        )
        stages.add_row(
            one.title,
            *(
                f"{one.share_of_time(stage):.1%} / {one.mean_batch_size(stage):.1f} / {one.mean_queue_ms(stage):.0f}"
                for stage in STAGES
            ),
        )
    console.print(callers)
    console.print(stages)
    console.print(f"machine: {machine()}", highlight=False)


def save_plot(found: Sequence[Observation], path: Path) -> None:
    """Draw latency, throughput and the stages' shares at each level."""
    with mpl.rc_context({"font.size": 9}):
        plot = Plot(figsize=(9, 3.2), layout="constrained")
        latency, throughput, shares = plot.subplots(1, 3)
        names = [one.title for one in found]
        places = range(len(found))
        for percentile, colour in ((50, "#0072B2"), (95, "#E69F00"), (99, "#D55E00")):
            heights = [one.load.latency_ms(percentile) for one in found]
            latency.plot(places, heights, marker="o", color=colour, label=f"p{percentile}")
        latency.set(title="latency, ms", ylim=(0, None))
        latency.legend(frameon=False)
        throughput.bar(places, [one.load.throughput for one in found], color="#0072B2")
        throughput.set(title="answers a second")
        bottom = [0.0] * len(found)
        for stage, colour in zip(
            STAGES, ("#56B4E9", "#009E73", "#0072B2", "#F0E442", "#E69F00", "#CC79A7"), strict=True
        ):
            heights = [one.share_of_time(stage) for one in found]
            shares.bar(places, heights, bottom=bottom, color=colour, label=stage)
            bottom = [low + height for low, height in zip(bottom, heights, strict=True)]
        shares.set(title="share of the stages' time", ylim=(0, 1))
        shares.legend(frameon=False, fontsize=7)
        for axes in (latency, throughput, shares):
            axes.set_xticks(places, names, rotation=30, ha="right")
            axes.spines[["top", "right"]].set_visible(False)
        plot.savefig(path, dpi=150)


def _line(one: Observation) -> str:
    p50, p95 = one.load.latency_ms(50), one.load.latency_ms(95)
    return f"{one.title}: {one.load.throughput:.2f} answers/s, p50 {p50:.0f} ms, p95 {p95:.0f} ms"
