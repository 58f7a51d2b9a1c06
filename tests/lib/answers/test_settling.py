"""Settling what nobody has come back for, on a real Azurite: which operations time has ended, and how many in a run."""

import asyncio
import itertools
import math
import secrets
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import pytest
from starlette.responses import Response

from lib.answers.cache import AnswerKey
from lib.answers.failures_kept import from_json
from lib.answers.given import Given
from lib.answers.operation import FINAL, MOVES, Operation, State
from lib.answers.operations import TOMBSTONE_SECONDS, Operations
from lib.answers.wanted import Wanted
from lib.answers.work import Work
from lib.errors import OutcomeUnknown, StateUnavailable
from lib.storage.key_vault import KeyVault
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.tables import Tables
from lib.traffic.deadline import Deadline
from tests.clock import Clock
from tests.lib.storage.front import Front

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

pytestmark = pytest.mark.stack

FORBIDDEN = Response(status_code=403)
SECONDS = 60
AFTER: Mapping[State, State] = {
    "accepted": "expired",
    "asked": "failed",
    "running": "expired",
    "cancelling": "cancelled",
}
"""What time makes of each state that is not final."""


async def unnoted(work: Work, given: Given) -> None:
    """Nothing here belongs to a conversation."""


type Make = Callable[[Tables], Operations]


@pytest.fixture
def make(key_vault_client: KeyVault, clock: Clock, table: str, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Makes operations, in a table of this test alone."""
    monkeypatch.setattr("lib.answers.operations.TABLE", table)
    sealer = Sealer(KeyRing(key_vault_client, now=clock))
    return lambda tables: Operations(tables, sealer, unnoted, now=clock)


@pytest.fixture
def operations(make: Make, fronted: Tables) -> Operations:
    """Operations behind the front."""
    return make(fronted)


def work() -> Work:
    """A question of somebody who was never seen before."""
    payer = secrets.token_hex(16)
    want = Wanted(AnswerKey(payer, "sales", "question"), payer, ("tenant", "person"), payer, "grant", 300)
    return Work(want, "How much?", "a-token")


async def in_state(operations: Operations, state: State) -> Operation:
    """An operation that has just come to that state, and has so many seconds for it."""
    asked = work()
    if state == "accepted":
        accepted = await operations.accept(secrets.token_hex(16), asked)
        return await operations.move(accepted, "accepted", deadline=operations._now() + SECONDS)
    operation = await operations.ask(secrets.token_hex(16), asked, SECONDS)
    if state in {"running", "cancelling"}:
        operation = await operations.run(operation, asked, "task", SECONDS, 5)
    return operation if state == operation.state else await operations.move(operation, state)


async def stands(operations: Operations, operation: Operation) -> Operation:
    """How it stands now."""
    found = await operations.read(operation.partition, operation.id)
    assert found
    return found


async def fill(operations: Operations, count: int) -> list[Operation]:
    """So many operations that were asked."""
    return [await in_state(operations, "asked") for _ in range(count)]


def looks(count: float) -> Deadline:
    """A deadline that has passed once it was looked at so often."""
    return Deadline.after(count, itertools.count().__next__)


def test_every_state_that_is_not_final_has_an_end_by_time() -> None:
    """The others are not searched for."""
    assert AFTER.keys() == MOVES.keys() - FINAL


@pytest.mark.parametrize("state", AFTER)
async def test_an_operation_ends_once_its_time_is_over_and_not_before(
    operations: Operations, clock: Clock, state: State
) -> None:
    """As its reader would have ended it; what was sealed is erased, and the state stays for a day."""
    operation = await in_state(operations, state)
    clock.advance(SECONDS - 0.002)
    assert await operations.settle_all(looks(math.inf)) == 0
    assert await stands(operations, operation) == operation
    clock.advance(0.002)
    assert await operations.settle_all(looks(math.inf)) == 0, "the very end is not over yet"
    clock.advance(0.002)
    assert await operations.settle_all(looks(math.inf)) == 1
    settled = await stands(operations, operation)
    assert settled.state == AFTER[state]
    assert settled.row.values["sealed"] == b""
    assert settled.row.values["expires"] == int(clock.now) + TOMBSTONE_SECONDS
    assert await operations.settle_all(looks(math.inf)) == 0


async def test_what_was_asked_and_never_answered_has_failed_with_an_outcome_that_nobody_knows(
    operations: Operations, clock: Clock
) -> None:
    """Whoever comes back after all is told so."""
    operation = await in_state(operations, "asked")
    clock.advance(SECONDS + 1)
    await operations.settle_all(looks(math.inf))
    settled = await stands(operations, operation)
    assert isinstance(from_json(settled.failed_with), OutcomeUnknown)


@pytest.mark.parametrize("state", sorted(FINAL))
async def test_what_has_ended_stays_as_it_is(
    operations: Operations, tables: Tables, table: str, clock: Clock, front: Front, state: State
) -> None:
    """However long ago; neither it nor the row with its answer is written to."""
    operation = await operations.end(await in_state(operations, "asked"), "cancelled")
    row = await tables.update(table, operation.row, {"state": state})
    name = f"{operation.id}-answer"
    answer = await tables.insert(table, operation.partition, name, {"sealed": b"x", "expires": 1})
    clock.advance(10 * SECONDS)
    front.methods.clear()
    assert await operations.settle_all(looks(math.inf)) == 0
    assert front.methods == ["GET"]
    for before in (row, answer):
        after = await tables.read(table, before.partition, before.key)
        assert after
        assert (after.etag, after.values["expires"]) == (before.etag, before.values["expires"])


async def test_many_operations_are_settled_in_one_run(
    operations: Operations, make: Make, tables: Tables, clock: Clock
) -> None:
    """A search brings a hundred at a time; those with time left, between them, are passed over."""
    direct = make(tables)
    overdue = await fill(direct, 130)
    clock.advance(SECONDS)
    young = await fill(direct, 5)
    clock.advance(1)
    assert await operations.settle_all(looks(math.inf)) == 130
    assert {(await stands(direct, one)).state for one in overdue[::10]} == {"failed"}
    assert {(await stands(direct, one)).state for one in young} == {"asked"}


@pytest.mark.parametrize("count", [1, 7])
async def test_a_run_that_has_no_time_left_ends_between_two_operations(
    operations: Operations, make: Make, tables: Tables, clock: Clock, count: int
) -> None:
    """The next one settles what is left over, until there is nothing."""
    await fill(make(tables), 20)
    clock.advance(SECONDS + 1)
    settled: list[int] = []
    while not settled or settled[-1]:
        settled.append(await operations.settle_all(looks(count + 1)))
        assert settled[-1] <= count
    assert sum(settled) == 20
    assert len(settled) == math.ceil(20 / count) + 1


async def test_a_search_that_finds_nothing_for_long_ends_with_the_time(
    operations: Operations, clock: Clock, front: Front
) -> None:
    """Table Storage stops a search every so often, without a row to show for it."""
    operation = await in_state(operations, "asked")
    clock.advance(SECONDS + 1)
    token = {"x-ms-continuation-NextPartitionKey": "0", "x-ms-continuation-NextRowKey": "0"}
    empty = Response('{"value":[]}', media_type="application/json", headers=token)
    front.planned.append(empty)
    front.methods.clear()
    assert await operations.settle_all(looks(1)) == 0
    assert front.methods == ["GET"]
    front.planned.append(empty)
    assert await operations.settle_all(looks(math.inf)) == 1
    assert (await stands(operations, operation)).state == "failed"


async def test_who_was_faster_has_the_last_word(
    operations: Operations, make: Make, tables: Tables, table: str, clock: Clock, front: Front
) -> None:
    """What was cancelled in the last moment stays so, what is gone stays gone, and the run goes on."""
    direct, loop = make(tables), asyncio.get_running_loop()
    overdue = sorted(await fill(direct, 3), key=lambda operation: operation.partition)

    def before(work: Callable[[], Coroutine[Any, Any, object]]) -> "ASGIApp":
        async def fault(scope: "Scope", receive: "Receive", send: "Send") -> None:
            await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work(), loop))
            await front.pass_on(scope, receive, send)

        return fault

    clock.advance(SECONDS + 1)
    cancelled = before(lambda: direct.end(overdue[0], "cancelled"))
    gone = before(lambda: tables.delete(table, overdue[1].partition, overdue[1].id))
    front.planned.extend([front.pass_on, cancelled, front.pass_on, gone])
    assert await operations.settle_all(looks(math.inf)) == 2
    assert [found and found.state for found in [await direct.read(one.partition, one.id) for one in overdue]] == [
        "cancelled",
        None,
        "failed",
    ]


async def test_where_storage_fails_what_was_done_stays_done(
    operations: Operations, make: Make, tables: Tables, clock: Clock, front: Front
) -> None:
    """The caller is told, and the next run goes on."""
    await fill(make(tables), 3)
    clock.advance(SECONDS + 1)
    for good in (0, 2):
        front.planned.extend([*[front.pass_on] * good, FORBIDDEN])
        with pytest.raises(StateUnavailable):
            await operations.settle_all(looks(math.inf))
    assert await operations.settle_all(looks(math.inf)) == 2


async def test_before_the_first_operation_there_is_nothing_to_settle(operations: Operations) -> None:
    """There is no table yet."""
    assert await operations.settle_all(looks(math.inf)) == 0
