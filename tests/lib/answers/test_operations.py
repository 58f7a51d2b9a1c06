"""Rules for operations in their rows, on a real Azurite behind a front that fails as it is told."""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from starlette.responses import Response

from lib.answers.failures_kept import from_json
from lib.answers.operation import FINAL, MOVES, PICK_UP_SECONDS, Operation, State
from lib.answers.operations import (
    ANSWER_SECONDS,
    FINISH_PAUSES,
    FINISH_SECONDS,
    MOST_ANSWER_BYTES,
    TABLE,
    TOMBSTONE_SECONDS,
    Operations,
)
from lib.errors import (
    AgentFailed,
    AgentNotPublished,
    OperationExpired,
    OutcomeUnknown,
    StateUnavailable,
    StepUpRequired,
)
from lib.storage.rows import Conflict
from lib.storage.tables import Tables
from tests.clock import Clock
from tests.lib.answers.conftest import lose_key
from tests.lib.answers.works import TOKEN, Notes, body, given, work
from tests.lib.conftest import RunningVault
from tests.lib.storage.front import Front

if TYPE_CHECKING:
    from azure.data.tables.aio import TableClient

    from lib.storage.properties import Value

pytestmark = pytest.mark.stack

FORBIDDEN = Response(status_code=403)
SECONDS = 90.0
WAYS: dict[State, tuple[State, ...]] = {
    "accepted": (),
    "asked": ("asked",),
    "running": ("asked", "running"),
    "cancelling": ("asked", "running", "cancelling"),
    "done": ("asked", "done"),
    "failed": ("asked", "failed"),
    "cancelled": ("cancelled",),
    "expired": ("expired",),
}
"""How an operation comes into each state."""


async def accepted(kept: Operations, **more: object) -> Operation:
    """A new one."""
    return await kept.accept(kept.new_id(), work(**more))  # type: ignore[arg-type]


async def in_state(kept: Operations, state: State, **values: float) -> Operation:
    """One that has come into that state."""
    operation = await accepted(kept)
    for step in WAYS[state]:
        operation = await kept.move(operation, step, **values)
    return operation


async def now_of(kept: Operations, operation: Operation) -> Operation:
    """How it stands."""
    now = await kept.read(operation.partition, operation.id)
    assert now is not None
    return now


async def raw(tables: Tables, operation: Operation) -> dict[str, object]:
    """Every property that Table Storage holds of it."""
    client: TableClient = tables._client(TABLE)
    return dict(await client.get_entity(operation.partition, operation.id))


async def test_an_operation_is_read_as_it_was_accepted(kept: Operations, clock: Clock) -> None:
    """By its owner's partition and its id, which is of chance."""
    wanted = work(conversation="c" * 32)
    operation = await kept.accept(kept.new_id(), wanted)
    assert re.fullmatch("[0-9a-f]{32}", operation.id)
    assert kept.new_id() != kept.new_id()
    assert await kept.read(operation.partition, operation.id) == operation
    assert (operation.state, operation.agent, operation.conversation) == ("accepted", "sales", "c" * 32)
    assert (operation.created, operation.sent) == (clock.now, clock.now)
    assert operation.deadline == clock.now + PICK_UP_SECONDS
    assert operation.partition == wanted.wanted.payer
    assert await kept.work(operation) == wanted
    assert await kept.read(operation.partition, kept.new_id()) is None
    assert await kept.read("0" * 32, operation.id) is None


async def test_what_is_asked_at_once_leaves_nothing_for_a_runner(kept: Operations, clock: Clock) -> None:
    """It has its own time, and nothing sealed."""
    operation = await kept.ask(kept.new_id(), work(), SECONDS)
    assert (operation.state, operation.deadline) == ("asked", clock.now + SECONDS)
    assert "sealed" not in operation.row.values


async def test_the_row_gives_nothing_away(kept: Operations, tables: Tables) -> None:
    """Who reads the table learns which agent was asked when, and neither what nor with which token."""
    operation = await accepted(kept, text="total sales", grant="grant", conversation="c" * 32)
    stored = repr(await raw(tables, operation))
    for hidden in ("total sales", TOKEN, "grant", "tenant"):
        assert hidden not in stored


async def test_work_opens_in_its_own_row_alone(kept: Operations) -> None:
    """Moved to another row it is as good as gone."""
    one, other = await accepted(kept), await accepted(kept)
    moved = replace(other, row=replace(other.row, values=one.row.values))
    with pytest.raises(OperationExpired):
        await kept.work(moved)


async def test_work_whose_key_is_gone_has_expired(kept: Operations, vault: RunningVault, clock: Clock) -> None:
    """An operator has taken the key away: nothing opens it again, and no reader sees an inner failure."""
    operation, done = await accepted(kept), await finish_done(kept, await in_state(kept, "asked"))
    lose_key(vault, clock)
    clock.advance(ANSWER_SECONDS)
    with pytest.raises(OperationExpired):
        await kept.work(operation)
    assert await kept.answer(done) is None


async def test_the_claim_erases_what_was_sealed(kept: Operations, tables: Tables) -> None:
    """Every piece of it, however long it was: the token is gone with the write that makes the question asked."""
    operation = await accepted(kept, text="x" * 200_000)
    before = await raw(tables, operation)
    assert sum(len(value) for value in before.values() if isinstance(value, bytes)) > 200_000
    await kept.move(operation, "asked", sealed=b"")
    after = await raw(tables, operation)
    assert [value for value in after.values() if isinstance(value, bytes) and value] == []


@pytest.mark.parametrize("before", WAYS)
async def test_only_the_moves_of_the_table_are_made(kept: Operations, front: Front, before: State) -> None:
    """Any other is a fault of ours, and costs no call."""
    operation = await in_state(kept, before)
    front.methods.clear()
    for after in WAYS.keys() - MOVES[before] - {before}:
        with pytest.raises(ValueError, match=f"no way from {before} to {after}"):
            await kept.move(operation, after)
    assert front.methods == []
    assert (await now_of(kept, operation)).state == before


async def test_of_two_who_see_the_same_state_one_makes_the_move(kept: Operations) -> None:
    """The other learns that it was not theirs."""
    operation = await accepted(kept)
    moves = [kept.move(operation, state) for state in ("asked", "cancelled", "expired", "asked")]
    outcomes = await asyncio.gather(*moves, return_exceptions=True)
    (made,) = (outcome for outcome in outcomes if isinstance(outcome, Operation))
    assert sum(isinstance(outcome, Conflict) for outcome in outcomes) == 3
    assert (await now_of(kept, operation)).state == made.state


async def test_a_look_that_changes_no_state_counts_as_one_too(kept: Operations) -> None:
    """Whoever has read the row before has to read it again."""
    operation = await in_state(kept, "running")
    looked = await kept.move(operation, "running", look_at=7.0)
    assert (looked.state, looked.look_at) == ("running", 7.0)
    with pytest.raises(Conflict):
        await kept.move(operation, "done")
    assert await kept.again(operation) == looked


async def test_an_answer_is_there_before_it_is_said_to_be(
    kept: Operations, notes: Notes, tables: Tables, front: Front, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sees `done` finds it; and who sees it may go on with the conversation, so it is noted before."""
    operation = await in_state(kept, "asked")
    notes.watched = operation.partition, operation.id
    found: list[tuple[str, bool]] = []

    async def look(seconds: float) -> None:
        row = await tables.read(TABLE, operation.partition, f"{operation.id}-answer")
        found.append(((await now_of(kept, operation)).state, row is not None))
        await clock.sleep(seconds)

    monkeypatch.setattr(kept, "_sleep", look)
    front.planned.extend([front.pass_on, front.pass_on, front.pass_on, FORBIDDEN])  # two looks, the row, the state
    done = await kept.done(operation, work(conversation="c" * 32, question="How?"), given("42"))
    assert found == [("asked", True)]
    assert (notes.noted, notes.states) == ([("c" * 32, "How?", body("42"))], ["asked"])
    assert done.state == "done"
    answer = await kept.answer(done)
    assert answer is not None
    assert (answer.json, answer.how, answer.age, answer.stale) == (body("42"), "fetched", 0, False)


async def test_a_stale_answer_is_told_as_one_with_its_age(kept: Operations, clock: Clock) -> None:
    """Which goes on growing."""
    operation = await in_state(kept, "asked")
    done = await kept.done(operation, work(), given(asked_at=clock.now - 600, stale_for=600))
    clock.advance(5)
    answer = await kept.answer(done)
    assert answer is not None
    assert (answer.how, answer.age, answer.fresh_for, answer.stale) == ("kept", 605, -605, True)


async def test_an_answer_is_kept_for_an_hour_and_what_became_of_it_for_a_day(
    kept: Operations, tables: Tables, clock: Clock
) -> None:
    """From when it came."""
    operation = await in_state(kept, "asked")
    clock.advance(100)
    done = await kept.done(operation, work(), given())
    assert done.row.values["expires"] == clock.now + TOMBSTONE_SECONDS
    clock.advance(ANSWER_SECONDS)
    assert await kept.answer(done) is not None
    clock.advance(1)
    assert await kept.answer(done) is None
    assert (await now_of(kept, done)).state == "done"
    await tables.delete(TABLE, done.partition, f"{done.id}-answer")
    assert await kept.answer(done) is None


async def test_an_answer_is_no_operation(kept: Operations) -> None:
    """It lies beside, under a name of its own."""
    done = await kept.done(await in_state(kept, "asked"), work(), given())
    assert await kept.read(done.partition, f"{done.id}-answer") is None


async def test_an_answer_is_sealed_for_its_own_row(kept: Operations, tables: Tables) -> None:
    """Neither its words nor those of the question are in the table, and another's row does not open."""
    one, other = [await kept.done(await in_state(kept, "asked"), work(), given("canary")) for _ in range(2)]
    rows = []
    for done in (one, other):
        row = await tables.read(TABLE, done.partition, f"{done.id}-answer")
        assert row is not None
        assert b"canary" not in row.values["sealed"]
        rows.append(row)
    await tables.update(TABLE, rows[1], {"sealed": rows[0].values["sealed"]})
    assert await kept.answer(other) is None


async def finish_done(kept: Operations, operation: Operation) -> Operation:
    """Ends it with an answer."""
    return await kept.done(operation, work(), given())


async def finish_failed(kept: Operations, operation: Operation) -> Operation:
    """Ends it with a failure."""
    return await kept.failed(operation, AgentFailed())


async def begin_running(kept: Operations, operation: Operation) -> Operation:
    """Makes a task of it."""
    return await kept.run(operation, work().for_looking(), "task-1", 600, 5)


type Finish = Callable[[Operations, Operation], Awaitable[Operation]]
EACH: dict[State, Finish] = {"done": finish_done, "failed": finish_failed, "running": begin_running}
FINISHES = pytest.mark.parametrize(("finish", "state"), [(finish, state) for state, finish in EACH.items()], ids=EACH)
"""What has to be written down, since it cannot be had a second time."""


@FINISHES
async def test_what_cannot_be_had_twice_is_tried_for_half_a_minute(
    kept: Operations, front: Front, clock: Clock, finish: Finish, state: State
) -> None:
    """While storage fails, with growing pauses, and with time enough before the operation is overdue."""
    operation = await in_state(kept, "asked")
    front.planned.extend([FORBIDDEN] * len(FINISH_PAUSES))
    ended = await finish(kept, operation)
    assert ended.state == (await now_of(kept, operation)).state == state
    assert clock.slept == list(FINISH_PAUSES)
    assert sum(FINISH_PAUSES) < FINISH_SECONDS


@FINISHES
async def test_where_all_was_in_vain_that_is_told(
    kept: Operations, front: Front, clock: Clock, finish: Finish, state: State
) -> None:
    """The operation stays as it was."""
    operation = await in_state(kept, "asked")
    front.planned.extend([FORBIDDEN] * (len(FINISH_PAUSES) + 1))
    with pytest.raises(StateUnavailable):
        await finish(kept, operation)
    assert clock.slept == list(FINISH_PAUSES)
    assert (await now_of(kept, operation)).state == "asked" != state


@FINISHES
@pytest.mark.parametrize("passed", [0, 1])
async def test_a_lost_reply_is_no_loss(
    kept: Operations, front: Front, clock: Clock, finish: Finish, state: State, passed: int
) -> None:
    """Neither to the write of the answer nor to that of the state: what was written is found as our own."""
    operation = await in_state(kept, "asked")
    last_write = 1 if state == "done" else 0
    front.planned.extend([*[front.pass_on] * min(passed, last_write), front.lose_reply])
    ended = await finish(kept, operation)
    assert ended == await now_of(kept, operation)
    assert ended.state == state
    assert clock.slept == [1.0]


async def test_storage_that_fails_while_who_was_faster_is_looked_up_loses_nothing(
    kept: Operations, front: Front, clock: Clock
) -> None:
    """That look is tried again like the rest."""
    operation = await in_state(kept, "running")
    await kept.move(operation, "running", look_at=clock.now + 5)
    front.planned.extend([front.pass_on, front.pass_on, FORBIDDEN])  # the answer, a conflict, the look
    assert (await finish_done(kept, operation)).state == "done"
    assert clock.slept == [1.0]


async def test_who_only_looked_meanwhile_is_passed(kept: Operations, clock: Clock) -> None:
    """A lease changes the row and not the state."""
    operation = await in_state(kept, "running")
    for lease in (5, 10):
        await kept.move(await now_of(kept, operation), "running", look_at=clock.now + lease)
    done = await finish_done(kept, operation)
    assert (done.state, done.look_at) == ("done", clock.now + 10)
    assert clock.slept == []


@pytest.mark.parametrize(
    ("state", "end"), [(state, end) for state in EACH for end in (*FINAL, "cancelling") if end != state]
)
async def test_what_has_ended_before_stays_as_it_is(kept: Operations, notes: Notes, state: State, end: State) -> None:
    """Cancelled, or given up as overdue, or ended by somebody else: whoever comes late is told how."""
    operation = await in_state(kept, "asked")
    latest = operation
    for step in {"expired": ("running",), "cancelling": ("running",)}.get(end, ()):
        latest = await kept.move(latest, step)  # type: ignore[arg-type]
    latest = await kept.move(latest, end)
    assert await EACH[state](kept, operation) == latest
    assert await now_of(kept, operation) == latest
    assert notes.noted == []


@FINISHES
async def test_an_operation_that_is_gone_is_not_brought_back(
    kept: Operations, tables: Tables, finish: Finish, state: State
) -> None:
    """A late write makes no row."""
    operation = await in_state(kept, "asked")
    await tables.delete(TABLE, operation.partition, operation.id)
    assert await finish(kept, operation) == operation
    assert operation.state != state
    assert await kept.read(operation.partition, operation.id) is None
    assert await kept.again(operation) == operation


async def test_an_answer_is_noted_unless_nobody_waits_for_it_any_more(
    kept: Operations, notes: Notes, front: Front
) -> None:
    """Who gave the question up is not told its answer later; while nobody can tell, it is noted."""
    in_conversation = work(conversation="c" * 32)
    given_up = await in_state(kept, "asked")
    await kept.end(given_up, "cancelled")
    await kept.done(given_up, in_conversation, given())
    assert notes.noted == []
    await kept.done(await in_state(kept, "asked"), work(), given())
    assert notes.noted == []
    operation = await in_state(kept, "asked")
    front.planned.append(FORBIDDEN)
    await kept.done(operation, in_conversation, given())
    assert len(notes.noted) == 1


async def test_an_answer_that_no_row_takes_is_a_failure_that_says_so(kept: Operations, notes: Notes) -> None:
    """Nothing is noted either."""
    noise = random.Random(7).randbytes(MOST_ANSWER_BYTES).hex()
    operation = await in_state(kept, "asked")
    failed = await kept.done(operation, work(conversation="c" * 32), given(noise))
    assert failed.state == "failed"
    fault = from_json(failed.failed_with)
    assert (fault.code, "too long" in fault.detail) == ("agent_failed", True)
    assert notes.noted == []


async def test_a_long_answer_is_kept_whole(kept: Operations) -> None:
    """Up to what a row takes."""
    text = random.Random(7).randbytes(300_000).hex()
    done = await kept.done(await in_state(kept, "asked"), work(), given(text))
    answer = await kept.answer(done)
    assert answer is not None
    assert answer.json == body(text)


@pytest.mark.parametrize(
    "fault",
    [AgentFailed("No.", members={"agents": ["x"]}), AgentNotPublished(), StepUpRequired('{"access_token":{}}')],
    ids=lambda fault: fault.code,
)
async def test_a_failure_is_told_again_as_it_was(kept: Operations, fault: AgentFailed) -> None:
    """By the same problem."""
    failed = await kept.failed(await in_state(kept, "asked"), fault)
    told = from_json((await now_of(kept, failed)).failed_with)
    assert type(told) is type(fault)
    assert (told.detail, told.members, told.status) == (fault.detail, fault.members, fault.status)
    assert await kept.answer(failed) is None


@pytest.mark.parametrize("state", ["accepted", "asked", "running", "cancelling", *FINAL])
async def test_time_ends_what_is_overdue_and_nothing_else(
    kept: Operations, front: Front, clock: Clock, state: State
) -> None:
    """One write, which erases what was sealed; before its time, and once it has ended, there is none."""
    operation = await in_state(kept, state)
    front.methods.clear()
    assert await kept.settle(operation) is operation
    clock.now = operation.deadline
    settled = await kept.settle(operation)
    if state in FINAL:
        assert (settled, front.methods) == (operation, [])
        return
    assert settled.is_final
    assert front.methods == ["PATCH"]
    assert settled.row.values["sealed"] == b""
    assert settled.row.values["expires"] == int(clock.now) + TOMBSTONE_SECONDS
    assert await now_of(kept, operation) == settled


async def test_what_was_asked_and_never_answered_has_an_unknown_outcome(kept: Operations, clock: Clock) -> None:
    """It may have been paid for, and is not asked again."""
    operation = await in_state(kept, "asked")
    clock.now = operation.deadline
    settled = await kept.settle(operation)
    assert settled.state == "failed"
    assert isinstance(from_json(settled.failed_with), OutcomeUnknown)


async def test_of_time_and_somebody_else_the_faster_counts(kept: Operations, tables: Tables, clock: Clock) -> None:
    """The other one is told how it stands; of one that is gone, how it was."""
    operation = await in_state(kept, "asked")
    done = await finish_done(kept, operation)
    clock.now = operation.deadline
    assert await kept.settle(operation) == done
    gone = await in_state(kept, "accepted")
    await tables.delete(TABLE, gone.partition, gone.id)
    clock.now = gone.deadline
    assert await kept.settle(gone) == gone


async def test_a_task_is_looked_after_by_whoever_comes(kept: Operations, clock: Clock) -> None:
    """Its name, when to look, and what is needed then: no token and no question."""
    wanted = work("total sales", conversation="c" * 32)
    operation = await kept.ask(kept.new_id(), wanted, SECONDS)
    running = await kept.run(operation, wanted.for_looking(), "task-1", 600, 2.5)
    assert (running.state, running.task, running.look_at) == ("running", "task-1", clock.now + 2.5)
    assert running.deadline == clock.now + 600
    assert await kept.work(await now_of(kept, running)) == wanted.for_looking()


async def test_rows_of_an_earlier_or_a_later_release_are_read(kept: Operations, tables: Tables) -> None:
    """What is not there has a default, and what is more is passed over."""
    values: dict[str, Value] = {
        "state": "asked",
        "agent": "sales",
        "created": 1,
        "deadline": 2,
        "expires": 3,
        "later": "x",
    }
    row = await tables.insert(TABLE, "a" * 32, kept.new_id(), values)
    read = await kept.read(row.partition, row.key)
    assert read is not None
    assert (read.sent, read.failure, read.task, read.look_at, read.conversation) == (0, "", "", 0, "")
    assert (read.created, read.deadline) == (1, 2)
