"""The Dockerfile's own steps in a clean root, to a confined service without network that answers a recording."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.deployment.container import Container, running
from bench.deployment.images import BASE, TARGETS, Image, base_bytes, build, prepare_base, prune, require_tools
from bench.figures import Figure, Report
from bench.workbench import Workbench

_RECORDING: Final = Path(__file__).parents[2] / "tests" / "recordings" / "leave_a_message.wav"
_COMPILERS: Final = "for tool in gcc cc g++ c++ clang make ld; do command -v $tool; done; true"
_RUNTIMES: Final = (
    "from importlib.metadata import distributions; "
    "print(*sorted({d.name for d in distributions() if d.name.startswith('onnxruntime')}))"
)
_DRIVERS: Final = "import psycopg, s3fs; print('loaded')"


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tried:
    ready_seconds: float
    answer: Any
    compilers: str
    runtimes: str
    drivers: str
    can_write_root: bool
    is_root: bool
    exit_code: int


def measure(workbench: Workbench) -> Report:
    """Build every target, run what serves as compose does, look around inside, and end it."""
    require_tools()
    console = workbench.console
    base = prepare_base(console)
    with tempfile.TemporaryDirectory() as folder:
        images = {}
        try:
            for target in TARGETS:
                with console.status(f"building {target}"):
                    images[target] = build(target, folder=Path(folder))
        finally:
            prune()
    # No GPU is needed to see that the GPU's image is whole: the same service on its processors.
    tried = {target: _try(images[target], variables) for target, variables in _SERVING.items()}
    with running(images["training"], recording=_RECORDING, command=("sleep", "600")) as container:
        shown = container.run(*_TRAINING)
    return Report(
        title="The Dockerfile's steps, run by buildah in a chroot; its images, run by podman and runc",
        figures=[
            *(figure for image in images.values() for figure in _sizes(image)),
            *(figure for target, one in tried.items() for figure in _figures(target, one)),
            Figure(name="training: prints its network", value=float("parameters" in shown.lower()), floor=1),
        ],
        settings={
            "base": f"{BASE}, {base}, {base_bytes() / 1e6:.0f} MB, counted into no size above",
            "run": "no network, read-only root, no capabilities, no new privileges, 2 processors, 3 GB, 256 processes",
            "gpu": "its service ran with VCEMO_DEVICE=cpu",
        },
        remarks=[
            *(f"{target}: onnxruntime distributions: {one.runtimes}" for target, one in tried.items()),
            *(f"{image.target}: layers of ours in MB, in order: {_layers(image)}" for image in images.values()),
            *(f"{target}: {_said(one.answer)}" for target, one in tried.items()),
            f"these stay: podman rmi {' '.join(image.tag for image in images.values())}",
        ],
    )


_SERVING: Final = {"cpu": {}, "gpu": {"VCEMO_DEVICE": "cpu"}}
_TRAINING: Final = ("python", "-m", "training", "train", "paper_casia", "--dry-run")


def _try(image: Image, variables: dict[str, str]) -> _Tried:
    with running(image, recording=_RECORDING, variables=variables) as container:
        seconds = container.wait_healthy()
        return _Tried(
            ready_seconds=seconds,
            answer=container.ask(),
            compilers=container.run("sh", "-c", _COMPILERS).strip(),
            runtimes=container.run("python", "-c", _RUNTIMES).strip(),
            drivers=container.run("python", "-c", _DRIVERS).strip(),
            can_write_root=_can_write_root(container),
            is_root=container.run("id", "-u").strip() == "0",
            exit_code=container.stop(),
        )


def _can_write_root(container: Container) -> bool:
    return "written" in container.run("sh", "-c", "touch /opt/vcemo/x /x && echo written", is_allowed_to_fail=True)


def _sizes(image: Image) -> list[Figure]:
    return [
        Figure(
            name=f"{image.target}: size without the base, GB", value=(image.bytes - base_bytes()) / 1e9, better="lower"
        ),
        Figure(name=f"{image.target}: our own code, MB", value=image.layers[-1] / 1e6, floor=5, better="lower"),
    ]


def _figures(target: str, tried: _Tried) -> list[Figure]:
    return [
        Figure(name=f"{target}: seconds to healthy", value=tried.ready_seconds, floor=60, better="lower"),
        Figure(name=f"{target}: a real recording is answered", value=float(bool(tried.answer["segments"])), floor=1),
        Figure(name=f"{target}: exit code after SIGTERM", value=tried.exit_code, floor=0, better="lower"),
        Figure(name=f"{target}: compilers inside", value=len(tried.compilers.split()), floor=0, better="lower"),
        Figure(name=f"{target}: drivers of S3 and PostgreSQL load", value=float(tried.drivers == "loaded"), floor=1),
        Figure(name=f"{target}: runs as root", value=float(tried.is_root), floor=0, better="lower"),
        Figure(name=f"{target}: writes outside /tmp", value=float(tried.can_write_root), floor=0, better="lower"),
        Figure(
            name=f"{target}: ONNX runtimes beyond one", value=len(tried.runtimes.split()) - 1, floor=0, better="lower"
        ),
    ]


def _layers(image: Image) -> str:
    return ", ".join(f"{size / 1e6:.1f}" for size in image.layers)


def _said(answer: Any) -> str:
    judged = f"{answer['emotion']} {answer['confidence']:.2f}"
    return f"{judged}, bundle {answer['model']['version']}, {answer['timings_ms']['total']} ms"
