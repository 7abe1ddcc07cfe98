"""Our client against a real service, through a wire that breaks."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from alike import alike
from scenario import scenario
from service_fixtures import Running, serving

from model.audio import decode_audio
from model.errors import ServiceRefused, ServiceUnreachable
from model.recognizer import EmotionRecognizer
from service.call_format import CallFormat
from service.client import AsyncClient, Client
from service.client_call import ClientCall
from service.client_command import main
from service.client_sound import in_real_time, read_sound

pytest_plugins = ["service_fixtures"]

FORMAT = CallFormat(encoding="pcm16", sample_rate_hz=16_000, channels=1)


@pytest.fixture(scope="module")
def live(recognizer: EmotionRecognizer) -> Iterator[Running]:
    with serving(recognizer) as running:
        yield running


@pytest.fixture(scope="module")
def recording(mandarin: list[bytes], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two utterances, 16 kHz."""
    clips, pause = [decode_audio(clip).samples[0] for clip in mandarin[4:6]], np.zeros(40_000, np.float32)
    path = tmp_path_factory.mktemp("call") / "call.wav"
    soundfile.write(path, np.concatenate([clips[0], pause, clips[1]]), 16_000, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def answer(live: Running, recording: Path) -> dict[str, Any]:
    return Client(live.url).predict(recording)


def blocks(sound: bytes) -> Iterator[bytes]:
    for begin in range(0, len(sound), 3200):
        yield sound[begin : begin + 3200]


@asynccontextmanager
async def breaking_wire(port: int, *, after_bytes: list[int]) -> AsyncIterator[str]:
    """Hand everything on to ``port``, and cut each connection after so many bytes upwards, as long as there are any."""

    async def hand_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, limit: float) -> None:
        while limit > 0 and (data := await reader.read(4096)):
            limit -= len(data)
            writer.write(data)
            await writer.drain()

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        limit = after_bytes.pop(0) if after_bytes else float("inf")
        ways = [hand_on(reader, far_writer, limit), hand_on(far_reader, writer, float("inf"))]
        tasks = [asyncio.create_task(way) for way in ways]
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        for each in (writer, far_writer):
            each.transport.abort()

    server = await asyncio.start_server(join, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


def segments_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event["segment"] for event in events if event["type"] == "segment"]


@scenario
async def test_a_call_over_a_wire_that_breaks_twice_is_heard_whole_and_once(
    live: Running, recording: Path, answer: dict[str, Any]
) -> None:
    call_format, sound = read_sound(recording)
    async with breaking_wire(live.port, after_bytes=[60_000, 50_000]) as url:
        events = [event async for event in AsyncClient(url).stream(blocks(sound), call_format)]
    assert [event["type"] for event in events].count("session") == 3
    assert alike(segments_of(events), answer["segments"])
    assert events[-1]["type"] == "summary"


def test_the_client_without_an_event_loop_hears_the_same(
    live: Running, recording: Path, answer: dict[str, Any]
) -> None:
    call_format, sound = read_sound(recording)
    events = list(Client(live.url).stream(blocks(sound), call_format))
    assert alike(segments_of(events), answer["segments"])


def test_the_command_prints_what_was_said_and_how(
    live: Running, recording: Path, answer: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(recording), "--url", live.url]) == 0
    printed = capsys.readouterr().out
    assert all(segment["emotion"] in printed and segment["text"] in printed for segment in answer["segments"])
    assert "utterances" in printed


def test_the_command_says_what_is_wrong(live: Running, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "letter.wav"
    path.write_bytes(b"no recording")
    assert main([str(path), "--url", live.url]) == 1
    assert "error:" in capsys.readouterr().err
    assert main([str(tmp_path / "none.wav"), "--url", live.url]) == 1
    assert "No such file" in capsys.readouterr().err


def test_a_problem_of_the_service_is_an_error_with_its_code(live: Running) -> None:
    wrong = CallFormat(encoding="pcm16", sample_rate_hz=44_100, channels=1)
    with pytest.raises(ServiceRefused) as refused:
        list(Client(live.url).stream([b""], wrong))
    assert refused.value.problem_code == "stream_invalid"


def test_a_service_that_is_not_there_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.client._CONNECT_SECONDS", 0.05)
    with pytest.raises(ServiceUnreachable):
        list(Client("http://127.0.0.1:9").stream([bytes(320)], FORMAT))


def test_sound_is_kept_until_it_is_received_and_sent_again_from_there() -> None:
    call = ClientCall("http://localhost:8000", FORMAT, channel_roles="agent")
    assert call.address == (
        "ws://localhost:8000/v1/stream?encoding=pcm16&sample_rate_hz=16000&channels=1&channel_roles=agent"
    )
    sound = bytes(range(256)) * 50  # 400 ms
    call.take(sound)
    assert b"".join(iter(call.next_message, b"")) == sound
    session = {"type": "session", "seq": 1, "session_id": "5e55", "received_ms": 0, "resume_seconds": 60.0}
    call.receive(json.dumps(session))
    call.receive(json.dumps({"type": "ack", "seq": 7, "received_ms": 150}))
    call.receive(json.dumps(session | {"seq": 8, "received_ms": 200}))
    assert b"".join(iter(call.next_message, b"")) == sound[200 * 32 :]
    assert call.address == "ws://localhost:8000/v1/stream?session_id=5e55&after_seq=8"


def test_a_client_takes_no_more_sound_than_ten_seconds_ahead() -> None:
    call = ClientCall("https://localhost/vcemo/", FORMAT)
    assert call.address.startswith("wss://localhost/vcemo/v1/stream?")
    call.take(bytes(FORMAT.second_bytes * 10))
    assert not call.has_room


def test_a_recording_is_streamed_at_its_own_rate_where_a_call_can_have_it(tmp_path: Path) -> None:
    tone = (np.sin(np.arange(4410) / 9) * 0.5).astype(np.float32)
    soundfile.write(tmp_path / "telephone.wav", np.stack([tone, -tone], 1), 8_000, subtype="ULAW")
    soundfile.write(tmp_path / "studio.flac", tone, 44_100)
    telephone, sound = read_sound(tmp_path / "telephone.wav")
    assert (telephone.sample_rate_hz, telephone.channels, len(sound)) == (8_000, 2, 4410 * 4)
    decoded, _ = soundfile.read(tmp_path / "telephone.wav", dtype="float32")
    np.testing.assert_array_equal(telephone.decode(sound), decoded)
    studio, sound = read_sound(tmp_path / "studio.flac")
    assert (studio.sample_rate_hz, studio.channels, len(sound)) == (16_000, 1, 1600 * 2)
    assert len(list(in_real_time(sound[:320], studio))) == 1


def test_mulaw_is_decoded_as_by_libsndfile(tmp_path: Path) -> None:
    codes = np.arange(256, dtype=np.uint8).tobytes()
    soundfile.write(tmp_path / "codes.raw", np.zeros(1), 8_000, subtype="ULAW")
    (tmp_path / "codes.raw").write_bytes(codes)
    expected, _ = soundfile.read(
        tmp_path / "codes.raw", samplerate=8_000, channels=1, subtype="ULAW", format="RAW", dtype="float32"
    )
    mulaw = CallFormat(encoding="mulaw", sample_rate_hz=8_000, channels=1)
    np.testing.assert_array_equal(mulaw.decode(codes)[:, 0], expected)
