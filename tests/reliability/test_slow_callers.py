"""Slow loris: many who hold a connection each and never finish asking, while others want to be answered."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from service_fixtures import Running, serving

from model.recognizer import EmotionRecognizer
from service.problems import Problem

pytest_plugins = ("service_fixtures",)

CUT = 'vcemo_connections_cut_total{{reason="{}"}}'
PLACES = 16
HEAD = "POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nContent-Length: "


@pytest.fixture(scope="module")
def bounded(recognizer: EmotionRecognizer) -> Iterator[Running]:
    with serving(recognizer, request_head_seconds=2.0, max_connections=PLACES) as running:
        yield running


def test_a_head_that_never_ends_is_cut_off_though_a_byte_comes_now_and_then(bounded: Running) -> None:
    before = bounded.metric(CUT.format("slow_head"))
    with bounded.connect() as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        connection.settimeout(0.05)
        answer = None
        while answer is None:
            try:
                answer = connection.recv(65_536)
            except TimeoutError:
                connection.sendall(b".")
    assert answer.startswith(b"HTTP/1.1 408")
    assert Problem.model_validate_json(answer.partition(b"\r\n\r\n")[2]).code == "request_too_slow"
    assert bounded.metric(CUT.format("slow_head")) == before + 1


def test_ten_times_more_silent_connections_than_places_keep_nobody_from_being_answered(
    bounded: Running, speech: bytes
) -> None:
    before = bounded.metric(CUT.format("made_way"))
    with ExitStack() as held:
        for _ in range(10 * PLACES):
            held.enter_context(bounded.connect()).sendall(b"POST /predict HTTP/1.1\r\n")
        connection = held.enter_context(bounded.connect())
        connection.sendall(f"{HEAD}{len(speech)}\r\n\r\n".encode() + speech)
        assert connection.recv(15).startswith(b"HTTP/1.1 200")
    assert bounded.metric(CUT.format("made_way")) >= before + 9 * PLACES
