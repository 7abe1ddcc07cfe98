"""Real parts for the tests of the service: the committed bundle, real speech, a real server.

Test modules name this file in ``pytest_plugins``, so that one recogniser and one server serve them all,
and import its helpers. PYTEST_DONT_REWRITE: imported before it is a plugin, which would else be a warning.
"""

import io
import os
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt
import psutil
import pytest
import soundfile
import uvicorn

from model.audio import decode_audio
from model.recognizer import EmotionRecognizer
from service.app import create_app
from service.connections import bounded_protocol
from service.lifecycle import Service
from service.server import websocket_options
from service.settings import Settings

ROOT = Path(__file__).parents[1]
BUNDLE = ROOT / "artifacts" / "vcemo-whisper-zh"
RECORDINGS = ROOT / "tests" / "recordings"
CASIA = Path(os.environ.get("VCEMO_DATA", ROOT.parent / "shared" / "data")) / "casia" / "audio"
PATIENCE_SECONDS = 30.0

Samples = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Running:
    """A server that listens."""

    url: str
    port: int
    service: Service
    client: httpx.Client

    def predict(self, recording: bytes, **headers: str) -> httpx.Response:
        return self.client.post("/predict", content=recording, headers={"Content-Type": "audio/wav", **headers})

    def metric(self, name: str) -> float:
        lines = self.client.get("/metrics").text.splitlines()
        return next((float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} ")), 0.0)

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)


def wait_until(condition: Callable[[], Any], *, seconds: float = PATIENCE_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def decode_workers() -> set[psutil.Process]:
    """Those that this process has started, of every decoder."""
    found = set()
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "spawn_main" in " ".join(child.cmdline()):
                found.add(child)
    return found


def wait_until_busy(worker: psutil.Process) -> None:
    begun = worker.cpu_times().user
    wait_until(lambda: worker.cpu_times().user > begun + 0.05)


def wav(samples: Samples, *, sample_rate_hz: int = 16_000, subtype: str = "PCM_16") -> bytes:
    """Write samples (samples,) or (samples, channels) as a WAV file."""
    file = io.BytesIO()
    soundfile.write(file, samples, sample_rate_hz, format="WAV", subtype=subtype)
    return file.getvalue()


def samples_of(name: str) -> Samples:
    """Real speech (samples,) at 16 kHz."""
    samples: Samples = decode_audio(RECORDINGS / name).samples[0]
    return samples


@contextmanager
def serving(recognizer: EmotionRecognizer, **options: Any) -> Iterator[Running]:
    """Serve over HTTP in a thread of this process; what is to outlive it does not, unless ``state_folder`` is given."""
    with (
        tempfile.TemporaryDirectory() as state,
        _serving(recognizer, Settings(**{"state_folder": Path(state)} | options)) as running,
    ):
        yield running


@contextmanager
def _serving(recognizer: EmotionRecognizer, settings: Settings) -> Iterator[Running]:
    app = create_app(settings, recognizer)
    config = uvicorn.Config(
        app,
        port=0,
        http=bounded_protocol(settings, on_cut=app.state.service.metrics.connection_cut),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        **websocket_options(settings),
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, name="server")
    thread.start()
    try:
        wait_until(lambda: server.started)
        port: int = server.servers[0].sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        with httpx.Client(base_url=url, timeout=PATIENCE_SECONDS, trust_env=False) as client:
            wait_until(lambda: client.get("/health/ready").status_code == 200)
            yield Running(url=url, port=port, service=app.state.service, client=client)
    finally:
        server.should_exit = True
        thread.join(PATIENCE_SECONDS)


@pytest.fixture(scope="session")
def server(recognizer: EmotionRecognizer) -> Iterator[Running]:
    with serving(recognizer, channel_roles="agent,customer") as running:
        yield running


@pytest.fixture(scope="session")
def mandarin() -> list[bytes]:
    """Real Mandarin clips of CASIA, eight of different speakers, sentences and emotions."""
    clips = sorted(CASIA.glob("*.flac"))
    if not clips:
        pytest.skip("CASIA is not there: set VCEMO_DATA")
    return [clips[number * len(clips) // 8].read_bytes() for number in range(8)]


@pytest.fixture(scope="session")
def speech() -> bytes:
    """A short piece of real speech, 8 kHz."""
    samples, rate = soundfile.read(RECORDINGS / "not_in_service.wav", dtype="float32")
    return wav(samples[: int(1.6 * rate)], sample_rate_hz=rate)


@pytest.fixture(scope="session")
def long_speech(speech: bytes) -> bytes:
    """Real speech that takes a while: two utterances that Whisper, told to hear Mandarin, has to hear twice."""
    piece = decode_audio(speech).samples[0]
    pause = np.zeros(48_000, dtype=np.float32)
    return wav(np.concatenate([piece, pause] * 2))
