"""Callers who are slow on purpose, or many, against uvicorn with a small application behind it."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
import uvicorn
from service_fixtures import PATIENCE_SECONDS, wait_until
from starlette.types import Receive, Scope, Send
from websockets.sync.client import connect as connect_websocket

from service.connections import BoundedProtocol, Bounds, Cut, bounded_protocol
from service.problems import Problem
from service.settings import Settings

SHORT_SECONDS = 0.25
LONG_SECONDS = 20.0
PROBE = b"GET /small HTTP/1.1\r\nHost: x\r\n\r\n"


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the whole body and answer: little, or a lot; say what was said, over a WebSocket."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        while (message := await receive())["type"] == "websocket.receive":
            await send({"type": "websocket.send", "text": message["text"]})
        return
    while (message := await receive())["type"] == "http.request" and message["more_body"]:
        pass
    size = 2**20 if scope["path"] == "/large" else 2
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
    await send({"type": "http.response.body", "body": b"." * size})


@dataclass(frozen=True, kw_only=True)
class Listening:
    port: int
    server: uvicorn.Server
    cuts: list[Cut]
    held: ExitStack

    def connect(self) -> socket.socket:
        connection = self.held.enter_context(socket.socket())
        # A small window: what is not read stays with the server.
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.settimeout(PATIENCE_SECONDS)
        connection.connect(("127.0.0.1", self.port))
        return connection


@contextmanager
def listening(**options: Any) -> Iterator[Listening]:
    cuts: list[Cut] = []
    seconds = dict.fromkeys(("head_seconds", "body_seconds", "reading_seconds"), LONG_SECONDS)
    given: dict[str, Any] = {**seconds, "max_connections": 100, "on_cut": cuts.append, **options}

    class Quick(BoundedProtocol):
        bounds = Bounds(**given)

    config = uvicorn.Config(application, port=0, http=Quick, lifespan="off", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        with ExitStack() as held:
            yield Listening(port=server.servers[0].sockets[0].getsockname()[1], server=server, cuts=cuts, held=held)
    finally:
        server.should_exit = server.force_exit = True
        thread.join(PATIENCE_SECONDS)


def all_of(connection: socket.socket) -> bytes:
    """What comes until the other side closes."""
    received = b""
    try:
        while part := connection.recv(65_536):
            received += part
    except ConnectionResetError:
        pass
    return received


def is_answered(connection: socket.socket) -> bool:
    connection.sendall(PROBE)
    received = b""
    while not received.endswith(b"\r\n\r\n..") and (part := connection.recv(1000)):
        received += part
    return received.startswith(b"HTTP/1.1 200")


def dripped(connection: socket.socket, start: bytes) -> tuple[bytes, float]:
    """Send ``start``, then a byte now and then until somebody answers; return the answer and the seconds it took."""
    began = time.monotonic()
    connection.sendall(start)
    connection.settimeout(0.03)
    while time.monotonic() - began < LONG_SECONDS:
        try:
            return connection.recv(65_536), time.monotonic() - began
        except TimeoutError:
            connection.sendall(b"x")
    raise AssertionError("held on to for ever")


@pytest.mark.parametrize("start", [b"G", b"GET /small HTTP/1.1\r\nHost: x\r\nX-Slow: "])
def test_a_head_that_drips_in_is_refused_however_often_a_byte_comes(start: bytes) -> None:
    with listening(head_seconds=SHORT_SECONDS) as server, server.connect() as connection:
        answer, seconds = dripped(connection, start)
        assert SHORT_SECONDS <= seconds < 8 * SHORT_SECONDS
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 408")
        for header in (b"connection: close", b"content-type: application/problem+json", b"x-content-type-options"):
            assert header in head.lower()
        problem = Problem.model_validate_json(body)
        assert (problem.code, problem.limit) == ("request_too_slow", SHORT_SECONDS)
        assert f"x-request-id: {problem.request_id}".encode() in head.lower()
        assert all_of(connection) == b""
        assert server.cuts == ["slow_head"]


def test_who_connects_and_says_nothing_is_cut_off_without_a_word() -> None:
    with listening(head_seconds=SHORT_SECONDS) as server, server.connect() as connection:
        assert all_of(connection) == b""
        assert server.cuts == []


def test_every_request_on_a_connection_has_the_time_for_its_head_anew_and_no_more() -> None:
    with listening(head_seconds=SHORT_SECONDS) as server, server.connect() as connection:
        for _ in range(10):
            time.sleep(SHORT_SECONDS / 8)
            assert is_answered(connection)
        assert dripped(connection, b"GET")[0].startswith(b"HTTP/1.1 408")


def test_requests_that_were_sent_at_once_are_all_answered() -> None:
    with listening(head_seconds=SHORT_SECONDS) as server, server.connect() as connection:
        connection.sendall(PROBE * 30)
        assert all_of(connection).count(b"HTTP/1.1 200") == 30


def test_a_body_that_drips_in_is_cut_off_where_the_application_would_wait_for_ever() -> None:
    with listening(body_seconds=SHORT_SECONDS) as server, server.connect() as connection:
        head = b"POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"
        with pytest.raises((ConnectionError, AssertionError)) as caught:
            assert dripped(connection, head)[0]
        assert caught.value.args != ("held on to for ever",)
        assert server.cuts == ["slow_body"]
        assert not server.server.server_state.connections


def test_who_does_not_read_the_answer_is_cut_off() -> None:
    with listening(reading_seconds=SHORT_SECONDS) as server, server.connect() as connection:
        connection.sendall(PROBE.replace(b"small", b"large") * 20)
        wait_until(lambda: server.cuts == ["slow_reader"])
        wait_until(lambda: not server.server.server_state.tasks)
        assert len(all_of(connection)) < 20 * 2**20


def test_who_reads_slowly_but_reads_is_served_to_the_end() -> None:
    with listening(reading_seconds=0.5) as server, server.connect() as connection:
        connection.sendall(PROBE.replace(b"/small", b"/large").replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        received, began = 0, time.monotonic()
        while part := connection.recv(2**15):
            received += len(part)
            time.sleep(0.003)
        assert received > 2**20
        assert time.monotonic() - began > 0.5
        assert server.cuts == []


def test_for_one_too_many_the_one_that_has_asked_for_nothing_the_longest_is_ended() -> None:
    with listening(max_connections=8) as server:
        silent = [server.connect() for _ in range(8)]
        wait_until(lambda: len(server.server.server_state.connections) == 8)
        assert is_answered(silent[0])  # and is the last of them now
        for number in range(1, 8):
            server.connect()
            assert all_of(silent[number]) == b""
        assert is_answered(silent[0])
        assert is_answered(server.connect())
        assert server.cuts == ["made_way"] * 8


def test_a_request_under_way_is_never_ended_for_another() -> None:
    with listening(max_connections=8) as server:
        asking = [server.connect() for _ in range(8)]
        for connection in asking:
            connection.sendall(b"POST /small HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n.")
        wait_until(lambda: len(server.server.server_state.tasks) == 8)
        with server.connect() as connection:
            answer = all_of(connection)
        assert answer.startswith(b"HTTP/1.1 503")
        assert b"retry-after" in answer.lower()
        assert Problem.model_validate_json(answer.partition(b"\r\n\r\n")[2]).code == "overloaded"
        for connection in asking:
            connection.sendall(b".")
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        assert server.cuts == ["refused"]


def test_a_websocket_may_be_silent() -> None:
    with listening(head_seconds=SHORT_SECONDS, body_seconds=SHORT_SECONDS) as server:
        with connect_websocket(f"ws://127.0.0.1:{server.port}/") as socket_of_words:
            deadline = time.monotonic() + 2 * SHORT_SECONDS
            wait_until(lambda: time.monotonic() > deadline)
            socket_of_words.send("still here")
            assert socket_of_words.recv(PATIENCE_SECONDS) == "still here"
        assert server.cuts == []


def test_the_bounds_follow_from_the_settings() -> None:
    settings = Settings(request_head_seconds=3, request_timeout_seconds=20, max_connections=99)
    bounds = bounded_protocol(settings, on_cut=lambda _: None).bounds  # type: ignore[attr-defined]
    assert (bounds.head_seconds, bounds.reading_seconds, bounds.max_connections) == (3, 20, 99)
    assert bounds.body_seconds > 20
