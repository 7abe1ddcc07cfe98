"""What the fused network weighs, and how long it takes for an utterance on one core."""

import time

import numpy as np

from bench.figures import Figure, Report
from bench.workbench import Workbench
from model.bundle import NETWORK_FILE, Bundle
from model.features import Features
from training.export import golden_features

_ROUNDS = 200
_LEAST_STEPS = 25
"""Two seconds, as a clip of CASIA."""


def measure(workbench: Workbench) -> Report:
    """Time single utterances and a batch, on one thread of ONNX Runtime."""
    bundle = Bundle.load(workbench.bundle, threads=1)
    spoken = [
        one
        for one in golden_features(bundle.facts.features, count=16)
        if one.states is not None and len(one.states) >= _LEAST_STEPS
    ]
    alone = [_milliseconds(bundle, [spoken[k % len(spoken)]]) for k in range(_ROUNDS)]
    together = [_milliseconds(bundle, spoken) / len(spoken) for _ in range(_ROUNDS // 10)]
    seconds = [len(one.mel) / 100 for one in spoken if one.mel is not None]
    return Report(
        title="The fused network in ONNX Runtime, one thread",
        figures=[
            Figure(
                name="size in MB",
                value=(workbench.bundle / NETWORK_FILE).stat().st_size / 1e6,
                floor=12,
                better="lower",
            ),
            Figure(name="ms an utterance, alone (median)", value=float(np.median(alone)), floor=5.0, better="lower"),
            Figure(name="ms an utterance, batched (median)", value=float(np.median(together)), better="lower"),
        ],
        settings={
            "bundle": f"{bundle.facts.name} {bundle.facts.version}",
            "utterances": f"{len(spoken)}, {min(seconds):.1f} to {max(seconds):.1f} s, with text; features drawn",
        },
    )


def _milliseconds(bundle: Bundle, batch: list[Features]) -> float:
    start = time.perf_counter()
    bundle.predict(batch)
    return (time.perf_counter() - start) * 1000
