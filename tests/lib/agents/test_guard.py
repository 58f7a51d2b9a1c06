"""Rules for what stands before an agent."""

import asyncio

import pytest

from lib.agents.failures import Blocked, FabricTokenRejected, ServerFault, Throttled, Unreached
from lib.agents.guard import BUSY_SECONDS, CAPACITY_SECONDS, Guard
from lib.errors import (
    AgentAccessDenied,
    AgentBusy,
    AgentFailed,
    AgentPaused,
    AgentUnavailable,
    CapacityExceeded,
    DeadlineExceeded,
    GatewayError,
)
from lib.traffic.circuit import LEAST_OUTCOMES, RESET_SECONDS
from tests.clock import Clock

WIDTH = 8
FAILURES = [ServerFault, Unreached, DeadlineExceeded]
NONE_OF_ITS_OWN = [AgentFailed, AgentAccessDenied, FabricTokenRejected, AgentUnavailable, ValueError]


@pytest.fixture
def guard(clock: Clock) -> Guard:
    """One whose reset timeout does not vary."""
    return Guard("sales", WIDTH, clock=clock, uniform=lambda low, high: (low + high) / 2)


async def call(guard: Guard, fault: Exception | None = None, caller: str = "alice") -> None:
    """One call that ends well, or in `fault`."""
    async with guard.call(caller):
        if fault:
            raise fault


async def fail(guard: Guard, fault: Exception, caller: str = "alice") -> None:
    """One call that ends so."""
    with pytest.raises(type(fault)) as raised:
        await call(guard, fault, caller)
    assert raised.value is fault


async def paused(guard: Guard) -> None:
    """Fails until the circuit is open."""
    for _ in range(LEAST_OUTCOMES):
        await fail(guard, ServerFault())


async def refusal(guard: Guard, caller: str = "alice") -> GatewayError | None:
    """What a call meets without being made; the same as it is told beforehand."""
    made = False
    try:
        async with guard.call(caller):
            made = True
    except GatewayError as fault:
        assert not made
        with pytest.raises(type(fault)) as told:
            guard.refuse(caller)
        assert told.value.retry_after == fault.retry_after
        return fault
    guard.refuse(caller)
    return None


async def test_an_agent_that_is_well_is_called(guard: Guard) -> None:
    """By anybody."""
    assert await refusal(guard) is None
    assert guard.state == "closed"


async def test_what_the_agent_said_about_coming_back_holds_everybody_back(guard: Guard, clock: Clock) -> None:
    """Until then, and no call is made."""
    await fail(guard, CapacityExceeded(retry_after=20))
    assert guard.state == "cooling_down"
    clock.advance(0.5)
    refused = await refusal(guard, "bob")
    assert isinstance(refused, CapacityExceeded)
    assert refused.retry_after == 20
    clock.advance(19.5)
    assert await refusal(guard, "bob") is None
    assert guard.state == "closed"


async def test_an_exhausted_capacity_that_does_not_say_when_is_left_alone_for_a_while(guard: Guard) -> None:
    """And its caller is told of that time."""
    fault = CapacityExceeded()
    await fail(guard, fault)
    assert fault.retry_after == CAPACITY_SECONDS
    refused = await refusal(guard)
    assert refused is not None
    assert refused.retry_after == CAPACITY_SECONDS


async def test_what_is_said_to_one_caller_alone_holds_back_nobody_else(guard: Guard, clock: Clock) -> None:
    """However often: it is no failure of the agent's, and makes the way to it no narrower."""
    for _ in range(3 * LEAST_OUTCOMES):
        await fail(guard, Blocked(retry_after=30))
        assert isinstance(await refusal(guard), CapacityExceeded)
        assert await refusal(guard, "bob") is None
        clock.advance(30)
    assert guard.state == "closed"
    assert guard._bulkhead.width == WIDTH
    assert await refusal(guard) is None


async def test_who_is_blocked_without_a_time_is_held_back_for_the_usual_one(guard: Guard) -> None:
    """That one alone."""
    await fail(guard, Blocked())
    refused = await refusal(guard)
    assert refused is not None
    assert refused.retry_after == CAPACITY_SECONDS
    assert await refusal(guard, "bob") is None


async def test_who_is_turned_away_with_a_time_is_no_failure_of_the_agent(guard: Guard, clock: Clock) -> None:
    """It is there, and says when: it is left alone until then, and fewer at once go to it."""
    for _ in range(3 * LEAST_OUTCOMES):
        await fail(guard, Throttled(retry_after=10))
        assert guard.state == "cooling_down"
        clock.advance(10)
        assert guard.state == "closed"
    assert guard._bulkhead.width == 1


async def test_a_server_that_says_when_it_is_back_is_left_alone_until_then(guard: Guard) -> None:
    """A 503 with a time; one without says nothing of when."""
    await fail(guard, Unreached())
    assert await refusal(guard) is None
    await fail(guard, Unreached(retry_after=7))
    refused = await refusal(guard, "bob")
    assert refused is not None
    assert refused.retry_after == 7


@pytest.mark.parametrize("kind", FAILURES)
async def test_an_agent_that_fails_again_and_again_is_left_alone(
    guard: Guard, clock: Clock, kind: type[GatewayError]
) -> None:
    """Until one question tries it; the refusal says when."""
    for _ in range(LEAST_OUTCOMES):
        await fail(guard, kind())
    assert guard.state == "open"
    refused = await refusal(guard)
    assert isinstance(refused, AgentPaused)
    assert refused.retry_after == RESET_SECONDS
    clock.advance(RESET_SECONDS)
    assert guard.state == "half_open"
    assert await refusal(guard) is None


async def test_while_one_question_tries_it_the_others_are_refused(guard: Guard, clock: Clock) -> None:
    """For a second at the least; a probe that ends in a refusal of its caller's leaves its turn to the next."""
    await paused(guard)
    clock.advance(RESET_SECONDS)
    async with guard.call("alice"):
        refused = await refusal(guard, "bob")
        assert isinstance(refused, AgentPaused)
        assert refused.retry_after == 1
    await fail(guard, Blocked(retry_after=5))
    assert await refusal(guard, "bob") is None
    assert guard.state == "closed"


@pytest.mark.parametrize("kind", NONE_OF_ITS_OWN)
async def test_what_is_no_failure_of_the_agents_leaves_it_as_it_is(guard: Guard, kind: type[Exception]) -> None:
    """A refusal, a bad answer, a fault of ours."""
    for _ in range(3 * LEAST_OUTCOMES):
        await fail(guard, kind())
    assert guard.state == "closed"
    assert guard._bulkhead.width == WIDTH


async def test_an_agent_that_is_slow_gets_fewer_at_once(guard: Guard) -> None:
    """And a server that fails does not: the circuit is for that."""
    await fail(guard, ServerFault())
    assert guard._bulkhead.width == WIDTH
    await fail(guard, DeadlineExceeded())
    assert guard._bulkhead.width == int(WIDTH * 0.7)


async def test_more_than_the_agent_bears_at_once_are_told_to_come_back(guard: Guard) -> None:
    """It is no failure of the agent's; a probe that finds no place leaves its turn to the next."""
    go_on = asyncio.Event()

    async def held() -> None:
        async with guard.call("alice"):
            await go_on.wait()

    under_way = [asyncio.create_task(held()) for _ in range(2 * WIDTH)]
    await asyncio.sleep(0)
    for _ in range(2 * LEAST_OUTCOMES):
        with pytest.raises(AgentBusy) as refused:
            await call(guard, caller="bob")
        assert refused.value.retry_after == BUSY_SECONDS
        assert refused.value.code == "agent_unavailable"
    assert guard.state == "closed"
    go_on.set()
    await asyncio.gather(*under_way)
    assert await refusal(guard) is None
