"""One bounded, work-conserving batcher for every stage of the pipeline.

A free worker thread takes what is queued now: the item due first, and others of its key up to the limit or
to its fair share where other workers are free as well.
Nothing waits for a timer while a worker idles, and whoever could not be answered in time is refused at once.
"""

import asyncio
import logging
import math
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from model.errors import AudioError, NotReady, Overloaded, ServingError, StageFailed, VcemoError
from service.budget import Budget
from service.waiting_line import Done, Entry, WaitingLine

logger = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")

_NEWEST_SHARE: Final = 0.2
"""Weight of the latest batch in the pace that is reckoned with."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchFacts:
    """What the metrics want to know of a finished batch."""

    stage: str
    size: int
    seconds: float
    cpu_seconds: float
    """Of the worker's own thread: what an engine computes in threads of its own is not in it."""
    queue_seconds: tuple[float, ...]


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
        self._line: WaitingLine[Item, Result] = WaitingLine()
        self._item_seconds = 0.0
        self._running: dict[int, tuple[float, list[Entry[Item, Result]]]] = {}
        self._is_closing = False
        self._threads = [
            threading.Thread(target=self._work, name=f"{name}-{number}", daemon=True) for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def depth(self) -> int:
        """Items that wait."""
        return len(self._line)

    @property
    def item_seconds(self) -> float:
        """Seconds from one item's end to the next one's, as of late; zero before the first."""
        return self._item_seconds

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
            Overloaded: the queue has no room for all of them, or would not come to them within the budget.
            NotReady: the batcher is closing.
            Cancelled: the caller is gone.
            DeadlineExceeded: the caller's time is up.
            StageFailed: ``process`` raised something foreign.
        """
        if not items:
            return []
        loop, now, pace = asyncio.get_running_loop(), time.monotonic(), self._item_seconds
        entries = [
            Entry[Item, Result](
                item=item,
                key=(budget.yields_seconds, self._key(item)),
                budget=budget,
                future=loop.create_future(),
                queued=now,
                due=now + budget.yields_seconds + place * pace,
            )
            for place, item in enumerate(items)
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
        # Let go of what it worked with at once: a pipeline and its stages refer to each other, and a network would stay
        # until Python looks for such circles, which takes a third of a second.
        self._process = lambda _: ()

    def _admit(self, entries: Sequence[Entry[Item, Result]]) -> None:
        with self._changed:
            if self._is_closing:
                raise _closing()
            pace, depth = self._item_seconds, self._line.num_pressing + len(entries)
            # Who yields is bounded by whoever submits: it neither waits for a place nor takes one.
            if depth > self._max_queue and not entries[-1].yields:
                message = f"the queue before stage {self.name} is full"
                raise Overloaded(message, value=depth, limit=self._max_queue, retry_after_seconds=pace * depth)
            # Of others alone: before an empty queue nobody is refused, or one slow batch would be believed for ever.
            wait = pace * self._line.num_before(entries[-1].due)
            limit = min(entry.budget.remaining_seconds for entry in entries)
            if wait > limit:
                message = f"stage {self.name} would not begin in time"
                raise Overloaded(message, value=round(wait, 1), limit=round(limit, 1), retry_after_seconds=wait)
            self._line.add(entries)
            self._changed.notify(len(entries))

    def _withdraw(self, entries: Sequence[Entry[Item, Result]]) -> None:
        if all(entry.future.done() and not entry.future.cancelled() for entry in entries):
            return
        with self._changed:
            self._line.remove(entries)

    def _refuse_queued(self) -> None:
        self._line.refuse(lambda _: _closing())

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
        seconds = time.monotonic() - begun
        with self._changed:
            del self._running[threading.get_ident()]
            latest = seconds / len(batch) / len(self._threads)
            self._item_seconds += (latest - self._item_seconds) * (_NEWEST_SHARE if self._item_seconds else 1.0)
        facts = BatchFacts(
            stage=self.name,
            size=len(batch),
            seconds=seconds,
            cpu_seconds=time.thread_time() - cpu_begun,
            queue_seconds=tuple(begun - entry.queued for entry in batch),
        )
        try:
            self._on_batch(facts)
        except Exception:
            logger.exception("the metrics hook failed", extra={"facts": {"stage": self.name}})
        return True

    def _take(self) -> list[Entry[Item, Result]] | None:
        """Wait for work: the item due first and others of its key; None when closed."""
        with self._changed:
            while self._drop_expired() or not (alike := self._line.first_of_a_kind(may_yield=self._may_yield())):
                if self._is_closing and not self._line:
                    return None
                self._changed.wait()
            free_workers = 1 if alike[0].yields else len(self._threads) - len(self._running)
            batch = alike[: min(self._max_batch_size, math.ceil(len(alike) / free_workers))]
            self._line.remove(batch)
            self._running[threading.get_ident()] = (time.monotonic(), batch)
            return batch

    def _may_yield(self) -> bool:
        """Whether a worker may take what yields: of several, one is kept free for whoever does not."""
        yielding = sum(batch[0].yields for _, batch in self._running.values())
        return self._is_closing or yielding < max(1, len(self._threads) - 1)

    def _drop_expired(self) -> bool:
        """Answer entries whose caller is gone or late; whether that emptied the queue."""
        self._line.refuse(lambda entry: _refusal(entry.budget))
        return not self._line

    def _outcomes(self, batch: Sequence[Entry[Item, Result]]) -> "list[Done[Result] | BaseException]":
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

    def _outcome_alone(self, entry: Entry[Item, Result]) -> "list[Done[Result] | BaseException]":
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


def _refusal(budget: Budget) -> ServingError | None:
    try:
        budget.check()
    except ServingError as error:
        return error
    return None


def _closing() -> NotReady:
    return NotReady("the service is shutting down")
