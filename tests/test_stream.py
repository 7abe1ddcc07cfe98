"""Live calls over real WebSockets, beside uploads of the same recordings."""

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import numpy.typing as npt
import pytest
import soxr
from alike import alike
from keyed_app import keys_in
from service_fixtures import Running, serving, wait_until, wav
from standardwebhooks import Webhook
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from model.audio import decode_audio
from model.recognizer import EmotionRecognizer
from service.call_format import CallFormat

pytest_plugins = ["service_fixtures"]

RULES = """
[[rule]]
name = "talks"
role = "customer"
sentiment_below = 1.0
count = 2
of = 2
"""
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STEREO = {"encoding": "pcm16", "sample_rate_hz": 8000, "channels": 2, "channel_roles": "agent,customer"}
FORMAT = CallFormat(encoding="pcm16", sample_rate_hz=8000, channels=2)
SECOND = FORMAT.second_bytes

Frames = npt.NDArray[np.int16]


@pytest.fixture(scope="module")
def frames(mandarin: list[bytes]) -> Frames:
    """Two sides, two clips each, at 8 kHz (frames, 2); the last is still being said when it ends."""
    clips = [soxr.resample(decode_audio(clip).samples[0], 16_000, 8_000) for clip in mandarin[:4]]
    begin, placed = 4_000, []
    for number, clip in enumerate(clips):
        placed.append((begin, number % 2, clip))
        begin += len(clip) + 8_000
    sides = np.zeros((begin - 8_000, 2), np.float32)
    for start, channel, clip in placed:
        sides[start : start + len(clip), channel] = clip
    return np.clip(np.round(sides * 32_768), -32_768, 32_767).astype("<i2")


@pytest.fixture(scope="module")
def sound(frames: Frames) -> bytes:
    return frames.tobytes()


class Receiver(ThreadingHTTPServer):
    """Takes webhooks."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Hook)
        self.bodies: list[dict[str, Any]] = []


class _Hook(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"])).decode()
        assert isinstance(self.server, Receiver)
        self.server.bodies.append(Webhook(SECRET).verify(body, dict(self.headers)))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def rules(receiver: Receiver, tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("rules") / "rules.toml"
    webhook = f'[[webhook]]\nurl = "http://127.0.0.1:{receiver.server_port}"\nsecret = "{SECRET}"\n'
    path.write_text(RULES + webhook, encoding="utf-8")
    return str(path)


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("state")


@pytest.fixture(scope="module")
def live(recognizer: EmotionRecognizer, rules: str, state: Path) -> Iterator[Running]:
    with serving(recognizer, alert_rules_file=rules, keep_live_calls=True, state_folder=state) as running:
        yield running


@pytest.fixture(scope="module")
def uploaded(live: Running, frames: Frames) -> dict[str, Any]:
    """What the service answers to the recording of the call."""
    recording = wav((frames / 32_768).astype(np.float32), sample_rate_hz=8000)
    answer = live.client.post("/predict", params={"channel_roles": "agent,customer"}, content=recording)
    document: dict[str, Any] = answer.json()
    assert len(document["segments"]) == 4
    return document


@contextmanager
def streaming(running: Running, asked: Mapping[str, Any] = STEREO, **options: Any) -> Iterator[ClientConnection]:
    address = f"ws://127.0.0.1:{running.port}/v1/stream?{urlencode(asked)}"
    with connect(address, compression=None, proxy=None, **options) as connection:
        yield connection


def received(connection: ClientConnection, *, until: str = "") -> list[dict[str, Any]]:
    """Messages up to one of a type, or until the connection ends."""
    found: list[dict[str, Any]] = []
    try:
        while not found or found[-1]["type"] != until:
            found.append(json.loads(connection.recv(timeout=30)))
    except ConnectionClosed:
        assert not until, f"closed before {until}: {found}"
    return found


def send(connection: ClientConnection, sound: bytes) -> None:
    for begin in range(0, len(sound), SECOND // 10):
        connection.send(sound[begin : begin + SECOND // 10])


def of_type(messages: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [message for message in messages if message["type"] == kind]


def segments_of(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    found = [message["segment"] for message in of_type(messages, "segment")]
    return sorted(found, key=lambda segment: (segment["start_ms"], segment["channel"]))


def ended_with(connection: ClientConnection) -> tuple[int, str]:
    """Close code, and the code of the problem that was said before."""
    messages = received(connection)
    assert connection.close_code is not None
    return connection.close_code, messages[-1]["code"] if messages and messages[-1]["type"] == "problem" else ""


def test_a_streamed_call_gives_the_segments_summary_and_alerts_of_its_upload(
    live: Running, sound: bytes, uploaded: dict[str, Any], state: Path, receiver: Receiver
) -> None:
    with streaming(live) as connection:
        send(connection, sound)
        connection.send('{"type": "end"}')
        messages = received(connection)
        assert connection.close_code == 1000
    assert [message["type"] for message in (messages[0], messages[-1])] == ["session", "summary"]
    assert alike(segments_of(messages), uploaded["segments"])
    assert alike(messages[-1]["summary"], uploaded["summary"])
    assert uploaded["alerts"]
    assert alike([message["alert"] for message in of_type(messages, "alert")], uploaded["alerts"])
    seqs = [message["seq"] for message in messages]
    assert seqs == sorted(set(seqs))
    assert of_type(messages, "segment")[-1]["speaker"]["utterances"] == 2
    assert list((state / "live").iterdir()) == []
    assert live.metric("vcemo_live_label_seconds_count") == 4
    wait_until(lambda: len(receiver.bodies) == 2 * len(uploaded["alerts"]))
    told = {body["data"]["request_id"]: body["data"]["alert"] for body in receiver.bodies}
    assert list(told) == [uploaded["request_id"], messages[0]["session_id"]]
    assert alike(list(told.values()), uploaded["alerts"] * 2)


def test_who_speaks_is_shown_and_what_they_said_as_soon_as_they_pause(
    live: Running, frames: Frames, sound: bytes
) -> None:
    """The pause is a second long when the other side begins: too short to be the end of the utterance."""
    other_begins = int(np.flatnonzero(frames[:, 1])[0]) * FORMAT.frame_bytes
    with streaming(live) as connection:
        send(connection, sound[:other_begins])
        shown = received(connection, until="partial")
        assert (shown[-1]["role"], shown[-1]["text"]) == ("agent", None)
        while shown[-1].get("text") is None:
            shown += received(connection, until="partial")
        send(connection, sound[other_begins:])
        connection.send('{"type": "end"}')
        (first, *_) = segments_of(received(connection))
        assert (first["id"], first["text"]) == (shown[-1]["segment_id"], shown[-1]["text"])


def test_a_call_goes_on_after_its_connection_broke_and_nothing_is_lost_or_said_twice(
    live: Running, sound: bytes, uploaded: dict[str, Any]
) -> None:
    cut = int(6.01 * SECOND) // FORMAT.frame_bytes * FORMAT.frame_bytes
    with streaming(live) as connection:
        send(connection, sound[:cut])
        first = received(connection, until="segment")
        connection.socket.shutdown(2)  # without a word, as a telephone does in a tunnel
    session = first[0]["session_id"]
    board = {call["session_id"]: call for call in live.client.get("/v1/calls").json()["calls"]}
    assert board[session]["state"] in ("live", "waiting")
    wait_until(lambda: live.client.get("/v1/calls").json()["calls"][0]["state"] == "waiting")
    with streaming(live, {"session_id": session, "after_seq": first[-1]["seq"]}) as connection:
        greeting = received(connection, until="session")[-1]
        assert 0 < greeting["received_ms"] <= cut * 1000 // SECOND
        send(connection, sound[greeting["received_ms"] * SECOND // 1000 :])
        connection.send('{"type": "end"}')
        second = received(connection)
    assert alike(segments_of(first + second), uploaded["segments"])
    assert alike(second[-1]["summary"], uploaded["summary"])
    assert greeting["seq"] == first[-1]["seq"] < min(message["seq"] for message in second)


def test_a_call_goes_on_in_the_next_process_and_nothing_is_lost_or_said_twice(
    recognizer: EmotionRecognizer, rules: str, sound: bytes, uploaded: dict[str, Any], tmp_path: Path
) -> None:
    options = {"alert_rules_file": rules, "keep_live_calls": True, "state_folder": tmp_path}
    with serving(recognizer, **options) as running:
        with streaming(running) as connection:
            send(connection, sound[: 8 * SECOND])
            first = received(connection, until="segment")
            wait_until(lambda: running.client.get("/v1/calls").json()["calls"][0]["duration_ms"] == 8000)
            running.service.calls.is_leaving.set()
            first += received(connection)
            assert connection.close_code == 1012
        session = first[0]["session_id"]
    assert [path.name.partition(".")[0] for path in (tmp_path / "live").iterdir()] == [session]
    with serving(recognizer, **options) as running:
        (waiting,) = running.client.get("/v1/calls").json()["calls"]
        assert (waiting["session_id"], waiting["state"], waiting["duration_ms"]) == (session, "waiting", 8000)
        with streaming(running, {"session_id": session, "after_seq": first[-1]["seq"]}) as connection:
            assert received(connection, until="session")[-1]["received_ms"] == 8000
            send(connection, sound[8 * SECOND :])
            connection.send('{"type": "end"}')
            second = received(connection)
    assert alike(segments_of(first + second), uploaded["segments"])
    assert alike(second[-1]["summary"], uploaded["summary"])
    alerts = of_type(first + second, "alert")
    assert alike([message["alert"] for message in alerts], uploaded["alerts"])
    assert list((tmp_path / "live").iterdir()) == []


def test_a_client_that_does_not_come_back_is_waited_for_and_then_its_call_is_summed_up(
    recognizer: EmotionRecognizer, sound: bytes
) -> None:
    with serving(recognizer, resume_seconds=0.2, ended_call_seconds=60.0) as running:
        with streaming(running) as connection:
            send(connection, sound[: 3 * SECOND])
            session = received(connection, until="session")[0]["session_id"]
        wait_until(lambda: running.client.get("/v1/calls").json()["calls"][0]["state"] == "ended")
        with streaming(running, {"session_id": session, "after_seq": 0}) as connection:
            missed = received(connection)
            assert connection.close_code == 1000
        assert [message["type"] for message in missed] == ["session", "segment", "summary"]


def test_the_newest_connection_of_a_call_counts(live: Running, sound: bytes) -> None:
    with streaming(live) as first:
        session = received(first, until="session")[0]["session_id"]
        first.send(sound[:SECOND])
        with streaming(live, {"session_id": session}) as second:
            assert ended_with(first) == (4409, "session_taken")
            assert received(second, until="session")[-1]["received_ms"] in (0, 1000)
            second.send('{"type": "end"}')
            assert received(second)[-1]["type"] == "summary"


@pytest.mark.parametrize(
    ("changes", "said", "end"),
    [
        ({"encoding": "opus"}, None, (4400, "stream_invalid")),
        ({"sample_rate_hz": "44100"}, None, (4400, "stream_invalid")),
        ({"chanels": "2"}, None, (4400, "stream_invalid")),
        ({"session_id": "0" * 32}, None, (4404, "session_unknown")),
        ({}, b"\x00\x00\x00", (4400, "stream_invalid")),
        ({}, bytes(11 * SECOND), (4400, "stream_invalid")),
        ({}, "hello", (4400, "stream_invalid")),
    ],
    ids=["encoding", "rate", "misspelt", "unknown session", "half a frame", "too long a message", "text"],
)
def test_what_is_none_of_the_protocol_is_refused_with_a_problem_and_a_close_code(
    live: Running, changes: dict[str, str], said: bytes | str | None, end: tuple[int, str]
) -> None:
    with streaming(live, STEREO | changes) as connection:
        if said is not None:
            connection.send(said)
        assert ended_with(connection) == end


def test_a_call_that_is_too_long_is_summed_up_before_it_is_ended(recognizer: EmotionRecognizer, sound: bytes) -> None:
    with serving(recognizer, max_call_seconds=3.0, max_live_calls=1) as running, streaming(running) as connection:
        send(connection, sound[: 3 * SECOND])
        with streaming(running) as another:
            assert ended_with(another) == (4503, "overloaded")
        connection.send(sound[3 * SECOND : 4 * SECOND])
        messages = received(connection)
        assert [message["type"] for message in messages[-2:]] == ["summary", "problem"]
        assert messages[-1]["code"] == "call_too_long"
        assert connection.close_code == 4413
        assert segments_of(messages) != []


def test_a_role_that_must_not_be_judged_is_written_down_only(recognizer: EmotionRecognizer, sound: bytes) -> None:
    with serving(recognizer, unjudged_roles="agent") as running, streaming(running) as connection:
        send(connection, sound)
        connection.send('{"type": "end"}')
        messages = received(connection)
        (call,) = running.client.get("/v1/calls").json()["calls"]
    assert [role["judged"] for role in call["roles"]] == [False, True]
    agent, customer = ([one for one in segments_of(messages) if one["role"] == role] for role in ("agent", "customer"))
    assert [(one["judged"], one["emotion"], one["probabilities"]) for one in agent] == [(False, None, None)] * 2
    assert all(one["text"] for one in agent)
    assert all(one["judged"] and one["emotion"] for one in customer)
    assert messages[-1]["summary"]["roles"][0]["emotions"] is None


def test_the_board_is_sent_when_it_changes(live: Running, sound: bytes) -> None:
    with connect(f"ws://127.0.0.1:{live.port}/v1/calls/events", proxy=None) as board:
        before = json.loads(board.recv(timeout=5))["calls"]
        with streaming(live) as connection:
            session = received(connection, until="session")[0]["session_id"]
            newest = json.loads(board.recv(timeout=5))["calls"][0]
            assert session not in [call["session_id"] for call in before]
            assert (newest["session_id"], newest["state"]) == (session, "live")
            connection.send('{"type": "end"}')
            received(connection)
        assert json.loads(board.recv(timeout=5))["calls"][0]["state"] == "ended"


def test_a_stream_wants_a_key_where_requests_do_and_a_call_belongs_to_its_key(
    recognizer: EmotionRecognizer, tmp_path: Path
) -> None:
    keys = keys_in(tmp_path / "keys.toml", one="max_concurrent = 1", other="")
    with serving(recognizer, api_keys_file=str(tmp_path / "keys.toml")) as running:
        with streaming(running) as connection:
            assert ended_with(connection) == (4401, "unauthorized")
        protocols = ["vcemo", f"vcemo-key.{keys['one']}"]
        with streaming(running, subprotocols=protocols) as connection:
            assert connection.subprotocol == "vcemo"
            session = received(connection, until="session")[0]["session_id"]
            with streaming(running, additional_headers={"X-API-Key": keys["one"]}) as another:
                assert ended_with(another) == (4429, "too_many_at_once")
            with streaming(
                running, {"session_id": session}, additional_headers={"X-API-Key": keys["other"]}
            ) as another:
                assert ended_with(another) == (4404, "session_unknown")
        with connect(f"ws://127.0.0.1:{running.port}/v1/calls/events", proxy=None) as board:
            assert ended_with(board) == (4401, "unauthorized")


def test_a_page_of_another_origin_is_refused(live: Running) -> None:
    with streaming(live, origin="https://elsewhere.example") as connection:
        assert ended_with(connection) == (4403, "origin_refused")
    with streaming(live, origin=f"http://127.0.0.1:{live.port}") as connection:
        assert received(connection, until="session")
