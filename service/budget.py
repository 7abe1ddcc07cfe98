"""How long, and for whom, a request may still be worked on."""

import asyncio
import copy
import re
import time
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Any, Final, TypeVar

from model.errors import Cancelled, DeadlineExceeded, InvalidRequestTimeout

Answer = TypeVar("Answer")

TIMEOUT_HEADER: Final = "X-Request-Timeout-Ms"

_MILLISECONDS: Final = re.compile(r"0*([1-9][0-9]*)")
_MOST_DIGITS: Final = 10
"""More than any limit has: Python refuses to read a number of thousands of digits."""


def seconds_asked(milliseconds: str | None, *, limit_seconds: float) -> float:
    """Return how long a caller is ready to wait, at most ``limit_seconds``, which is also for who does not say.

    Raises:
        InvalidRequestTimeout: it is not a whole number of milliseconds above zero.
    """
    if milliseconds is None:
        return limit_seconds
    found = _MILLISECONDS.fullmatch(milliseconds)
    if found is None:
        raise InvalidRequestTimeout(
            f"{TIMEOUT_HEADER} takes a whole number of milliseconds above zero",
            value=milliseconds[:40],
            limit=round(limit_seconds * 1000),
        )
    return min(int(found[1][:_MOST_DIGITS]) / 1000, limit_seconds)


class Budget:
    """A request's deadline and cancellation flag, shared by everything that works for it; safe across threads."""

    def __init__(self, seconds: float, *, yields_seconds: float = 0.0) -> None:
        """yields_seconds: before whoever comes so much later, too, this one lets others go; zero before nobody."""
        self.seconds = seconds
        self.yields_seconds = yields_seconds
        self._deadline = time.monotonic() + seconds
        self._is_cancelled = False

    @property
    def remaining_seconds(self) -> float:
        """Seconds to the deadline, zero when it has passed."""
        return max(0.0, self._deadline - time.monotonic())

    def cancel(self) -> None:
        """Nobody waits any more: whatever has not begun is not begun."""
        self._is_cancelled = True

    def forked(self) -> "Budget":
        """Return one with the same deadline that is cancelled by itself."""
        other = copy.copy(self)
        other._is_cancelled = False
        return other

    def check(self) -> None:
        """Return if work may go on.

        Raises:
            Cancelled: the caller is gone.
            DeadlineExceeded: the caller's time is up.
        """
        if self._is_cancelled:
            raise Cancelled("the caller went away")
        if not self.remaining_seconds:
            raise self._exceeded()

    async def bound(self, work: Awaitable[Answer]) -> Answer:
        """Await ``work`` until the deadline.

        Raises:
            DeadlineExceeded: the caller's time is up.
        """
        try:
            async with asyncio.timeout(self.remaining_seconds) as scope:
                return await work
        except TimeoutError as error:
            if scope.expired():
                raise self._exceeded() from error
            raise

    async def bound_while(self, listening: Coroutine[Any, Any, None], work: Coroutine[Any, Any, Answer]) -> Answer:
        """Await ``work`` until the deadline, or until ``listening`` ends because the caller is gone.

        Raises:
            Cancelled: the caller is gone.
            DeadlineExceeded: the caller's time is up.
        """
        working, gone = asyncio.ensure_future(work), asyncio.ensure_future(listening)
        try:
            await asyncio.wait({working, gone}, timeout=self.remaining_seconds, return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            if gone.done():
                self.cancel()
                gone.result()
            self.check()
            raise self._exceeded()
        finally:
            for task in (working, gone):
                await _stop(task)

    def _exceeded(self) -> DeadlineExceeded:
        return DeadlineExceeded(f"no answer within {self.seconds:g} s", limit=self.seconds)


async def _stop(task: "asyncio.Future[Any]") -> None:
    """Cancel a task and wait until it has let go; what it still has to say was said or is not wanted."""
    task.cancel()
    await asyncio.wait({task})
    with suppress(asyncio.CancelledError):
        task.exception()
