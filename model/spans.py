"""Probabilities of speech in, spans of speech out: where one utterance ends and the next begins.

The rules are those of faster-whisper's ``get_speech_timestamps`` (after Silero's own, MIT), which wants the whole
recording; here the same spans come while a call goes on, each as soon as nothing that follows can change it.
"""

from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from model.voice_activity import SAMPLES_PER_MS, WINDOW_SAMPLES

_MIN_SPLIT_PAUSE_SAMPLES: Final = 98 * SAMPLES_PER_MS
"""Speech that goes on for too long is split at its last pause of this length."""
_MARGIN: Final = 0.15
"""How far below the threshold a window has to be for a pause to begin."""


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
class Span:
    """One utterance, in samples of its channel.

    start, end: what is cut out, with the padding on both sides; a short pause is shared with the neighbour's.
    speech_start, speech_end: what voice activity is sure of.
    window_start, window_end: with the padding, but for the neighbours' speech: where its onset is to be looked for.
    """

    start: int
    end: int
    speech_start: int
    speech_end: int
    window_start: int
    window_end: int


@dataclass(kw_only=True, slots=True)
class _State:
    """In samples; None or zero where there is no such place."""

    num_windows: int = 0
    start: int | None = None
    """Of the speech that goes on."""
    pause: int = 0
    """Where it may have ended."""
    last_pause: int = 0
    """Its last pause that is long enough to be split at."""
    resumed: int = 0
    """Where it went on behind that."""
    spoken_until: int | None = None
    """End of the speech before, unpadded."""
    waiting: dict[str, int] | None = None
    """That speech, while its padding depends on what follows."""


class SpanFinder:
    """Finds the spans of speech of one channel."""

    def __init__(self, config: SegmentConfig) -> None:
        self._config = config
        self._state = _State()
        self._low = max(config.threshold - _MARGIN, 0.01)
        self._pad = config.speech_pad_ms * SAMPLES_PER_MS
        self._min_speech = config.min_speech_ms * SAMPLES_PER_MS
        self._min_silence = config.min_silence_ms * SAMPLES_PER_MS
        self._max_speech = config.max_utterance_seconds * 1000 * SAMPLES_PER_MS - WINDOW_SAMPLES - 2 * self._pad

    def to_json(self) -> dict[str, Any]:
        """Return where it stands, as plain values."""
        return asdict(self._state)

    def go_on_from(self, state: dict[str, Any]) -> None:
        """Stand where another stood when it gave :meth:`to_json`."""
        self._state = _State(**state)

    @property
    def earliest_sample(self) -> int:
        """Sound before this sample belongs to no span that is still to come."""
        state = self._state
        if state.waiting is not None:
            return state.waiting["window_start"]
        return self._window_start(state.start if state.start is not None else state.num_windows * WINDOW_SAMPLES)

    @property
    def speaking(self) -> Span | None:
        """The speech that goes on, from its padded start to where it has been heard or pauses; None in silence."""
        state = self._state
        if state.start is None or not self._is_certain(state.start):
            return None
        reached = state.pause or state.num_windows * WINDOW_SAMPLES
        return Span(
            start=self._padded_start(state.start),
            end=reached,
            speech_start=state.start,
            speech_end=reached,
            window_start=self._window_start(state.start),
            window_end=reached,
        )

    @property
    def expected(self) -> Span | None:
        """The span that is to come if nobody speaks in this channel before its pause is long enough."""
        state, speaking = self._state, self.speaking
        if speaking is None or not state.pause or self._min_silence < 2 * self._pad:
            return None
        end = state.pause + self._pad
        return replace(speaking, end=end, window_end=end) if end <= state.num_windows * WINDOW_SAMPLES else None

    def push(self, probabilities: Iterable[float]) -> list[Span]:
        """Take the probabilities of more windows; return the spans that nothing can change any more."""
        found: list[Span] = []
        for probability in probabilities:
            self._window(probability, found)
            self._state.num_windows += 1
            self._settle(found)
        return found

    def finish(self, probabilities: Iterable[float], num_samples: int) -> list[Span]:
        """Take the probability of the last window, which is not full, and return what is left.

        num_samples: of the whole recording.
        """
        found: list[Span] = []
        state = self._state
        for probability in probabilities:
            # Not settled behind it: the recording ends before this window does.
            self._window(probability, found)
            state.num_windows += 1
        if state.start is not None and num_samples - state.start > self._min_speech:
            self._close(num_samples, found)
        if state.spoken_until is not None:
            end = min(state.spoken_until + self._pad, num_samples)
            self._release(end, window_end=end, found=found)
        return found

    def _window(self, probability: float, found: list[Span]) -> None:
        state, here = self._state, self._state.num_windows * WINDOW_SAMPLES
        is_speech = probability >= self._config.threshold
        if is_speech and state.pause:
            state.pause = 0
            if state.resumed < state.last_pause:
                state.resumed = here
        if state.start is None:
            if is_speech:
                state.start = here
            return
        if here - state.start > self._max_speech and self._split(here, found):
            return
        if probability < self._low and state.start is not None:
            state.pause = state.pause or here
            if here - state.pause > _MIN_SPLIT_PAUSE_SAMPLES:
                state.last_pause = state.pause
            if here - state.pause >= self._min_silence:
                if state.pause - state.start > self._min_speech:
                    self._close(state.pause, found)
                self._forget()

    def _split(self, here: int, found: list[Span]) -> bool:
        """Part speech that is too long; whether this window is done with."""
        state = self._state
        if not state.last_pause:
            self._close(here, found)
            self._forget()
            return True
        self._close(state.last_pause, found)
        goes_on_at = state.resumed if state.resumed >= state.last_pause else None
        self._forget()
        state.start = goes_on_at
        return False

    def _forget(self) -> None:
        self._state.start = None
        self._state.pause = self._state.last_pause = self._state.resumed = 0

    def _close(self, end: int, found: list[Span]) -> None:
        """End the speech that goes on; the one before it is settled by that."""
        state = self._state
        assert state.start is not None
        waiting = {
            "start": self._padded_start(state.start),
            "speech_start": state.start,
            "window_start": self._window_start(state.start),
        }
        self._release_before(state.start, found)
        state.waiting, state.spoken_until = waiting, end

    def _settle(self, found: list[Span]) -> None:
        """Release the speech that has ended once nothing can follow it closely, or what does is certain to stay."""
        state = self._state
        if state.waiting is None or state.spoken_until is None:
            return
        if state.start is not None and self._is_certain(state.start):
            self._release_before(state.start, found)
        elif state.start is None and state.num_windows * WINDOW_SAMPLES - state.spoken_until >= 2 * self._pad:
            end = state.spoken_until + self._pad
            self._release(end, window_end=end, found=found)

    def _is_certain(self, start: int) -> bool:
        """Whether speech is long enough already not to be dropped, wherever it ends."""
        reached = self._state.pause or self._state.num_windows * WINDOW_SAMPLES
        return reached - start > self._min_speech

    def _padded_start(self, start: int) -> int:
        before = self._state.spoken_until
        if before is None or start - before >= 2 * self._pad:
            return max(0, start - self._pad)
        return start - (start - before) // 2

    def _window_start(self, start: int) -> int:
        return max(0, start - self._pad, self._state.spoken_until or 0)

    def _release_before(self, start: int, found: list[Span]) -> None:
        before = self._state.spoken_until
        if before is not None:
            end = before + min(self._pad, (start - before) // 2)
            self._release(end, window_end=min(before + self._pad, start), found=found)

    def _release(self, end: int, *, window_end: int, found: list[Span]) -> None:
        state = self._state
        if state.waiting is not None and state.spoken_until is not None:
            found.append(Span(end=end, window_end=window_end, speech_end=state.spoken_until, **state.waiting))
            state.waiting = None
