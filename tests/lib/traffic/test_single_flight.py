"""Rules for shared work."""

import asyncio

import pytest

from lib.traffic.single_flight import SingleFlight


class Work:
    """Work that waits to be released, and counts how often it was begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.release = asyncio.Event()

    async def __call__(self) -> int:
        self.begun += 1
        await self.release.wait()
        return self.begun


async def settle() -> None:
    """Lets every task that can go on go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_callers_of_one_key_share_one_piece_of_work() -> None:
    """Fifty callers, one run; another key is another run."""
    flights, work, other = SingleFlight[int](), Work(), Work()
    callers = [asyncio.create_task(flights.run("a", work)) for _ in range(50)]
    stranger = asyncio.create_task(flights.run("b", other))
    await settle()
    work.release.set()
    other.release.set()
    assert await asyncio.gather(*callers) == [1] * 50
    assert (await stranger, work.begun, other.begun) == (1, 1, 1)


async def test_a_leader_who_leaves_does_not_take_the_others_along() -> None:
    """The work belongs to nobody."""
    flights, work = SingleFlight[int](), Work()
    leader = asyncio.create_task(flights.run("a", work))
    await settle()
    follower = asyncio.create_task(flights.run("a", work))
    await settle()
    leader.cancel()
    await settle()
    work.release.set()
    assert await follower == 1
    assert leader.cancelled()


async def test_nothing_is_kept_once_it_is_done() -> None:
    """The next caller begins anew: this is no cache."""
    flights, work = SingleFlight[int](), Work()
    work.release.set()
    assert await flights.run("a", work) == 1
    assert await flights.run("a", work) == 2


async def test_a_failure_reaches_those_who_waited_and_nobody_later() -> None:
    """A failure is shared, not remembered."""
    flights = SingleFlight[int]()
    gate = asyncio.Event()

    async def fail() -> int:
        await gate.wait()
        raise ValueError("no")

    async def succeed() -> int:
        return 7

    callers = [asyncio.create_task(flights.run("a", fail)) for _ in range(2)]
    await settle()
    gate.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, ValueError]
    assert await flights.run("a", succeed) == 7


async def test_work_that_is_cancelled_is_cancelled_for_all_and_forgotten() -> None:
    """As when the process ends; the next caller begins anew."""
    flights = SingleFlight[int]()

    async def give_up() -> int:
        raise asyncio.CancelledError

    async def succeed() -> int:
        return 7

    results = await asyncio.gather(*(flights.run("a", give_up) for _ in range(2)), return_exceptions=True)
    assert [type(result) for result in results] == [asyncio.CancelledError] * 2
    assert await flights.run("a", succeed) == 7


async def test_a_failure_that_nobody_waited_for_is_no_noise() -> None:
    """Where every caller has left, the loop does not complain of an exception never retrieved."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: complaints.append(context))
    flights = SingleFlight[int]()
    gate = asyncio.Event()

    async def fail() -> int:
        await gate.wait()
        raise ValueError("no")

    caller = asyncio.create_task(flights.run("a", fail))
    await settle()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    gate.set()
    await settle()
    assert complaints == []
