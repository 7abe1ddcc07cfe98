"""Who waits before a stage, and whose turn it is."""

import asyncio
from bisect import bisect_right, insort_right
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Generic, TypeVar

from model.errors import ServingError
from service.budget import Budget

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Done(Generic[Result]):
    """A result, and when (on the monotonic clock) a worker spent its time on it."""

    value: Result
    started: float
    ended: float


@dataclass(eq=False, kw_only=True, slots=True)
class Entry(Generic[Item, Result]):
    """An item that waits, and whom to tell. queued and due: seconds on the monotonic clock."""

    item: Item
    key: Hashable
    """Of entries that may share a batch; those that yield and those that do not never have the same."""
    budget: Budget
    future: "asyncio.Future[Done[Result]]"
    queued: float
    due: float

    @property
    def yields(self) -> bool:
        """Whether it lets others go before."""
        return self.budget.yields_seconds > 0

    def settle(self, outcome: "Done[Result] | BaseException") -> None:
        """Tell the caller, from any thread."""
        # The loop is closed when the process is shutting down: nobody waits any more.
        with suppress(RuntimeError):
            self.future.get_loop().call_soon_threadsafe(_settle, self.future, outcome)


class WaitingLine(Generic[Item, Result]):
    """Entries in the order that they are due; the caller holds the lock.

    The items of one caller are due one after the other, at the pace of the stage, as if each had come in only when
    its turn could be: who has one item to ask passes a recording of two hundred. Places are moments, so that nobody
    is overtaken for ever.
    """

    def __init__(self) -> None:
        self._entries: list[Entry[Item, Result]] = []
        self._due: Callable[[Entry[Item, Result]], float] = attrgetter("due")

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entries: Sequence[Entry[Item, Result]]) -> None:
        """Let entries in; of those due at the same moment the first to come is first."""
        for entry in entries:
            insort_right(self._entries, entry, key=self._due)

    def num_before(self, due: float) -> int:
        """Return how many are due by then."""
        return bisect_right(self._entries, due, key=self._due)

    @property
    def num_pressing(self) -> int:
        """Return how many do not yield."""
        return sum(not entry.yields for entry in self._entries)

    def first_of_a_kind(self, *, may_yield: bool = True) -> list[Entry[Item, Result]]:
        """Return the first entry and all that share its key, in order. may_yield: whether it may be one that yields."""
        first = next((entry for entry in self._entries if may_yield or not entry.yields), None)
        return [entry for entry in self._entries if entry.key == first.key] if first is not None else []

    def remove(self, entries: Collection[Entry[Item, Result]]) -> None:
        """Let entries go; those that are not here are passed over."""
        gone = set(map(id, entries))
        self._entries = [entry for entry in self._entries if id(entry) not in gone]

    def refuse(self, refusal: Callable[[Entry[Item, Result]], ServingError | None]) -> None:
        """Tell each entry for which there is a refusal, and let it go."""
        kept = []
        for entry in self._entries:
            error = refusal(entry)
            if error is None:
                kept.append(entry)
            else:
                entry.settle(error)
        self._entries = kept


def _settle(future: "asyncio.Future[Any]", outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
