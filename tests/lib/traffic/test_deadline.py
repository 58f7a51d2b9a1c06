"""Deadlines: every hop gets what is left, and nothing past it."""

import pytest

from lib.errors import DeadlineExceeded
from lib.traffic.deadline import Deadline
from tests.clock import Clock


def test_a_deadline_counts_down_to_zero_and_no_further() -> None:
    """What remains shrinks with the clock and is never negative."""
    clock = Clock()
    deadline = Deadline.after(30, clock)
    assert deadline.remaining() == 30
    clock.now += 12.5
    assert deadline.remaining() == 17.5
    clock.now += 100
    assert deadline.remaining() == 0


@pytest.mark.parametrize(("passed", "granted"), [(0, 3), (27, 3), (28, 2), (29.5, 0.5)])
def test_a_hop_gets_its_own_limit_or_what_is_left(passed: float, granted: float) -> None:
    """A hop's timeout is the lesser of its own limit and the time left."""
    clock = Clock()
    deadline = Deadline.after(30, clock)
    clock.now += passed
    assert deadline.timeout(3) == granted


@pytest.mark.parametrize("passed", [30, 31])
def test_a_hop_does_not_begin_where_no_time_is_left(passed: float) -> None:
    """At the deadline and past it a hop is refused, not started with a timeout of zero."""
    clock = Clock()
    deadline = Deadline.after(30, clock)
    clock.now += passed
    with pytest.raises(DeadlineExceeded):
        deadline.timeout(3)


def test_the_monotonic_clock_is_the_default() -> None:
    """Without a clock of its own a deadline lies on the monotonic clock, which nobody can set back."""
    assert 59 < Deadline.after(60).remaining() <= 60


@pytest.mark.parametrize(("passed", "left"), [(0, 10), (20, 10), (25, 5)])
def test_a_step_within_a_deadline_ends_with_its_own_time_or_with_the_whole(passed: float, left: float) -> None:
    """Whichever comes first, on the same clock."""
    clock = Clock()
    deadline = Deadline.after(30, clock)
    clock.advance(passed)
    step = deadline.within(10)
    assert step.remaining() == left
    clock.advance(3)
    assert step.remaining() == left - 3
    assert step.clock is clock


def test_no_step_begins_past_the_whole() -> None:
    """It is refused likewise."""
    clock = Clock()
    deadline = Deadline.after(30, clock)
    clock.advance(30)
    with pytest.raises(DeadlineExceeded):
        deadline.within(10)
