"""Rules for answers that are kept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.answers import cache as module
from lib.answers.cache import AnswerCache, AnswerKey, Kept
from tests.clock import Clock

ALICE = AnswerKey("alice", "sales", "q")
FOR_EVER = 10**9


@pytest.fixture
def cache(clock: Clock) -> AnswerCache:
    """One that keeps answers for an hour."""
    return AnswerCache(3600, now=clock)


def answer(clock: Clock, json: bytes = b'{"text":"North sold 5."}') -> Kept:
    """One that was asked for now."""
    return Kept(json, clock.now)


def get(
    cache: AnswerCache, key: AnswerKey = ALICE, *, at_most: float = FOR_EVER, valid_after: float = 0
) -> Kept | None:
    """What is kept, however old, unless that is said."""
    return cache.get(key, at_most=at_most, valid_after=valid_after)


def kept_keys(cache: AnswerCache, keys: list[AnswerKey]) -> list[bool]:
    """Which of them are there."""
    return [get(cache, key) is not None for key in keys]


def test_an_answer_is_given_again_until_its_time_is_over(cache: AnswerCache, clock: Clock) -> None:
    """And then no more: it is gone."""
    kept = answer(clock)
    cache.put(ALICE, kept)
    clock.advance(3599)
    assert get(cache) is kept
    clock.advance(1)
    assert get(cache) is None
    clock.advance(-1)
    assert get(cache) is None
    assert cache._bytes.total() == 0


def test_who_wants_a_younger_one_leaves_it_for_those_who_do_not(cache: AnswerCache, clock: Clock) -> None:
    """Fresh for some time, and there for when the agent is away after that."""
    cache.put(ALICE, answer(clock))
    clock.advance(299)
    assert get(cache, at_most=300)
    clock.advance(1)
    assert get(cache, at_most=300) is None
    assert get(cache, at_most=0) is None
    assert get(cache, at_most=3600)


@pytest.mark.parametrize(
    "other", [AnswerKey("bob", "sales", "q"), AnswerKey("alice", "stock", "q"), AnswerKey("alice", "sales", "r")]
)
def test_nobody_is_given_anothers(cache: AnswerCache, clock: Clock, other: AnswerKey) -> None:
    """Nor another agent's, nor that to another question."""
    cache.put(ALICE, answer(clock))
    assert get(cache, other) is None


def test_an_answer_from_before_a_revocation_does_not_count(cache: AnswerCache, clock: Clock) -> None:
    """Whoever's rights were taken reads nothing of before."""
    cache.put(ALICE, answer(clock))
    assert get(cache, valid_after=clock.now) is not None
    assert get(cache, valid_after=clock.now + 0.001) is None
    assert get(cache) is None


def test_an_answer_from_the_future_does_not_count(cache: AnswerCache, clock: Clock) -> None:
    """The clock was set back, and nobody knows how old it is."""
    cache.put(ALICE, answer(clock))
    clock.advance(-1)
    assert get(cache) is None


def test_nothing_is_given_where_that_is_switched_off(clock: Clock) -> None:
    """Zero seconds."""
    cache = AnswerCache(0, now=clock)
    cache.put(ALICE, answer(clock))
    assert get(cache) is None


def test_a_later_answer_takes_the_place_of_an_earlier_one_and_never_the_other_way(
    cache: AnswerCache, clock: Clock
) -> None:
    """What comes late from another instance undoes nothing here."""
    earlier = answer(clock, b"earlier")
    clock.advance(1)
    later, again = answer(clock, b"later"), answer(clock, b"again")
    for kept, expected in ((earlier, earlier), (later, later), (earlier, later), (again, again)):
        cache.put(ALICE, kept)
        assert get(cache) is expected
    assert cache._bytes == {"alice": len(b"again")}


def test_what_is_kept_of_one_agent_or_of_all_is_forgotten(cache: AnswerCache, clock: Clock) -> None:
    """Of that owner alone."""
    keys = [AnswerKey(person, agent, "q") for person in ("alice", "bob") for agent in ("sales", "stock")]
    for key in keys:
        cache.put(key, answer(clock))
    cache.forget("alice", "sales")
    assert kept_keys(cache, keys) == [False, True, True, True]
    cache.forget("alice")
    assert kept_keys(cache, keys) == [False, False, True, True]


def test_of_too_many_those_unused_for_longest_go(
    cache: AnswerCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To be given is to be used."""
    monkeypatch.setattr(module, "MOST_ANSWERS", 2)
    keys = [AnswerKey("alice", "sales", str(number)) for number in range(3)]
    for key in keys[:2]:
        cache.put(key, answer(clock))
    get(cache, keys[0])
    cache.put(keys[2], answer(clock))
    assert kept_keys(cache, keys) == [True, False, True]


def test_one_owner_takes_a_quarter_of_the_room_and_then_their_own(
    cache: AnswerCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody else's answers go for them; one that is longer than that is not kept."""
    monkeypatch.setattr(module, "MOST_BYTES", 4000)
    of_bob = AnswerKey("bob", "sales", "q")
    cache.put(of_bob, answer(clock, bytes(1000)))
    keys = [AnswerKey("alice", "sales", str(number)) for number in range(4)]
    for key in keys:
        cache.put(key, answer(clock, bytes(400)))
    assert kept_keys(cache, [of_bob, *keys]) == [True, False, False, True, True]
    cache.put(ALICE, answer(clock, bytes(1001)))
    assert kept_keys(cache, [of_bob, ALICE, *keys]) == [True, False, False, False, False, False]


def test_all_owners_together_have_so_much_room(
    cache: AnswerCache, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past it the one unused for longest goes, whoever's it is."""
    monkeypatch.setattr(module, "MOST_BYTES", 4000)
    keys = [AnswerKey(str(number), "sales", "q") for number in range(5)]
    for key in keys:
        cache.put(key, answer(clock, bytes(900)))
    assert kept_keys(cache, keys) == [False, True, True, True, True]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "late", "get", "forget", "wait", "back"]),
        st.sampled_from("ab"),
        st.sampled_from(["sales", "stock"]),
        st.integers(0, 3),
        st.integers(0, 400),
    ),
    max_size=60,
)


@given(STEPS, st.floats(-400, 400), st.integers(0, 500))
def test_it_never_grows_past_its_bounds_nor_gives_what_it_must_not(
    steps: list[tuple[str, str, str, int, int]], valid_for: float, at_most: int
) -> None:
    """After any sequence of steps: few enough, small enough, young enough, and the owner's own."""
    clock, put = Clock(), dict[AnswerKey, list[Kept]]()
    cache = AnswerCache(300, now=clock)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "MOST_ANSWERS", 4)
        patched.setattr(module, "MOST_BYTES", 2000)
        for step, person, agent, question, number in steps:
            key, valid_after = AnswerKey(person, agent, str(question)), clock.now - valid_for
            if step in {"put", "late"}:
                kept = Kept(bytes(number), clock.now - (number if step == "late" else 0))
                cache.put(key, kept)
                put.setdefault(key, []).append(kept)
            elif step == "forget":
                cache.forget(person, agent)
                put = {each: kept for each, kept in put.items() if (each.partition, each.agent) != (person, agent)}
            elif step == "get" and (found := get(cache, key, at_most=at_most, valid_after=valid_after)):
                assert found in put[key]
                assert found.asked_at >= valid_after
                assert 0 <= clock.now - found.asked_at < min(300, at_most)
            elif step in {"wait", "back"}:
                clock.advance(number if step == "wait" else -number)
            assert len(cache._kept) <= 4
            assert cache._bytes.total() <= 2000
            for owner in "ab":
                own = sum(len(kept.json) for each, kept in cache._kept.items() if each.partition == owner)
                assert cache._bytes[owner] == own <= 500


def test_an_answer_is_told_in_no_log(clock: Clock, cache: AnswerCache) -> None:
    """Neither itself nor what holds it shows it."""
    cache.put(ALICE, answer(clock))
    assert "North" not in repr(get(cache))
