"""Recording in, utterances out: voice activity, split at pauses."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from model.audio import SAMPLE_RATE_HZ, Recording
from model.errors import TooManyUtterances
from model.spans import SegmentConfig, Span, SpanFinder
from model.voice_activity import VoiceActivity


@dataclass(frozen=True, kw_only=True, slots=True)
class Utterance:
    """One stretch of speech of one channel.

    samples: (samples,) float32 at 16 kHz, a view into the recording, with the padding on both sides.
    start_ms, end_ms: of the speech alone, so that turns that follow each other do not seem to overlap.
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
    return cut_utterances(recording, speech)


def find_speech(samples: npt.NDArray[np.float32], *, config: SegmentConfig = SegmentConfig()) -> list[Span]:
    """Find the speech of one channel (samples,)."""
    voice, spans = VoiceActivity(), SpanFinder(config)
    found = spans.push(voice.push(samples).tolist())
    return found + spans.finish(voice.finish().tolist(), len(samples))


def cut_utterances(recording: Recording, speech: Sequence[Sequence[Span]]) -> list[Utterance]:
    """Cut the speech of each channel out of a recording, padded, in order of time."""
    utterances = [
        utterance_of(samples[span.start : span.end], channel=channel, span=span)
        for channel, (samples, found) in enumerate(zip(recording.samples, speech, strict=True))
        for span in found
    ]
    return sorted(utterances, key=lambda utterance: (utterance.start_ms, utterance.channel))


def utterance_of(samples: npt.NDArray[np.float32], *, channel: int, span: Span) -> Utterance:
    """Name the samples of a span of its channel."""
    return Utterance(
        samples=samples,
        channel=channel,
        start_ms=_milliseconds(span.speech_start),
        end_ms=_milliseconds(span.speech_end),
    )


def _milliseconds(sample: int) -> int:
    return round(sample * 1000 / SAMPLE_RATE_HZ)
