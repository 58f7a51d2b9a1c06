"""Rules for leases, on a real Azurite behind a front that can fail."""

import asyncio
import itertools
import logging
import secrets
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lib.settings import StateStorage
from lib.storage.leases import ATTEMPTS, ROW, TABLE, Leases
from lib.storage.rows import Row
from lib.storage.tables import Tables
from lib.traffic.circuit import WINDOW_SECONDS, Circuit
from tests.clock import Clock
from tests.lib.storage.front import Front

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

pytestmark = pytest.mark.stack

SECONDS = 60
REFUSED = Response(status_code=403)
MISSING = JSONResponse({"odata.error": {"code": "ResourceNotFound"}}, 404)


@pytest.fixture
def leases(fronted: Tables, clock: Clock) -> Leases:
    """One instance's; it makes an id for each run, so it may be asked as if it were several."""
    return Leases(fronted, now=clock)


@pytest.fixture
async def name(leases: Leases, front: Front) -> str:
    """A timer of this test alone; the table is there."""
    async with leases.hold(f"first-{secrets.token_hex(8)}", SECONDS):
        pass
    front.methods.clear()
    return secrets.token_hex(16)


async def row_of(tables: Tables, name: str) -> Row:
    """The lease's row, which is there."""
    row = await tables.read(TABLE, name, ROW)
    assert row is not None
    return row


async def ran(leases: Leases, name: str) -> bool:
    """Whether a run at once gets the lease."""
    async with leases.hold(name, SECONDS) as held:
        return held


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """What leases logged, and of which timer."""
    return [
        (record.message, record.__dict__["timer"])
        for record in caplog.records
        if record.name == "lib.storage.leases" and record.levelno >= logging.INFO
    ]


@pytest.mark.parametrize("before", [False, True], ids=["never-held", "held-before"])
async def test_of_runs_that_begin_at_once_exactly_one_works(leases: Leases, name: str, before: bool) -> None:
    """Whether a row has to be made or taken over."""
    if before:
        assert await ran(leases, name)
    all_decided = asyncio.Barrier(8)

    async def run() -> bool:
        async with leases.hold(name, SECONDS) as held:
            await all_decided.wait()
            return held

    assert sorted(await asyncio.gather(*(run() for _ in range(8)))) == [False] * 7 + [True]


async def test_a_lease_costs_three_calls_and_a_refusal_one(leases: Leases, name: str, front: Front) -> None:
    """It is made or taken over, and given back."""
    async with leases.hold(name, SECONDS) as held:
        assert held
        front.methods.clear()
        assert not await ran(leases, name)
        assert front.methods == ["GET"]
    front.methods.clear()
    assert await ran(leases, name)
    assert front.methods == ["GET", "PATCH", "PATCH"]


async def test_the_row_says_who_has_it_and_until_when(leases: Leases, name: str, tables: Tables, clock: Clock) -> None:
    """Given back it has expired, as any row that a sweeper may take."""
    clock.now += 0.5
    async with leases.hold(name, SECONDS):
        row = await row_of(tables, name)
        assert row.values == {"owner": row.values["owner"], "expires": int(clock.now) + SECONDS + 1}
        assert len(row.values["owner"]) > 20
    assert (await row_of(tables, name)).values["expires"] <= clock.now


async def test_whoever_does_not_get_it_says_so(leases: Leases, name: str, caplog: pytest.LogCaptureFixture) -> None:
    """By the timer's name; whoever gets it has nothing to say."""
    with caplog.at_level(logging.INFO, "lib"):
        async with leases.hold(name, SECONDS):
            assert told(caplog) == []
            assert not await ran(leases, name)
    assert told(caplog) == [("another run has the lease", name)]


async def test_work_that_fails_gives_the_lease_back(leases: Leases, name: str) -> None:
    """And its failure passes."""
    with pytest.raises(ZeroDivisionError):
        async with leases.hold(name, SECONDS):
            raise ZeroDivisionError
    assert await ran(leases, name)


async def test_work_that_is_cancelled_gives_the_lease_back(leases: Leases, name: str) -> None:
    """An instance that is told to stop need not be waited for."""
    begun = asyncio.Event()

    async def work() -> None:
        async with leases.hold(name, SECONDS):
            begun.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await ran(leases, name)


async def test_a_lease_that_was_not_given_back_runs_out(
    leases: Leases, name: str, front: Front, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever held it may be gone: nobody waits for longer than was asked for."""
    with caplog.at_level(logging.INFO, "lib"):
        async with leases.hold(name, SECONDS):
            front.planned.append(REFUSED)
    assert told(caplog) == [("a lease runs out by itself", name)]
    clock.advance(SECONDS - 1)
    assert not await ran(leases, name)
    clock.advance(1)
    assert await ran(leases, name)


@pytest.mark.parametrize("before", [False, True], ids=["insert", "take-over"])
async def test_a_lost_reply_does_not_lock_its_owner_out(leases: Leases, name: str, front: Front, before: bool) -> None:
    """The row holds the owner's id: read again, it tells."""
    if before:
        assert await ran(leases, name)
    front.planned.extend([front.pass_on, front.lose_reply])
    async with leases.hold(name, SECONDS) as held:
        assert held
        assert not await ran(leases, name)
    assert await ran(leases, name)


async def test_a_write_that_counts_late_does_not_lock_its_owner_out(leases: Leases, name: str, front: Front) -> None:
    """The row was not there yet when it was looked for, and is in the way of the second attempt."""
    front.planned.extend([front.pass_on, front.lose_reply, MISSING])
    assert await ran(leases, name)
    assert front.methods == ["GET", "POST", "GET", "POST", "GET", "PATCH"]


async def test_a_row_that_is_swept_away_while_it_is_taken_over_is_made_anew(
    leases: Leases, name: str, front: Front, tables: Tables
) -> None:
    """The sweeper deletes what has expired, leases too."""
    assert await ran(leases, name)
    loop = asyncio.get_running_loop()

    async def swept_first(scope: Scope, receive: Receive, send: Send) -> None:
        deletion = asyncio.run_coroutine_threadsafe(tables.delete(TABLE, name, ROW), loop)
        await asyncio.wrap_future(deletion)
        await front.pass_on(scope, receive, send)

    front.planned.extend([front.pass_on, swept_first])
    front.methods.clear()
    assert await ran(leases, name)
    assert front.methods == ["GET", "PATCH", "GET", "POST", "PATCH"]


@pytest.mark.parametrize("answered", [0, 1], ids=["no-read", "no-write"])
async def test_where_nobody_can_tell_nobody_works(
    leases: Leases, name: str, front: Front, caplog: pytest.LogCaptureFixture, answered: int
) -> None:
    """After so many attempts, with a warning and without an exception: the next run comes soon enough."""
    front.planned.extend([*[front.pass_on] * answered, REFUSED] * ATTEMPTS)
    with caplog.at_level(logging.INFO, "lib"):
        assert not await ran(leases, name)
    assert told(caplog) == [("a lease could not be had", name)]
    assert await ran(leases, name)


async def test_work_that_outlives_its_lease_takes_it_from_nobody(
    leases: Leases, name: str, tables: Tables, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Another run has begun; the first one's end is not the second one's, and the log tells."""
    first = leases.hold(name, SECONDS)
    assert await first.__aenter__()
    clock.advance(SECONDS)
    async with leases.hold(name, SECONDS) as held:
        assert held
        row = await row_of(tables, name)
        await first.__aexit__(None, None, None)
        assert await row_of(tables, name) == row
        assert told(caplog) == [("the work outlived its lease", name)]


@pytest.fixture
async def unguarded(fronted_state: StateStorage, front: Front) -> AsyncIterator[Tables]:
    """Azurite's tables through the front, with a circuit that forgets each failure before the next."""
    looks = itertools.count(0, WINDOW_SECONDS - 1)
    opened = Tables(fronted_state, circuit=Circuit("table_storage", clock=lambda: next(looks)))
    yield opened
    front.planned.clear()
    await opened.close()


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.sampled_from(["reply", "no reply", "refusal"]),
        st.sampled_from(["reply", "no reply", "refusal"]),
        st.sampled_from([0, 1, SECONDS // 2, SECONDS]),
    ),
    max_size=10,
)


@given(STEPS)
@example([(0, "no reply", "reply", 0), (1, "no reply", "no reply", SECONDS), (1, "no reply", "refusal", 0)])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_no_two_have_it_at_once_whatever_is_lost(
    unguarded: Tables, front: Front, steps: list[tuple[int, str, str, int]]
) -> None:
    """Three runs that begin and end in any order, each with calls that fail; and then it is free for the next."""
    clock, name = Clock(), secrets.token_hex(16)
    leases = Leases(unguarded, now=clock)
    under_way: dict[int, AbstractAsyncContextManager[bool]] = {}
    holder, until = None, 0.0
    faults: dict[str, ASGIApp] = {"reply": front.pass_on, "no reply": front.lose_reply, "refusal": REFUSED}
    for run, first, second, later in steps:
        clock.advance(later)
        if run in under_way:
            front.planned.append(faults[first])
            await under_way.pop(run).__aexit__(None, None, None)
            holder = None if holder == run else holder
        else:
            front.planned.extend([front.pass_on, faults[first], front.pass_on, faults[second]])
            under_way[run] = leases.hold(name, SECONDS)
            if await under_way[run].__aenter__():
                assert holder is None or until <= clock.now
                holder, until = run, clock.now + SECONDS
        front.planned.clear()
    for late in under_way.values():
        await late.__aexit__(None, None, None)
    clock.advance(SECONDS)
    assert await ran(leases, name)
