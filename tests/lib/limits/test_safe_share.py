"""Rules for what one instance lets through while storage is away."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.limits import safe_share as module
from lib.limits.safe_share import RETRY_MS, SafeShare
from lib.limits.usage import DAY_MS, Debt, Limits, Refusal

LIMITS = Limits(per_minute=20, burst=5, per_day=80, in_flight=2)
INSTANCES = 40
BEGAN = 20_000 * DAY_MS
TURN = 3000 * INSTANCES


@pytest.fixture
def share() -> SafeShare:
    """One instance's."""
    return SafeShare(LIMITS, INSTANCES)


def test_a_share_starts_empty_and_fills_by_a_fortieth_of_the_rate(share: SafeShare) -> None:
    """Nobody knows what was used of the limit when storage went away."""
    assert share.admit("p", "1", BEGAN, BEGAN + 1000) == Refusal("minute", TURN - 1000)
    assert share.admit("p", "1", BEGAN, BEGAN + TURN) is None
    assert share.release("p", "1")
    assert share.admit("p", "2", BEGAN, BEGAN + TURN) == Refusal("minute", TURN)
    assert share.admit("p", "2", BEGAN, BEGAN + 10 * TURN) is None
    assert share.admit("p", "3", BEGAN, BEGAN + 10 * TURN) == Refusal("minute", TURN)


def test_one_question_is_under_way_at_a_time(share: SafeShare) -> None:
    """Given back it is free, and only once."""
    assert share.admit("p", "1", BEGAN, BEGAN + TURN) is None
    assert share.admit("p", "2", BEGAN, BEGAN + 2 * TURN) == Refusal("in-flight", RETRY_MS)
    assert not share.release("p", "2")
    assert share.release("p", "1")
    assert not share.release("p", "1")
    assert not share.release("stranger", "1")
    assert share.admit("p", "2", BEGAN, BEGAN + 2 * TURN) is None


def test_a_day_is_shared_too(share: SafeShare) -> None:
    """Eighty by forty; the next day is a new one."""
    for turn in (1, 2):
        assert share.admit("p", "1", BEGAN, BEGAN + turn * TURN) is None
        share.release("p", "1")
    assert share.admit("p", "1", BEGAN, BEGAN + 3 * TURN) == Refusal("day", DAY_MS - 3 * TURN)
    assert share.admit("p", "1", BEGAN, BEGAN + DAY_MS) is None


def test_each_outage_starts_empty(share: SafeShare) -> None:
    """However long the one before is over."""
    assert share.admit("p", "1", BEGAN, BEGAN + TURN) is None
    share.release("p", "1")
    again = BEGAN + 100 * TURN
    assert share.admit("p", "1", again, again + 1) == Refusal("minute", TURN - 1)


def test_what_was_let_through_is_owed_until_it_is_repaid(share: SafeShare) -> None:
    """A debt that has grown meanwhile stays."""
    assert share.debt("p") == Debt()
    share.admit("p", "1", BEGAN, BEGAN + TURN)
    first = share.debt("p")
    assert first == Debt(BEGAN + TURN + 3000, 20_000, 1)
    share.release("p", "1")
    share.admit("p", "2", BEGAN, BEGAN + 2 * TURN)
    share.repaid("p", first)
    assert share.debt("p").asked == 2
    share.repaid("p", share.debt("p"))
    assert share.debt("p") == Debt()
    share.repaid("stranger", Debt())


def test_limits_without_days_and_places_have_a_share_of_the_rate_alone() -> None:
    """Calls in the gateway's own name."""
    share = SafeShare(Limits(per_minute=60, burst=10, name="app"), 2)
    assert share.admit("p", "1", BEGAN, BEGAN) == Refusal("app", 2000)
    assert [share.admit("p", "1", BEGAN, BEGAN + turn * 2000) for turn in (1, 2, 3)] == [None] * 3


def test_its_memory_is_bounded(share: SafeShare, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who was seen longest ago is forgotten."""
    monkeypatch.setattr(module, "MOST_KEYS", 2)
    for principal in ("a", "b", "c"):
        share.admit(principal, "1", BEGAN, BEGAN + TURN)
    assert share.debt("a") == Debt()
    assert share.debt("c").asked == 1


@given(
    st.lists(st.tuples(st.integers(0, 4 * TURN), st.sampled_from(["ask", "answer", "again"])), max_size=60),
    st.integers(0, 10 * TURN),
)
@example([(4 * TURN, "ask"), (0, "again"), (TURN - 1, "ask")], 0)  # away again in the moment of the last question
def test_in_any_time_a_share_lets_through_its_part_and_one_more_at_most(
    steps: list[tuple[int, str]], window: int
) -> None:
    """Whatever is asked, answered and repaid, and however often storage comes back and goes away again."""
    share, now, began, admitted = SafeShare(LIMITS, INSTANCES), BEGAN, BEGAN, list[int]()
    open_since: int | None = None
    for pause, step in steps:
        now += pause
        if step == "again":
            began = now
            share.repaid("p", share.debt("p"))
        elif step == "answer" and open_since is not None:
            assert share.release("p", str(open_since))
            open_since = None
        elif step == "ask" and share.admit("p", str(now), began, now) is None:
            assert open_since is None
            assert now - began >= TURN
            open_since = now
            admitted.append(now)
    for begin in admitted:
        assert sum(begin <= at <= begin + window for at in admitted) <= window / TURN + 1
    days = [at // DAY_MS for at in admitted]
    assert all(days.count(day) <= 80 // INSTANCES for day in days)


@given(st.lists(st.integers(TURN, 3 * TURN), min_size=1, max_size=20))
def test_the_debt_is_what_was_let_through(pauses: list[int]) -> None:
    """Its `tat` is the row's, had they gone through it; its count is the day's."""
    limits = Limits(per_minute=20, burst=5)
    share, now, tat, today = SafeShare(limits, INSTANCES), BEGAN, 0, 0
    for pause in pauses:
        today = today + 1 if (now + pause) // DAY_MS == now // DAY_MS else 1
        now += pause
        assert share.admit("p", "1", BEGAN, now) is None
        tat = limits.rate.charged(tat, now)
    assert share.debt("p") == Debt(tat, now // DAY_MS, today)
