"""Hostile recordings, built on the spot: small files that cost much, false claims, nonsense, ends cut off."""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import av
import numpy as np
import numpy.typing as npt
import soundfile

_MEBIBYTES = 24
_HOURS = 2


@dataclass(frozen=True, kw_only=True, slots=True)
class Bomb:
    """A recording that must be refused. code: of the refusal."""

    name: str
    data: bytes
    code: str


def bombs() -> list[Bomb]:
    """Build every one; takes seconds."""
    return [*_too_long(), *_false_claims(), *_nonsense(), *_without_end(), *_cut()]


def sound_file(
    container: str, subtype: str | None = None, *, seconds: float = 1.0, rate_hz: int = 16_000, channels: int = 1
) -> bytes:
    """Write a quiet tone as libsndfile does."""
    file = io.BytesIO()
    tone = _tone(seconds, rate_hz, channels)
    soundfile.write(file, tone, rate_hz, format=container, subtype=subtype)
    return file.getvalue()


def media_file(container: str, codec: str, *, repeated: int = 1) -> bytes:
    """Write a second of a quiet tone at 48 kHz as FFmpeg does, its packets ``repeated`` times."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=48_000, layout="mono")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(_tone(1.0, 48_000, 1).reshape(1, -1), format="flt", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        packets = [*stream.encode(frame), *stream.encode(None)]
        contents = [bytes(packet) for packet in packets] * repeated
        for number, content in enumerate(contents):
            packet = av.Packet(content)
            packet.stream, packet.time_base = stream, Fraction(1, 50)
            packet.pts = packet.dts = number
            packet.duration = 1
            output.mux(packet)
    return file.getvalue()


def silent_flac(*, hours: float, rate_hz: int = 8_000) -> bytes:
    """Write silence, which FLAC packs a thousandfold."""
    file = io.BytesIO()
    minute = np.zeros(60 * rate_hz, np.int16)
    with soundfile.SoundFile(file, "w", rate_hz, 1, format="FLAC") as flac:
        for _ in range(round(hours * 60)):
            flac.write(minute)
    return file.getvalue()


def _too_long() -> Iterator[Bomb]:
    yield Bomb(name="hours of silence in a FLAC", data=silent_flac(hours=_HOURS), code="audio_too_long")
    opus = media_file("webm", "libopus", repeated=700)
    yield Bomb(name="twelve minutes of one second of Opus", data=opus, code="audio_too_long")
    yield Bomb(name="twelve minutes of one second of AAC", data=media_file("adts", "aac") * 700, code="audio_too_long")
    yield Bomb(name="hours of one second of MP3", data=sound_file("MP3") * 6_000, code="audio_too_long")
    mu_law = sound_file("WAV", "ULAW", seconds=3_600, rate_hz=4_000)
    yield Bomb(name="an hour of mu-law", data=mu_law, code="audio_too_long")


def _false_claims() -> Iterator[Bomb]:
    wav, huge = sound_file("WAV"), 0xFFFF_FFFF
    yield Bomb(name="2 KB at 1 Hz", data=_patched(wav[:2_044], 24, "<I", 1), code="unsupported_sample_rate")
    yield Bomb(name="4 GHz", data=_patched(wav, 24, "<I", huge), code="corrupt_audio")
    yield Bomb(name="255 channels", data=_patched(wav, 22, "<H", 255), code="too_many_channels")
    yield Bomb(name="3 channels in a FLAC", data=sound_file("FLAC", channels=3), code="too_many_channels")
    yield Bomb(name="4 GB of samples, none there", data=_patched(wav[:44], 40, "<I", huge), code="corrupt_audio")
    yield Bomb(name="a description of 4 GB", data=_patched(wav, 16, "<I", huge), code="corrupt_audio")
    yield Bomb(name="2^36 samples in an empty FLAC", data=_flac_without_frames(), code="corrupt_audio")
    au = _patched(sound_file("AU"), 4, ">II", huge, huge)
    yield Bomb(name="an AU that begins after 4 GB", data=au, code="corrupt_audio")
    mp4 = media_file("mp4", "aac")
    index = _patched(mp4, mp4.index(b"stsz") + 8, ">II", 1, 30_000_000)
    yield Bomb(name="30 million frames in an MP4's index", data=index, code="unsupported_audio")


def _nonsense() -> Iterator[Bomb]:
    silence = np.zeros(8_000, np.float32)
    for container in ("WAV", "AU", "AIFF"):
        for value in (np.nan, np.inf):
            file = io.BytesIO()
            soundfile.write(file, silence + np.float32(value), 16_000, format=container, subtype="FLOAT")
            yield Bomb(name=f"{container} of {value}", data=file.getvalue(), code="corrupt_audio")
    yield Bomb(name="an odd byte", data=sound_file("WAV")[:45], code="corrupt_audio")
    yield Bomb(name="headerless samples", data=silence.tobytes(), code="unsupported_audio")
    yield Bomb(name="nothing", data=b"", code="corrupt_audio")


def _without_end() -> Iterator[Bomb]:
    size = _MEBIBYTES * 2**20
    for name, magic in (("FLAC", b"fLaC"), ("Ogg", b"OggS"), ("AU", b".snd")):
        yield Bomb(name=f"{name} and then zeros", data=magic.ljust(size, b"\0"), code="corrupt_audio")
    chunks = sound_file("WAV")[:36] + b"junk\0\0\0\0" * (size // 8)
    yield Bomb(name="three million chunks", data=chunks, code="corrupt_audio")
    yield Bomb(name="forged Ogg pages", data=b"OggS\0\0" * (size // 6), code="corrupt_audio")
    frames = b"\xff\xf1\x50\x80\x01\x1f\xfc" * (size // 7)
    yield Bomb(name="AAC frames without sound", data=frames, code="corrupt_audio")
    matroska = b"\x1a\x45\xdf\xa3\x01\xff\xff\xff\xff\xff\xff\xff".ljust(size, b"\x42")
    yield Bomb(name="Matroska without a size", data=matroska, code="corrupt_audio")


def _cut() -> Iterator[Bomb]:
    whole = {
        **{name: sound_file(name) for name in ("WAV", "FLAC", "AIFF", "AU", "MP3")},
        "ADPCM": sound_file("WAV", "IMA_ADPCM"),
        "Vorbis": sound_file("OGG", "VORBIS"),
        "Opus": sound_file("OGG", "OPUS"),
        "AAC": media_file("adts", "aac"),
        "MP4": media_file("mp4", "aac"),
        "WebM": media_file("webm", "libopus"),
    }
    for name, data in whole.items():
        yield Bomb(name=f"{name}, all but its beginning cut off", data=data[:20], code="corrupt_audio")


def _flac_without_frames() -> bytes:
    flac = bytearray(sound_file("FLAC"))
    flac[21] |= 0x0F
    flac[22:26] = b"\xff\xff\xff\xff"
    return bytes(flac[:42])


def _tone(seconds: float, rate_hz: int, channels: int) -> npt.NDArray[np.float32]:
    time = np.arange(round(seconds * rate_hz), dtype=np.float32) / rate_hz
    return np.repeat(0.1 * np.sin(time * 440.0, dtype=np.float32)[:, None], channels, axis=1)


def _patched(data: bytes, offset: int, layout: str, *values: int) -> bytes:
    return data[:offset] + struct.pack(layout, *values) + data[offset + struct.calcsize(layout) :]
