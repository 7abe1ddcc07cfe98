"""The base install in a clean virtual environment: no torch, small enough, and it serves."""

import subprocess
import sys
import tempfile
from pathlib import Path

from bench.figures import Figure, Report
from bench.workbench import Workbench, posted, running_service

_CHECKOUT = Path(__file__).parents[2]
_NO_TORCH = "import service.app, sys; assert 'torch' not in sys.modules; print('torch-free')"


def measure(workbench: Workbench) -> Report:
    """Install the base lock and the wheel, look at its size, and post a recording to what it serves."""
    with tempfile.TemporaryDirectory() as folder:
        environment, elsewhere = Path(folder) / "venv", Path(folder) / "empty"
        elsewhere.mkdir()
        python = environment / "bin" / "python"
        _run([sys.executable, "-m", "venv", str(environment)])
        lock = _CHECKOUT / "requirements" / "base.lock"
        with workbench.console.status("installing the base"):
            _run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", "--requirement", str(lock)])
            _run([str(python), "-m", "pip", "install", "--quiet", "--no-deps", str(_CHECKOUT)])
        megabytes = sum(path.lstat().st_size for path in environment.rglob("*") if path.is_file()) / 1e6
        said = _run([str(python), "-c", _NO_TORCH], directory=elsewhere)
        listed = _run([str(python), "-m", "pip", "list", "--format=freeze"])
        recording = _CHECKOUT / "tests" / "recordings" / "first_in_line_mulaw.wav"
        with running_service(workbench.bundle, workbench.cache, python=str(python), directory=elsewhere) as client:
            answer = posted(client, recording.read_bytes())
    return Report(
        title="The base install, in a clean virtual environment",
        figures=[
            Figure(name="installed size, GB", value=megabytes / 1000, floor=1.4, better="lower"),
            Figure(name="imports without torch", value=1.0 if said.strip() == "torch-free" else 0.0, floor=1),
            Figure(name="torch packages installed", value=_count_torch(listed), floor=0, better="lower"),
            Figure(name="serves an answer", value=1.0 if answer["emotion"] else 0.0, floor=1),
        ],
        settings={"installed": f"{len(listed.split())} packages of requirements/base.lock, and the project's wheel"},
    )


def _count_torch(listed: str) -> float:
    return float(sum(line.split("==")[0] in ("torch", "transformers") for line in listed.splitlines()))


def _run(command: list[str], *, directory: Path | None = None) -> str:
    done = subprocess.run(command, cwd=directory, check=True, capture_output=True, text=True)  # noqa: S603
    return done.stdout
