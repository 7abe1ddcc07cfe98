"""Live calls of real recordings, streamed in real time: what was said of them, and when."""

import asyncio
import io
import random
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import soundfile
import soxr

from bench.workbench import Workbench
from model.audio import SAMPLE_RATE_HZ, decode_audio
from model.features import Array
from model.listener import Listener
from model.spans import SegmentConfig
from service.call_format import CallFormat
from service.client import AsyncClient

FORMAT: Final = CallFormat(encoding="pcm16", sample_rate_hz=8_000, channels=2)
ROLES: Final = "agent,customer"

_BLOCK_FRAMES: Final = 800
_STEP_FRAMES: Final = 80
_PAUSES_SECONDS: Final = (0.2, 3.0)
_SPONTANEOUS_SHARE: Final = 0.3

Segment = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Streamed:
    """A segment, and how many seconds after the beginning of its call it was there."""

    segment: Segment
    at_seconds: float


def drawn_call(workbench: Workbench, *, seconds: float, seed: int) -> bytes:
    """Draw a telephone call: CASIA's clips and spontaneous speech, two sides in turn, as frames of :data:`FORMAT`."""
    draw = random.Random(seed)  # noqa: S311 - the same calls in every run
    acted, spontaneous = (
        [clip.audio for clip in workbench.clips(corpus) if clip.audio is not None]
        for corpus in ("casia", "spontaneous_zh")
    )
    sides = np.zeros((round(seconds * SAMPLE_RATE_HZ), 2), np.float32)
    begin, number = SAMPLE_RATE_HZ // 2, 0
    while True:
        source = draw.choice(spontaneous if draw.random() < _SPONTANEOUS_SHARE else acted)
        samples = decode_audio(source).samples[0]
        if begin + len(samples) > len(sides):
            return _telephone(sides)
        sides[begin : begin + len(samples), number % 2] = samples
        begin += len(samples) + round(draw.uniform(*_PAUSES_SECONDS) * SAMPLE_RATE_HZ)
        number += 1


def as_wav(frames: bytes) -> bytes:
    """Write frames of :data:`FORMAT` as a recording."""
    buffer = io.BytesIO()
    samples = np.frombuffer(frames, "<i2").reshape(-1, FORMAT.channels)
    soundfile.write(buffer, samples, FORMAT.sample_rate_hz, format="WAV", subtype="PCM_16")
    return buffer.getvalue()


def decisions_ms(frames: bytes, config: SegmentConfig) -> dict[str, int]:
    """Find how much of a call has to be heard until the end of each of its segments is certain, by the segment's id."""
    listener = Listener(config, sample_rate_hz=FORMAT.sample_rate_hz, channels=FORMAT.channels)
    sound, found = FORMAT.decode(frames), {}
    for begin in range(0, len(sound), _STEP_FRAMES):
        for one in listener.push(sound[begin : begin + _STEP_FRAMES]):
            found[f"{one.channel}-{one.start_ms}"] = FORMAT.milliseconds(listener.num_frames)
    for one in listener.finish():
        found[f"{one.channel}-{one.start_ms}"] = FORMAT.milliseconds(listener.num_frames)
    return found


async def streamed(url: str, frames: bytes) -> tuple[list[Streamed], list[dict[str, Any]]]:
    """Stream a call in real time; return its segments as they came, and every message."""
    began, segments, events = time.monotonic(), [], []
    async for event in AsyncClient(url).stream(_spoken(frames, began), FORMAT, channel_roles=ROLES):
        events.append(event)
        if event["type"] == "segment":
            segments.append(Streamed(segment=event["segment"], at_seconds=time.monotonic() - began))
    return segments, events


def agreement(streamed: Sequence[Segment], uploaded: Sequence[Segment]) -> tuple[int, int]:
    """Count the segments that are the same in both, times and label, and all of the one that has more."""
    ours = {(one["id"], one["end_ms"], one["emotion"]) for one in streamed}
    theirs = {(one["id"], one["end_ms"], one["emotion"]) for one in uploaded}
    return len(ours & theirs), max(len(streamed), len(uploaded))


async def _spoken(frames: bytes, began: float) -> AsyncIterator[bytes]:
    size = _BLOCK_FRAMES * FORMAT.frame_bytes
    for number, begin in enumerate(range(0, len(frames), size), start=1):
        spoken_at = began + number * _BLOCK_FRAMES / FORMAT.sample_rate_hz
        await asyncio.sleep(max(0.0, spoken_at - time.monotonic()))
        yield frames[begin : begin + size]


def _telephone(sides: Array) -> bytes:
    """Halve the rate of (samples, channels), and write them as frames."""
    halved = soxr.resample(sides, SAMPLE_RATE_HZ, FORMAT.sample_rate_hz)
    frames: bytes = np.clip(np.round(halved * 32_768), -32_768, 32_767).astype("<i2").tobytes()
    return frames
