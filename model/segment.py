"""Recording in, utterances out: voice activity, split at pauses."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from faster_whisper.vad import VadOptions, get_speech_timestamps

from model.audio import SAMPLE_RATE_HZ, Recording
from model.errors import TooManyUtterances


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
class Utterance:
    """One stretch of speech of one channel.

    samples: (samples,) float32 at 16 kHz, a view into the recording.
    """

    samples: npt.NDArray[np.float32]
    channel: int
    start_ms: int
    end_ms: int

    @property
    def id(self) -> str:
        """Its name within the recording: channel and start, as in 0-1230."""
        return f"{self.channel}-{self.start_ms}"

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
    options = VadOptions(
        threshold=config.threshold,
        min_speech_duration_ms=config.min_speech_ms,
        max_speech_duration_s=config.max_utterance_seconds,
        min_silence_duration_ms=config.min_silence_ms,
        speech_pad_ms=config.speech_pad_ms,
    )
    utterances = [
        _utterance(samples, channel=channel, start=chunk["start"], end=chunk["end"])
        for channel, samples in enumerate(recording.samples)
        for chunk in get_speech_timestamps(samples, options)
    ]
    if max_utterances is not None and len(utterances) > max_utterances:
        raise TooManyUtterances(
            f"the recording holds {len(utterances)} utterances; at most {max_utterances} are accepted",
            value=len(utterances),
            limit=max_utterances,
        )
    return sorted(utterances, key=lambda utterance: (utterance.start_ms, utterance.channel))


def _utterance(samples: npt.NDArray[np.float32], *, channel: int, start: int, end: int) -> Utterance:
    return Utterance(
        samples=samples[start:end],
        channel=channel,
        start_ms=round(start * 1000 / SAMPLE_RATE_HZ),
        end_ms=round(end * 1000 / SAMPLE_RATE_HZ),
    )
