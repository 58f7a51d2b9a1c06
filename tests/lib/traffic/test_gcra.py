"""Rules for the rate algorithm and the meter in memory."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.traffic.gcra import Meter, Rate
from tests.clock import Clock

RATES = st.builds(Rate, st.integers(1, 10_000), st.integers(1, 20))


ARRIVALS = st.lists(st.tuples(st.integers(0, 20_000), st.floats(-1, 1)), max_size=200)


@given(RATES, ARRIVALS, st.integers(0, 100_000), st.integers(0, 5_000))
def test_no_window_lets_more_through_than_its_length_the_burst_and_wrong_clocks_allow(
    rate: Rate, arrivals: list[tuple[int, float]], window: int, apart: int
) -> None:
    """Whatever the order of arrivals, and with each of them timed by a clock that is up to `apart` wrong."""
    true, tat = 0, 0
    admitted: list[int] = []
    for pause, error in arrivals:
        true += pause
        now = true + round(error * apart)
        if not rate.wait(tat, now):
            tat = rate.charged(tat, now)
            admitted.append(true)
    for begin in admitted:
        inside = sum(begin <= at <= begin + window for at in admitted)
        assert inside <= (window + 2 * apart) / rate.interval + rate.burst


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
    assert [meter.wait(key) for key in "aabbc"] == [1000, 1000, 0, 0, 0]
    clock.advance(1)
    assert meter.wait("a") == 0
    assert meter.hit("a") == 0
    assert meter.wait("a") == meter.hit("a") == 1000


def test_a_meter_forgets_who_was_unused_for_longest(clock: Clock) -> None:
    """Its memory is bounded."""
    meter = Meter(Rate(1000, 1), most=2, now=clock)
    assert [meter.hit(key) for key in ("a", "b", "c")] == [0, 0, 0]
    assert meter.hit("a") == 0
    assert meter.hit("c") == 1000


def test_a_meter_does_not_forget_who_goes_on_although_refused(clock: Clock) -> None:
    """However many others come meanwhile, a flood gains nothing by them."""
    meter = Meter(Rate(1000, 1), most=2, now=clock)
    assert meter.hit("flood") == 0
    for number in range(10):
        assert meter.hit("flood") == 1000
        assert meter.hit(f"other {number}") == 0
    assert meter.hit("flood") == 1000


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 5)), max_size=100))
def test_who_waits_as_long_as_a_meter_says_is_let_through(hits: list[tuple[str, float]]) -> None:
    """To the millisecond, whoever else is metered."""
    clock = Clock(0.0)
    meter = Meter(Rate(1000, 3), now=clock)
    for key, pause in hits:
        clock.now = round(clock.now + pause, 3)
        wait = meter.hit(key)
        assert wait <= 1000
        if wait:
            clock.now = round(clock.now + wait / 1000, 3)
            assert meter.hit(key) <= 1  # a float of seconds may be cut to the millisecond before


@pytest.mark.parametrize("count", [1, 20, 6000])
def test_a_minute_lets_through_what_it_says(count: int) -> None:
    """Steadily asked, beside the burst."""
    rate, tat, admitted = Rate.per_minute(count, 1), 0, 0
    for now in range(60_000):
        if not rate.wait(tat, now):
            tat, admitted = rate.charged(tat, now), admitted + 1
    assert admitted == count
