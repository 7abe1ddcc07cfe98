"""Two processes under torchrun against one: the gradients of one global batch, SupCon included."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from safetensors.torch import load_file

from bench.figures import Figure, Report
from bench.gradients_of_a_batch import CONTRASTS
from bench.workbench import Workbench

_PROGRAM = Path(__file__).parents[1] / "gradients_of_a_batch.py"
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")


def measure(workbench: Workbench) -> Report:
    """Run the same program alone and with two processes (gloo), and compare every gradient."""
    with tempfile.TemporaryDirectory() as folder:
        alone, together = Path(folder) / "alone", Path(folder) / "together"
        write_gradients(alone)
        write_gradients(together, *TORCHRUN)
        figures = [
            Figure(
                name=f"largest difference of a gradient, {name.replace('_', ' ')}",
                value=_difference(alone / f"{name}.safetensors", together / f"{name}.safetensors"),
                floor=1e-5,
                better="lower",
            )
            for name in CONTRASTS
        ]
    return Report(
        title="torchrun --nproc-per-node 2 against one process",
        figures=figures,
        settings={name: str(contrast) for name, contrast in CONTRASTS.items()},
        remarks=("eleven drawn examples in shares of six and five; no dropout, batch norm by running statistics",),
    )


def write_gradients(folder: Path, *launch: str) -> None:
    """Run the program, under ``launch`` if given, and leave its files in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(_PROGRAM.parents[1])}
    command = [sys.executable, *launch, str(_PROGRAM), str(folder)]
    subprocess.run(command, check=True, env=environment, timeout=300, capture_output=True)  # noqa: S603


def _difference(one: Path, other: Path) -> float:
    first, second = load_file(one), load_file(other)
    if first.keys() != second.keys():
        return float("inf")
    return max(float((first[name] - second[name]).abs().max()) for name in first)
