"""Rules for the rate algorithm and the meter in memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.traffic.gcra import Meter, Rate
from tests.clock import Clock

RATES = st.builds(Rate, st.integers(1, 10_000), st.integers(1, 20))


@given(RATES, st.lists(st.integers(0, 20_000), max_size=200), st.integers(1, 100_000))
def test_no_window_lets_more_through_than_its_length_and_the_burst_allow(
    rate: Rate, pauses: list[int], window: int
) -> None:
    """Whatever the order of arrivals."""
    now, tat = 0, 0
    admitted: list[int] = []
    for pause in pauses:
        now += pause
        if not rate.wait(tat, now):
            tat = rate.charged(tat, now)
            admitted.append(now)
    for begin in admitted:
        inside = sum(begin <= at < begin + window for at in admitted)
        assert inside <= window / rate.interval + rate.burst


@given(RATES, st.integers(0, 10**6), st.integers(0, 10**6))
def test_the_wait_is_exact_and_so_is_what_is_left(rate: Rate, tat: int, now: int) -> None:
    """Refused until then, let through at that moment; and as many at once as it says."""
    wait = rate.wait(tat, now)
    assert not rate.wait(tat, now + wait)
    assert wait == 0 or rate.wait(tat, now + wait - 1) == 1
    count, used = 0, tat
    while not rate.wait(used, now):
        used, count = rate.charged(used, now), count + 1
    assert rate.left(tat, now) == count


def test_a_rate_for_the_minute_is_rather_less_than_more() -> None:
    """Seven do not divide a minute."""
    assert Rate.per_minute(20, 5) == Rate(3000, 5)
    assert Rate.per_minute(7, 1).interval * 7 >= 60_000


def test_a_meter_counts_by_key_and_tells_how_long_to_wait(clock: Clock) -> None:
    """One key does not touch another; looking counts nothing."""
    meter = Meter(Rate(1000, 2), now=clock)
    assert [meter.hit("a") for _ in range(3)] == [0, 0, 1000]
    assert meter.hit("b") == 0
    clock.advance(1)
    assert meter.hit("a") == 0
    assert meter.hit("a") == 1000


def test_a_meter_forgets_who_was_unused_for_longest(clock: Clock) -> None:
    """Its memory is bounded."""
    meter = Meter(Rate(1000, 1), most=2, now=clock)
    assert [meter.hit(key) for key in ("a", "b", "c")] == [0, 0, 0]
    assert meter.hit("a") == 0
    assert meter.hit("c") == 1000


@pytest.mark.parametrize("count", [1, 20, 6000])
def test_a_minute_lets_through_what_it_says(count: int) -> None:
    """Steadily asked, beside the burst."""
    rate, tat, admitted = Rate.per_minute(count, 1), 0, 0
    for now in range(60_000):
        if not rate.wait(tat, now):
            tat, admitted = rate.charged(tat, now), admitted + 1
    assert admitted == count
