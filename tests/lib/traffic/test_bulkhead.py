"""Rules for the bulkhead, in virtual time."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bench.virtual_time import run
from lib.traffic.bulkhead import LEAST_PART, SHRINK_SECONDS, WAIT_SECONDS, Bulkhead, BulkheadFull
from tests.clock import Clock


class Slow(Exception):
    """The peer is overloaded."""


class OneOwn(Slow):
    """One caller has had enough of it."""


async def call(bulkhead: Bulkhead, fault: Exception | None = None, seconds: float = 0) -> None:
    """One call that takes so long and ends well, or in `fault`."""
    async with bulkhead.place(Slow, neutral=(OneOwn,)):
        await asyncio.sleep(seconds)
        if fault:
            raise fault


async def overload(bulkhead: Bulkhead) -> None:
    """One call that tells of an overload."""
    with pytest.raises(Slow):
        await call(bulkhead, Slow())


async def grown(bulkhead: Bulkhead) -> None:
    """As many good calls as it is wide."""
    for _ in range(bulkhead.width):
        await call(bulkhead)


def test_it_bounds_nothing_while_no_more_come_than_it_is_wide() -> None:
    """All of them at once."""

    async def main() -> float:
        bulkhead = Bulkhead(32)
        await asyncio.gather(*(call(bulkhead, seconds=60) for _ in range(32)))
        return asyncio.get_running_loop().time()

    assert run(main()) == 60


def test_who_finds_no_place_waits_in_line_for_one() -> None:
    """First come, first served; nobody slips past those who wait."""

    async def main() -> list[str]:
        bulkhead, begun = Bulkhead(1), list[str]()

        async def named(name: str) -> None:
            async with bulkhead.place():
                begun.append(name)
                await asyncio.sleep(0.5)

        waiting = [asyncio.create_task(named(name)) for name in "ab"]
        await asyncio.sleep(0.4)
        bulkhead._width = 2  # as where it has grown meanwhile: `b` was there before
        await asyncio.gather(*waiting, named("c"))
        return begun

    assert run(main()) == ["a", "b", "c"]


def test_nobody_waits_for_longer_than_a_moment() -> None:
    """Then the call is refused, and its turn goes to the next."""

    async def main() -> float:
        bulkhead = Bulkhead(1)
        slow = asyncio.create_task(call(bulkhead, seconds=60))
        await asyncio.sleep(1)
        with pytest.raises(BulkheadFull):
            await call(bulkhead)
        waited = asyncio.get_running_loop().time() - 1
        await slow
        await call(bulkhead)
        return waited

    assert run(main()) == WAIT_SECONDS


def test_the_line_is_no_longer_than_the_bulkhead_is_wide() -> None:
    """Whoever comes to a full one is refused at once."""

    async def main() -> list[type[BaseException] | None]:
        bulkhead = Bulkhead(2)
        outcomes = await asyncio.gather(*(call(bulkhead, seconds=1) for _ in range(5)), return_exceptions=True)
        assert asyncio.get_running_loop().time() == 2
        return [None if outcome is None else type(outcome) for outcome in outcomes]

    assert run(main()) == [None, None, None, None, BulkheadFull]


@pytest.mark.parametrize("steps", range(4))
def test_a_caller_who_leaves_the_line_takes_nothing_along(steps: int) -> None:
    """Neither a place that came free in the very moment, nor anybody else's turn."""

    async def main() -> None:
        bulkhead, go_on = Bulkhead(2), asyncio.Event()

        async def held() -> None:
            async with bulkhead.place():
                await go_on.wait()

        under_way = [asyncio.create_task(held()) for _ in range(2)]
        leaves, stays = (asyncio.create_task(call(bulkhead)) for _ in range(2))
        await asyncio.sleep(0.1)
        go_on.set()
        for _ in range(steps):
            await asyncio.sleep(0)
        leaves.cancel()
        await asyncio.gather(*under_way, stays)
        with suppress(asyncio.CancelledError):
            await leaves
        assert (bulkhead._taken, len(bulkhead._queue)) == (0, 0)

    run(main())


def test_one_who_is_refused_and_admitted_in_one_moment_leaves_no_place_behind() -> None:
    """A place comes free as the wait ends."""

    async def main() -> None:
        bulkhead = Bulkhead(1)
        calls = (call(bulkhead, seconds=WAIT_SECONDS), call(bulkhead), call(bulkhead))
        await asyncio.gather(*calls, return_exceptions=True)
        assert (bulkhead._taken, len(bulkhead._queue)) == (0, 0)
        await call(bulkhead)

    run(main())


async def test_an_overload_makes_it_narrower_once_in_a_while(clock: Clock) -> None:
    """Not each call of a burst that fails as one."""
    bulkhead = Bulkhead(32, clock=clock)
    widths = []
    for _ in range(3):
        await overload(bulkhead)
        await overload(bulkhead)
        widths.append(bulkhead.width)
        clock.advance(SHRINK_SECONDS)
    assert widths == [22, 15, 10]


@pytest.mark.parametrize("width", [1, 2, 7, 32])
async def test_some_always_get_through(clock: Clock, width: int) -> None:
    """An eighth of its first width, and one at the least."""
    bulkhead = Bulkhead(width, clock=clock)
    for _ in range(20):
        await overload(bulkhead)
        clock.advance(SHRINK_SECONDS)
    assert bulkhead.width == max(1, width // LEAST_PART)
    await call(bulkhead)


async def test_as_many_good_calls_as_it_is_wide_make_it_wider_by_one_up_to_its_start(clock: Clock) -> None:
    """One bad one among them, and counting begins anew."""
    bulkhead = Bulkhead(4, clock=clock)
    clock.advance(SHRINK_SECONDS)
    await overload(bulkhead)
    assert bulkhead.width == 2
    await call(bulkhead)
    await overload(bulkhead)
    await call(bulkhead)
    assert bulkhead.width == 2
    await call(bulkhead)
    assert bulkhead.width == 3
    for _ in range(5):
        await grown(bulkhead)
    assert bulkhead.width == 4


@pytest.mark.parametrize("fault", [OneOwn(), ValueError(), asyncio.CancelledError()], ids=repr)
async def test_what_says_nothing_of_the_peer_changes_nothing(clock: Clock, fault: BaseException) -> None:
    """What one caller alone was refused, any other failure, and a caller who has left."""
    bulkhead = Bulkhead(4, clock=clock)
    await overload(bulkhead)
    clock.advance(SHRINK_SECONDS)
    for _ in range(10):
        with pytest.raises(type(fault)):
            async with bulkhead.place(Slow, neutral=(OneOwn,)):
                raise fault
    assert (bulkhead.width, bulkhead._taken) == (2, 0)


async def test_what_comes_free_in_a_narrower_one_is_not_given_away() -> None:
    """Until no more are under way than may be."""
    bulkhead, go_on = Bulkhead(4), asyncio.Event()

    async def held() -> None:
        async with bulkhead.place():
            await go_on.wait()

    under_way = [asyncio.create_task(held()) for _ in range(3)]
    await asyncio.sleep(0)
    await overload(bulkhead)
    assert bulkhead.width == 2
    waiting = asyncio.create_task(held())
    await asyncio.sleep(0)
    under_way.pop().cancel()
    await asyncio.sleep(0)
    assert len(bulkhead._queue) == 1
    under_way.pop().cancel()
    await asyncio.sleep(0)
    assert len(bulkhead._queue) == 0
    go_on.set()
    await asyncio.gather(*under_way, waiting)


@dataclass
class Caller:
    """When one comes, how long the call takes, what it ends in, and after how long the caller leaves."""

    at: float
    seconds: float
    fault: Exception | None
    leaves: float | None


MOMENTS = st.integers(0, 60).map(lambda number: number / 4)
CALLERS = st.lists(
    st.builds(Caller, MOMENTS, MOMENTS, st.sampled_from([None, None, Slow(), OneOwn()]), st.none() | MOMENTS),
    max_size=40,
)


@given(st.integers(1, 5), CALLERS)
@example(2, [Caller(at, seconds, None, None) for at, seconds in ((0, 3), (0.25, 0), (0.25, 2.75), (1.25, 0), (3, 0))])
def test_whatever_happens_places_are_neither_lost_nor_given_twice(width: int, callers: list[Caller]) -> None:
    """In any order of arrivals, overloads and departures: bounded, in order, and empty in the end."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        bulkhead, under_way, begun = Bulkhead(width, clock=loop.time), 0, list[tuple[float, float]]()

        async def come(caller: Caller) -> None:
            nonlocal under_way
            await asyncio.sleep(caller.at)
            is_full = len(bulkhead._queue) >= bulkhead.width
            try:
                async with bulkhead.place(Slow, neutral=(OneOwn,)):
                    begun.append((loop.time(), caller.at))
                    under_way += 1
                    assert under_way <= width
                    assert len(bulkhead._queue) <= width
                    assert loop.time() - caller.at <= WAIT_SECONDS
                    try:
                        await asyncio.sleep(caller.seconds)
                    finally:
                        under_way -= 1
                    if caller.fault:
                        raise caller.fault
            except BulkheadFull:
                assert is_full or loop.time() - caller.at == WAIT_SECONDS

        async def leave(task: asyncio.Task[None], seconds: float) -> None:
            await asyncio.sleep(seconds)
            task.cancel()

        tasks = [asyncio.create_task(come(caller)) for caller in callers]
        leaving = [leave(task, caller.leaves) for task, caller in zip(tasks, callers, strict=True) if caller.leaves]
        outcomes = await asyncio.gather(*tasks, *leaving, return_exceptions=True)
        assert not any(isinstance(outcome, AssertionError) for outcome in outcomes)
        assert (bulkhead._taken, len(bulkhead._queue), under_way) == (0, 0, 0)
        arrivals = [at for _, at in sorted(begun)]  # of two who begin in the same moment, either may be the first
        assert arrivals == sorted(arrivals)
        assert max(1, width // LEAST_PART) <= bulkhead.width <= width

    run(main())
