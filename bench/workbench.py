"""What every measurement needs: the bundle, the data, the pre-trained parts, a running service."""

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import torch
from rich.console import Console

from bench.serving.server import service_command, started
from model.assets import AssetStore
from model.processors import usable_processors
from model.recognizer import EmotionRecognizer
from training.corpora.catalog import corpus_named
from training.corpora.manifest import Clip
from training.experiment import Experiment
from training.workshop import Workshop


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
    command = service_command(bundle, cache, python=python)
    with (
        started("the service", command, ready_path="/health/ready", directory=directory) as server,
        httpx.Client(base_url=server.url, timeout=120.0) as client,
    ):
        yield client


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
