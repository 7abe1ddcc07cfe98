"""A server under test: started on a free port, watched while it works, stopped at the end."""

import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import httpx
import psutil
from prometheus_client.parser import text_string_to_metric_families

STAGES: Final = ("decode", "vad", "asr", "lower_layers", "features", "fusion")
WHISPER_STAGES: Final = ("asr", "lower_layers")
_START_SECONDS: Final = 300.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Usage:
    """What a server's processes have used since they started."""

    cpu_seconds: float
    main_thread_cpu_seconds: float
    """Of the threads that Python's event loops run in."""
    rss_bytes: int
    open_files: int
    threads: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Server:
    """A running server. start_seconds: from the command to the first sign of readiness."""

    name: str
    url: str
    start_seconds: float
    process: psutil.Process

    def usage(self) -> Usage:
        """Read what its processes have used."""
        family = [self.process, *self.process.children(recursive=True)]
        times = [one.cpu_times() for one in family]
        main = [thread for one in family for thread in one.threads() if thread.id == one.pid]
        return Usage(
            cpu_seconds=sum(one.user + one.system for one in times),
            main_thread_cpu_seconds=sum(one.user_time + one.system_time for one in main),
            rss_bytes=sum(one.memory_info().rss for one in family),
            open_files=sum(one.num_fds() for one in family),
            threads=sum(one.num_threads() for one in family),
        )

    def samples(self) -> dict[tuple[str, str], float]:
        """Read ``/metrics``: value by name and stage, or an empty stage where it has none."""
        text = httpx.get(f"{self.url}/metrics", timeout=30).raise_for_status().text
        found: dict[tuple[str, str], float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if "le" not in sample.labels:
                    key = sample.name, sample.labels.get("stage", "")
                    found[key] = found.get(key, 0.0) + sample.value
        return found


@contextmanager
def started(
    name: str,
    command: Sequence[str],
    *,
    ready_path: str,
    directory: Path | None = None,
    start_seconds: float = _START_SECONDS,
    port: int | None = None,
) -> Iterator[Server]:
    """Run ``command`` with ``--port``, wait until ``ready_path`` answers 200, and stop it at the end.

    port: None takes any that is free.

    Raises:
        RuntimeError: it ended, or was not ready in time.
    """
    port = port or free_port()
    began = time.perf_counter()
    with (
        tempfile.TemporaryFile() as log,
        subprocess.Popen(  # noqa: S603 - our own commands
            [*command, "--port", str(port)], cwd=directory, stdout=log, stderr=log
        ) as process,
    ):
        try:
            url = f"http://127.0.0.1:{port}"
            try:
                _wait(url + ready_path, process, start_seconds)
            except RuntimeError as error:
                log.seek(0)
                raise RuntimeError(f"{name}: {error}; it wrote: {log.read().decode(errors='replace')}") from error
            seconds = time.perf_counter() - began
            yield Server(name=name, url=url, start_seconds=seconds, process=psutil.Process(process.pid))
        finally:
            process.terminate()


def service_command(bundle: Path, cache: Path, *options: str, python: str = sys.executable) -> list[str]:
    """Return the command that starts our service; the port is added by :func:`started`."""
    command = [python, "-m", "service", "--bundle", str(bundle.resolve()), "--cache", str(cache.resolve())]
    return [*command, "--log-level", "warning", *options]


def free_port() -> int:
    """Return a port of this machine that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(url: str, process: subprocess.Popen[bytes], start_seconds: float) -> None:
    deadline = time.monotonic() + start_seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"ended with code {process.returncode}")
        try:
            if httpx.get(url, timeout=2, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"not ready after {start_seconds:.0f} s")
