"""Utterances of a live call that go on: what is shown of them, and those that pause heard as if they had ended.

Most pauses that are long enough for the padding become the end of the utterance. Heard then, it need not wait when that
is certain, more than a second later; where speech goes on, the text shows meanwhile.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from model.listener import Listener, Speaking
from model.segment import Utterance, milliseconds, utterance_id
from model.spans import Span
from service.budget import Budget
from service.pipeline import HeardUtterance
from service.stream_messages import PartialMessage

_PARTIAL_SECONDS: Final = 0.5
"""Between two partial messages of one utterance that bring no text."""

Hearing = asyncio.Task[HeardUtterance]


@dataclass(kw_only=True, slots=True)
class _Guess:
    span: Span
    utterance: Utterance
    budget: Budget
    hearing: Hearing


@dataclass(kw_only=True, slots=True)
class _Shown:
    span: Span
    start_ms: int
    end_ms: int
    text: str | None
    at: float
    is_new: bool


class CallPreview:
    """Looks ahead in one call.

    hear: has an utterance heard, as long as the budget lasts. has_room: whether nobody else waits to be heard.
    """

    def __init__(
        self,
        hear: Callable[[Utterance, Budget], Coroutine[Any, Any, HeardUtterance]],
        *,
        has_room: Callable[[], bool],
        budget_seconds: float,
        roles: tuple[str | None, ...],
        shows_text: bool,
        on_change: Callable[[], None],
    ) -> None:
        self._hear = hear
        self._has_room = has_room
        self._budget_seconds = budget_seconds
        self._roles = roles
        self._shows_text = shows_text
        self._on_change = on_change
        self._guesses: dict[int, _Guess] = {}
        self._shown: dict[int, _Shown] = {}

    def partials(self) -> Iterator[PartialMessage]:
        """What has changed since the last look; of each channel the newest only."""
        for channel, shown in self._shown.items():
            if shown.is_new:
                shown.is_new = False
                yield PartialMessage(
                    segment_id=utterance_id(channel, shown.start_ms),
                    channel=channel,
                    role=self._roles[channel],
                    start_ms=shown.start_ms,
                    end_ms=shown.end_ms,
                    text=shown.text,
                )

    def look(self, listener: Listener) -> None:
        """See who speaks now, and who pauses."""
        speaking = {one.channel: one for one in listener.speaking}
        for channel in set(self._shown) - set(speaking):
            del self._shown[channel]
        for channel in set(self._guesses) - {channel for channel, one in speaking.items() if one.expected is not None}:
            self._drop(channel)
        for channel, one in speaking.items():
            self._show(listener, channel, one.heard)
            if one.expected is not None:
                self._guess(listener, one, one.expected)

    def ended(self, utterance: Utterance) -> Hearing | None:
        """Let go of an utterance that has ended; return its hearing, where it was guessed right."""
        self._shown.pop(utterance.channel, None)
        guess = self._guesses.get(utterance.channel)
        if guess is None:
            return None
        same_start = guess.utterance.start_ms == utterance.start_ms
        if same_start and len(guess.utterance.samples) == len(utterance.samples):
            return self._guesses.pop(utterance.channel).hearing
        self._drop(utterance.channel)
        return None

    def close(self) -> None:
        """Withdraw every guess, and show nothing."""
        for channel in tuple(self._guesses):
            self._drop(channel)
        self._shown.clear()

    def _guess(self, listener: Listener, one: Speaking, expected: Span) -> None:
        guess = self._guesses.get(one.channel)
        if guess is not None and guess.span != expected:
            self._drop(one.channel)
            guess = None
        if guess is None and self._has_room():
            budget = Budget(self._budget_seconds)
            utterance = listener.cut(one.channel, expected)
            hearing = asyncio.create_task(self._hear(utterance, budget))
            hearing.add_done_callback(partial(self._show_text, one.channel, expected))
            self._guesses[one.channel] = _Guess(span=expected, utterance=utterance, budget=budget, hearing=hearing)

    def _drop(self, channel: int) -> None:
        guess = self._guesses.pop(channel)
        guess.budget.cancel()
        guess.hearing.cancel()

    def _show(self, listener: Listener, channel: int, span: Span) -> None:
        now, shown = time.monotonic(), self._shown.get(channel)
        if shown is not None and shown.span.speech_start == span.speech_start:
            if now - shown.at < _PARTIAL_SECONDS or span.speech_end == shown.span.speech_end:
                return
        else:
            shown = None
        speech = listener.speech(channel, span)
        self._shown[channel] = _Shown(
            span=span,
            start_ms=milliseconds(speech.heard_start) if shown is None else shown.start_ms,
            end_ms=milliseconds(speech.heard_end),
            text=None if shown is None else shown.text,
            at=now,
            is_new=True,
        )
        self._on_change()

    def _show_text(self, channel: int, span: Span, hearing: Hearing) -> None:
        if hearing.cancelled() or hearing.exception() is not None or not self._shows_text:
            return
        shown = self._shown.get(channel)
        if shown is not None and shown.span.speech_start == span.speech_start:
            shown.text, shown.is_new = hearing.result().transcript.text, True
            self._on_change()
