"""Decoders: an opened recording as a stream of float blocks, by libsndfile where it can, by FFmpeg where it must."""

import io
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import soundfile
from av.audio.frame import AudioFrame
from av.audio.plane import AudioPlane
from av.container import InputContainer

from model.containers import Container, Examined, examine
from model.errors import CorruptAudio, UnsupportedAudio

Block = npt.NDArray[np.float32]
"""(frames, channels)"""

Admit = Callable[[int, int], None]
"""Raises when a sample rate in hertz or a number of channels is not welcome."""

BLOCK_FRAMES = 16_384
READ_FRAMES = 1_024  # soundfile drops the whole read in which a decoder fails, so a read is short
MAX_BARREN_PACKETS = 100  # 20 MB of empty AAC frames cost 8 s to decode to nothing (measured)
MAX_PROBED_BYTES = 2**18  # FFmpeg would probe 5 MB: of empty AAC frames that is 2 s and 290 MB (measured)
MAX_FLAC_FRAMES = 2**36

# libsndfile could read MP3, but its mpg123 prints a line to stderr for every damaged frame of a caller's file.
LIBSNDFILE_READS = {Container.WAV, Container.FLAC, Container.OGG, Container.AIFF, Container.AU}
FFMPEG_DEMUXERS = {
    Container.WAV: "wav",
    Container.OGG: "ogg",
    Container.MP3: "mp3",
    Container.AAC: "aac",
    Container.MP4: "mov",
    Container.MATROSKA: "matroska",
}
CODECS = {
    *("aac", "alac", "flac", "mp3", "opus", "vorbis", "pcm_mulaw", "pcm_alaw"),
    *("pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s32le", "pcm_f32le", "pcm_f64le"),
}
SAMPLE_TYPES: dict[str, np.dtype[Any]] = {
    "u8": np.dtype("u1"),
    "s16": np.dtype("i2"),
    "s32": np.dtype("i4"),
    "flt": np.dtype("f4"),
    "dbl": np.dtype("f8"),
}
FULL_SCALE = {
    **dict.fromkeys(("PCM_U8", "PCM_S8", "pcm_u8"), 127 / 128),
    **dict.fromkeys(("ULAW", "pcm_mulaw"), 32_124 / 32_768),
    **dict.fromkeys(("ALAW", "pcm_alaw"), 32_256 / 32_768),
}
"""The highest positive value of encodings coarser than 16 bit."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stream:
    """The sound of an opened container.

    ``blocks`` raises CorruptAudio where decoding breaks, after yielding what came before. ``expected_frames`` is what
    the container declares, where it declares any; ``is_incomplete`` is told from the bytes alone.
    """

    sample_rate_hz: int
    channels: int
    full_scale: float
    is_float: bool
    is_incomplete: bool
    expected_frames: float | None
    blocks: Iterator[Block]


@contextmanager
def open_stream(data: bytes, *, admit: Admit) -> Iterator[Stream]:
    """Open the first audio stream of ``data``; ``admit`` sees its claims before anything is decoded.

    Raises:
        UnsupportedAudio: neither container nor codec is one we read.
        CorruptAudio: the container is known, but cannot be opened.
    """
    examined = examine(data)
    sound_file = _open_sound_file(examined) if examined.container in LIBSNDFILE_READS else None
    if sound_file is not None:
        with sound_file:
            admit(sound_file.samplerate, sound_file.channels)
            yield _sound_file_stream(sound_file, examined)
        return
    with _open_media(examined) as media:
        yield _media_stream(media, examined, admit)


class _SeekableBytes(io.BytesIO):
    """libsndfile follows forged offsets before the start; an error in its callback would be printed to stderr."""

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        try:
            return super().seek(offset, whence)
        except ValueError:
            return self.tell()


class _SequentialSoundFile(soundfile.SoundFile):  # type: ignore[misc]
    """soundfile seeks after every read of a seekable file, which costs time and makes lossy decoders stumble."""

    def seekable(self) -> bool:
        return False


def _open_sound_file(examined: Examined) -> soundfile.SoundFile | None:
    try:
        sound_file = _SequentialSoundFile(_SeekableBytes(examined.data))
    except soundfile.LibsndfileError as error:
        # FFmpeg gets along with an Ogg that begins late; in a broken WAV it would only search on, 9 s in 100 MB.
        if examined.container is Container.OGG:
            return None
        raise CorruptAudio(f"this {examined.container.value} file cannot be opened") from error
    if sound_file.subtype.startswith("MPEG"):  # a WAV around MP3 frames: see LIBSNDFILE_READS
        sound_file.close()
        return None
    return sound_file


def _sound_file_stream(sound_file: soundfile.SoundFile, examined: Examined) -> Stream:
    # libsndfile corrects what other containers declare by what it finds; a huge number stands for an unknown one.
    is_declared = sound_file.format == "FLAC" and sound_file.frames < MAX_FLAC_FRAMES
    return Stream(
        sample_rate_hz=sound_file.samplerate,
        channels=sound_file.channels,
        full_scale=FULL_SCALE.get(sound_file.subtype, 32_767 / 32_768),
        is_float=sound_file.subtype in {"FLOAT", "DOUBLE"},
        is_incomplete=examined.is_incomplete,
        expected_frames=sound_file.frames if is_declared else None,
        blocks=_sound_file_blocks(sound_file),
    )


def _sound_file_blocks(sound_file: soundfile.SoundFile) -> Iterator[Block]:
    failure: soundfile.LibsndfileError | None = None
    num_read = READ_FRAMES
    while num_read and not failure:
        block = np.empty((BLOCK_FRAMES, sound_file.channels), np.float32)
        filled = 0
        while filled < BLOCK_FRAMES and num_read and not failure:
            try:
                num_read = len(sound_file.read(out=block[filled : filled + READ_FRAMES]))
                filled += num_read
            except soundfile.LibsndfileError as error:
                failure = error
        if filled:
            yield block[:filled]
    if failure:
        raise CorruptAudio("the recording cannot be decoded to its end") from failure


def _open_media(examined: Examined) -> InputContainer:
    """Open with FFmpeg: one demuxer, few decoders, and no protocol by which the data could name other sources."""
    options = {
        "codec_whitelist": ",".join({*CODECS, "mp3float"}),
        "protocol_whitelist": "none",
        "probesize": str(MAX_PROBED_BYTES),
    }
    try:
        source, demuxer = io.BytesIO(examined.data), FFMPEG_DEMUXERS[examined.container]
        return av.open(source, "r", format=demuxer, options=options, metadata_errors="replace")
    except av.FFmpegError as error:
        raise CorruptAudio(f"this {examined.container.value} file cannot be opened") from error


def _media_stream(media: InputContainer, examined: Examined, admit: Admit) -> Stream:
    if not media.streams.audio:
        raise UnsupportedAudio(f"this {examined.container.value} file holds no audio that we read")
    audio = media.streams.audio[0]
    codec = audio.codec_context and audio.codec_context.codec.canonical_name
    if codec not in CODECS:
        raise UnsupportedAudio("the codec is not supported", value=codec)
    if not audio.codec_context.sample_rate or not audio.codec_context.channels:
        raise CorruptAudio(f"no sound was found in this {examined.container.value} file")
    admit(audio.codec_context.sample_rate, audio.codec_context.channels)
    audio.codec_context.thread_count = 1
    frames = _media_frames(media)
    first = next(frames, None)
    if first is None:
        raise CorruptAudio("the recording holds no samples")
    # HE-AAC declares half the sample rate, and perhaps half the channels, that it decodes to.
    admit(first.sample_rate, first.layout.nb_channels)
    declared_seconds = None  # the other demuxers estimate a duration from the bit rate
    if examined.container in {Container.MP4, Container.MATROSKA} and len(media.streams) == 1 and media.duration:
        declared_seconds = media.duration / av.time_base
    return Stream(
        sample_rate_hz=first.sample_rate,
        channels=first.layout.nb_channels,
        full_scale=FULL_SCALE.get(codec, 32_767 / 32_768),
        is_float=codec.startswith("pcm_f"),
        is_incomplete=examined.is_incomplete,
        expected_frames=declared_seconds and declared_seconds * first.sample_rate,
        blocks=_media_blocks(chain([first], frames), first.sample_rate, first.layout.nb_channels),
    )


def _media_frames(media: InputContainer) -> Iterator[AudioFrame]:
    """Decode the first audio stream, passing over damaged packets; raises at the end if there were any."""
    failure: av.FFmpegError | None = None
    num_barren = 0
    packets = media.demux(media.streams.audio[0])
    while num_barren <= MAX_BARREN_PACKETS:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            failure = error
            break
        if packet is None:
            break
        frames: list[AudioFrame] = []
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            failure = error
        yield from frames
        num_barren += not frames
    if failure or num_barren > MAX_BARREN_PACKETS:
        raise CorruptAudio("parts of the recording cannot be decoded") from failure


def _media_blocks(frames: Iterator[AudioFrame], sample_rate_hz: int, channels: int) -> Iterator[Block]:
    pending: list[Block] = []
    num_pending = 0
    failure: CorruptAudio | None = None
    try:
        for frame in frames:
            if (frame.sample_rate, frame.layout.nb_channels) != (sample_rate_hz, channels):
                raise CorruptAudio("the sample rate or the channels change midway")
            pending.append(_float_samples(frame, channels))
            num_pending += frame.samples
            if num_pending >= BLOCK_FRAMES:
                block, pending, num_pending = np.concatenate(pending), [], 0
                yield block
    except CorruptAudio as error:
        failure = error
    if pending:
        yield np.concatenate(pending)
    if failure:
        raise failure


def _float_samples(frame: AudioFrame, channels: int) -> Block:
    dtype = SAMPLE_TYPES[frame.format.name.removesuffix("p")]
    if frame.format.is_planar:
        samples = np.empty((frame.samples, channels), dtype)
        for index in range(channels):
            samples[:, index] = _plane(frame, index, dtype, frame.samples)
    else:
        samples = _plane(frame, 0, dtype, frame.samples * channels).reshape(-1, channels)
    if dtype.kind == "f":
        return samples.astype(np.float32)
    half_range = 2.0 ** (8 * dtype.itemsize - 1)
    offset = half_range if dtype.kind == "u" else 0.0
    return ((samples - offset) / half_range).astype(np.float32)


def _plane(frame: AudioFrame, index: int, dtype: np.dtype[Any], count: int) -> npt.NDArray[Any]:
    # frame.planes and frame.to_ndarray() of PyAV 18.1 read past the eighth plane: a 7.1 recording ends the process.
    plane: Any = AudioPlane(frame, index)
    return np.frombuffer(plane, dtype, count)
