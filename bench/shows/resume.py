"""A run that is killed with SIGKILL and resumed against one that is left alone: curves and weights, to the bit."""

import os
import shutil
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors.torch import load_file

from bench.figures import Figure, Report
from bench.workbench import Workbench
from training.logbook import CURVES_FILE
from training.workshop import NETWORK_FILE

_EPOCHS = 5
_KILLED_AFTER = 2
_FOLD = "wangzhe"
_CHANGES = {
    "epochs": str(_EPOCHS),
    "contrast.queue_size": "256",
    "contrast.two_passes": "true",
    "protocol.dev": "own",
}


def measure(workbench: Workbench) -> Report:
    """Train one fold of paper_casia twice: once whole, once killed in its third epoch and resumed."""
    with _named_runs(workbench.cache) as (whole, killed):
        _finish(_start(workbench, whole))
        process = _start(workbench, killed)
        lines = process.stderr
        assert lines is not None
        next(line for line in lines if f"epoch {_KILLED_AFTER} of" in line)
        process.kill()
        process.wait()
        _finish(_start(workbench, killed, "--resume"))
        first, second = (_folder(workbench.cache, name) for name in (whole, killed))
        curves = [(folder / CURVES_FILE).read_text(encoding="utf-8") for folder in (first, second)]
        weights = [load_file(folder / NETWORK_FILE) for folder in (first, second)]
        equal = sum(line == other for line, other in zip(*(text.splitlines()[1:] for text in curves), strict=True))
        largest = max(float((weights[0][name] - weights[1][name]).abs().max()) for name in weights[0])
    return Report(
        title=f"kill -9 after epoch {_KILLED_AFTER} of {_EPOCHS}, --resume, against a run left alone",
        figures=[
            Figure(name="epochs whose losses and dev recall are equal to the last digit", value=equal, floor=_EPOCHS),
            Figure(name="largest difference of a weight", value=largest, floor=0.0, better="lower"),
        ],
        settings={"experiment": f"paper_casia without {_FOLD}: {_CHANGES}", "threads": "one"},
        remarks=tuple(curves[1].splitlines()),
    )


@contextmanager
def _named_runs(cache: Path) -> Iterator[tuple[str, str]]:
    """Two names that no run has yet; their folders are removed at the end."""
    names = tuple(f"resume-{uuid.uuid4().hex[:8]}" for _ in range(2))
    try:
        yield names[0], names[1]
    finally:
        for name in names:
            for folder in (cache / "runs").glob(f"{name}-*"):
                shutil.rmtree(folder)


def _start(workbench: Workbench, name: str, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "training", "train", "paper_casia", "--fold", _FOLD, "--device", "cpu", *options]
    command += ["--data", str(workbench.data), "--cache", str(workbench.cache)]
    for key, value in ({"name": name} | _CHANGES).items():
        command += ["--set", f"{key}={value}"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)  # noqa: S603


def _finish(process: "subprocess.Popen[str]") -> None:
    _, errors = process.communicate()
    if process.returncode:
        raise RuntimeError(f"training ended with code {process.returncode}: {errors}")


def _folder(cache: Path, name: str) -> Path:
    (folder,) = (cache / "runs").glob(f"{name}-*/{_FOLD}")
    return folder
