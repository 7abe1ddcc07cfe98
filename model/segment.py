"""Recording in, utterances out: voice activity, split at pauses."""

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

    samples: (samples,) float32 at 16 kHz, a view into the recording.
    """

    samples: npt.NDArray[np.float32]
    channel: int
    start_ms: int
    end_ms: int

    @property
    def seconds(self) -> float:
        """Length in seconds."""
        return len(self.samples) / SAMPLE_RATE_HZ


def find_utterances(
    recording: Recording, *, config: SegmentConfig = SegmentConfig(), max_utterances: int | None = None
) -> list[Utterance]:
    """Find the speech of every channel, in order of time.

    Raises:
        TooManyUtterances: there are more than ``max_utterances``.
    """
    utterances = [
        utterance_of(samples[span.start : span.end], channel=channel, span=span)
        for channel, samples in enumerate(recording.samples)
        for span in _spans(samples, config)
    ]
    if max_utterances is not None and len(utterances) > max_utterances:
        raise TooManyUtterances(
            f"the recording holds {len(utterances)} utterances; at most {max_utterances} are accepted",
            value=len(utterances),
            limit=max_utterances,
        )
    return sorted(utterances, key=lambda utterance: (utterance.start_ms, utterance.channel))


def utterance_of(samples: npt.NDArray[np.float32], *, channel: int, span: Span) -> Utterance:
    """Name the samples of a span of its channel."""
    return Utterance(
        samples=samples,
        channel=channel,
        start_ms=round(span.start * 1000 / SAMPLE_RATE_HZ),
        end_ms=round(span.end * 1000 / SAMPLE_RATE_HZ),
    )


def _spans(samples: npt.NDArray[np.float32], config: SegmentConfig) -> list[Span]:
    voice, finder = VoiceActivity(), SpanFinder(config)
    found = finder.push(voice.push(samples).tolist())
    return found + finder.finish(voice.finish().tolist(), len(samples))
