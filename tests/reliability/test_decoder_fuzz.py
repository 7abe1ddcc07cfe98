"""Recordings drawn at random and real ones changed at random, through a real decode worker."""

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from bench.serving.bombs import media_file, sound_file
from model.audio import AudioLimits, decode_audio
from model.errors import AudioError
from service.decoding import Decoder, Loss

LIMITS: Final = AudioLimits(max_bytes=10**6, max_seconds=30.0, max_channels=2)
MAGIC: Final = (b"RIFF\xff\xff\xff\x7fWAVEfmt ", b"fLaC", b"OggS", b"ID3\4", b"\xff\xfb\x90", b"\xff\xf1\x50", b".snd")
MORE_MAGIC: Final = (b"\x1aE\xdf\xa3", b"\0\0\0\x18ftypM4A ", b"FORM\0\0\x0f\xa0AIFF")
HEADER_BYTES: Final = 200
"""Where what is changed matters most."""

Watched = tuple[Decoder, list[Loss]]


SECONDS: Final = 0.25
WHOLE: Final = {
    "ADPCM": sound_file("WAV", "IMA_ADPCM", seconds=SECONDS),
    "FLAC": sound_file("FLAC", seconds=SECONDS),
    "stereo FLAC": sound_file("FLAC", seconds=SECONDS, channels=2, rate_hz=44_100),
    "stereo floats": sound_file("WAV", "FLOAT", seconds=SECONDS, channels=2),
    "MP3": sound_file("MP3", seconds=SECONDS),
    "Vorbis": sound_file("OGG", "VORBIS", seconds=SECONDS),
    "Opus": sound_file("OGG", "OPUS", seconds=SECONDS),
    "AIFF": sound_file("AIFF", seconds=SECONDS),
    "mu-law": sound_file("AU", "ULAW", seconds=SECONDS),
    "AAC": media_file("adts", "aac"),
    "MP4": media_file("mp4", "aac"),
    "WebM": media_file("webm", "libopus"),
}


@st.composite
def changed(draw: DrawFn) -> bytes:
    """A real recording with other bytes, half of them in its header; a piece of it gone, there again, or put in."""
    data = bytearray(WHOLE[draw(st.sampled_from(sorted(WHOLE)))])
    places = st.one_of(st.integers(0, min(HEADER_BYTES, len(data)) - 1), st.integers(0, len(data) - 1))
    values = st.one_of(st.sampled_from([0, 1, 0x7F, 0x80, 0xFE, 0xFF]), st.integers(0, 255))
    for place, value in draw(st.lists(st.tuples(places, values), max_size=12)):
        data[place] = value
    start, length = draw(places), draw(st.integers(0, 400))
    piece = bytes(data[start : start + length])
    match draw(st.sampled_from(["nothing", "cut out", "double", "put in", "cut off"])):
        case "cut out":
            del data[start : start + length]
        case "double":
            data[start:start] = piece * draw(st.integers(1, 20))
        case "put in":
            data[start:start] = draw(st.binary(max_size=60))
        case "cut off":
            del data[start:]
    return bytes(data)


@st.composite
def nonsense(draw: DrawFn) -> bytes:
    return draw(st.sampled_from((b"", *MAGIC, *MORE_MAGIC))) + draw(st.binary(max_size=600))


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    lost: list[Loss] = []
    decoder = Decoder(LIMITS, workers=1, max_seconds=10.0, max_bytes=2**28, on_worker_lost=lost.append)
    decoder.warm_up()
    yield decoder, lost
    decoder.close()


@given(st.one_of(changed(), changed(), nonsense()))
@settings(max_examples=400, deadline=None, derandomize=True)
def test_whatever_comes_is_a_recording_or_a_refusal_and_the_worker_lives_on(watched: Watched, recording: bytes) -> None:
    decoder, lost = watched
    found = None
    with suppress(AudioError):
        found = decoder.decode(recording)
    if found is not None:
        assert found.samples.dtype == np.float32
        assert 0 < found.samples.shape[1] <= LIMITS.max_seconds * 16_000 + 1
        assert 1 <= len(found.samples) <= LIMITS.max_channels
        assert np.abs(found.samples).max() <= 1.0
    assert lost == []


def test_after_all_of_that_the_same_worker_decodes_as_at_first(watched: Watched) -> None:
    decoder, lost = watched
    for recording in WHOLE.values():
        assert np.array_equal(decoder.decode(recording).samples, decode_audio(recording, limits=LIMITS).samples)
    assert lost == []
