"""What has been heard of a speaker so far: running statistics of the sound, which need no label.

What separates speakers is the hard part of emotion from sound. The network takes these statistics beside an
utterance and moves its inputs by them: the more has been heard, the further (:meth:`Standardise.adapt`).
"""

import io
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class Moments:
    """Number, sum (d,) and sum of squares (d,) of rows that were heard."""

    count: int
    total: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]

    @classmethod
    def of(cls, rows: Array) -> "Moments":
        """Sum up (rows, d)."""
        exact = rows.astype(np.float64)
        return cls(count=len(rows), total=exact.sum(0), squares=(exact * exact).sum(0))

    def __add__(self, other: "Moments") -> "Moments":
        return Moments(
            count=self.count + other.count, total=self.total + other.total, squares=self.squares + other.squares
        )

    @property
    def mean_and_deviation(self) -> Array:
        """Both in one array (2, d); zero where nothing was heard."""
        count = max(1, self.count)
        mean = self.total / count
        deviation = np.sqrt(np.maximum(self.squares / count - mean * mean, 0.0))
        return np.stack([mean, deviation]).astype(np.float32)


@dataclass(frozen=True, kw_only=True, slots=True)
class SpeakerStatistics:
    """Moments of the mel frames and of the encoder states of some utterances of one speaker."""

    mel: Moments
    states: Moments

    @classmethod
    def of(cls, *, mel: Array, states: Array) -> "SpeakerStatistics":
        """Describe one utterance: mel (frames, mels) and states (steps, d)."""
        return cls(mel=Moments.of(mel), states=Moments.of(states))

    def __add__(self, other: "SpeakerStatistics") -> "SpeakerStatistics":
        return SpeakerStatistics(mel=self.mel + other.mel, states=self.states + other.states)


@dataclass(slots=True)
class Conversation:
    """One call, in order of time: what has been heard of the speaker of each channel.

    A channel stands for one speaker. Where several share one, as on most recordings of one microphone, their
    statistics mix; judge such a recording without a conversation.
    """

    heard: dict[int, SpeakerStatistics] = field(default_factory=dict)

    def hear(self, channel: int, *, mel: Array, states: Array) -> SpeakerStatistics:
        """Add one utterance; return what has been heard of its speaker up to its end."""
        statistics = SpeakerStatistics.of(mel=mel, states=states)
        if (earlier := self.heard.get(channel)) is not None:
            statistics = earlier + statistics
        self.heard[channel] = statistics
        return statistics

    def to_bytes(self) -> bytes:
        """Write down what was heard, to the bit."""
        file = io.BytesIO()
        arrays = {
            f"{channel} {kind} {name}": value
            for channel, statistics in self.heard.items()
            for kind, moments in (("mel", statistics.mel), ("states", statistics.states))
            for name, value in (("count", moments.count), ("total", moments.total), ("squares", moments.squares))
        }
        np.savez(file, allow_pickle=False, **arrays)
        return file.getvalue()

    @classmethod
    def from_bytes(cls, written: bytes) -> "Conversation":
        """Go on from what :meth:`to_bytes` has written."""
        with np.load(io.BytesIO(written), allow_pickle=False) as arrays:

            def moments(channel: str, kind: str) -> Moments:
                count, total, squares = (arrays[f"{channel} {kind} {name}"] for name in ("count", "total", "squares"))
                return Moments(count=int(count), total=total, squares=squares)

            channels = sorted({name.split()[0] for name in arrays.files})
            return cls(
                heard={
                    int(channel): SpeakerStatistics(mel=moments(channel, "mel"), states=moments(channel, "states"))
                    for channel in channels
                }
            )
