"""Hostile recordings, and decode workers that die, over real HTTP."""

import concurrent.futures
import gc

import psutil
import pytest
from service_fixtures import Running, decode_workers, serving, wait_until, wait_until_busy

from bench.serving.bombs import bombs, silent_flac, sound_file
from model.recognizer import EmotionRecognizer
from service.problems import Problem

pytest_plugins = ("service_fixtures",)

LOST = 'vcemo_decode_workers_lost_total{{reason="{}"}}'


@pytest.fixture(scope="module")
def long_flacs() -> list[bytes]:
    """Just short enough to be accepted, and not the same."""
    return [silent_flac(hours=seconds / 3600, rate_hz=48_000) for seconds in (540, 590)]


def code_of(server: Running, recording: bytes) -> tuple[int, str]:
    answer = server.predict(recording)
    if answer.status_code == 200:
        return 200, "ok"
    problem = Problem.model_validate_json(answer.content)
    return answer.status_code, problem.code


def test_every_bomb_is_refused_with_its_code_and_the_service_goes_on(server: Running, speech: bytes) -> None:
    wrong = {}
    for bomb in bombs():
        status, code = code_of(server, bomb.data)
        if not 400 <= status < 500 or code != bomb.code:
            wrong[bomb.name] = (status, code, bomb.code)
    assert wrong == {}
    assert code_of(server, speech) == (200, "ok")
    assert code_of(server, sound_file("FLAC")) == (200, "ok")


def test_a_recording_that_kills_its_worker_is_refused_and_no_other_suffers(
    recognizer: EmotionRecognizer, long_flacs: list[bytes]
) -> None:
    others = decode_workers()
    with serving(recognizer, max_concurrent_decodes=2) as server, concurrent.futures.ThreadPoolExecutor(2) as pool:
        victim, bystander = decode_workers() - others
        answers = [pool.submit(code_of, server, recording) for recording in long_flacs]
        wait_until_busy(victim)
        victim.kill()
        assert sorted(answer.result() for answer in answers) == [(200, "ok"), (422, "decoder_crashed")]
        assert server.metric(LOST.format("killed")) == 1
        assert bystander.is_running()
        wait_until(lambda: len(decode_workers() - others) == 2)
        assert [code_of(server, sound_file("FLAC")) for _ in range(4)] == [(200, "ok")] * 4
    assert decode_workers() == others


def test_a_recording_that_takes_too_long_is_refused(recognizer: EmotionRecognizer, long_flacs: list[bytes]) -> None:
    with serving(recognizer, max_decode_seconds=0.05) as server:
        assert code_of(server, long_flacs[0]) == (422, "decode_too_slow")
        assert server.metric(LOST.format("time_limit")) == 1
        assert code_of(server, sound_file("WAV")) == (200, "ok")


def test_a_recording_that_takes_too_much_memory_is_refused(
    recognizer: EmotionRecognizer, long_flacs: list[bytes]
) -> None:
    with serving(recognizer, max_decode_bytes=16 * 2**20) as server:
        assert code_of(server, long_flacs[0]) == (422, "decode_too_large")
        assert code_of(server, sound_file("FLAC")) == (200, "ok")


@pytest.mark.parametrize("magic", [b"fLaC", b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0"], ids=["in a worker", "in a thread"])
def test_refused_uploads_do_not_pile_up(server: Running, magic: bytes) -> None:
    process, rest = psutil.Process(), bytes(20 * 2**20)
    fields = "Host: localhost\r\nContent-Type: audio/wav\r\nConnection: close\r\n"
    head = f"POST /predict HTTP/1.1\r\n{fields}Content-Length: {len(magic + rest)}\r\n\r\n"

    def refused() -> bool:
        with server.connect() as connection:
            for part in (head.encode(), magic, rest):
                connection.sendall(part)
            return connection.recv(12) == b"HTTP/1.1 422"

    assert refused()
    before = process.memory_info().rss
    gc.disable()
    try:
        assert all(refused() for _ in range(8))
    finally:
        gc.enable()
    assert process.memory_info().rss - before < 4 * len(rest)
