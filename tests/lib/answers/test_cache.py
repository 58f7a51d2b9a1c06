"""Rules for answers that are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.agents.answer import Answer
from lib.agents.mcp import Block
from lib.answers import cache as module
from lib.answers.cache import AnswerCache, AnswerKey
from tests.clock import Clock

ALICE = AnswerKey("alice", "sales", "q")
ANSWER = Answer("| a |", "North sold 5.")


@pytest.fixture
def cache(clock: Clock) -> AnswerCache:
    """One that keeps answers for five minutes."""
    return AnswerCache(300, now=clock)


def test_an_answer_is_given_again_until_its_time_is_over(cache: AnswerCache, clock: Clock) -> None:
    """And then no more."""
    cache.put(ALICE, ANSWER, clock.now)
    clock.advance(299)
    kept = cache.get(ALICE, valid_after=0)
    assert kept is not None
    assert kept.answer is ANSWER
    clock.advance(1)
    assert cache.get(ALICE, valid_after=0) is None
    assert cache._characters == 0


@pytest.mark.parametrize(
    "other", [AnswerKey("bob", "sales", "q"), AnswerKey("alice", "stock", "q"), AnswerKey("alice", "sales", "r")]
)
def test_nobody_is_given_anothers(cache: AnswerCache, clock: Clock, other: AnswerKey) -> None:
    """Nor another agent's, nor that to another question."""
    cache.put(ALICE, ANSWER, clock.now)
    assert cache.get(other, valid_after=0) is None


def test_an_answer_from_before_a_revocation_does_not_count(cache: AnswerCache, clock: Clock) -> None:
    """Whoever's rights were taken reads nothing of before."""
    cache.put(ALICE, ANSWER, clock.now)
    assert cache.get(ALICE, valid_after=clock.now + 1) is None
    assert cache.get(ALICE, valid_after=0) is None


def test_an_answer_from_the_future_does_not_count(cache: AnswerCache, clock: Clock) -> None:
    """The clock was set back, and nobody knows how old it is."""
    cache.put(ALICE, ANSWER, clock.now)
    clock.advance(-1)
    assert cache.get(ALICE, valid_after=0) is None


def test_a_question_back_is_not_kept(cache: AnswerCache, clock: Clock) -> None:
    """It is no answer."""
    cache.put(ALICE, Answer("Which year?", "Which year?"), clock.now)
    assert cache.get(ALICE, valid_after=0) is None


def test_nothing_is_kept_where_that_is_switched_off(clock: Clock) -> None:
    """Zero seconds."""
    cache = AnswerCache(0, now=clock)
    cache.put(ALICE, ANSWER, clock.now)
    assert not cache._kept


def test_what_is_kept_of_one_agent_or_of_all_is_forgotten(cache: AnswerCache, clock: Clock) -> None:
    """Of that principal alone."""
    keys = [AnswerKey(person, agent, "q") for person in ("alice", "bob") for agent in ("sales", "stock")]
    for key in keys:
        cache.put(key, ANSWER, clock.now)
    cache.forget("alice", "sales")
    assert [cache.get(key, valid_after=0) is not None for key in keys] == [False, True, True, True]
    cache.forget("alice")
    assert [cache.get(key, valid_after=0) is not None for key in keys] == [False, False, True, True]


def test_room_is_made_by_number_and_by_size(cache: AnswerCache, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those unused for longest go."""
    monkeypatch.setattr(module, "MOST_ANSWERS", 2)
    keys = [AnswerKey("alice", "sales", str(number)) for number in range(3)]
    for key in keys[:2]:
        cache.put(key, ANSWER, clock.now)
    cache.get(keys[0], valid_after=0)
    cache.put(keys[2], ANSWER, clock.now)
    assert [cache.get(key, valid_after=0) is not None for key in keys] == [True, False, True]
    monkeypatch.setattr(module, "MOST_CHARACTERS", 1000)
    cache.put(ALICE, Answer("x", "x.", blocks=(Block("image", "x" * 1000),)), clock.now)
    assert not cache._kept
    assert cache._characters == 0


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "get", "forget", "wait", "back"]),
        st.sampled_from("ab"),
        st.sampled_from(["sales", "stock"]),
        st.integers(0, 3),
        st.integers(0, 400),
    ),
    max_size=60,
)


@given(STEPS, st.floats(-400, 400))
def test_it_never_grows_past_its_bounds_nor_gives_what_it_must_not(
    steps: list[tuple[str, str, str, int, int]], valid_for: float
) -> None:
    """After any sequence of steps: few enough, small enough, fresh, the person's own, and the latest."""
    clock, latest = Clock(), dict[AnswerKey, tuple[Answer, float]]()
    cache = AnswerCache(300, now=clock)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "MOST_ANSWERS", 4)
        patched.setattr(module, "MOST_CHARACTERS", 3000)
        for step, person, agent, question, number in steps:
            key, valid_after = AnswerKey(person, agent, str(question)), clock.now - valid_for
            if step == "put":
                latest[key] = Answer("x" * number, "y."), clock.now
                cache.put(key, *latest[key])
            elif step == "forget":
                cache.forget(person, agent)
                latest = {kept: value for kept, value in latest.items() if (kept.partition, kept.agent) != key_of(key)}
            elif step == "get" and (kept := cache.get(key, valid_after=valid_after)):
                assert (kept.answer, kept.asked_at) == latest[key]
                assert kept.asked_at >= valid_after
                assert 0 <= clock.now - kept.asked_at < 300
            elif step in {"wait", "back"}:
                clock.advance(number if step == "wait" else -number)
            assert len(cache._kept) <= 4
            assert cache._characters == sum(kept.size for kept in cache._kept.values()) <= 3000


def key_of(key: AnswerKey) -> tuple[str, str]:
    """Whose and which agent's."""
    return key.partition, key.agent


def test_an_answer_is_told_in_no_log(clock: Clock, cache: AnswerCache) -> None:
    """Neither itself nor what holds it shows it."""
    cache.put(ALICE, ANSWER, clock.now)
    assert "North" not in repr(cache.get(ALICE, valid_after=0))
