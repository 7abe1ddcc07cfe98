"""``make train-tiny``: from a manifest to a recognised recording, timed with an empty feature cache."""

import os
import subprocess
import tempfile
import time
from pathlib import Path

from bench.figures import Figure, Report
from bench.workbench import Workbench


def measure(workbench: Workbench) -> Report:
    """Run it with a cache that knows the pre-trained parts only; what it installs is installed before."""
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        (cache / "assets").symlink_to((workbench.cache / "assets").resolve())
        environment = os.environ | {"VCEMO_CACHE": str(cache), "VCEMO_DATA": str(workbench.data.resolve())}
        _make("assets", environment)
        _make(".venv/installed-dev", environment)
        began = time.perf_counter()
        printed = _make("train-tiny", environment)
        seconds = time.perf_counter() - began
    return Report(
        title="make train-tiny: prepare, train, evaluate, report, export, recognise",
        figures=[Figure(name="seconds", value=seconds, floor=180.0, better="lower")],
        settings={"experiment": "training/experiments/tiny.toml: 60 clips, SupCon, MoCo, two passes, augmentation"},
        remarks=tuple(printed.splitlines()[-20:]),
    )


def _make(target: str, environment: dict[str, str]) -> str:
    done = subprocess.run(["make", target], check=True, env=environment, capture_output=True, text=True)  # noqa: S603, S607
    return done.stdout
