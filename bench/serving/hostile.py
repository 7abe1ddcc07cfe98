"""Requests that no honest caller sends: broken, forged, cut off, or slow on purpose."""

import asyncio
import io
import random
import struct
from collections.abc import Awaitable, Callable
from typing import Final
from urllib.parse import urlsplit

import httpx
import numpy as np
import soundfile

from model.audio import SAMPLE_RATE_HZ

Attack = Callable[[httpx.AsyncClient, random.Random], Awaitable[int]]
"""Sends one hostile request; returns the status that came back, 0 where the connection was left or cut."""

_LEFT: Final = 0
_BOUNDARY: Final = "hostile"
_RAW: Final = {"Content-Type": "audio/wav"}
_CONTAINERS: Final = (("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("AIFF", "PCM_16"), ("AU", "ULAW"))


def attacks() -> dict[str, Attack]:
    """Return every kind of hostile request by its name."""
    return {
        "noise": _noise,
        "forged header": _forged_header,
        "cut recording": _cut_recording,
        "bytes flipped": _flipped,
        "not a number": _not_a_number,
        "odd rate": _odd_rate,
        "many channels": _many_channels,
        "broken form": _broken_form,
        "many parts": _many_parts,
        "wrong type": _wrong_type,
        "wrong path": _wrong_path,
        "wrong method": _wrong_method,
        "strange headers": _strange_headers,
        "too large by its header": _too_large,
        "length too long": _length_too_long,
        "gone in the middle": _gone_in_the_middle,
        "gone at once": _gone_at_once,
        "many chunks": _many_chunks,
        "no HTTP": _no_http,
        "half a head": _half_a_head,
        "answers not read": _answers_not_read,
    }


async def _posted(client: httpx.AsyncClient, body: bytes, **headers: str) -> int:
    return (await client.post("/predict", content=body, headers=_RAW | headers)).status_code


async def _noise(client: httpx.AsyncClient, draw: random.Random) -> int:
    return await _posted(client, draw.randbytes(draw.randrange(1, 4000)))


async def _forged_header(client: httpx.AsyncClient, draw: random.Random) -> int:
    starts = (b"RIFF\xff\xff\xff\xffWAVE", b"fLaC", b"OggS", b"\x1aE\xdf\xa3", b"ID3\x04", b"\0\0\0\x18ftyp")
    return await _posted(client, draw.choice(starts) + draw.randbytes(draw.randrange(4, 2000)))


async def _cut_recording(client: httpx.AsyncClient, draw: random.Random) -> int:
    whole = _tone(draw)
    return await _posted(client, whole[: draw.randrange(1, 60)])


async def _flipped(client: httpx.AsyncClient, draw: random.Random) -> int:
    broken = bytearray(_tone(draw))
    for _ in range(20):
        broken[draw.randrange(min(200, len(broken)))] = draw.randrange(256)
    return await _posted(client, bytes(broken))


async def _not_a_number(client: httpx.AsyncClient, draw: random.Random) -> int:
    samples = np.full(800, draw.choice([np.nan, np.inf, -np.inf]), np.float32)
    return await _posted(client, _written(samples, "WAV", "FLOAT"))


async def _odd_rate(client: httpx.AsyncClient, draw: random.Random) -> int:
    rate = draw.choice([0, 1, 100, 3_999, 192_001, 0xFFFF_FFFF])
    return await _posted(client, _wav_head(rate=rate, channels=1) + draw.randbytes(2000))


async def _many_channels(client: httpx.AsyncClient, draw: random.Random) -> int:
    return await _posted(client, _wav_head(rate=16_000, channels=draw.choice([0, 9, 255, 65_535])) + bytes(4000))


async def _broken_form(client: httpx.AsyncClient, draw: random.Random) -> int:
    body = draw.choice(
        [
            b"",
            b"--hostile",
            b"--hostile\r\nContent-Disposition: form-data; name=file\r\n\r\nRIFF",
            b"--other\r\n\r\n--other--",
            b"--hostile\r\n" + b"X: y\r\n" * 200 + b"\r\n--hostile--\r\n",
        ]
    )
    form = f"multipart/form-data; boundary={_BOUNDARY}" if draw.random() < 0.8 else "multipart/form-data"
    return (await client.post("/predict", content=body, headers={"Content-Type": form})).status_code


async def _many_parts(client: httpx.AsyncClient, draw: random.Random) -> int:
    parts = [("file", (f"{index}.wav", b"RIFF")) for index in range(draw.randrange(2, 50))]
    return (await client.post("/predict", files=parts)).status_code


async def _wrong_type(client: httpx.AsyncClient, draw: random.Random) -> int:
    kind = draw.choice(["application/json", "text/html", "image/png", "x" * 3000, "multipart/mixed; boundary=x"])
    return (await client.post("/predict", content=b"{}", headers={"Content-Type": kind})).status_code


async def _wrong_path(client: httpx.AsyncClient, draw: random.Random) -> int:
    path = draw.choice(["/admin", "/predict/../../etc/passwd", "/%00", "/v1/" + "a" * 2000, "/.git/config"])
    return (await client.get(path)).status_code


async def _wrong_method(client: httpx.AsyncClient, draw: random.Random) -> int:
    return (await client.request(draw.choice(["GET", "PUT", "DELETE", "PATCH", "TRACE"]), "/predict")).status_code


async def _strange_headers(client: httpx.AsyncClient, draw: random.Random) -> int:
    names = ["X-Request-ID", "Accept", "Origin", "Cookie", "X-Forwarded-For"]
    strange = {name: draw.choice(["{}", "a" * 4000, "../" * 50, "%0d%0aSet-Cookie:x"]) for name in names}
    return await _posted(client, b"RIFF", **strange)


async def _too_large(client: httpx.AsyncClient, draw: random.Random) -> int:
    return await _spoken(client, _head(content_length=draw.choice([10**9, 10**18])))


async def _length_too_long(client: httpx.AsyncClient, draw: random.Random) -> int:
    return await _spoken(client, _head(content_length=5000) + draw.randbytes(100), wait=False)


async def _gone_in_the_middle(client: httpx.AsyncClient, draw: random.Random) -> int:
    return await _spoken(client, _head(content_length=100_000) + draw.randbytes(50_000), wait=False)


async def _gone_at_once(client: httpx.AsyncClient, draw: random.Random) -> int:
    return await _spoken(client, _tone_request(draw), wait=False)


async def _many_chunks(client: httpx.AsyncClient, draw: random.Random) -> int:
    chunks = b"1\r\nR\r\n" * draw.randrange(100, 2000)
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nTransfer-Encoding: chunked\r\n\r\n"
    return await _spoken(client, head + chunks + b"0\r\n\r\n")


async def _no_http(client: httpx.AsyncClient, draw: random.Random) -> int:
    return await _spoken(client, draw.randbytes(draw.randrange(1, 500)) + b"\r\n\r\n")


async def _half_a_head(client: httpx.AsyncClient, draw: random.Random) -> int:
    whole = _head(content_length=1000)
    return await _spoken(client, whole[: draw.randrange(1, len(whole) - 4)], wait=False)


async def _answers_not_read(client: httpx.AsyncClient, draw: random.Random) -> int:
    path = draw.choice(["/openapi.json", "/docs", "/metrics", "/health/live"])
    return await _spoken(client, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode() * 20, wait=False)


async def _spoken(client: httpx.AsyncClient, said: bytes, *, wait: bool = True) -> int:
    """Say bytes on a connection of our own; read the status line, or leave without one."""
    address = urlsplit(str(client.base_url))
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        writer.write(said)
        await writer.drain()
        if not wait:
            return _LEFT
        async with asyncio.timeout(30):
            line = (await reader.readline()).split()
        return int(line[1]) if len(line) > 1 and line[1].isdigit() else _LEFT
    except ConnectionError:
        return _LEFT
    finally:
        writer.close()


def _head(*, content_length: int) -> bytes:
    return (
        f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: audio/wav\r\nContent-Length: {content_length}\r\n\r\n"
    ).encode()


def _tone_request(draw: random.Random) -> bytes:
    tone = _tone(draw)
    return _head(content_length=len(tone)) + tone


def _tone(draw: random.Random) -> bytes:
    container, subtype = draw.choice(_CONTAINERS)
    samples = 0.3 * np.sin(np.arange(4000) * draw.uniform(0.05, 0.5))
    return _written(samples, container, subtype)


def _written(samples: np.ndarray, container: str, subtype: str) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, SAMPLE_RATE_HZ, format=container, subtype=subtype)
    return buffer.getvalue()


def _wav_head(*, rate: int, channels: int) -> bytes:
    fields = struct.pack("<HHIIHH", 1, channels, rate, 0, max(1, 2 * channels) % 65_536, 16)
    return b"RIFF\xff\xff\xff\x7fWAVEfmt \x10\0\0\0" + fields + b"data\xff\xff\xff\x7f"
