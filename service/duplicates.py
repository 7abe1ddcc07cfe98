"""The same recording uploaded twice at the same time is worked on once."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Final, Generic, TypeAlias, TypeVar

from model.errors import Cancelled, DeadlineExceeded
from service.budget import Budget

Answer = TypeVar("Answer")
Work: TypeAlias = Callable[[bytes, Budget], Awaitable[Answer]]
"""Works on an upload within a budget."""

_HASHED_AT_ONCE_BYTES: Final = 1 << 20
"""A longer upload is hashed in a thread: the event loop is not held for longer than a millisecond."""


@dataclass(eq=False, kw_only=True, slots=True)
class _Flight(Generic[Answer]):
    task: "asyncio.Task[Answer]"
    budget: Budget
    callers: int = 0


class Duplicates(Generic[Answer]):
    """Work that is under way, by what it is for; callers who bring the same join it."""

    def __init__(self, *, on_joined: Callable[[], None] = lambda: None) -> None:
        """on_joined is called whenever a caller needs no work of its own."""
        self._flights: dict[Hashable, _Flight[Answer]] = {}
        self._on_joined = on_joined

    async def once(self, upload: bytes, work: Work[Answer], *, budget: Budget, variant: Hashable = None) -> Answer:
        """Return what ``work`` gives for ``upload``, begun by this caller or by another who still waits.

        variant: what else the work depends on; only callers with the same join.

        It goes on while anybody waits. Where it ended because the time of who began it was up, a caller who has time
        left begins it anew; whatever else it raises is raised for everybody.
        """
        wanted = (await _digest(upload), variant)
        while True:
            flight = self._flights.get(wanted)
            began = flight is None
            if flight is None:
                flight = self._begin(wanted, upload, work, budget)
            else:
                self._on_joined()
            try:
                return await self._wait(wanted, flight)
            except (Cancelled, DeadlineExceeded):
                if began:
                    raise
                budget.check()

    def _begin(self, wanted: Hashable, upload: bytes, work: Work[Answer], budget: Budget) -> _Flight[Answer]:
        own = budget.forked()
        task: asyncio.Task[Answer] = asyncio.ensure_future(_awaited(work(upload, own)))
        flight = self._flights[wanted] = _Flight(task=task, budget=own)
        task.add_done_callback(lambda _: self._forget(wanted, flight))
        return flight

    async def _wait(self, wanted: Hashable, flight: _Flight[Answer]) -> Answer:
        flight.callers += 1
        try:
            return await asyncio.shield(flight.task)
        finally:
            flight.callers -= 1
            if not flight.callers and not flight.task.done():
                self._forget(wanted, flight)
                flight.budget.cancel()
                flight.task.cancel()

    def _forget(self, wanted: Hashable, flight: _Flight[Answer]) -> None:
        if self._flights.get(wanted) is flight:
            del self._flights[wanted]
        if flight.task.done() and not flight.task.cancelled():
            flight.task.exception()  # asked for, so that nobody is told that nobody asked


async def _awaited(work: Awaitable[Answer]) -> Answer:
    return await work


async def _digest(upload: bytes) -> bytes:
    if len(upload) <= _HASHED_AT_ONCE_BYTES:
        return hashlib.sha256(upload).digest()
    return await asyncio.to_thread(lambda: hashlib.sha256(upload).digest())
