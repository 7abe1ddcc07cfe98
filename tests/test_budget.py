"""Deadlines and cancellation of one request."""

import asyncio

import pytest

from model.errors import Cancelled, DeadlineExceeded
from service.budget import Budget


async def never() -> None:
    await asyncio.Event().wait()


async def at_once() -> int:
    return 1


def test_work_that_ends_in_time_gives_its_result() -> None:
    async def scenario() -> None:
        assert await Budget(5.0).bound(at_once()) == 1
        assert await Budget(5.0).bound_while(never(), at_once()) == 1

    asyncio.run(scenario())


def test_work_ends_at_the_deadline() -> None:
    async def scenario() -> None:
        with pytest.raises(DeadlineExceeded, match=r"no answer within 0\.01 s"):
            await Budget(0.01).bound(never())
        with pytest.raises(DeadlineExceeded):
            await Budget(0.01).bound_while(never(), never())

    asyncio.run(scenario())


def test_work_is_cancelled_when_the_caller_hangs_up() -> None:
    async def scenario() -> None:
        let_go = asyncio.Event()

        async def work() -> None:
            try:
                await never()
            finally:
                let_go.set()

        budget = Budget(5.0)
        with pytest.raises(Cancelled):
            await budget.bound_while(asyncio.sleep(0.001), work())
        assert let_go.is_set()
        with pytest.raises(Cancelled):
            budget.check()

    asyncio.run(scenario())


def test_an_error_of_the_work_is_raised_as_it_is() -> None:
    async def fail() -> None:
        raise ZeroDivisionError

    async def time_out() -> None:
        raise TimeoutError("somebody else's")

    async def scenario() -> None:
        with pytest.raises(ZeroDivisionError):
            await Budget(5.0).bound_while(never(), fail())
        with pytest.raises(TimeoutError, match="somebody else's"):
            await Budget(5.0).bound(time_out())

    asyncio.run(scenario())


def test_a_spent_budget_allows_nothing() -> None:
    with pytest.raises(DeadlineExceeded):
        Budget(0.0).check()
