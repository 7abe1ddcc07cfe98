"""Callers who look for a way in, or for what was not meant for them; over real HTTP."""

import concurrent.futures
import json
import logging
import os
import re
import secrets
import sys
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keyed_app import keys_in
from service_fixtures import RECORDINGS, ROOT, serving, wait_until

from model.bundle import Bundle
from model.features import FeatureExtractor
from model.recognizer import EmotionRecognizer
from model.speech import SpeechRecognizer

pytest_plugins = ("service_fixtures",)

INSIDE = re.compile(
    r"Traceback|File \"|line \d+, in|\.pyc?\b|site-packages|/usr/|/home/|/tmp/|object at 0x|Error\(|Exception|"
    + "|".join(re.escape(place) for place in {str(ROOT), sys.prefix, sys.base_prefix, tempfile.gettempdir()})
)
"""What an answer would show of the machine, were something of it to leak."""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


def multipart(body: bytes, boundary: str = "edge") -> tuple[bytes, dict[str, str]]:
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def broken_uploads() -> list[tuple[bytes, dict[str, str]]]:
    """Bodies and headers that cannot be answered well."""
    whole = (RECORDINGS / "first_in_line.wav").read_bytes()
    raw = {"Content-Type": "audio/wav"}
    heads = [b"RIFF", b"fLaC", b"OggS", b"ID3\x04", b"\xff\xf1", b"\x1aE\xdf\xa3", b"....ftypM4A ", b"#!AMR", b"FORM"]
    return [
        *((head + np.random.default_rng(number).bytes(2000), raw) for number, head in enumerate(heads)),
        *((whole[:length], raw) for length in (4, 12, 30, 44)),
        (b"", raw),
        (whole, {"Content-Type": "text/html"}),
        (whole, {**raw, "Content-Encoding": "gzip"}),
        multipart(b"nonsense"),
        multipart(b'--edge\r\nContent-Disposition: form-data; name="file"\r\n\r\nRIFF'),
        multipart(b'--edge\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--edge--\r\n'),
        multipart(whole, boundary=""),
        multipart(whole, boundary="x" * 300),
    ]


def test_no_error_answer_shows_a_path_or_a_stack(recognizer: EmotionRecognizer) -> None:
    paths = ["/etc/passwd", "/docs/../service", "/static-offline-docs/..%2f..%2fsetup.py", "/%00", "/v1/x"]
    with serving(recognizer) as server:
        answers = [server.client.post("/predict", content=body, headers=head) for body, head in broken_uploads()]
        answers += [server.client.get(path) for path in paths]
        answers += [server.client.request(method, "/predict") for method in ("GET", "DELETE", "TRACE", "PATCH")]
        answers.append(server.client.get("/v1/model", headers={"X-Request-ID": "../../etc/passwd"}))
        shown = [(answer.status_code, json.dumps(dict(answer.headers)) + answer.text) for answer in answers]
        for line in (
            "GET / HTTP/9.9\r\n\r\n",
            "\x00\x01\x02\r\n\r\n",
            "POST /predict HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        ):
            with server.connect() as connection:
                connection.sendall(line.encode())
                shown.append((400, connection.recv(65_536).decode("latin-1")))
    assert len(shown) > 30
    assert {status for status, _ in shown[:-4]} <= {400, 404, 405, 415, 422}
    assert [text for _, text in shown if INSIDE.search(text)] == []


class Stumbling(EmotionRecognizer):
    """Fails after recognition, and its error quotes what was said."""

    def features(self, *args: Any, **_: Any) -> Any:
        """Fail as a library might."""
        raise RuntimeError(f"cannot make sense of {args[1].text!r} in {__file__}")


def test_a_failure_inside_shows_nothing_of_it_and_logs_nothing_of_what_was_said(
    bundle: Bundle,
    speech_recognizer: SpeechRecognizer,
    bundle_extractor: FeatureExtractor,
    recognizer: EmotionRecognizer,
    speech: bytes,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    text = recognizer.recognize(speech).text
    stumbling = Stumbling(bundle, speech=speech_recognizer, features=bundle_extractor)
    with serving(stumbling) as server:
        answer = server.predict(speech)
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert not INSIDE.search(answer.text)
    assert any(record.message == "unexpected error" for record in caplog.records)
    assert quoted(text, answer.text + everything_logged(caplog)) == []


def everything_logged(caplog: pytest.LogCaptureFixture) -> str:
    """Every record but the client's, with its arguments, its facts and its exception's message."""
    records = [record for record in caplog.records if record.name.partition(".")[0] not in ("httpx", "httpcore")]
    told = [str(vars(record) | {"exc_info": None}) for record in records]
    raised = [record.exc_info[1] for record in records if record.exc_info]
    return "\n".join([*told, *map(repr, raised)])


def quoted(text: str, told: str) -> list[str]:
    """Runs of three words of what was said, as far as they were told."""
    words = re.findall(r"\w+", text.lower())
    assert words, "nothing was heard, so nothing could be found"
    runs = {" ".join(words[start : start + 3]) for start in range(max(1, len(words) - 2))}
    return sorted(run for run in runs if run in " ".join(re.findall(r"\w+", told.lower())))


@cache
def files_opened_for_writing() -> list[str]:
    """Paths of files that this process opens to write, from the first call on; whatever opens them."""
    opened: list[str] = []

    def note(event: str, arguments: Any) -> None:
        if event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            opened.append(str(arguments[0]))

    sys.addaudithook(note)
    return opened


def test_neither_what_was_said_nor_the_recording_is_logged_or_written_anywhere(
    recognizer: EmotionRecognizer,
    file: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    caplog.set_level(logging.DEBUG)
    # A temporary folder of its own: other tests use the machine's at the same time.
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    secret = keys_in(file, dashboard="")["dashboard"]
    recordings = [path.read_bytes() for path in sorted(RECORDINGS.glob("*.wav"))]
    with serving(recognizer, api_keys_file=str(file), log_level="debug") as server:
        opened = files_opened_for_writing()
        opened.clear()
        left = set(os.listdir(temporary))
        answers = [
            server.client.post("/predict", files={"file": ("secret-name.wav", one)}, headers={"X-API-Key": secret})
            for one in recordings
        ]
        written, appeared = list(opened), set(os.listdir(temporary)) - left
    captured = capfd.readouterr()
    told = everything_logged(caplog) + captured.out + captured.err
    assert len(answers) == len(recordings) > 3
    for recording, answer in zip(recordings, answers, strict=True):
        assert answer.status_code == 200
        assert quoted(answer.json()["transcript"]["text"], told) == []
        samples = [recording[start : start + 24] for start in range(4000, len(recording) - 24, 4000)]
        assert not [piece for piece in samples if repr(piece)[2:-1] in told or piece.hex() in told]
    assert "secret-name" not in told
    assert secret not in told
    requests = [vars(record)["facts"] for record in caplog.records if record.message == "request"]
    assert [facts.get("key") for facts in requests if facts["route"] == "/predict"] == ["dashboard"] * len(answers)
    assert written == []
    assert appeared == set()


def test_thousands_of_wrong_keys_open_nothing_and_leave_nothing_behind(
    recognizer: EmotionRecognizer, file: Path
) -> None:
    secret = keys_in(file, **{f"key-{number}": "requests_per_minute = 60" for number in range(50)})["key-7"]
    near = [secret[:-1] + other for other in "abcdefgh" if other != secret[-1]]
    with serving(recognizer, api_keys_file=str(file)) as server:
        assert server.client.get("/v1/model", headers={"X-API-Key": secret}).status_code == 200

        def guess(number: int) -> tuple[int, str]:
            wrong = near[number % len(near)] if number % 3 else f"vcemo_{secrets.token_urlsafe(32)}"
            name, value = ("X-API-Key", wrong) if number % 2 else ("Authorization", f"Bearer {wrong}")
            answer = server.client.get("/v1/model", headers={name: value})
            return answer.status_code, answer.json()["code"]

        server.metric("vcemo_ready")  # so that asking for the metrics is among them
        series, num_threads = len(server.client.get("/metrics").text.splitlines()), threading.active_count()
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            outcomes = set(pool.map(guess, range(3000)))
        assert outcomes == {(401, "unauthorized")}
        assert server.metric('vcemo_requests_total{code="unauthorized",route="/v1/model"}') == 3000
        # One outcome more on one route: its counter and when it was begun, and no label of a caller's making.
        assert len(server.client.get("/metrics").text.splitlines()) <= series + 4
        assert threading.active_count() <= num_threads
        assert server.client.get("/v1/model", headers={"X-API-Key": secret}).status_code == 200


def test_keys_are_rotated_while_callers_ask_and_none_of_them_notices(
    recognizer: EmotionRecognizer, file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    old = keys_in(file, old="")["old"]
    both, new_only = file.with_name("both.toml"), file.with_name("new.toml")
    new = keys_in(new_only, new="")["new"]
    both.write_text(file.read_text(encoding="utf-8") + new_only.read_text(encoding="utf-8"), encoding="utf-8")
    with serving(recognizer, api_keys_file=str(file)) as server:
        current, statuses, is_over = [old], [], threading.Event()

        def ask(secret: str) -> int:
            return server.client.get("/v1/model", headers={"X-API-Key": secret}).status_code

        def go_on_asking() -> None:
            while not is_over.is_set():
                statuses.append(ask(current[0]))

        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            asking = pool.submit(go_on_asking)
            try:
                assert ask(new) == 401
                both.replace(file)
                wait_until(lambda: ask(new) == 200)
                current[0] = new
                assert ask(old) == 200
                new_only.replace(file)
                wait_until(lambda: ask(old) == 401)
                file.write_text("broken", encoding="utf-8")
                wait_until(lambda: any(record.levelno == logging.WARNING for record in caplog.records))
                before = len(statuses)
                wait_until(lambda: len(statuses) > before + 20)
            finally:
                is_over.set()
            asking.result()
    assert set(statuses) == {200}


def test_a_key_that_holds_its_uploads_open_takes_no_more_places_than_its_own(
    recognizer: EmotionRecognizer, file: Path, speech: bytes
) -> None:
    keys = keys_in(file, slow="max_concurrent = 2", other="")
    with serving(recognizer, api_keys_file=str(file), max_concurrent_requests=3) as server:
        held = [server.connect() for _ in range(6)]
        try:
            for connection in held:
                head = (
                    f"POST /predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: audio/wav\r\nX-API-Key: {keys['slow']}"
                )
                connection.sendall(f"{head}\r\nContent-Length: {len(speech)}\r\n\r\n".encode() + speech[:50])
            refused = 'vcemo_key_requests_total{code="too_many_at_once",key="slow"}'
            wait_until(lambda: server.metric("vcemo_requests_in_flight") == 2)
            assert server.predict(speech, **{"X-API-Key": keys["other"]}).status_code == 200
        finally:
            for connection in held:
                connection.close()
        wait_until(lambda: server.metric(refused) == 4)
        wait_until(lambda: server.metric("vcemo_requests_in_flight") == 0)
        assert server.predict(speech, **{"X-API-Key": keys["slow"]}).status_code == 200


def test_callers_without_a_key_cannot_fill_the_service(
    recognizer: EmotionRecognizer, file: Path, speech: bytes
) -> None:
    secret = keys_in(file, dashboard="")["dashboard"]
    with serving(recognizer, api_keys_file=str(file), max_concurrent_requests=1) as server:
        held = [server.connect() for _ in range(8)]
        try:
            for connection in held:
                connection.sendall(
                    b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nContent-Length: 9999\r\n\r\nR"
                )
            # The answer is there although the body is not, and no place was taken meanwhile.
            assert all(connection.recv(12) == b"HTTP/1.1 401" for connection in held)
            assert server.predict(speech, **{"X-API-Key": secret}).status_code == 200
        finally:
            for connection in held:
                connection.close()
