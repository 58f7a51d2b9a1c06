"""Rules for what has been used of the limits."""

from hypothesis import given
from hypothesis import strategies as st

from lib.limits.usage import DAY_MS, KEPT_SECONDS, Debt, Limits, Refusal, Slot, Usage

LIMITS = Limits(per_minute=60, burst=2, per_day=3, in_flight=2)
NOON = 20_000 * DAY_MS + DAY_MS // 2


def slot(number: int, until: int = NOON + 60_000) -> Slot:
    """A place for the question of that number."""
    return Slot(f"q{number}", until)


def asked(usage: Usage, *times: int) -> Usage:
    """The usage after a question at each of these times, each answered at once."""
    for number, now in enumerate(times):
        assert usage.refusal(LIMITS, now) is None
        usage = usage.admitted(LIMITS, now, slot(number)).released(f"q{number}")
    return usage


def test_the_minute_refuses_first_and_says_for_how_long() -> None:
    """Two at once, then one a second."""
    usage = asked(Usage(), NOON, NOON)
    assert usage.refusal(LIMITS, NOON + 1) == Refusal("minute", 999)
    assert usage.refusal(LIMITS, NOON + 1000) is None


def test_a_day_is_counted_from_midnight_to_midnight() -> None:
    """The last of it waits until then, and the next day is a new one."""
    usage = asked(Usage(), NOON, NOON + 5000, NOON + 10_000)
    assert usage.refusal(LIMITS, NOON + 20_000) == Refusal("day", DAY_MS // 2 - 20_000)
    assert usage.left_today(LIMITS, NOON + 20_000) == 0
    midnight = NOON + DAY_MS // 2
    assert usage.refusal(LIMITS, midnight) is None
    assert usage.left_today(LIMITS, midnight) == 3
    assert asked(usage, midnight).asked == 1


def test_a_clock_that_is_behind_goes_on_counting_on_the_later_day() -> None:
    """No day is counted anew because two instances disagree about midnight."""
    midnight = 20_000 * DAY_MS
    usage = asked(Usage(), midnight + 1, midnight + 2000)
    usage = usage.admitted(LIMITS, midnight - 500, slot(3))
    assert (usage.day, usage.asked) == (20_000, 3)
    assert usage.refusal(LIMITS, midnight + 60_000) == Refusal("day", DAY_MS - 60_000)


def test_a_place_is_taken_until_it_is_given_back_or_its_time_is_over() -> None:
    """The refusal says when the first of them ends."""
    usage = Usage().admitted(LIMITS, NOON, slot(1, NOON + 9000)).admitted(LIMITS, NOON, slot(2, NOON + 5000))
    assert usage.refusal(LIMITS, NOON + 2000) == Refusal("in-flight", 3000)
    assert usage.refusal(LIMITS, NOON + 5000) is None
    assert usage.released("q1").refusal(LIMITS, NOON + 2000) is None
    assert usage.released("unknown") == usage


def test_what_was_let_through_is_known_by_its_place_and_the_last_by_its_id() -> None:
    """So that a lost reply can be told from a lost write."""
    unlimited = Limits(per_minute=60, burst=2)
    usage = Usage().admitted(LIMITS, NOON, slot(1)).admitted(LIMITS, NOON, slot(2))
    assert usage.has_admitted("q1")
    assert usage.has_admitted("q2")
    assert not usage.has_admitted("q3")
    last = Usage().admitted(unlimited, NOON, slot(1))
    assert last.slots == ()
    assert last.has_admitted("q1")
    assert last.left_today(unlimited, NOON) is None


@given(
    st.builds(
        Usage,
        st.integers(0, 2**52),
        st.integers(0, 30_000),
        st.integers(0, 10**6),
        st.lists(st.builds(Slot, st.text("0123456789abcdef", min_size=1), st.integers(0, 2**52)), max_size=3).map(
            tuple
        ),
        st.text("0123456789abcdef"),
    )
)
def test_a_row_says_what_was_written(usage: Usage) -> None:
    """Whatever else it holds; and it is kept past the day it counts."""
    values = usage.written(5)
    assert Usage.read(values | {"valid_after": 1.5, "other": "x"}) == usage
    assert values["expires"] == (usage.day + 1) * DAY_MS // 1000 + KEPT_SECONDS
    assert usage.written(2**40)["expires"] == 2**40


def test_a_row_without_usage_says_that_nothing_was_used() -> None:
    """One that only a revocation wrote."""
    assert Usage.read({"valid_after": 1.5, "expires": 9}) == Usage()


def test_a_debt_counts_as_far_as_it_has_not_passed_by_itself() -> None:
    """Of the minute what lies ahead, of the day what was asked on it."""
    debt = Debt(NOON + 3000, 20_000, 3)
    assert Usage().owing(debt, NOON) == Usage(NOON + 3000, 20_000, 3)
    assert Usage(NOON + 1000, 20_000, 1).owing(debt, NOON) == Usage(NOON + 4000, 20_000, 4)
    assert Usage().owing(debt, NOON + 3000) == Usage(0, 20_000, 3)
    assert Usage().owing(debt, NOON + DAY_MS) == Usage(0, 20_001, 0)
    assert Usage(NOON, 20_000, 1).owing(Debt(), NOON) == Usage(NOON, 20_000, 1)
