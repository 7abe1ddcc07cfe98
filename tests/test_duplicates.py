"""Callers who bring the same upload at the same time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from model.errors import Cancelled, CorruptAudio, DeadlineExceeded
from service.budget import Budget
from service.duplicates import Duplicates


@dataclass(kw_only=True)
class Work:
    """Answers with the number of times it was begun, when told to."""

    seconds: float = 0.02
    begun: list[bytes] = field(default_factory=list)
    budgets: list[Budget] = field(default_factory=list)
    ended: int = 0
    failure: Exception | None = None

    async def __call__(self, upload: bytes, budget: Budget) -> int:
        self.begun.append(upload)
        self.budgets.append(budget)
        number = len(self.begun)
        await asyncio.sleep(self.seconds)
        budget.check()
        self.ended += 1
        if self.failure is not None:
            raise self.failure
        return number


def run(scenario: Callable[[Work, Duplicates[int]], Awaitable[None]], *, joined: list[int] | None = None) -> Work:
    work = Work()

    async def whole() -> None:
        await scenario(work, Duplicates(on_joined=lambda: joined.append(1) if joined is not None else None))

    asyncio.run(whole())
    return work


def test_the_same_upload_is_worked_on_once_and_everybody_is_answered() -> None:
    async def scenario(work: Work, duplicates: Duplicates[int]) -> None:
        calls = (duplicates.once(upload, work, budget=Budget(9)) for upload in (b"a", b"a", b"b", b"a"))
        assert await asyncio.gather(*calls) == [1, 1, 2, 1]

    joined: list[int] = []
    assert run(scenario, joined=joined).begun == [b"a", b"b"]
    assert len(joined) == 2


def test_what_has_ended_is_begun_anew() -> None:
    async def scenario(work: Work, duplicates: Duplicates[int]) -> None:
        assert await duplicates.once(b"a", work, budget=Budget(9)) == 1
        assert await duplicates.once(b"a", work, budget=Budget(9)) == 2

    run(scenario)


def test_long_uploads_are_told_apart_as_well() -> None:
    async def scenario(work: Work, duplicates: Duplicates[int]) -> None:
        work.seconds, long = 0.5, bytes(2 << 20)
        calls = (duplicates.once(upload, work, budget=Budget(9)) for upload in (long, long + b"a", bytes(2 << 20)))
        first, other, again = await asyncio.gather(*calls)
        assert first == again != other

    run(scenario)


def test_work_goes_on_while_anybody_waits() -> None:
    async def scenario(work: Work, duplicates: Duplicates[int]) -> None:
        first = asyncio.create_task(duplicates.once(b"a", work, budget=Budget(9)))
        await asyncio.sleep(0)
        second = asyncio.create_task(duplicates.once(b"a", work, budget=Budget(9)))
        await asyncio.sleep(0.005)
        first.cancel()
        assert await second == 1

    assert run(scenario).ended == 1


def test_work_that_nobody_waits_for_is_withdrawn() -> None:
    async def scenario(work: Work, duplicates: Duplicates[int]) -> None:
        callers = [asyncio.create_task(duplicates.once(b"a", work, budget=Budget(9))) for _ in range(2)]
        await asyncio.sleep(0.005)
        for caller in callers:
            caller.cancel()
        await asyncio.wait(callers)
        await asyncio.sleep(0)
        with pytest.raises(Cancelled):
            work.budgets[0].check()
        assert await duplicates.once(b"a", work, budget=Budget(9)) == 2

    assert run(scenario).ended == 1


def test_a_failure_is_everybodys() -> None:
    async def scenario(work: Work, duplicates: Duplicates[int]) -> None:
        work.failure = CorruptAudio("no")
        calls = [duplicates.once(b"a", work, budget=Budget(9)) for _ in range(3)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert all(isinstance(one, CorruptAudio) for one in found)

    assert run(scenario).begun == [b"a"]


def test_who_has_time_left_does_not_suffer_from_one_who_has_none() -> None:
    async def scenario(work: Work, duplicates: Duplicates[int]) -> None:
        late = asyncio.create_task(duplicates.once(b"a", work, budget=Budget(0.01)))
        await asyncio.sleep(0)
        patient = asyncio.create_task(duplicates.once(b"a", work, budget=Budget(9)))
        with pytest.raises(DeadlineExceeded, match=r"within 0\.01 s"):
            await late
        assert await patient == 2

    run(scenario)
