"""A recording out of a request, however it is sent."""

import asyncio
from collections.abc import Iterable

import pytest
from starlette.requests import Request
from starlette.types import Message

from model.errors import Cancelled, InvalidUpload, UnsupportedAudio, UploadTooLarge
from service.uploads import read_upload

SOUND = bytes(range(256)) * 40
FORM = "multipart/form-data; boundary=edge"


def part(disposition: str, content: bytes) -> bytes:
    return b"--edge\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + content + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--edge--\r\n"


RECORDING = part('name="file"; filename="call.wav"', SOUND)


def read(
    chunks: Iterable[bytes], headers: dict[str, str] | None = None, *, max_bytes: int = 100_000, hang_up: bool = False
) -> bytes:
    messages: list[Message] = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    messages.append({"type": "http.disconnect"} if hang_up else {"type": "http.request", "body": b""})
    pending = iter(messages)

    async def receive() -> Message:
        return next(pending)

    raw = [(name.lower().encode(), value.encode()) for name, value in (headers or {}).items()]
    request = Request({"type": "http", "method": "POST", "path": "/predict", "headers": raw}, receive)
    return asyncio.run(read_upload(request, max_bytes=max_bytes)).recording


@pytest.mark.parametrize(
    "content_type", ["audio/wav", "audio/x-flac", "application/octet-stream", "video/webm;codecs=opus", None]
)
def test_a_raw_body_is_the_recording(content_type: str | None) -> None:
    assert read([SOUND[:100], SOUND[100:]], {"Content-Type": content_type} if content_type else {}) == SOUND


@pytest.mark.parametrize("size", [1, 7, 4096, 1 << 20], ids=lambda size: f"chunks of {size}")
def test_the_form_part_named_file_is_the_recording(size: int) -> None:
    body = form(part('name="comment"', b"hello"), RECORDING, part('name="after"', b""))
    assert read((body[at : at + size] for at in range(0, len(body), size)), {"Content-Type": FORM}) == SOUND


def test_a_part_named_file_without_a_file_name_will_do() -> None:
    assert read([form(part('name="file"', SOUND))], {"Content-Type": FORM}) == SOUND


def test_file_names_are_of_no_interest() -> None:
    odd = part("name=file; filename*=UTF-8''..%2F..%2F%E5%BD%95%E9%9F%B3.wav", SOUND)
    assert read([form(odd)], {"Content-Type": FORM}) == SOUND


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (form(part('name="other"', SOUND[:50])), FORM),
        (form(RECORDING, RECORDING), FORM),
        (form(part('name="audio"; filename="a.wav"', SOUND)), FORM),
        (form(RECORDING)[:-20], FORM),
        (b"no form at all", FORM),
        (b"", FORM),
        (form(RECORDING), "multipart/form-data"),
        (form(RECORDING), "multipart/form-data; boundary=" + "x" * 5000),
        (form(*[part(f'name="f{number}"', b"x") for number in range(9)], RECORDING), FORM),
        (form(part('name="comment"', b"x" * 70_000), RECORDING), FORM),
    ],
    ids=[
        "no file",
        "two files",
        "file under another name",
        "cut off",
        "no form",
        "empty",
        "no boundary",
        "huge boundary",
        "many parts",
        "huge field",
    ],
)
def test_a_form_without_exactly_one_recording_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(InvalidUpload):
        read([body], {"Content-Type": content_type})


def test_a_part_with_endless_headers_is_refused() -> None:
    body = b"--edge\r\n" + b"".join(b"X-%d: y\r\n" % number for number in range(2000)) + b"\r\n"
    with pytest.raises(InvalidUpload):
        read([body], {"Content-Type": FORM})


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/json"])
def test_a_content_type_that_carries_no_recording_is_refused_with_what_would_do(content_type: str) -> None:
    with pytest.raises(UnsupportedAudio, match="multipart/form-data with a part named file"):
        read([SOUND], {"Content-Type": content_type})


def test_a_compressed_body_is_refused() -> None:
    with pytest.raises(UnsupportedAudio, match="Content-Encoding"):
        read([SOUND], {"Content-Type": "audio/wav", "Content-Encoding": "gzip"})


def test_a_body_that_announces_too_much_is_refused_before_it_is_read() -> None:
    def unread() -> Iterable[bytes]:
        yield SOUND

    with pytest.raises(UploadTooLarge) as refusal:
        read(unread(), {"Content-Length": "100001"})
    assert (refusal.value.value, refusal.value.limit) == (100_001, 100_000)


@pytest.mark.parametrize("content_type", ["audio/wav", FORM])
@pytest.mark.parametrize("announced", [{}, {"Content-Length": "10"}], ids=["unannounced", "announced as less"])
def test_bytes_are_counted_whatever_was_announced(content_type: str, announced: dict[str, str]) -> None:
    sent: list[int] = []

    def endless() -> Iterable[bytes]:
        yield b"--edge\r\nContent-Disposition: form-data; name=file\r\n\r\n"
        for _ in range(30):
            sent.append(10_000)
            yield bytes(10_000)

    with pytest.raises(UploadTooLarge):
        read(endless(), {"Content-Type": content_type, **announced})


def test_a_caller_who_hangs_up_while_sending_has_cancelled() -> None:
    with pytest.raises(Cancelled):
        read([SOUND], {"Content-Type": "audio/wav"}, hang_up=True)
