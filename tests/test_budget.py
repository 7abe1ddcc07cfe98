"""Deadlines and cancellation of one request."""

import asyncio

import pytest

from model.errors import Cancelled, DeadlineExceeded, InvalidRequestTimeout
from service.budget import Budget, seconds_asked


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


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [(None, 60.0), ("250", 0.25), ("1", 0.001), ("0060000", 60.0), ("60001", 60.0), ("9" * 5000, 60.0)],
    ids=["not asked", "shorter", "least", "zeros before", "longer", "absurd"],
)
def test_a_caller_waits_as_long_as_asked_for_and_never_longer_than_the_limit(asked: str | None, seconds: float) -> None:
    assert seconds_asked(asked, limit_seconds=60.0) == seconds


@pytest.mark.parametrize("asked", ["", "0", "000", "-5", "1.5", "1e3", "soon", "٣", " 5", "5 ms", "0x10", "x" * 9000])
def test_a_deadline_that_is_no_number_of_milliseconds_is_refused_with_the_limit(asked: str) -> None:
    with pytest.raises(InvalidRequestTimeout, match="whole number of milliseconds") as caught:
        seconds_asked(asked, limit_seconds=60.0)
    assert (caught.value.value, caught.value.limit) == (asked[:40], 60_000)
