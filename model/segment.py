"""Recording in, utterances out: voice activity, split at pauses."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.audio import SAMPLE_RATE_HZ, Recording
from model.errors import TooManyUtterances
from model.onsets import heard_between
from model.spans import SegmentConfig, Span, SpanFinder
from model.voice_activity import VoiceActivity


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
    def id(self) -> str:
        """Its name within the recording: channel and start, as in 0-1230."""
        return utterance_id(self.channel, self.start_ms)

    @property
    def seconds(self) -> float:
        """Length of the samples in seconds."""
        return len(self.samples) / SAMPLE_RATE_HZ


def utterance_id(channel: int, start_ms: int) -> str:
    """Name an utterance within its recording: channel and start, as in 0-1230."""
    return f"{channel}-{start_ms}"


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
    return [one for found in find_speech_in_pieces(samples, config=config, piece_seconds=math.inf) for one in found]


def speech_of(span: Span, window: npt.NDArray[np.float32], *, is_last: bool) -> Speech:
    """Listen for where the speech of a span begins. window: its samples; is_last: nothing of the channel follows."""
    start, end = heard_between(
        window, start=span.speech_start - span.window_start, end=span.speech_end - span.window_start, is_last=is_last
    )
    return Speech(
        start=span.speech_start,
        end=span.speech_end,
        heard_start=span.window_start + start,
        heard_end=span.window_start + end,
    )


def find_speech_in_pieces(
    samples: npt.NDArray[np.float32], *, config: SegmentConfig = SegmentConfig(), piece_seconds: float = 300.0
) -> Iterator[list[Speech]]:
    """Find the same speech in one long channel (samples,), which may be a file mapped into memory, piece by piece."""
    voice, spans = VoiceActivity(), SpanFinder(config)
    size = round(min(piece_seconds * SAMPLE_RATE_HZ, len(samples))) or 1
    for begin in range(0, len(samples), size):
        found = spans.push(voice.push(np.asarray(samples[begin : begin + size])).tolist())
        yield [_speech_in(samples, span) for span in found]
    yield [_speech_in(samples, span) for span in spans.finish(voice.finish().tolist(), len(samples))]


def cut_utterances(
    recording: Recording, speech: Sequence[Sequence[Speech]], *, config: SegmentConfig = SegmentConfig()
) -> list[Utterance]:
    """Cut the speech of each channel out of a recording, padded, in order of time."""
    utterances = [
        utterance_of(samples[start:end], channel=channel, speech=spoken)
        for channel, (samples, found) in enumerate(zip(recording.samples, speech, strict=True))
        for spoken, (start, end) in zip(found, _padded(found, len(samples), config=config), strict=True)
    ]
    return sorted(utterances, key=lambda utterance: (utterance.start_ms, utterance.channel))


def _speech_in(samples: npt.NDArray[np.float32], span: Span) -> Speech:
    window = np.asarray(samples[span.window_start : span.window_end])
    return speech_of(span, window, is_last=span.speech_end == len(samples))


def utterance_of(samples: npt.NDArray[np.float32], *, channel: int, speech: Speech) -> Utterance:
    """Name the padded samples of speech."""
    return Utterance(
        samples=samples,
        channel=channel,
        start_ms=milliseconds(speech.heard_start),
        end_ms=milliseconds(speech.heard_end),
    )


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


def milliseconds(sample: int) -> int:
    """Round a number of samples at 16 kHz to integer milliseconds."""
    return round(sample * 1000 / SAMPLE_RATE_HZ)
