"""Rules for what has been used of the limits."""

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lib.limits.usage import DAY_MS, KEPT_SECONDS, LONGEST_MS, MARGIN_MS, Debt, Limits, Refusal, Slot, Usage

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
    assert values["expires"] == max((usage.day + 1) * DAY_MS, usage.tat) // 1000 + KEPT_SECONDS
    assert usage.written(2**43)["expires"] == 2**43


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


RATE = Limits(per_minute=6, burst=3, per_day=7, in_flight=2)


@given(st.lists(st.tuples(st.integers(0, 4000), st.integers(-2500, 2500)), max_size=60))
def test_no_day_has_more_than_its_limit_however_clocks_disagree_about_midnight(
    arrivals: list[tuple[int, int]],
) -> None:
    """Each question counts for one day, and the day that is counted never goes back."""
    limits = Limits(per_minute=6000, burst=100, per_day=5)
    usage, true, days = Usage(), 20_000 * DAY_MS - 30_000, list[int]()
    for pause, error in arrivals:
        true += pause
        if usage.refusal(limits, true + error) is None:
            usage = usage.admitted(limits, true + error, slot(0))
            days.append(usage.day)
    assert days == sorted(days)
    assert all(days.count(day) <= 5 for day in days)


YEARS_MS = 20 * 365 * DAY_MS


def test_what_a_clock_that_was_years_ahead_has_written_is_set_right() -> None:
    """One is let through at once, as after a burst; today is counted anew, and no place is held."""
    wrong = NOON + YEARS_MS
    usage = Usage().admitted(LIMITS, wrong, slot(1, wrong + 60_000)).admitted(LIMITS, wrong, slot(2, wrong + 60_000))
    assert usage.refusal(LIMITS, NOON) == Refusal("minute", YEARS_MS + 1000)
    sensible = usage.sensible(LIMITS, NOON)
    assert sensible == Usage(NOON + 1000, NOON // DAY_MS, 0, (), "q2")
    assert sensible.refusal(LIMITS, NOON) is None
    assert sensible.admitted(LIMITS, NOON, slot(3)).refusal(LIMITS, NOON) == Refusal("minute", 1000)


@pytest.mark.parametrize(
    ("usage", "changes"),
    [
        (Usage(tat=NOON + 2000 + MARGIN_MS), {}),
        (Usage(tat=NOON + 2001 + MARGIN_MS), {"tat": NOON + 1000}),
        (Usage(day=NOON // DAY_MS, asked=3), {}),
        (Usage(day=NOON // DAY_MS + 1, asked=3), {"day": NOON // DAY_MS, "asked": 0}),
        (Usage(slots=(slot(1, NOON + LONGEST_MS + MARGIN_MS),)), {}),
        (Usage(slots=(slot(1, NOON + LONGEST_MS + MARGIN_MS + 1), slot(2))), {"slots": (slot(2),)}),
    ],
    ids=["a-full-burst", "more-than-that", "today", "tomorrow", "a-long-question", "too-long-a-one"],
)
def test_only_what_makes_no_sense_is_set_right(usage: Usage, changes: dict[str, Any]) -> None:
    """The rest stands as it is."""
    assert usage.sensible(LIMITS, NOON) == replace(usage, **changes)


def test_tomorrow_makes_sense_shortly_before_midnight() -> None:
    """To a clock that is a little behind."""
    midnight = 20_000 * DAY_MS
    usage = Usage().admitted(LIMITS, midnight, slot(1, midnight + 60_000))
    assert usage.sensible(LIMITS, midnight - MARGIN_MS) == usage
    assert usage.sensible(LIMITS, midnight - MARGIN_MS - 1).day == 19_999


ERRORS = st.integers(-4500, 4500)


@given(st.lists(st.tuples(st.integers(0, 4000), ERRORS, st.integers(1, LONGEST_MS)), max_size=40), ERRORS)
def test_what_right_clocks_have_written_makes_sense_to_every_right_clock(
    arrivals: list[tuple[int, int, int]], reader: int
) -> None:
    """However they differ within what is tolerated: nothing is set right that was not wrong."""
    usage, true = Usage(), 20_000 * DAY_MS - 30_000
    for pause, error, seconds in arrivals:
        true += pause
        now = true + error
        owing = usage.owing(Debt(now + 10_000, now // DAY_MS, 1), now)  # it is written where one is let through alone
        if owing.refusal(RATE, now) is None:
            usage = owing.admitted(RATE, now, slot(0, now + seconds)).released("q0" if seconds % 2 else "")
        assert usage.sensible(RATE, true + reader) == usage


ANY = st.builds(
    Usage,
    st.integers(0, 2**52),
    st.integers(0, 10**6),
    st.integers(0, 10**6),
    st.lists(st.builds(Slot, st.just("q"), st.integers(0, 2**52)), max_size=3).map(tuple),
)


@given(ANY, st.integers(NOON, NOON + DAY_MS))
def test_whatever_a_row_says_nobody_is_locked_out_for_long(usage: Usage, now: int) -> None:
    """By the rate for a burst, by the day until midnight, by places for the longest question."""
    sensible = usage.sensible(LIMITS, now)
    assert sensible.sensible(LIMITS, now) == sensible
    refusal = sensible.refusal(LIMITS, now)
    longest = {"minute": 1000 + MARGIN_MS, "day": DAY_MS + MARGIN_MS, "in-flight": LONGEST_MS + MARGIN_MS}
    assert refusal is None or 0 < refusal.wait <= longest[refusal.policy]


QUESTIONS = st.lists(st.integers(0, 30_000), min_size=1, max_size=10)


@given(QUESTIONS, st.integers(0, 60_000))
def test_a_debt_weighs_on_a_row_at_rest_as_if_the_questions_had_gone_through_it(pauses: list[int], later: int) -> None:
    """All that follows is the same."""
    debt, through, now = Debt(), Usage(), NOON
    for pause in pauses:
        now += pause
        debt = Debt(RATE.rate.charged(debt.tat, now), now // DAY_MS, debt.asked + 1)
        through = through.admitted(RATE, now, slot(0)).released("q0")
    now += later
    owing = Usage().owing(debt, now)
    assert owing.asked == through.asked
    assert RATE.rate.wait(owing.tat, now) == RATE.rate.wait(through.tat, now)
    assert RATE.rate.left(owing.tat, now) == RATE.rate.left(through.tat, now)


@given(st.integers(0, 100_000), st.integers(0, 100_000), st.integers(0, 10))
def test_a_debt_never_lets_more_through(ahead: int, owed: int, count: int) -> None:
    """Of a row in use as well: what lies ahead of both adds up."""
    usage, debt = Usage(NOON + ahead, NOON // DAY_MS, 2), Debt(NOON + owed, NOON // DAY_MS, count)
    owing = usage.owing(debt, NOON)
    assert owing.tat - NOON == ahead + owed
    assert owing.asked == 2 + count
    assert RATE.rate.left(owing.tat, NOON) <= RATE.rate.left(usage.tat, NOON)


@pytest.mark.parametrize("slots", ["", None, "[]", '[["q1",5,"more"],["q2",6,{}]]'])
def test_what_another_release_writes_can_be_read(slots: str | None) -> None:
    """Fields that are missing, and places of which it knows more."""
    usage = Usage.read({"tat": 5, "slots": slots, "hint": "x"})
    assert usage == Usage(tat=5, slots=(Slot("q1", 5), Slot("q2", 6)) if slots and "q1" in slots else ())


@dataclass
class Asked:
    """A question that was let through, as somebody would write it down."""

    id: str
    at: int
    until: int
    answered: bool = False


class Against(RuleBasedStateMachine):
    """The row beside a plain list of all that was ever let through."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.values: dict[str, Any] = {}
        self.all: list[Asked] = []

    def expected(self) -> Refusal | None:
        """By the rules' own words: any window, the day, the places."""
        limits, interval = RATE, RATE.rate.interval
        excess = (
            (len(self.all) - i + 1 - limits.burst) * interval - (self.now - first.at)
            for i, first in enumerate(self.all)
        )
        if (wait := max(excess, default=0)) > 0:
            return Refusal("minute", wait)
        if sum(each.at // DAY_MS == self.now // DAY_MS for each in self.all) >= (limits.per_day or 0):
            return Refusal("day", DAY_MS - self.now % DAY_MS)
        taken = [each.until for each in self.all if not each.answered and each.until > self.now]
        return Refusal("in-flight", min(taken) - self.now) if len(taken) >= (limits.in_flight or 0) else None

    @rule(milliseconds=st.integers(0, 30_000) | st.integers(0, DAY_MS))
    def time_passes(self, milliseconds: int) -> None:
        """By seconds or by hours."""
        self.now += milliseconds

    @rule(seconds=st.integers(1, 60))
    def a_question(self, seconds: int) -> None:
        """It is let through where the list says so, and refused for the same reason and time where not."""
        usage = Usage.read(self.values)
        assert usage.refusal(RATE, self.now) == self.expected()
        if self.expected() is None:
            asked = Asked(str(len(self.all)), self.now, self.now + seconds * 1000)
            self.values |= usage.admitted(RATE, self.now, Slot(asked.id, asked.until)).written(0)
            self.all.append(asked)

    @precondition(lambda self: self.all)
    @rule(data=st.data())
    def an_answer(self, data: st.DataObject) -> None:
        """Its place is free, however often it is given back."""
        asked = data.draw(st.sampled_from(self.all[-4:]))
        asked.answered = True
        self.values |= Usage.read(self.values).released(asked.id).written(0)

    @invariant()
    def as_many_are_left(self) -> None:
        """Of the day."""
        today = sum(each.at // DAY_MS == self.now // DAY_MS for each in self.all)
        assert Usage.read(self.values).left_today(RATE, self.now) == (RATE.per_day or 0) - today


TestAgainst = Against.TestCase
TestAgainst.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
