"""Rules for the states of an operation."""

from collections.abc import Sequence
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.answers.operation import FINAL, MOVES, Operation, State, overdue
from lib.storage.rows import Row

STATES: Sequence[State] = get_args(State)
DEADLINE = 1_000.0


def operation(state: State) -> Operation:
    """One in that state."""
    return Operation("0f" * 16, state, "sales", 900.0, DEADLINE, Row("aa" * 16, "0f" * 16, {}, "1"))


def reachable(state: State) -> set[State]:
    """Where it may come to from here, by however many moves."""
    found: set[State] = set()
    pending = [state]
    while pending:
        for after in MOVES[pending.pop()] - found:
            found.add(after)
            pending.append(after)
    return found


def test_every_state_has_its_moves_and_they_lead_to_states() -> None:
    """The table is whole."""
    assert set(MOVES) == set(STATES)
    assert {state for moves in MOVES.values() for state in moves} <= set(STATES)


def test_final_states_are_those_without_a_way_out() -> None:
    """And these are they."""
    assert {"done", "failed", "cancelled", "expired"} == FINAL
    assert all(not reachable(state) for state in FINAL)


@pytest.mark.parametrize("state", STATES)
def test_every_way_ends_and_none_comes_back(state: State) -> None:
    """From anywhere an end can be reached, and nothing that was left behind."""
    assert state not in reachable(state)
    assert state in FINAL or reachable(state) & FINAL


def test_a_question_is_brought_to_be_asked_from_the_beginning_alone() -> None:
    """So it is asked once: nothing leads back to where it is still to be asked."""
    assert {state for state, moves in MOVES.items() if "asked" in moves} == {"accepted"}
    assert not any("accepted" in moves for moves in MOVES.values())


def test_an_answer_comes_from_who_asks_alone() -> None:
    """What was given up, or not yet asked, has none."""
    assert {state for state, moves in MOVES.items() if "done" in moves} == {"asked", "running"}


@pytest.mark.parametrize("state", STATES)
@given(now=st.floats(min_value=0, max_value=10_000))
def test_time_moves_only_what_is_late_and_only_where_it_may_go(state: State, now: float) -> None:
    """By one move to an end; what has ended stays as it is."""
    after = overdue(operation(state), now)
    assert (after is None) == (state in FINAL or now < DEADLINE)
    if after:
        assert after in MOVES[state]
        assert after in FINAL


@pytest.mark.parametrize(
    ("state", "after"),
    [("accepted", "expired"), ("asked", "failed"), ("running", "expired"), ("cancelling", "cancelled")],
)
def test_what_was_asked_and_not_answered_in_time_has_failed(state: State, after: State) -> None:
    """Of the others nobody has an answer: not picked up, kept by the agent no longer, or given up anyway."""
    assert overdue(operation(state), DEADLINE) == after


def test_what_is_told_of_an_operation_shows_no_secret() -> None:
    """Its row, task and failure are in no repr."""
    one = Operation(
        "0f" * 16, "failed", "sales", 0, 0, Row("p", "k", {"sealed": b"secret"}, "1"), 0, '{"a": 1}', "task-1"
    )
    assert one.is_final
    assert one.failed_with == {"a": 1}
    assert one.partition == "p"
    assert not any(word in repr(one) for word in ("secret", "task-1", '"a"'))
