"""What every measurement needs: the bundle, the data, the pre-trained parts, a running service."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch
from rich.console import Console

from model.assets import AssetStore
from model.processors import usable_processors
from model.recognizer import EmotionRecognizer
from training.corpora.catalog import corpus_named
from training.corpora.manifest import Clip
from training.experiment import Experiment
from training.workshop import Workshop

_START_SECONDS = 180.0


@dataclass(frozen=True, kw_only=True, slots=True)
class Workbench:
    """Where things are. Paths are relative to the checkout."""

    bundle: Path
    data: Path
    cache: Path
    console: Console

    @property
    def assets(self) -> AssetStore:
        """The pre-trained parts."""
        return AssetStore(self.cache)

    def recognizer(self) -> EmotionRecognizer:
        """Load the bundle."""
        return EmotionRecognizer.load(self.bundle, assets=self.assets, threads=usable_processors())

    def workshop(self, experiment: Experiment) -> Workshop:
        """Open an experiment on the data, on one thread of torch: what was trained before is recalled."""
        torch.set_num_threads(1)
        return Workshop(
            experiment=experiment,
            data=self.data,
            cache=self.cache,
            assets=self.assets,
            threads=usable_processors(),
            console=self.console,
        )

    def clips(self, corpus: str) -> list[Clip]:
        """Read a corpus below ``data``.

        Raises:
            CorpusError: it is not there.
        """
        return corpus_named(corpus).read(self.data)


@contextmanager
def running_service(
    bundle: Path, cache: Path, *, python: str = sys.executable, directory: Path | None = None
) -> Iterator[httpx.Client]:
    """Start ``python -m service`` on a free port, wait until it is ready, and stop it at the end.

    Raises:
        RuntimeError: it ended, or was not ready in time.
    """
    port = free_port()
    command = [python, "-m", "service", "--port", str(port), "--bundle", str(bundle.resolve())]
    command += ["--cache", str(cache.resolve())]
    with subprocess.Popen(command, cwd=directory, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:  # noqa: S603
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120.0) as client:
                _wait_until_ready(client, process)
                yield client
        finally:
            process.terminate()


def posted(client: httpx.Client, audio: bytes, *, name: str = "recording.wav") -> dict[str, Any]:
    """Post one recording as a form's file and return the answer.

    Raises:
        httpx.HTTPStatusError: the service refused it.
    """
    answer = client.post("/predict", files={"file": (name, audio)})
    answer.raise_for_status()
    document: dict[str, Any] = json.loads(answer.content)
    return document


def probabilities_of(answers: Sequence[dict[str, Any]]) -> list[dict[str, float]]:
    """Return the probabilities of answers that have some."""
    return [answer["probabilities"] for answer in answers if answer["probabilities"] is not None]


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            assert process.stderr is not None
            raise RuntimeError(f"the service ended with code {process.returncode}: {process.stderr.read().decode()}")
        try:
            if client.get("/health/ready").status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    raise RuntimeError(f"the service was not ready after {_START_SECONDS:.0f} s")
