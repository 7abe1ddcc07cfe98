"""A container of one of our images, as confined as compose and Kubernetes have it, and without any network."""

import json
import resource
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.deployment.images import Image, run

_READY_SECONDS: Final = 600.0
_STOP_SECONDS: Final = 40
_RECORDING: Final = "/recording.wav"
_SCRATCH: Final = "/tmp"  # noqa: S108 - in the container
_VOLUMES: Final = ("/var/lib/vcemo", "/cache")
"""Owned as in the image, as those of compose are; a tmpfs of podman would be root's."""

_ASK: Final = f"""
import os, urllib.request
url = 'http://127.0.0.1:' + os.environ['VCEMO_PORT'] + '/predict'
request = urllib.request.Request(url, open({_RECORDING!r}, 'rb').read(), {{'Content-Type': 'audio/wav'}})
print(urllib.request.urlopen(request, timeout=600).read().decode())
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Container:
    """A running container, asked from within: it has no network but its own."""

    name: str
    image: Image

    def run(self, *command: str, is_allowed_to_fail: bool = False) -> str:
        """Run a command inside, as the image's user."""
        return run(["podman", "exec", self.name, *command], is_allowed_to_fail=is_allowed_to_fail)

    def wait_healthy(self) -> float:
        """Run the image's own health check until it is content; return the seconds that this took.

        Raises:
            RuntimeError: it ended, or was not ready in time.
        """
        began = time.perf_counter()
        while time.perf_counter() - began < _READY_SECONDS:
            state = self._state()
            if not state["Running"]:
                raise RuntimeError(f"{self.name} ended: {run(['podman', 'logs', self.name])}")
            if "healthy\n" in self.run_health_check():
                return time.perf_counter() - began
            time.sleep(0.2)
        said = run(["podman", "logs", self.name])
        raise RuntimeError(f"{self.name} is not ready after {_READY_SECONDS:.0f} s; it wrote: {said}")

    def run_health_check(self) -> str:
        """Run the health check of the image once; "healthy" where it ended well."""
        words = self.image.healthcheck
        return run(
            ["podman", "exec", self.name, "sh", "-c", '"$@" && echo healthy', "sh", *words], is_allowed_to_fail=True
        )

    def ask(self) -> Any:
        """Post the mounted recording and return the answer."""
        return json.loads(self.run("python", "-c", _ASK))

    def stop(self) -> int:
        """Send the image's stop signal and return the code that it leaves with."""
        run(["podman", "stop", "--time", str(_STOP_SECONDS), self.name])
        return int(self._state()["ExitCode"])

    def _state(self) -> Any:
        (facts,) = json.loads(run(["podman", "inspect", self.name]))
        return facts["State"]


@contextmanager
def running(
    image: Image, *, recording: Path, variables: Mapping[str, str] | None = None, command: Sequence[str] = ()
) -> Iterator[Container]:
    """Start an image: read-only root, no rights, no network, two processors, 3 GB; remove it at the end."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    set_variables = [word for name, value in (variables or {}).items() for word in ("--env", f"{name}={value}")]
    name = f"vcemo-{image.target}-tried"
    run(["podman", "rm", "--force", "--volumes", "--ignore", name])
    run(
        [
            *("podman", "--runtime", "runc", "run", "--detach", "--name", name),
            # Its own health check is run by us: podman would leave that to systemd.
            *("--network", "none", "--read-only", "--no-healthcheck"),
            *("--tmpfs", f"{_SCRATCH}:mode=1777"),
            *(word for folder in _VOLUMES for word in ("--volume", folder)),
            *("--cap-drop", "ALL", "--security-opt", "no-new-privileges"),
            *("--cpus", "2", "--memory", "3g", "--pids-limit", "256"),
            *("--ulimit", f"nofile={files}:{files}", "--ulimit", "nproc=1024:1024"),
            *("--volume", f"{recording}:{_RECORDING}:ro", *set_variables, image.tag, *command),
        ]
    )
    try:
        yield Container(name=name, image=image)
    finally:
        run(["podman", "rm", "--force", "--volumes", "--ignore", name])
