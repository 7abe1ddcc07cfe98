"""A call while it goes on: its sound in pieces of any length, the same utterances out as of the whole recording."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, Final, Self

import numpy as np
import numpy.typing as npt
import soxr

from model.audio import SAMPLE_RATE_HZ
from model.segment import Speech, Utterance, speech_of, utterance_of
from model.spans import SegmentConfig, Span, SpanFinder
from model.voice_activity import VoiceActivity, VoiceActivityState

Array = npt.NDArray[np.float32]

LIVE_RATES_HZ: Final = (8_000, 16_000)
_WARM_UP_SECONDS: Final = 0.2
"""Of the resampler, behind which it gives what it would have given (to 1e-7), had it heard all that was before."""
_WORTH_TRIMMING_SAMPLES: Final = SAMPLE_RATE_HZ


@dataclass(frozen=True, kw_only=True, slots=True)
class Speaking:
    """An utterance that has not ended.

    heard: up to where it has been heard or pauses. expected: what it will be if the pause goes on; None while there is
    none, or one too short to tell.
    """

    channel: int
    heard: Span
    expected: Span | None


class Listener:
    """Finds the utterances of the channels of one call."""

    def __init__(self, config: SegmentConfig, *, sample_rate_hz: int, channels: int, first_frame: int = 0) -> None:
        """sample_rate_hz: 8000 or 16000. first_frame: number of the frame that comes first.

        Raises:
            ValueError: another sample rate.
        """
        if sample_rate_hz not in LIVE_RATES_HZ:
            raise ValueError(f"a live call has one of {LIVE_RATES_HZ} Hz, not {sample_rate_hz}")
        self._ratio = SAMPLE_RATE_HZ // sample_rate_hz
        self._rate = sample_rate_hz
        self._resampler = None
        if self._ratio > 1:
            self._resampler = soxr.ResampleStream(
                sample_rate_hz, SAMPLE_RATE_HZ, channels, dtype="float32", quality="HQ"
            )
        self.num_frames = first_frame
        first_sample = first_frame * self._ratio
        self._sides = [_Side(config, channel=channel, first_sample=first_sample) for channel in range(channels)]

    @classmethod
    def resumed(
        cls, config: SegmentConfig, state: Mapping[str, Any], frames: Array, *, first_frame: int, sample_rate_hz: int
    ) -> Self:
        """Go on from ``state``, with all that was heard since.

        frames: (frames, channels) from ``first_frame`` on, which is not above :attr:`earliest_frame` of that time, up
            to the frame that the state was taken at.
        """
        listener = cls(config, sample_rate_hz=sample_rate_hz, channels=frames.shape[1], first_frame=first_frame)
        samples = listener._resampled(frames)
        listener.num_frames += len(frames)
        for side, own, known in zip(listener._sides, samples.T, state["sides"], strict=True):
            side.go_on_from(known, own)
        return listener

    def to_json(self) -> dict[str, Any]:
        """Return where it stands, without the sound, as plain values."""
        return {"sides": [side.to_json() for side in self._sides]}

    @property
    def earliest_frame(self) -> int:
        """Frames before this one are not needed any more, not even to go on from here."""
        warm_up = round(_WARM_UP_SECONDS * self._rate)
        return max(0, min(side.earliest_sample for side in self._sides) // self._ratio - warm_up)

    @property
    def speaking(self) -> list[Speaking]:
        """Who speaks now."""
        return [found for side in self._sides if (found := side.speaking) is not None]

    def push(self, frames: Array) -> list[Utterance]:
        """Hear more frames (frames, channels) in [-1, 1]; return the utterances that have ended."""
        samples = self._resampled(frames)
        self.num_frames += len(frames)
        return _in_order([side.push(own) for side, own in zip(self._sides, samples.T, strict=True)])

    def finish(self) -> list[Utterance]:
        """Return the utterances that the end of the call ends; nothing can be pushed any more."""
        rest = np.empty((0, len(self._sides)), np.float32)
        if self._resampler is not None:
            rest = np.clip(self._resampler.resample_chunk(rest, last=True), -1.0, 1.0)
        return _in_order([side.finish(own) for side, own in zip(self._sides, rest.T, strict=True)])

    def cut(self, channel: int, span: Span) -> Utterance:
        """Cut out a span that has been heard and is not over."""
        return self._sides[channel].cut(span, is_last=False)

    def speech(self, channel: int, span: Span) -> Speech:
        """Find where the speech of a span is heard, which has not to be over."""
        return self._sides[channel].speech(span, is_last=False)

    def _resampled(self, frames: Array) -> Array:
        if self._resampler is None:
            return frames
        resampled: Array = np.clip(self._resampler.resample_chunk(np.clip(frames, -1.0, 1.0)), -1.0, 1.0)
        return resampled


class _Side:
    """One channel: its sound as far back as it is needed, at 16 kHz."""

    def __init__(self, config: SegmentConfig, *, channel: int, first_sample: int) -> None:
        self._channel = channel
        self._voice = VoiceActivity()
        self._spans = SpanFinder(config)
        self._first = first_sample
        self._blocks: list[Array] = []
        self._end = first_sample

    def to_json(self) -> dict[str, Any]:
        state = self._voice.state
        arrays = {"memory": state.memory, "context": state.context, "rest": state.rest}
        return {
            "voice": {name: base64.b64encode(array.tobytes()).decode() for name, array in arrays.items()},
            "spans": self._spans.to_json(),
            "num_samples": self._end,
        }

    def go_on_from(self, state: Mapping[str, Any], samples: Array) -> None:
        arrays = {name: np.frombuffer(base64.b64decode(text), np.float32) for name, text in state["voice"].items()}
        arrays["memory"] = arrays["memory"].reshape(2, -1)
        self._voice = VoiceActivity(VoiceActivityState(**arrays))
        self._spans.go_on_from(state["spans"])
        known = state["num_samples"] - self._end
        self._keep(samples[:known])
        # What the resampler of before had still to give.
        self.push(samples[known:])

    @property
    def earliest_sample(self) -> int:
        return min(self._spans.earliest_sample, self._end)

    @property
    def speaking(self) -> Speaking | None:
        heard = self._spans.speaking
        if heard is None:
            return None
        return Speaking(channel=self._channel, heard=heard, expected=self._spans.expected)

    def push(self, samples: Array) -> list[Utterance]:
        self._keep(samples)
        found = self._spans.push(self._voice.push(samples).tolist())
        return self._cut_all(found)

    def finish(self, samples: Array) -> list[Utterance]:
        found = self.push(samples)
        found += self._cut_all(self._spans.finish(self._voice.finish().tolist(), self._end), is_over=True)
        self._blocks, self._first = [], self._end
        return found

    def cut(self, span: Span, *, is_last: bool) -> Utterance:
        return utterance_of(
            self._between(span.start, span.end).copy(), channel=self._channel, speech=self.speech(span, is_last=is_last)
        )

    def speech(self, span: Span, *, is_last: bool) -> Speech:
        return speech_of(span, self._between(span.window_start, span.window_end), is_last=is_last)

    def _between(self, start: int, end: int) -> Array:
        self._join()
        return self._blocks[0][start - self._first : end - self._first]

    def _cut_all(self, spans: Sequence[Span], *, is_over: bool = False) -> list[Utterance]:
        utterances = [self.cut(span, is_last=is_over and span.speech_end == self._end) for span in spans]
        if self._blocks and self.earliest_sample - self._first > _WORTH_TRIMMING_SAMPLES:
            self._join()
            self._blocks[0] = self._blocks[0][self.earliest_sample - self._first :].copy()
            self._first = self.earliest_sample
        return utterances

    def _keep(self, samples: Array) -> None:
        self._blocks.append(samples.copy())
        self._end += len(samples)

    def _join(self) -> None:
        if len(self._blocks) != 1:
            self._blocks = [np.concatenate([np.zeros(0, np.float32), *self._blocks])]


def _in_order(of_sides: Sequence[Sequence[Utterance]]) -> list[Utterance]:
    return sorted(chain(*of_sides), key=lambda utterance: (utterance.start_ms, utterance.channel))
