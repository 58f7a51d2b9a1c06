"""The last known good value: when it is asked for anew, and what happens while it cannot be had."""

import asyncio
from collections import deque
from collections.abc import Callable

import pytest

from lib.errors import StateUnavailable
from lib.storage.last_known_good import LastKnownGood
from lib.telemetry import metrics
from tests.clock import Clock
from tests.lib.telemetry.heard import hearing


class Source:
    """Counts how often it is asked; fails while it is `away`; waits for `gate`."""

    def __init__(self) -> None:
        self.asked = 0
        self.away = False
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self) -> int:
        """How often it was asked."""
        self.asked += 1
        await asyncio.sleep(0)
        await self.gate.wait()
        if self.away:
            raise StateUnavailable
        return self.asked


@pytest.fixture
def source() -> Source:
    """A source that answers."""
    return Source()


@pytest.fixture
def value(source: Source, clock: Clock) -> LastKnownGood[int]:
    """Its value."""
    return LastKnownGood(source.fetch, clock)


async def test_a_value_is_kept_for_an_hour(value: LastKnownGood[int], clock: Clock) -> None:
    """It is asked for once, and again when the hour is over."""
    assert [await value.get(), await value.get()] == [1, 1]
    clock.advance(3599)
    assert await value.get() == 1
    clock.advance(1)
    assert await value.get() == 2


async def test_a_younger_value_can_be_asked_for(value: LastKnownGood[int], clock: Clock) -> None:
    """The source is asked where the known value is too old for that, and only then."""
    assert await value.get() == 1
    clock.advance(59)
    assert await value.younger_than(60) == 1
    clock.advance(1)
    assert await value.younger_than(60) == 2
    assert await value.get() == 2


async def test_an_old_value_is_better_than_none(value: LastKnownGood[int], source: Source, clock: Clock) -> None:
    """While the source is away the value outlives its hour, but does not pass for a young one."""
    assert await value.get() == 1
    source.away = True
    clock.advance(3600)
    with hearing() as heard:
        assert await value.get() == 1
        assert heard.of(metrics.DEGRADED) == [{"mode": "keys_kept"}]
    with pytest.raises(StateUnavailable):
        await value.younger_than(3600)
    source.away = False
    clock.advance(1)
    assert await value.get() == 3


async def test_the_pauses_after_failures_grow_to_sixteen_seconds(
    value: LastKnownGood[int], source: Source, clock: Clock
) -> None:
    """In a pause the source is left alone; a success makes the next pause short again."""
    source.away = True
    for pause in (1, 2, 4, 8, 16, 16):
        before = source.asked
        for moment in (0, pause - 0.001):
            clock.advance(moment)
            with pytest.raises(StateUnavailable):
                await value.get()
        assert source.asked == before + 1
        clock.advance(0.001)
    source.away = False
    assert await value.get() == source.asked
    source.away = True
    clock.advance(3600)
    await value.get()
    clock.advance(1)
    before = source.asked
    await value.get()
    assert source.asked == before + 1


async def test_the_first_callers_share_one_fetch(value: LastKnownGood[int], source: Source) -> None:
    """They wait for it together."""
    assert await asyncio.gather(*(value.get() for _ in range(5))) == [1] * 5
    assert source.asked == 1


async def test_a_failed_fetch_is_shared_too(value: LastKnownGood[int], source: Source) -> None:
    """Callers that waited for it do not ask one after another."""
    source.away = True
    outcomes = await asyncio.gather(*(value.get() for _ in range(5)), return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [StateUnavailable] * 5
    assert source.asked == 1


async def test_nobody_waits_for_a_fetch_where_a_value_is_known(
    value: LastKnownGood[int], source: Source, clock: Clock
) -> None:
    """One caller asks for the new value; the others take the old one meanwhile."""
    await value.get()
    clock.advance(3600)
    source.gate.clear()
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(value.get())
        await until(lambda: source.asked == 2)
        assert await value.get() == 1
        source.gate.set()
    assert asking.result() == 2


async def test_a_caller_who_leaves_does_not_take_the_value_along(value: LastKnownGood[int], source: Source) -> None:
    """The next one in line asks instead."""
    source.gate.clear()
    leaving, staying = (asyncio.create_task(value.get()) for _ in range(2))
    await until(lambda: source.asked == 1)
    leaving.cancel()
    await until(lambda: source.asked == 2)
    source.gate.set()
    assert await staying == 2
    assert leaving.cancelled()


async def until(condition: Callable[[], bool]) -> None:
    """Lets the other tasks run until something is so."""
    turns = deque(range(100))
    while not condition():
        turns.popleft()
        await asyncio.sleep(0)
