"""The batcher, with small real functions as stages."""

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from scenario import scenario

from model.errors import Cancelled, CorruptAudio, DeadlineExceeded, NotReady, Overloaded, ServingError, StageFailed
from service.batching import Batcher, BatchFacts
from service.budget import Budget

PATIENCE_SECONDS = 10.0


class Gate:
    """A stage that doubles numbers, notes its batches, and stops at ``block`` until it is opened."""

    def __init__(self) -> None:
        self.batches: list[list[Any]] = []
        self.entered = threading.Event()
        self.opened = threading.Event()

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        self.batches.append(list(items))
        if "block" in items:
            self.entered.set()
            assert self.opened.wait(PATIENCE_SECONDS)
        return [item * 2 for item in items]


@contextmanager
def batcher(process: Any, **options: Any) -> Iterator[Batcher[Any, Any]]:
    bounds: dict[str, Any] = {"name": "double", "max_batch_size": 8, "max_queue": 16}
    stage: Batcher[Any, Any] = Batcher(process, **(bounds | options))
    try:
        yield stage
    finally:
        stage.close(drain_seconds=1.0)


def budget(seconds: float = PATIENCE_SECONDS) -> Budget:
    return Budget(seconds)


async def until(condition: Any) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.001)


async def values(stage: Batcher[Any, Any], *items: Any) -> list[Any]:
    return [done.value for done in await stage.submit_many(items, budget=budget())]


async def refused(stage: Batcher[Any, Any], items: list[Any]) -> type[ServingError]:
    with pytest.raises(ServingError) as refusal:
        await stage.submit_many(items, budget=budget())
    return refusal.type


async def blocked(stage: Batcher[Any, Any], gate: Gate) -> "asyncio.Task[Any]":
    """Occupy the one worker, so that what follows has to queue."""
    task = asyncio.create_task(stage.submit("block", budget=budget()))
    await until(gate.entered.is_set)
    return task


@scenario
async def test_a_lone_item_is_not_kept_waiting_for_company() -> None:
    with batcher(Gate()) as stage:
        done = await stage.submit(21, budget=budget())
        assert done.value == 42
        assert done.ended >= done.started


@scenario
async def test_what_queued_while_the_worker_was_busy_is_its_next_batch() -> None:
    gate = Gate()
    with batcher(gate) as stage:
        first = await blocked(stage, gate)
        rest = [asyncio.create_task(stage.submit(number, budget=budget())) for number in range(5)]
        await until(lambda: stage.depth == 5)
        gate.opened.set()
        assert [done.value for done in await asyncio.gather(*rest)] == [0, 2, 4, 6, 8]
        await first
    assert gate.batches == [["block"], [0, 1, 2, 3, 4]]


@scenario
async def test_free_workers_share_what_is_queued() -> None:
    both_at_work = threading.Barrier(2)
    sizes: list[int] = []

    def meet(items: Sequence[int]) -> list[int]:
        both_at_work.wait(PATIENCE_SECONDS)
        sizes.append(len(items))
        return list(items)

    with batcher(meet, workers=2) as stage:
        assert await values(stage, *range(6)) == list(range(6))
    assert sizes == [3, 3]


@scenario
async def test_a_batch_never_exceeds_its_limit() -> None:
    gate = Gate()
    with batcher(gate, max_batch_size=3) as stage:
        first = await blocked(stage, gate)
        rest = asyncio.create_task(values(stage, *range(7)))
        await until(lambda: stage.depth == 7)
        gate.opened.set()
        await asyncio.gather(first, rest)
    assert [len(batch) for batch in gate.batches] == [1, 3, 3, 1]


@scenario
async def test_a_batch_holds_one_key_and_the_oldest_item_is_always_next() -> None:
    gate = Gate()
    with batcher(gate, key=lambda item: item % 2 if isinstance(item, int) else item) as stage:
        first = await blocked(stage, gate)
        rest = asyncio.create_task(values(stage, 1, 2, 3, 4, 5))
        await until(lambda: stage.depth == 5)
        gate.opened.set()
        assert (await asyncio.gather(first, rest))[1] == [2, 4, 6, 8, 10]
    assert gate.batches == [["block"], [1, 3, 5], [2, 4]]


@scenario
async def test_a_full_queue_refuses_at_once_and_takes_all_of_a_request_or_nothing() -> None:
    gate = Gate()
    with batcher(gate, max_queue=4) as stage:
        first = await blocked(stage, gate)
        rest = asyncio.create_task(values(stage, 1, 2, 3))
        await until(lambda: stage.depth == 3)
        with pytest.raises(Overloaded, match="stage double is full") as refusal:
            await stage.submit_many([4, 5], budget=budget())
        assert (refusal.value.value, refusal.value.limit, stage.depth) == (5, 4, 3)
        gate.opened.set()
        await asyncio.gather(first, rest)


@scenario
async def test_one_item_passes_those_of_a_long_request_that_could_not_have_begun_yet() -> None:
    gate = Gate()
    with batcher(gate, max_batch_size=1, max_queue=100) as stage:
        first = await blocked(stage, gate)
        await asyncio.sleep(0.2)
        gate.opened.set()
        await first
        await until(lambda: stage.item_seconds > 0)
        pace = stage.item_seconds
        gate.entered.clear()
        gate.opened.clear()
        first = await blocked(stage, gate)
        begun = time.monotonic()
        long = asyncio.create_task(values(stage, *range(40)))
        await until(lambda: stage.depth == 40)
        late = asyncio.create_task(values(stage, 99))
        await until(lambda: stage.depth == 41)
        could_have_begun = 1 + (time.monotonic() - begun) / pace
        gate.opened.set()
        await asyncio.gather(first, long, late)
    order = [item for (item,) in gate.batches[2:]]
    passed = order.index(99)
    assert passed <= could_have_begun
    assert order[:passed] + order[passed + 1 :] == list(range(40))


@scenario
async def test_who_could_not_be_answered_in_time_hears_so_at_once_and_when_to_come_back() -> None:
    gate = Gate()
    with batcher(gate, max_queue=100) as stage:
        first = await blocked(stage, gate)
        await asyncio.sleep(0.2)
        gate.opened.set()
        await first
        await until(lambda: stage.item_seconds >= 0.2)
        gate.opened.clear()
        gate.entered.clear()
        again = await blocked(stage, gate)
        rest = asyncio.create_task(values(stage, *range(20)))
        await until(lambda: stage.depth == 20)
        with pytest.raises(Overloaded, match="would not begin in time") as refusal:
            await stage.submit_many([1] * 20, budget=budget(0.5))
        assert refusal.value.retry_after_seconds > 0.5
        gate.opened.set()
        await asyncio.gather(again, rest)


@scenario
async def test_one_slow_batch_does_not_close_an_empty_stage() -> None:
    gate = Gate()
    with batcher(gate) as stage:
        first = await blocked(stage, gate)
        await asyncio.sleep(0.2)
        gate.opened.set()
        await first
        assert (await stage.submit_many([1, 2, 3], budget=budget(0.15)))[0].value == 2


def divide(items: Sequence[int]) -> list[float]:
    return [12 / item for item in items]


@scenario
async def test_an_item_that_fails_does_not_fail_its_mates() -> None:
    with batcher(divide) as stage:
        tasks = [asyncio.create_task(stage.submit(number, budget=budget())) for number in (3, 0, 4)]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [getattr(outcome, "value", None) for outcome in outcomes] == [4.0, None, 3.0]
    assert isinstance(outcomes[1], StageFailed)
    assert isinstance(outcomes[1].__cause__, ZeroDivisionError)


@scenario
async def test_errors_of_our_own_tree_reach_the_caller_as_they_are() -> None:
    def refuse(items: Sequence[int]) -> list[int]:
        raise CorruptAudio("no samples", value=len(items))

    with batcher(refuse) as stage, pytest.raises(CorruptAudio, match="no samples"):
        await stage.submit(1, budget=budget())


@pytest.mark.parametrize("answer", [[], [1, 2, 3], None], ids=["none", "too many", "no list"])
@scenario
async def test_a_wrong_number_of_results_is_an_error_and_not_a_mixup(answer: Any) -> None:
    with batcher(lambda items: answer) as stage:
        tasks = [asyncio.create_task(stage.submit(number, budget=budget())) for number in (1, 2)]
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(outcome, StageFailed) for outcome in outcomes)


@scenario
async def test_the_worker_outlives_whatever_a_stage_raises() -> None:
    def leave(items: Sequence[Any]) -> list[Any]:
        if "leave" in items:
            raise SystemExit(3)
        return list(items)

    with batcher(leave) as stage:
        with pytest.raises(StageFailed):
            await stage.submit("leave", budget=budget())
        assert await values(stage, "stay") == ["stay"]


@scenario
async def test_no_work_is_spent_on_a_caller_who_is_gone_or_late() -> None:
    gate = Gate()
    with batcher(gate) as stage:
        first = await blocked(stage, gate)
        gone, late = budget(), budget(0.02)
        tasks = [asyncio.create_task(stage.submit(1, budget=one)) for one in (gone, late, budget())]
        await until(lambda: stage.depth == 3)
        gone.cancel()
        await until(lambda: not late.remaining_seconds)
        gate.opened.set()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        await first
    assert isinstance(outcomes[0], Cancelled)
    assert isinstance(outcomes[1], DeadlineExceeded)
    assert gate.batches == [["block"], [1]]


@scenario
async def test_a_caller_who_stops_waiting_frees_the_places_in_the_queue() -> None:
    gate = Gate()
    with batcher(gate) as stage:
        first = await blocked(stage, gate)
        rest = asyncio.create_task(values(stage, 1, 2, 3))
        await until(lambda: stage.depth == 3)
        rest.cancel()
        await asyncio.wait({rest})
        assert stage.depth == 0
        gate.opened.set()
        await first
    assert gate.batches == [["block"]]


@scenario
async def test_the_first_failure_of_a_request_withdraws_the_rest_of_it() -> None:
    seen: list[int] = []

    def note(items: Sequence[int]) -> list[float]:
        seen.extend(items)
        time.sleep(0.02)
        return divide(items)

    with batcher(note, max_batch_size=1) as stage:
        with pytest.raises(StageFailed):
            await stage.submit_many([0, *range(1, 10)], budget=budget())
        assert stage.depth == 0
    assert len(seen) < 10


@scenario
async def test_closing_finishes_what_is_queued_and_takes_nothing_more() -> None:
    gate = Gate()
    with batcher(gate) as stage:
        first = await blocked(stage, gate)
        rest = asyncio.create_task(values(stage, 1, 2))
        await until(lambda: stage.depth == 2)
        closing = asyncio.create_task(asyncio.to_thread(stage.close, drain_seconds=PATIENCE_SECONDS))
        while (refusal := await refused(stage, [3] * 99)) is Overloaded:
            await asyncio.sleep(0.001)
        assert refusal is NotReady
        gate.opened.set()
        await closing
        assert (await asyncio.gather(first, rest))[1] == [2, 4]


@scenario
async def test_closing_does_not_wait_for_a_stuck_stage_and_its_callers_are_told() -> None:
    gate = Gate()
    with batcher(gate) as stage:
        first = await blocked(stage, gate)
        rest = asyncio.create_task(values(stage, 1))
        await until(lambda: stage.depth == 1)
        await asyncio.to_thread(stage.close, drain_seconds=0.0)
        outcomes = await asyncio.gather(first, rest, return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [NotReady, NotReady]
        gate.opened.set()


@scenario
async def test_a_stuck_worker_shows_in_how_long_it_has_been_busy() -> None:
    gate = Gate()
    with batcher(gate) as stage:
        assert stage.busy_seconds == 0.0
        first = await blocked(stage, gate)
        await until(lambda: stage.busy_seconds > 0.01)
        gate.opened.set()
        await first
        await until(lambda: stage.busy_seconds == 0.0)


def test_the_metrics_hook_learns_of_every_batch_and_cannot_stop_the_worker() -> None:
    facts: list[BatchFacts] = []

    def note(batch: BatchFacts) -> None:
        facts.append(batch)
        raise RuntimeError("the metrics are broken")

    async def scenario() -> None:
        with batcher(Gate(), on_batch=note) as stage:
            await values(stage, 1, 2)
            await values(stage, 3)

    asyncio.run(scenario())
    assert [(batch.stage, sum(one.size for one in facts)) for batch in facts[:1]] == [("double", 3)]
    assert all(seconds >= 0 for batch in facts for seconds in batch.queue_seconds)


@scenario
async def test_many_callers_each_get_their_own_results() -> None:
    with batcher(Gate(), max_queue=2000, workers=3, key=lambda number: number % 5) as stage:
        requests = [range(start, start + start % 7) for start in range(0, 400, 3)]
        answers = await asyncio.gather(*(values(stage, *numbers) for numbers in requests))
    assert answers == [[number * 2 for number in numbers] for numbers in requests]


@scenario
async def test_who_yields_lets_go_first_whoever_comes_later_but_within_that_time() -> None:
    gate = Gate()
    with batcher(gate, max_queue=2) as stage:
        first = await blocked(stage, gate)
        yielding = Budget(PATIENCE_SECONDS, yields_seconds=60.0)
        patient = asyncio.create_task(stage.submit_many([1, 2, 3], budget=yielding))
        await until(lambda: stage.depth == 3)
        # It takes none of the places: they are for those who do not yield.
        pressing = asyncio.create_task(values(stage, 4, 5))
        await until(lambda: stage.depth == 5)
        gate.opened.set()
        await asyncio.gather(first, patient, pressing)
    assert gate.batches == [["block"], [4, 5], [1, 2, 3]]


@scenario
async def test_who_yields_is_not_passed_for_ever() -> None:
    gate = Gate()
    with batcher(gate) as stage:
        first = await blocked(stage, gate)
        patient = asyncio.create_task(stage.submit(1, budget=Budget(PATIENCE_SECONDS, yields_seconds=1e-4)))
        await until(lambda: stage.depth == 1)
        await asyncio.sleep(0.001)
        pressing = asyncio.create_task(stage.submit(2, budget=budget()))
        await until(lambda: stage.depth == 2)
        gate.opened.set()
        await asyncio.gather(first, patient, pressing)
    assert gate.batches == [["block"], [1], [2]]


@scenario
async def test_of_several_workers_one_is_kept_from_who_yields() -> None:
    gate = Gate()
    with batcher(gate, workers=2, max_batch_size=2) as stage:
        yielding = Budget(PATIENCE_SECONDS, yields_seconds=60.0)
        patient = asyncio.create_task(stage.submit_many(["block", 1, 2, 3], budget=yielding))
        await until(gate.entered.is_set)
        assert (await stage.submit(4, budget=budget())).value == 8
        assert stage.depth == 2
        gate.opened.set()
        await patient
    assert gate.batches == [["block", 1], [4], [2, 3]]


@scenario
async def test_who_yields_is_finished_by_every_worker_when_the_stage_closes() -> None:
    gate = Gate()
    with batcher(gate, workers=2, max_batch_size=1) as stage:
        yielding = Budget(PATIENCE_SECONDS, yields_seconds=60.0)
        patient = asyncio.create_task(stage.submit_many(["block", 1, 2], budget=yielding))
        await until(gate.entered.is_set)
        closing = asyncio.create_task(asyncio.to_thread(stage.close, drain_seconds=PATIENCE_SECONDS))
        await until(lambda: stage.depth == 0)
        gate.opened.set()
        await asyncio.gather(patient, closing)
    assert sorted(map(str, (item for batch in gate.batches for item in batch))) == ["1", "2", "block"]
