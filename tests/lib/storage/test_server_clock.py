"""Rules for the time by Table Storage."""

import math
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.storage.server_clock import LAST_REPLIES, TOLERATED_SECONDS, ServerClock
from tests.clock import Clock

TEN_YEARS = 3_653 * 86_400


def date_of(seconds: float) -> str:
    """The header of a reply sent at that time, which is cut to the second."""
    return formatdate(math.floor(seconds), usegmt=True)


@pytest.mark.parametrize("wrong_by", [0, 1.4, -1.4])
def test_a_clock_that_is_right_to_two_seconds_is_left_alone(clock: Clock, wrong_by: float) -> None:
    """The header could not do better."""
    server = ServerClock(clock)
    for _ in range(10):
        server.hear(date_of(clock.now + wrong_by))
        assert server.now() == clock.now
        clock.advance(0.3)


def test_the_first_reply_corrects_a_wrong_clock_at_once(clock: Clock) -> None:
    """A cold instance reads before it writes."""
    server = ServerClock(clock)
    server.hear(date_of(clock.now - 3600))
    assert server.now() == pytest.approx(clock.now - 3600, abs=0.5)


@pytest.mark.parametrize(
    "odd",
    [
        "",
        "yesterday",
        "Mon, 23 Nov 2026 01:00:60 GMT",
        "Thu, 01 Jan 1970 00:00:00 GMT",
        "Fri, 31 Dec 9999 23:59:59 GMT",
    ],
)
def test_one_odd_reply_does_not_move_it(clock: Clock, odd: str) -> None:
    """Cached by somebody, or garbage; neither as the first one nor among others."""
    server = ServerClock(clock)
    server.hear(odd)
    for _ in range(LAST_REPLIES):
        assert server.now() == clock.now
        server.hear(date_of(clock.now))
    server.hear(odd)
    assert server.now() == clock.now


def test_it_counts_the_replies_that_have_told_the_time(clock: Clock) -> None:
    """Those without sense have not."""
    server = ServerClock(clock)
    for date in ("", "yesterday", "Thu, 01 Jan 1970 00:00:00 GMT", date_of(clock.now), date_of(clock.now - 3600)):
        server.hear(date)
    assert server.heard == 2


@pytest.mark.parametrize("heard_before", range(1, LAST_REPLIES + 1))
def test_one_date_that_is_false_but_sensible_does_not_move_it(clock: Clock, heard_before: int) -> None:
    """However few true ones were heard before."""
    server = ServerClock(clock)
    true = clock.now - 3600
    for _ in range(heard_before):
        server.hear(date_of(true))
    corrected = server.now()
    server.hear(date_of(true - 100_000))
    assert server.now() == corrected
    server.hear(date_of(true))
    assert server.now() == corrected


@given(st.text("MonThu, 0123456789:GMT+-ov\0é²"))
def test_a_header_may_be_any_text(text: str) -> None:
    """What it says is a time that makes sense, or nothing."""
    clock = Clock()
    server = ServerClock(clock)
    server.hear(text)
    assert abs(server.now() - clock.now) < 75 * 366 * 86_400


@pytest.mark.parametrize("zone", ["-0000", "+0900"])
def test_a_date_is_in_gmt_whatever_zone_it_names(clock: Clock, zone: str) -> None:
    """RFC 9110, section 5.6.7."""
    server = ServerClock(clock)
    server.hear(date_of(clock.now - 3600).replace("GMT", zone))
    assert server.now() == pytest.approx(clock.now - 3600, abs=0.5)


def test_a_clock_that_was_set_right_meanwhile_is_believed_again(clock: Clock) -> None:
    """After three replies."""
    server = ServerClock(clock)
    true = clock.now - 3600
    for _ in range(LAST_REPLIES):
        server.hear(date_of(true))
    clock.now = true
    for _ in range(3):
        server.hear(date_of(true))
    assert server.now() == true


@given(
    wrong_by=st.floats(-TEN_YEARS, TEN_YEARS),
    began=st.floats(1.8e9, 2.5e9),
    trips=st.lists(st.tuples(st.floats(0, 0.5), st.floats(0, 60)), min_size=1, max_size=20),
)
def test_what_remains_of_any_constant_error_is_small(
    wrong_by: float, began: float, trips: list[tuple[float, float]]
) -> None:
    """Two seconds, half a second of the header, and the reply's way."""
    true = began
    clock = Clock(true + wrong_by)
    server = ServerClock(clock)
    for way, pause in trips:
        sent = true
        true += way
        clock.now = true + wrong_by
        server.hear(date_of(sent))
        assert abs(server.now() - true) <= TOLERATED_SECONDS + 0.5 + 0.5 + 1e-3
        true += pause
        clock.now = true + wrong_by
