"""One bounded, work-conserving batcher for every stage of the pipeline.

A free worker thread takes what is queued now: the oldest item, and others of its key up to the limit or
to its fair share where other workers are free as well.
Nothing waits for a timer while a worker idles, the oldest is always next, and a full queue refuses at once.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from model.errors import AudioError, NotReady, Overloaded, ServingError, StageFailed, VcemoError
from service.budget import Budget

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, kw_only=True, slots=True)
class Done(Generic[Result]):
    """A result, and when (on the monotonic clock) a worker spent its time on it."""

    value: Result
    started: float
    ended: float


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchFacts:
    """What the metrics want to know of a finished batch."""

    stage: str
    size: int
    seconds: float
    cpu_seconds: float
    """Of the worker's own thread: what an engine computes in threads of its own is not in it."""
    queue_seconds: tuple[float, ...]


@dataclass(eq=False, kw_only=True, slots=True)
class _Entry(Generic[Item, Result]):
    item: Item
    key: Hashable
    budget: Budget
    future: "asyncio.Future[Done[Result]]"
    queued: float

    def settle(self, outcome: "Done[Result] | BaseException") -> None:
        # The loop is closed when the process is shutting down: nobody waits any more.
        with suppress(RuntimeError):
            self.future.get_loop().call_soon_threadsafe(_settle, self.future, outcome)


class Batcher(Generic[Item, Result]):
    """Gathers items of many callers into batches for ``process``, which runs in worker threads.

    Callers never hang: a batch that fails is tried again one by one, so that only the bad item's caller
    sees an error; whatever is left when the batcher closes is refused.
    """

    def __init__(
        self,
        process: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        name: str,
        max_batch_size: int,
        max_queue: int,
        key: Callable[[Item], Hashable] = lambda _: None,
        workers: int = 1,
        on_batch: Callable[[BatchFacts], None] = lambda _: None,
    ) -> None:
        self.name = name
        self._process = process
        self._max_batch_size = max_batch_size
        self._max_queue = max_queue
        self._key = key
        self._on_batch = on_batch
        self._changed = threading.Condition()
        self._queue: deque[_Entry[Item, Result]] = deque()
        self._running: dict[int, tuple[float, list[_Entry[Item, Result]]]] = {}
        self._is_closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Items that wait."""
        return len(self._queue)

    @property
    def busy_seconds(self) -> float:
        """Seconds since the oldest of the batches now worked on was begun; zero when idle."""
        with self._changed:
            begun = [started for started, _ in self._running.values()]
        return time.monotonic() - min(begun) if begun else 0.0

    async def submit(self, item: Item, *, budget: Budget) -> Done[Result]:
        """Queue one item and wait for its result; raises as :meth:`submit_many`."""
        (done,) = await self.submit_many([item], budget=budget)
        return done

    async def submit_many(self, items: Sequence[Item], *, budget: Budget) -> list[Done[Result]]:
        """Queue all items or none, and wait for their results, in order.

        The first failure is raised; what has not begun of the others is withdrawn.

        Raises:
            Overloaded: the queue has no room for all of them.
            NotReady: the batcher is closing.
            Cancelled: the caller is gone.
            DeadlineExceeded: the caller's time is up.
            StageFailed: ``process`` raised something foreign.
        """
        if not items:
            return []
        loop, now = asyncio.get_running_loop(), time.monotonic()
        entries = [
            _Entry[Item, Result](item=item, key=self._key(item), budget=budget, future=loop.create_future(), queued=now)
            for item in items
        ]
        self._admit(entries)
        try:
            return list(await asyncio.gather(*(entry.future for entry in entries)))
        finally:
            self._withdraw(entries)

    def close(self, *, drain_seconds: float = 0.0) -> None:
        """Accept nothing more, finish what is queued within ``drain_seconds``, refuse the rest."""
        deadline = time.monotonic() + drain_seconds
        with self._changed:
            self._is_closing = True
            if drain_seconds <= 0:
                self._refuse_queued()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            self._refuse_queued()
            for _, stuck in self._running.values():
                for entry in stuck:
                    entry.settle(_closing())

    def _admit(self, entries: Sequence[_Entry[Item, Result]]) -> None:
        with self._changed:
            if self._is_closing:
                raise _closing()
            depth = len(self._queue) + len(entries)
            if depth > self._max_queue:
                raise Overloaded(f"the queue before stage {self.name} is full", value=depth, limit=self._max_queue)
            self._queue.extend(entries)
            self._changed.notify(len(entries))

    def _withdraw(self, entries: Sequence[_Entry[Item, Result]]) -> None:
        if all(entry.future.done() and not entry.future.cancelled() for entry in entries):
            return
        unwanted = set(map(id, entries))
        with self._changed:
            self._queue = deque(entry for entry in self._queue if id(entry) not in unwanted)

    def _refuse_queued(self) -> None:
        while self._queue:
            self._queue.popleft().settle(_closing())

    def _work(self) -> None:
        # One call a batch: locals of this loop would keep a finished batch, with its audio, until the next.
        while self._work_once():
            pass

    def _work_once(self) -> bool:
        batch = self._take()
        if batch is None:
            return False
        begun, cpu_begun = time.monotonic(), time.thread_time()
        for entry, outcome in zip(batch, self._outcomes(batch), strict=True):
            entry.settle(outcome)
        with self._changed:
            del self._running[threading.get_ident()]
        facts = BatchFacts(
            stage=self.name,
            size=len(batch),
            seconds=time.monotonic() - begun,
            cpu_seconds=time.thread_time() - cpu_begun,
            queue_seconds=tuple(begun - entry.queued for entry in batch),
        )
        try:
            self._on_batch(facts)
        except Exception:
            logger.exception("the metrics hook failed", extra={"facts": {"stage": self.name}})
        return True

    def _take(self) -> list[_Entry[Item, Result]] | None:
        """Wait for work: the oldest item and others of its key; None when closed."""
        with self._changed:
            while not self._queue or self._drop_expired():
                if self._is_closing and not self._queue:
                    return None
                if not self._queue:
                    self._changed.wait()
            key = self._queue[0].key
            alike = [entry for entry in self._queue if entry.key == key]
            free_workers = len(self._threads) - len(self._running)
            batch = alike[: min(self._max_batch_size, math.ceil(len(alike) / free_workers))]
            taken = set(map(id, batch))
            self._queue = deque(entry for entry in self._queue if id(entry) not in taken)
            self._running[threading.get_ident()] = (time.monotonic(), batch)
            return batch

    def _drop_expired(self) -> bool:
        """Answer entries whose caller is gone or late; whether that emptied the queue."""
        alive: deque[_Entry[Item, Result]] = deque()
        for entry in self._queue:
            refusal = _refusal(entry.budget)
            if refusal is None:
                alive.append(entry)
            else:
                entry.settle(refusal)
        self._queue = alive
        return not alive

    def _outcomes(self, batch: Sequence[_Entry[Item, Result]]) -> "list[Done[Result] | BaseException]":
        started = time.monotonic()
        try:
            values = self._process([entry.item for entry in batch])
            if len(values) != len(batch):
                wrong = f"stage {self.name} gave {len(values)} results for {len(batch)} items"
                return [StageFailed(wrong, value=len(values), limit=len(batch)) for _ in batch]
        except BaseException as error:  # noqa: BLE001 - whatever a stage raises, its callers are told and the worker lives
            if len(batch) == 1:
                return [self._as_ours(error)]
            logger.warning(
                "a batch failed, trying its items one by one",
                extra={"facts": {"stage": self.name, "size": len(batch), "error": type(error).__name__}},
            )
            return [outcome for entry in batch for outcome in self._outcome_alone(entry)]
        ended = time.monotonic()
        return [Done(value=value, started=started, ended=ended) for value in values]

    def _outcome_alone(self, entry: _Entry[Item, Result]) -> "list[Done[Result] | BaseException]":
        refusal = _refusal(entry.budget)
        return self._outcomes([entry]) if refusal is None else [refusal]

    def _as_ours(self, error: BaseException) -> VcemoError:
        if isinstance(error, AudioError):
            # Nobody reads the stack of a refusal. A future would keep it, and its frames the upload and the future.
            return error.with_traceback(None)
        if isinstance(error, VcemoError):
            return error
        failure = StageFailed(f"stage {self.name} failed")
        failure.__cause__ = error
        return failure


def _settle(future: "asyncio.Future[Any]", outcome: Any) -> None:
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


def _refusal(budget: Budget) -> ServingError | None:
    try:
        budget.check()
    except ServingError as error:
        return error
    return None


def _closing() -> NotReady:
    return NotReady("the service is shutting down")
