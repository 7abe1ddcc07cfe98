"""The order of a stage's queue."""

import asyncio

from scenario import scenario

from model.errors import Cancelled
from service.budget import Budget
from service.waiting_line import Entry, WaitingLine


def entry(item: str, *, due: float, key: int = 0) -> Entry[str, str]:
    loop = asyncio.get_running_loop()
    return Entry(item=item, key=key, budget=Budget(10), future=loop.create_future(), queued=0.0, due=due)


def items(line: WaitingLine[str, str]) -> list[str]:
    return [one.item for one in line.first_of_a_kind()]


@scenario
async def test_entries_come_in_the_order_they_are_due_and_of_the_same_moment_as_they_came() -> None:
    line: WaitingLine[str, str] = WaitingLine()
    line.add([entry("long 1", due=1.0), entry("long 2", due=2.0), entry("long 3", due=3.0)])
    line.add([entry("short", due=2.0)])
    assert items(line) == ["long 1", "long 2", "short", "long 3"]
    assert [line.num_before(due) for due in (0.5, 2.0, 9.0)] == [0, 3, 4]


@scenario
async def test_the_first_ones_kind_is_what_comes_next() -> None:
    line: WaitingLine[str, str] = WaitingLine()
    line.add([entry("a", due=1.0, key=1), entry("b", due=2.0, key=2), entry("c", due=3.0, key=1)])
    assert items(line) == ["a", "c"]


@scenario
async def test_who_is_taken_or_refused_is_gone_and_told() -> None:
    line: WaitingLine[str, str] = WaitingLine()
    first, second, third = (entry(name, due=1.0) for name in "abc")
    line.add([first, second, third])
    line.remove([first, entry("nobody", due=0.0)])
    line.refuse(lambda one: Cancelled("gone") if one is second else None)
    await asyncio.sleep(0)
    assert isinstance(second.future.exception(), Cancelled)
    assert items(line) == ["c"]
    assert len(line) == 1
