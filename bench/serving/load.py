"""Recordings posted over HTTP, as fast as a server answers or as calls come in, and what each answer took."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np

Send = Callable[[httpx.AsyncClient, "Recorded"], Awaitable[httpx.Response]]
"""Posts one recording to a server in its own dialect."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Recorded:
    """A recording as it is uploaded; text is what is said in it, where that is known."""

    name: str
    audio: bytes
    seconds: float
    text: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answered:
    """One answer. latency_ms counts from when the request was due: time in a generator that lags is not hidden."""

    recorded: Recorded
    status: int
    latency_ms: float
    document: Any
    was_accepted: bool = True
    """False where the server let nobody connect."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Load:
    """What one run of requests met."""

    answers: Sequence[Answered]
    seconds: float
    """From the first request to the last answer."""

    @property
    def good(self) -> list[Answered]:
        """Answers with status 200."""
        return [answer for answer in self.answers if answer.status == httpx.codes.OK]

    @property
    def lost(self) -> list[Answered]:
        """Requests that a server accepted and did not answer with status 200."""
        return [answer for answer in self.answers if answer.was_accepted and answer.status != httpx.codes.OK]

    @property
    def throughput(self) -> float:
        """Good answers a second."""
        return len(self.good) / self.seconds

    def latency_ms(self, percentile: float) -> float:
        """Latency of good answers; nan where there are none."""
        found = [answer.latency_ms for answer in self.good]
        return float(np.percentile(found, percentile)) if found else float("nan")


async def closed_loop(
    url: str, recordings: Iterable[Recorded], *, send: Send, concurrency: int, timeout_seconds: float = 300.0
) -> Load:
    """Post every recording, ``concurrency`` at a time: each caller waits for its answer before it asks again."""
    waiting = iter(recordings)
    answers: list[Answered] = []

    async def caller(client: httpx.AsyncClient) -> None:
        for recorded in waiting:
            answer = await _answered(client, recorded, send, due=time.perf_counter())
            answers.append(answer)

    async with _client(url, timeout_seconds) as client:
        began = time.perf_counter()
        await asyncio.gather(*(caller(client) for _ in range(concurrency)))
        return Load(answers=answers, seconds=time.perf_counter() - began)


async def open_loop(
    url: str,
    recordings: Sequence[Recorded],
    *,
    send: Send,
    requests_per_second: float,
    seed: int = 0,
    timeout_seconds: float = 300.0,
) -> Load:
    """Post every recording at its own time, whoever still waits: arrivals are a Poisson process."""
    gaps = np.random.default_rng(seed).exponential(1 / requests_per_second, len(recordings))
    async with _client(url, timeout_seconds) as client:
        began = time.perf_counter()

        async def call(recorded: Recorded, due: float) -> Answered:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            return await _answered(client, recorded, send, due=due)

        calls = [call(recorded, began + at) for recorded, at in zip(recordings, np.cumsum(gaps), strict=True)]
        answers = await asyncio.gather(*calls)
        return Load(answers=answers, seconds=time.perf_counter() - began)


async def send_predict(client: httpx.AsyncClient, recorded: Recorded) -> httpx.Response:
    """Post to ``/predict`` as a form's file."""
    return await client.post("/predict", files={"file": (recorded.name, recorded.audio)})


async def send_transcription(client: httpx.AsyncClient, recorded: Recorded) -> httpx.Response:
    """Post to an OpenAI-compatible transcription server."""
    return await client.post(
        "/v1/audio/transcriptions",
        files={"file": (recorded.name, recorded.audio)},
        data={"model": "whisper-1", "language": "zh", "response_format": "json"},
    )


def _client(url: str, timeout_seconds: float) -> httpx.AsyncClient:
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=64)
    return httpx.AsyncClient(base_url=url, timeout=timeout_seconds, limits=limits, trust_env=False)


async def _answered(client: httpx.AsyncClient, recorded: Recorded, send: Send, *, due: float) -> Answered:
    try:
        response = await send(client, recorded)
    except httpx.TransportError as error:
        # Refused or cut off: no status, which no HTTP answer has.
        return Answered(
            recorded=recorded,
            status=0,
            latency_ms=(time.perf_counter() - due) * 1000,
            document=None,
            was_accepted=not isinstance(error, httpx.ConnectError),
        )
    latency_ms = (time.perf_counter() - due) * 1000
    try:
        document = json.loads(response.content)
    except ValueError:
        document = None
    return Answered(recorded=recorded, status=response.status_code, latency_ms=latency_ms, document=document)
