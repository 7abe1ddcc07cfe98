"""Latency at half of saturation, and how much of the processor's time is not Whisper's."""

import asyncio

from bench.figures import Figure, Report
from bench.serving.corpus import recordings
from bench.serving.load import closed_loop, open_loop, send_predict
from bench.serving.observation import observed
from bench.serving.serve import warm_up
from bench.serving.server import STAGES, service_command, started
from bench.workbench import Workbench

_ALONE, _SATURATING, _CALLING, _CALLERS = 48, 192, 144, 16


def measure(workbench: Workbench) -> Report:
    """Ask alone, then by many at a time until nothing idles, then at half of that rate without waiting."""
    clips = recordings(workbench, "casia", number=_SATURATING)
    command = service_command(workbench.bundle, workbench.cache)
    with started("ours", command, ready_path="/health/ready") as server:
        warm_up(server, clips[:32])
        alone = asyncio.run(closed_loop(server.url, clips[:_ALONE], send=send_predict, concurrency=1))
        full = observed(server, "saturated", closed_loop(server.url, clips, send=send_predict, concurrency=_CALLERS))
        rate = full.load.throughput / 2
        half = asyncio.run(open_loop(server.url, clips[:_CALLING], send=send_predict, requests_per_second=rate))
    shares = ", ".join(f"{stage} {full.cpu_share(stage):.1%}" for stage in STAGES)
    sizes = ", ".join(f"{stage} {full.mean_batch_size(stage):.1f}" for stage in STAGES)
    return Report(
        title="CASIA clips over HTTP: alone, saturated, and at half of saturation",
        figures=[
            Figure(name="p50 alone, ms", value=alone.latency_ms(50), better="lower"),
            Figure(name=f"answers a second, {_CALLERS} at a time", value=full.load.throughput),
            Figure(name="p95 at half of saturation, ms", value=half.latency_ms(95), better="lower"),
            Figure(
                name="p95 at half of saturation / p50 alone",
                value=half.latency_ms(95) / alone.latency_ms(50),
                floor=4.0,
                better="lower",
            ),
            Figure(
                name="processor time that is not Whisper's, saturated",
                value=full.cpu_share_without_whisper,
                floor=0.15,
                goal=0.10,
                better="lower",
            ),
            Figure(
                name="the same, lower layers counted in",
                value=full.cpu_share_without_whisper + full.cpu_share("lower_layers"),
                better="lower",
            ),
            Figure(
                name="answers that were not 200",
                value=sum(len(load.answers) - len(load.good) for load in (alone, full.load, half)),
                floor=0,
                better="lower",
            ),
        ],
        settings={"half of saturation": f"{rate:.2f} arrivals a second, a Poisson process, {_CALLING} requests"},
        remarks=[
            f"own threads of each stage, share of processor time: {shares}; CTranslate2's threads are most of the rest",
            f"items in a batch, saturated: {sizes}",
        ],
    )
