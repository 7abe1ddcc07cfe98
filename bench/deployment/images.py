"""The Dockerfile's own steps, run without Docker: buildah in a chroot, over a base that debootstrap makes."""

import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.console import Console

BASE: Final = "docker.io/library/python:3.11-slim-bookworm"
TARGETS: Final = ("cpu", "gpu", "training")
TOOLS: Final = ("debootstrap", "buildah", "podman", "runc")

_CHECKOUT: Final = Path(__file__).parents[2]
_SUITE: Final = "bookworm"
_PACKAGES: Final = "python3,python3-venv,python3-pip,ca-certificates"
_TAIL: Final = 2000


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image that was built."""

    target: str
    tag: str
    bytes: int
    layers: Sequence[int]
    """Bytes of each of our layers as they were before compression, the base's left out."""
    healthcheck: Sequence[str]
    """Command of the image's own health check; empty without one."""


def require_tools() -> None:
    """Look for what builds and runs images here.

    Raises:
        RuntimeError: something is not installed.
    """
    missing = [tool for tool in TOOLS if shutil.which(tool) is None]
    if missing:
        raise RuntimeError(f"{', '.join(missing)} not found; as root: apt-get install {' '.join(TOOLS)}")


def prepare_base(console: Console) -> str:
    """Have :data:`BASE` in the local store and return what it is; a stand-in is made where nobody pulled it before."""
    if not run(["podman", "images", "--quiet", BASE]).strip():
        console.print(f"{BASE} is not in the local store: debootstrap {_SUITE} stands in for it", highlight=False)
        with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # /tmp may be small
            root = Path(folder) / "root"
            run(["debootstrap", "--variant=minbase", f"--include={_PACKAGES}", _SUITE, str(root)])
            # What the real one calls python.
            (root / "usr/bin/python").symlink_to("python3")
            archive = Path(folder) / "root.tar"
            run(["tar", "--directory", str(root), "--create", "--file", str(archive), "."])
            run(["podman", "import", str(archive), BASE])
    (base,) = json.loads(run(["podman", "image", "inspect", BASE]))
    # Which the registry's own always names.
    is_theirs = any(word.startswith("PYTHON_VERSION=") for word in base["Config"].get("Env") or ())
    return "the registry's" if is_theirs else f"a stand-in by debootstrap ({_SUITE})"


def build(target: str, *, folder: Path) -> Image:
    """Run the Dockerfile's steps for a target. folder: for the log and pip's configuration.

    Raises:
        RuntimeError: a step failed.
    """
    tag = f"localhost/vcemo:{target}"
    command = [
        *("buildah", "build", "--isolation", "chroot", "--network", "host"),
        *("--layers", "--force-rm", "--format", "docker"),
    ]
    volumes = [word for volume in _pip_volumes(folder) for word in ("--volume", volume)]
    run([*command, *volumes, "--target", target, "--tag", tag, str(_CHECKOUT)])
    (facts,) = json.loads(run(["podman", "image", "inspect", tag]))
    history = json.loads(run(["podman", "history", "--format", "json", tag]))
    of_the_base = len(json.loads(run(["podman", "history", "--format", "json", BASE])))
    layers = [int(layer["size"]) for layer in history[:-of_the_base] if layer["size"]]
    return Image(
        target=target,
        tag=tag,
        bytes=facts["Size"],
        layers=layers[::-1],
        healthcheck=(facts.get("Healthcheck") or {}).get("Test", [])[1:],
    )


def prune() -> None:
    """Remove images without a name: each build leaves gigabytes of steps behind, which only a like one would use."""
    run(["podman", "image", "prune", "--force"])


def base_bytes() -> int:
    """Size of the base, which every target shares."""
    (base,) = json.loads(run(["podman", "image", "inspect", BASE]))
    return int(base["Size"])


def run(command: Sequence[str], *, is_allowed_to_fail: bool = False) -> str:
    """Run a command and return what it printed.

    Raises:
        RuntimeError: it failed; the message ends as its output did.
    """
    ended = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - our own commands
    if ended.returncode and not is_allowed_to_fail:
        said = (ended.stdout + ended.stderr)[-_TAIL:]
        raise RuntimeError(f"{' '.join(command[:3])} ended with code {ended.returncode}: {said}")
    return ended.stdout


def _pip_volumes(folder: Path) -> list[str]:
    """Hand this machine's pip configuration into the steps, with the files and folders that it names."""
    lines = run([sys.executable, "-m", "pip", "config", "list"]).splitlines()
    found = [match for line in lines if (match := re.fullmatch(r"[^.]*\.([\w-]+)='(.*)'", line))]
    options = {match[1]: match[2] for match in found}
    configured = folder / "pip.conf"
    configured.write_text("[global]\n" + "".join(f"{name} = {value}\n" for name, value in options.items()))
    words = [word for value in options.values() for word in value.split()]
    # The pages of an index on disk name files beside it.
    named = {Path(word) for word in words} | {
        Path(word.removeprefix("file://")).parent for word in words if ":" in word
    }
    there = sorted(path for path in named if path.is_absolute() and path.exists())
    return [f"{configured}:/etc/pip.conf:ro", *(f"{path}:{path}:ro" for path in there)]
