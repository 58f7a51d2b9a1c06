"""Retries: how often, how long in between, and when not at all."""

import asyncio
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import AgentFailed, AgentUnavailable, CapacityExceeded
from lib.telemetry import metrics
from lib.traffic.deadline import Deadline
from lib.traffic.retries import BUDGET_MOST, BUDGET_PER_CALL, RetryBudget, retry
from tests.clock import Clock
from tests.lib.telemetry.heard import hearing


class Peer:
    """A peer that fails in the given ways, one after the other, and then answers."""

    def __init__(self, *faults: BaseException) -> None:
        self.faults = list(faults)
        self.calls = 0

    async def __call__(self) -> str:
        """The next failure, or the answer."""
        self.calls += 1
        if self.faults:
            raise self.faults.pop(0)
        return "answer"


async def tried(
    peer: Peer, clock: Clock, *, attempts: int = 3, seconds: float = 60, budget: RetryBudget | None = None
) -> str:
    """The peer's answer, with every random wait as long as it can get."""
    return await retry(
        peer,
        on=(AgentUnavailable, CapacityExceeded),
        attempts=attempts,
        deadline=Deadline.after(seconds, clock),
        budget=budget,
        sleep=clock.sleep,
        uniform=lambda _, longest: longest,
    )


async def test_an_answer_is_not_asked_for_twice() -> None:
    """A call that succeeds is made once, without a wait."""
    peer, clock = Peer(), Clock()
    assert await tried(peer, clock) == "answer"
    assert (peer.calls, clock.slept) == (1, [])


async def test_the_waits_double_up_to_eight_seconds() -> None:
    """The longest waits are 0.5, 1, 2, 4, 8 and again 8 seconds."""
    peer, clock = Peer(*[AgentUnavailable() for _ in range(6)]), Clock()
    assert await tried(peer, clock, attempts=7) == "answer"
    assert clock.slept == [0.5, 1, 2, 4, 8, 8]


async def test_the_waits_are_spread_from_zero() -> None:
    """Each wait is drawn between zero and its longest: full jitter."""
    drawn: list[tuple[float, float]] = []

    def uniform(least: float, most: float) -> float:
        drawn.append((least, most))
        return 0.25

    peer, clock = Peer(AgentUnavailable(), AgentUnavailable()), Clock()
    deadline = Deadline.after(60, clock)
    await retry(peer, on=(AgentUnavailable,), attempts=3, deadline=deadline, sleep=clock.sleep, uniform=uniform)
    assert drawn == [(0, 0.5), (0, 1)]
    assert clock.slept == [0.25, 0.25]


async def test_a_plain_function_may_make_the_call() -> None:
    """What is called need not be a coroutine function itself, as long as it returns something to await."""
    peer, clock = Peer(AgentUnavailable()), Clock()
    deadline = Deadline.after(60, clock)
    made = await retry(lambda: peer(), on=(AgentUnavailable,), attempts=2, deadline=deadline, sleep=clock.sleep)  # noqa: PLW0108  # the lambda is the case
    assert (made, peer.calls) == ("answer", 2)


async def test_the_last_failure_is_raised_as_it_is() -> None:
    """After the last attempt the peer's own failure comes out, nothing wrapped around it."""
    last = AgentUnavailable()
    peer = Peer(AgentUnavailable(), AgentUnavailable(), last)
    with pytest.raises(AgentUnavailable) as raised:
        await tried(peer, Clock())
    assert raised.value is last
    assert peer.calls == 3


@pytest.mark.parametrize("fault", [AgentFailed(), ValueError(), asyncio.CancelledError()], ids=repr)
async def test_any_other_failure_passes_at_once(fault: BaseException) -> None:
    """What is not named is not tried again, least of all a cancellation."""
    peer, clock = Peer(fault), Clock()
    with pytest.raises(type(fault)):
        await tried(peer, clock)
    assert (peer.calls, clock.slept) == (1, [])


async def test_retry_after_is_waited_for() -> None:
    """A peer that says when to come back is not asked before."""
    peer, clock = Peer(CapacityExceeded(retry_after=7)), Clock()
    assert await tried(peer, clock) == "answer"
    assert clock.slept == [7]


@pytest.mark.parametrize(
    ("retry_after", "seconds"), [(11, 60), (6, 11.9)], ids=["longer-than-ten-seconds", "more-than-half-of-what-is-left"]
)
async def test_a_wait_that_does_not_pay_is_not_begun(retry_after: int, seconds: float) -> None:
    """A wait past ten seconds, or past half of the time left, is left to the caller of the gateway."""
    peer, clock = Peer(CapacityExceeded(retry_after=retry_after)), Clock()
    with pytest.raises(CapacityExceeded):
        await tried(peer, clock, seconds=seconds)
    assert (peer.calls, clock.slept) == (1, [])


async def test_no_retry_begins_past_the_deadline() -> None:
    """A call that used up the deadline is not made again, even where the wait would be zero."""
    clock = Clock()
    calls = 0

    async def slow() -> str:
        nonlocal calls
        calls += 1
        clock.now += 61
        raise AgentUnavailable

    deadline = Deadline.after(60, clock)
    with pytest.raises(AgentUnavailable):
        await retry(slow, on=(AgentUnavailable,), attempts=3, deadline=deadline, uniform=lambda least, _: least)
    assert calls == 1


async def test_a_retry_is_told_without_its_content(caplog: pytest.LogCaptureFixture) -> None:
    """The log has the kind of failure and the number of the attempt, and no text of the failure."""
    with caplog.at_level(logging.INFO, "lib.traffic.retries"):
        await tried(Peer(AgentUnavailable("private")), Clock())
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["fault"], vars(record)["attempt"]) == (
        "trying again",
        "AgentUnavailable",
        1,
    )
    assert "private" not in str(vars(record))


def spent(budget: RetryBudget) -> int:
    """How many retries it still gives."""
    count = 0
    while budget.spend():
        count += 1
    return count


def test_a_budget_gives_one_retry_for_ten_calls_and_one_a_second(clock: Clock) -> None:
    """It begins full."""
    budget = RetryBudget(clock)
    assert spent(budget) == BUDGET_MOST
    for _ in range(9):
        budget.earn()
    assert spent(budget) == 0
    budget.earn()
    budget.earn()
    assert spent(budget) == 1
    clock.advance(3)
    assert spent(budget) == 3


def test_a_budget_saves_up_no_more_than_ten(clock: Clock) -> None:
    """However long all went well: what comes then may not be a storm."""
    budget = RetryBudget(clock)
    for _ in range(1000):
        budget.earn()
    clock.advance(86_400)
    assert spent(budget) == BUDGET_MOST


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=200))
def test_retries_are_never_more_than_what_was_earned(steps: list[tuple[bool, float]]) -> None:
    """The first ten, a tenth of the calls, and one a second; and none is kept back while one is earned."""
    clock = Clock(0.0)
    budget = RetryBudget(clock)
    calls = retries = 0
    for is_call, pause in steps:
        clock.advance(pause)
        if is_call:
            budget.earn()
            calls += 1
        else:
            budget._refill()
            before = budget._left
            given = budget.spend()
            assert given == (before >= 1)
            retries += given
        assert retries <= BUDGET_MOST + calls * BUDGET_PER_CALL + clock.now + 1e-6


async def test_where_the_budget_is_spent_a_failure_is_final(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """The call is made once, and that it was not repeated is told to those who operate the gateway."""
    budget = RetryBudget(clock)
    spent(budget)
    peer = Peer(AgentUnavailable("private"))
    with caplog.at_level(logging.WARNING, "lib.traffic.retries"), pytest.raises(AgentUnavailable):
        await tried(peer, clock, budget=budget)
    assert (peer.calls, clock.slept) == (1, [])
    (record,) = caplog.records
    assert (record.getMessage(), vars(record)["fault"]) == ("a retry was suppressed", "AgentUnavailable")


async def test_each_call_earns_and_each_retry_is_taken_from_the_budget(clock: Clock) -> None:
    """What is not repeated, for whatever reason, takes nothing."""
    budget = RetryBudget(clock)
    spent(budget)
    clock.advance(2)
    assert await tried(Peer(AgentUnavailable()), clock, budget=budget) == "answer"
    clock.now -= sum(clock.slept)
    assert spent(budget) == 1
    clock.advance(1)
    with pytest.raises(AgentUnavailable):
        await tried(Peer(AgentUnavailable()), clock, attempts=1, budget=budget)
    with pytest.raises(AgentFailed):
        await tried(Peer(AgentFailed()), clock, budget=budget)
    assert spent(budget) == 1


async def test_retries_are_counted_for_their_peer() -> None:
    """Those that were made, and those that the budget had no room for."""
    clock = Clock()
    budget = RetryBudget(clock)
    budget._left = 1.0
    peer = Peer(*[AgentUnavailable() for _ in range(3)])
    deadline = Deadline.after(60, clock)
    with hearing() as heard, pytest.raises(AgentUnavailable):
        await retry(
            peer,
            on=(AgentUnavailable,),
            attempts=9,
            deadline=deadline,
            budget=budget,
            peer="fabric",
            sleep=asyncio.sleep,
            uniform=lambda *_: 0,
        )
    assert heard.of(metrics.RETRIES) == [
        {"peer": "fabric", "result": "tried"},
        {"peer": "fabric", "result": "suppressed"},
    ]
