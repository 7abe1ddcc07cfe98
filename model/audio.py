"""Bounded decoding: bytes of any supported container in, a 16 kHz float recording out."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr

from model.decoders import Block, Stream, open_stream
from model.errors import AudioTooLong, CorruptAudio, TooManyChannels, UnsupportedSampleRate, UploadTooLarge

SAMPLE_RATE_HZ = 16_000
"""The one rate every room below works at."""

TRUNCATED = "truncated"
"""A warning: parts of the recording, mostly its end, are missing or could not be decoded."""

IDENTICAL_CHANNELS = "identical_channels"
"""A warning: both channels of the source carry the same sound, one was kept."""

MIN_CLIPPED_SHARE = 0.001
MIN_CLIPPED_RUN = 3
MAX_DIFFERENCE_OF_IDENTICAL = 1e-3  # of the power: Opus at 16 kHz makes up to 8e-5 of two equal channels (measured)
SILENT_DIFFERENCE = (2 / 32_768) ** 2
MAX_MISSING_SECONDS = 0.1  # containers round the durations they declare


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioLimits:
    """What a recording may claim, checked before and while it is decoded."""

    max_bytes: int = 100 * 1024 * 1024
    max_seconds: float = 600.0
    min_sample_rate_hz: int = 4_000
    max_sample_rate_hz: int = 192_000
    max_channels: int = 8

    def admit(self, sample_rate_hz: int, channels: int) -> None:
        """Check what a container claims of itself.

        Raises:
            UnsupportedSampleRate: outside the limits.
            TooManyChannels: more than the limit.
        """
        if sample_rate_hz < self.min_sample_rate_hz:
            message = f"the sample rate is below {self.min_sample_rate_hz} Hz"
            raise UnsupportedSampleRate(message, value=sample_rate_hz, limit=self.min_sample_rate_hz)
        if sample_rate_hz > self.max_sample_rate_hz:
            message = f"the sample rate is above {self.max_sample_rate_hz} Hz"
            raise UnsupportedSampleRate(message, value=sample_rate_hz, limit=self.max_sample_rate_hz)
        if channels > self.max_channels:
            message = f"the recording has more than {self.max_channels} channels"
            raise TooManyChannels(message, value=channels, limit=self.max_channels)


@dataclass(frozen=True, kw_only=True, slots=True)
class Recording:
    """A decoded recording and the facts of its source.

    samples: (channels, samples) float32 in [-1, 1] at 16 kHz; two identical channels are kept once.
    clipped: in a channel of the source, at least 0.1 % of the samples (and 3 of them) or 3 in a row sit at the highest
        level that its encoding has, or float samples lie beyond [-1, 1]. A peak that just touches full scale is none.
    """

    samples: npt.NDArray[np.float32]
    source_sample_rate_hz: int
    source_channels: int
    clipped: bool
    warnings: tuple[str, ...] = ()

    @property
    def duration_ms(self) -> int:
        """Length in integer milliseconds."""
        num_samples: int = self.samples.shape[1]
        return round(num_samples * 1000 / SAMPLE_RATE_HZ)


@dataclass(frozen=True, kw_only=True, slots=True)
class SourceFacts:
    """What was found out of a recording while its samples passed by.

    num_samples: of each channel, at 16 kHz. See :class:`Recording` for the rest.
    """

    sample_rate_hz: int
    channels: int
    num_samples: int
    channels_are_identical: bool
    clipped: bool
    warnings: tuple[str, ...]

    def recording(self, samples: npt.NDArray[np.float32]) -> Recording:
        """Join them with the samples (channels, samples)."""
        return Recording(
            samples=samples,
            source_sample_rate_hz=self.sample_rate_hz,
            source_channels=self.channels,
            clipped=self.clipped,
            warnings=self.warnings,
        )


def decode_audio(source: bytes | Path, *, limits: AudioLimits = AudioLimits()) -> Recording:
    """Decode a recording in any supported container to 16 kHz, never holding more of it than the limits allow.

    Raises:
        UploadTooLarge: more bytes than allowed.
        UnsupportedAudio: not a container or codec that we read; headerless samples are not guessed at.
        CorruptAudio: cannot be decoded at all, holds no samples, or samples that are not numbers.
        UnsupportedSampleRate: outside the limits.
        TooManyChannels: more than allowed.
        AudioTooLong: more seconds than allowed; the container's own count is not believed.
        OSError: the path cannot be read.
    """
    blocks: list[Block] = []
    facts = decode_in_blocks(source, blocks.append, limits=limits)
    samples = _joined(blocks, facts)
    return facts.recording(samples[:1].copy() if facts.channels_are_identical else samples)


def decode_in_blocks(
    source: bytes | Path, take: Callable[[Block], object], *, limits: AudioLimits = AudioLimits()
) -> SourceFacts:
    """Decode as :func:`decode_audio`, but hand the samples on, (samples, channels) at a time; raises as that does."""
    data = _read_bounded(source, limits.max_bytes)
    num_samples = 0

    def count(block: Block) -> None:
        nonlocal num_samples
        num_samples += len(block)
        take(np.clip(block, -1.0, 1.0))

    with open_stream(data, admit=limits.admit) as stream:
        observer = _SourceObserver(stream)
        resampler = _Resampler(stream.sample_rate_hz, stream.channels)
        for block in _blocks_within(stream, observer, limits.max_seconds):
            count(resampler.resampled(np.clip(block, -1.0, 1.0)))
    count(resampler.last())
    if not num_samples:
        raise CorruptAudio("the recording holds no samples", value=observer.num_frames)
    return SourceFacts(
        sample_rate_hz=stream.sample_rate_hz,
        channels=stream.channels,
        num_samples=num_samples,
        channels_are_identical=observer.channels_are_identical,
        clipped=observer.is_clipped,
        warnings=observer.warnings(),
    )


def _read_bounded(source: bytes | Path, max_bytes: int) -> bytes:
    if isinstance(source, Path):
        with source.open("rb") as file:
            data = file.read(max_bytes + 1)
    else:
        data = source
    if len(data) > max_bytes:
        raise UploadTooLarge(f"the recording has more than {max_bytes} bytes", value=len(data), limit=max_bytes)
    return data


def _blocks_within(stream: Stream, observer: "_SourceObserver", max_seconds: float) -> Iterator[Block]:
    """The blocks of a stream until it ends; one that breaks after its beginning just ends earlier."""
    while True:
        try:
            block = next(stream.blocks, None)
        except CorruptAudio:
            if not observer.num_frames:
                raise
            observer.is_broken = True
            return
        if block is None:
            return
        observer.see(block)
        seconds = observer.num_frames / stream.sample_rate_hz
        if seconds > max_seconds:
            raise AudioTooLong(f"the recording lasts more than {max_seconds:g} s", value=seconds, limit=max_seconds)
        yield block


class _SourceObserver:
    """What can be told of the source only while its blocks pass by."""

    def __init__(self, stream: Stream) -> None:
        self.num_frames = 0
        self.is_broken = False
        self.channels_are_identical = stream.channels == 2
        self._stream = stream
        self._num_clipped = np.zeros(stream.channels, np.int64)
        self._has_clipped_run = False
        self._last_clipped = np.zeros((MIN_CLIPPED_RUN - 1, stream.channels), np.bool_)

    def see(self, block: Block) -> None:
        """Take note of a block.

        Raises:
            CorruptAudio: samples that are not finite numbers.
        """
        if not np.isfinite(block).all():
            raise CorruptAudio("the recording holds samples that are not numbers")
        self.num_frames += len(block)
        self._look_for_clipping(np.abs(block))
        if self.channels_are_identical:
            # In every block, so that a few words on one channel of a long call are not averaged away.
            # Clipped as what is kept: squares of floats beyond 1e19 are all infinite, and so the same.
            kept = np.clip(block, -1.0, 1.0)
            difference = np.mean(np.square(kept[:, 0] - kept[:, 1]))
            self.channels_are_identical = bool(
                difference <= max(MAX_DIFFERENCE_OF_IDENTICAL * np.mean(np.square(kept)), SILENT_DIFFERENCE)
            )

    def _look_for_clipping(self, levels: Block) -> None:
        clipped = levels >= self._stream.full_scale
        self._num_clipped += np.count_nonzero(clipped, axis=0)
        clipped = np.concatenate([self._last_clipped, clipped])
        has_run = (clipped[:-2] & clipped[1:-1] & clipped[2:]).any()
        beyond_range = self._stream.is_float and (levels > 1.0).any()
        self._has_clipped_run |= bool(has_run or beyond_range)
        self._last_clipped = clipped[-(MIN_CLIPPED_RUN - 1) :]

    @property
    def is_clipped(self) -> bool:
        threshold = max(MIN_CLIPPED_RUN, MIN_CLIPPED_SHARE * self.num_frames)
        return self._has_clipped_run or bool((self._num_clipped >= threshold).any())

    def warnings(self) -> tuple[str, ...]:
        missing_frames = (self._stream.expected_frames or 0) - self.num_frames
        is_short = missing_frames > MAX_MISSING_SECONDS * self._stream.sample_rate_hz
        warnings = []
        if self.is_broken or self._stream.is_incomplete or is_short:
            warnings.append(TRUNCATED)
        if self.channels_are_identical:
            warnings.append(IDENTICAL_CHANNELS)
        return tuple(warnings)


class _Resampler:
    """Turns blocks at the source's rate into such at 16 kHz."""

    def __init__(self, sample_rate_hz: int, channels: int) -> None:
        self._channels = channels
        self._stream = None
        if sample_rate_hz != SAMPLE_RATE_HZ:
            self._stream = soxr.ResampleStream(sample_rate_hz, SAMPLE_RATE_HZ, channels, dtype="float32", quality="HQ")

    def resampled(self, block: Block) -> Block:
        return self._stream.resample_chunk(block) if self._stream else block

    def last(self) -> Block:
        """What is left when the source has ended."""
        nothing = np.empty((0, self._channels), np.float32)
        return self._stream.resample_chunk(nothing, last=True) if self._stream else nothing


def _joined(blocks: list[Block], facts: SourceFacts) -> npt.NDArray[np.float32]:
    """(channels, samples); blocks are freed one by one as they are copied."""
    samples = np.empty((facts.channels, facts.num_samples), np.float32)
    end = facts.num_samples
    while blocks:
        block = blocks.pop()
        samples[:, end - len(block) : end] = block.T
        end -= len(block)
    return samples
