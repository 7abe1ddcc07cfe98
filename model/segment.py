"""Recording in, utterances out: voice activity, split at pauses."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import VadOptions, get_speech_timestamps

from model.audio import SAMPLE_RATE_HZ, Recording
from model.errors import TooManyUtterances

_FRAME: Final = SAMPLE_RATE_HZ // 100
_SOFT_DB: Final = 30.0
"""Below the loud parts of an utterance; softer sound belongs to no speech."""
_ABOVE_NOISE_DB: Final = 10.0
_SHORT_GAP_FRAMES: Final = 20
_SILENT: Final = 1e-12
_WINDOW: Final = 512
"""Of voice activity."""
_WARM_UP: Final = 10 * SAMPLE_RATE_HZ
"""After which it has forgotten where it began."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SegmentConfig:
    """Where speech is cut into utterances; part of the recogniser's contract."""

    threshold: float = 0.5
    """Silero speech probability above which a window counts as speech."""
    min_speech_ms: int = 150
    """Shorter bursts (clicks, breaths) are dropped."""
    min_silence_ms: int = 2000
    """A pause this long ends an utterance; with shorter ones Whisper loses its context, and characters."""
    speech_pad_ms: int = 400
    """Kept on both sides of the speech, so that soft onsets are not cut."""
    max_utterance_seconds: float = 22.0
    """Longer speech is split at its last short pause; bounds the recogniser's input."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Speech:
    """Where somebody speaks on one channel: samples at 16 kHz, counted from its beginning.

    start, end: what voice activity is sure of. heard_start, heard_end: what a listener would say.
    """

    start: int
    end: int
    heard_start: int
    heard_end: int

    def shifted(self, by: int) -> "Speech":
        """Return the same speech, where the channel begins so many samples earlier."""
        return Speech(
            start=self.start + by,
            end=self.end + by,
            heard_start=self.heard_start + by,
            heard_end=self.heard_end + by,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One stretch of speech of one channel.

    samples: (samples,) float32 at 16 kHz, a view into the recording, with the padding on both sides.
    start_ms, end_ms: of the speech as heard, so that turns that follow each other do not seem to overlap.
    """

    samples: npt.NDArray[np.float32]
    channel: int
    start_ms: int
    end_ms: int

    @property
    def seconds(self) -> float:
        """Length of the samples in seconds."""
        return len(self.samples) / SAMPLE_RATE_HZ


def find_utterances(
    recording: Recording, *, config: SegmentConfig = SegmentConfig(), max_utterances: int | None = None
) -> list[Utterance]:
    """Find the speech of every channel, in order of time.

    Raises:
        TooManyUtterances: there are more than ``max_utterances``.
    """
    speech = [find_speech(samples, config=config) for samples in recording.samples]
    num_found = sum(map(len, speech))
    if max_utterances is not None and num_found > max_utterances:
        raise TooManyUtterances(
            f"the recording holds {num_found} utterances; at most {max_utterances} are accepted",
            value=num_found,
            limit=max_utterances,
        )
    return cut_utterances(recording, speech, config=config)


def find_speech(samples: npt.NDArray[np.float32], *, config: SegmentConfig = SegmentConfig()) -> list[Speech]:
    """Find the speech of one channel (samples,)."""
    # Without the library's own padding, for it would hide when somebody speaks; of the longest it counts all the same.
    options = VadOptions(
        threshold=config.threshold,
        min_speech_duration_ms=config.min_speech_ms,
        max_speech_duration_s=config.max_utterance_seconds - 2 * config.speech_pad_ms / 1000,
        min_silence_duration_ms=config.min_silence_ms,
        speech_pad_ms=0,
    )
    spans = [(found["start"], found["end"]) for found in get_speech_timestamps(samples, options)]
    pad = config.speech_pad_ms * SAMPLE_RATE_HZ // 1000
    return [
        _heard(
            samples,
            start,
            end,
            at_least=max(0, start - pad, spans[index - 1][1] if index else 0),
            at_most=min(len(samples), end + pad, spans[index + 1][0] if index + 1 < len(spans) else len(samples)),
        )
        for index, (start, end) in enumerate(spans)
    ]


def find_speech_in_pieces(
    samples: npt.NDArray[np.float32], *, config: SegmentConfig = SegmentConfig(), piece_seconds: float = 300.0
) -> Iterator[list[Speech]]:
    """Find the speech of one long channel (samples,), which may be a file mapped into memory, piece by piece.

    A piece begins in a pause, or where longer speech is split. Voice activity hears some of what was before, and on the
    same grid of windows, so that it is where it would be without pieces.
    """
    longest = round(max(piece_seconds, 4 * config.max_utterance_seconds) * SAMPLE_RATE_HZ)
    pause = config.min_silence_ms * SAMPLE_RATE_HZ // 1000
    begin = from_here = 0
    while from_here < len(samples):
        end = min(len(samples), from_here + longest)
        piece = np.array(samples[begin:end])
        found = [one.shifted(begin) for one in find_speech(piece, config=config)]
        found = [one for one in found if one.start >= from_here]
        settled = found if end == len(samples) else [one for one in found if one.end + pause < end]
        yield settled
        if end == len(samples):
            return
        last_end = settled[-1].end if settled else from_here
        next_start = found[len(settled)].start if len(found) > len(settled) else end - pause // 2
        if next_start - last_end < pause:
            begin = from_here = last_end
        else:
            from_here = next_start - pause // 2
            begin = max(0, from_here - _WARM_UP) // _WINDOW * _WINDOW


def cut_utterances(
    recording: Recording, speech: Sequence[Sequence[Speech]], *, config: SegmentConfig = SegmentConfig()
) -> list[Utterance]:
    """Cut the speech of each channel out of a recording, padded, in order of time."""
    utterances = [
        Utterance(
            samples=samples[start:end],
            channel=channel,
            start_ms=_milliseconds(spoken.heard_start),
            end_ms=_milliseconds(spoken.heard_end),
        )
        for channel, (samples, found) in enumerate(zip(recording.samples, speech, strict=True))
        for spoken, (start, end) in zip(found, _padded(found, len(samples), config=config), strict=True)
    ]
    return sorted(utterances, key=lambda utterance: (utterance.start_ms, utterance.channel))


def _padded(speech: Sequence[Speech], num_samples: int, *, config: SegmentConfig) -> list[tuple[int, int]]:
    """Add the padding on both sides; a pause too short for two is shared, as by the library that finds the speech."""
    pad = config.speech_pad_ms * SAMPLE_RATE_HZ // 1000
    padded = []
    for index, found in enumerate(speech):
        before = found.start - speech[index - 1].end if index else 2 * pad
        after = speech[index + 1].start - found.end if index + 1 < len(speech) else 2 * pad
        start = max(0, found.start - (pad if before >= 2 * pad else before // 2))
        padded.append((start, min(num_samples, found.end + (pad if after >= 2 * pad else after // 2))))
    return padded


def _heard(samples: npt.NDArray[np.float32], start: int, end: int, *, at_least: int, at_most: int) -> Speech:
    """Find, by its level, the onset that voice activity takes up to 0.6 s to be sure of.

    Where the channel ends in a pause, voice activity also takes that for speech.
    """
    frames = samples[at_least:at_most][: (at_most - at_least) // _FRAME * _FRAME].reshape(-1, _FRAME)
    if not len(frames):
        return Speech(start=start, end=end, heard_start=start, heard_end=end)
    levels_db = 10 * np.log10(np.mean(np.square(frames), axis=1) + _SILENT)
    loud = levels_db > max(np.quantile(levels_db, 0.9) - _SOFT_DB, np.quantile(levels_db, 0.05) + _ABOVE_NOISE_DB)
    onset = (start - at_least) // _FRAME
    before = np.flatnonzero(loud[:onset])[::-1]
    for frame in before:
        if onset - frame > _SHORT_GAP_FRAMES:
            break
        onset = frame
    heard_start = min(start, at_least + int(onset) * _FRAME)
    heard_end = end
    if end == len(samples) and loud.any():
        heard_end = at_least + (int(np.flatnonzero(loud)[-1]) + 1) * _FRAME
    return Speech(start=start, end=end, heard_start=heard_start, heard_end=max(heard_end, start + _FRAME))


def _milliseconds(sample: int) -> int:
    return round(sample * 1000 / SAMPLE_RATE_HZ)
