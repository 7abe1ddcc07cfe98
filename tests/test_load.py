"""The load generator against a real server that answers when it is told to."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import httpx
import numpy as np
import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from service_fixtures import wait_until

from bench.serving.compare import text_of
from bench.serving.load import Answered, Load, Recorded, closed_loop, open_loop, send_predict, send_transcription


@dataclass(kw_only=True)
class Slow:
    """Answers after ``seconds``, and remembers how many waited at once."""

    seconds: float = 0.05
    url: str = ""
    waiting: int = 0
    most_waiting: int = 0
    forms: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture(scope="module")
def slow() -> Iterator[Slow]:
    state, app = Slow(), FastAPI()

    @app.post("/predict")
    async def predict(request: Request) -> Response:
        state.waiting += 1
        state.most_waiting = max(state.most_waiting, state.waiting)
        await asyncio.sleep(state.seconds)
        state.waiting -= 1
        async with request.form() as form:
            if form["file"].filename == "bad.wav":  # type: ignore[union-attr]
                return Response("nonsense", status_code=503)
        return Response('{"text": "好"}')

    @app.post("/v1/audio/transcriptions")
    async def transcribe(request: Request) -> dict[str, str]:
        async with request.form() as form:
            state.forms.append({key: str(value) for key, value in form.items() if key != "file"})
            return {"text": form["file"].filename or ""}  # type: ignore[union-attr]

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        state.url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        server = uvicorn.Server(uvicorn.Config(app, log_level="error"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        wait_until(lambda: server.started)
        yield state
        server.should_exit = True
        thread.join()


def recorded(name: str = "one.wav", *, seconds: float = 2.0) -> Recorded:
    return Recorded(name=name, audio=b"RIFF", seconds=seconds, text="好")


def answered(latency_ms: float, status: int = 200) -> Answered:
    return Answered(recorded=recorded(), status=status, latency_ms=latency_ms, document={})


def test_a_closed_loop_never_has_more_callers_than_asked_for_and_asks_for_everything(slow: Slow) -> None:
    slow.most_waiting = 0
    load = asyncio.run(closed_loop(slow.url, [recorded()] * 12, send=send_predict, concurrency=3))
    assert len(load.good) == 12
    assert slow.most_waiting == 3
    assert all(answer.latency_ms >= 50 for answer in load.answers)
    assert load.throughput == pytest.approx(12 / load.seconds)


def test_an_open_loop_calls_whoever_still_waits(slow: Slow) -> None:
    slow.most_waiting, slow.seconds = 0, 0.5
    try:
        load = asyncio.run(open_loop(slow.url, [recorded()] * 20, send=send_predict, requests_per_second=200.0))
    finally:
        slow.seconds = 0.05
    assert slow.most_waiting > 10
    assert load.seconds < 5


def test_arrivals_of_an_open_loop_are_the_same_in_every_run_of_a_seed(slow: Slow) -> None:
    rate, number = 100.0, 30
    due = np.cumsum(np.random.default_rng(5).exponential(1 / rate, number))
    began = time.perf_counter()
    asyncio.run(open_loop(slow.url, [recorded()] * number, send=send_predict, requests_per_second=rate, seed=5))
    assert time.perf_counter() - began >= due[-1]


def test_what_is_refused_or_cut_off_is_an_answer_that_is_not_good(slow: Slow) -> None:
    load = asyncio.run(closed_loop(slow.url, [recorded(), recorded("bad.wav")], send=send_predict, concurrency=1))
    assert [(answer.status, answer.document) for answer in load.answers] == [(200, {"text": "好"}), (503, None)]
    assert len(load.good) == 1
    nobody = asyncio.run(closed_loop("http://127.0.0.1:9", [recorded()], send=send_predict, concurrency=1))
    assert [answer.status for answer in nobody.answers] == [0]
    assert [answer.status for answer in load.lost] == [503]
    assert nobody.lost == []  # nothing that was not accepted can be lost
    assert nobody.throughput == 0


def test_percentiles_are_of_good_answers_only() -> None:
    load = Load(answers=[*(answered(float(ms)) for ms in range(101)), answered(9_999.0, status=503)], seconds=1.0)
    assert load.latency_ms(50) == 50
    assert load.latency_ms(95) == 95
    assert np.isnan(Load(answers=[], seconds=1.0).latency_ms(50))


def test_an_openai_compatible_server_is_asked_in_its_own_dialect(slow: Slow) -> None:
    load = asyncio.run(closed_loop(slow.url, [recorded("a.wav")], send=send_transcription, concurrency=1))
    assert load.answers[0].document == {"text": "a.wav"}
    assert slow.forms[-1] == {"model": "whisper-1", "language": "zh", "response_format": "json"}


def test_the_text_of_every_dialect_is_found() -> None:
    assert text_of({"transcript": {"text": "你好"}}) == "你好"
    assert text_of({"transcript": {"text": None}}) == ""
    assert text_of({"text": "你好"}) == "你好"


def test_the_generator_reaches_hosts_without_a_proxy(slow: Slow, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    load = asyncio.run(closed_loop(slow.url, [recorded()], send=send_predict, concurrency=1))
    assert [answer.status for answer in load.answers] == [httpx.codes.OK]
