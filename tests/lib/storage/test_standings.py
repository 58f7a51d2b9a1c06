"""Rules for the rows `standing`, on a real Azurite behind a front that can fail."""

import asyncio
import secrets
from collections.abc import Mapping
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from lib.errors import StateUnavailable
from lib.settings import StateStorage
from lib.storage import standings as module
from lib.storage.rows import Conflict
from lib.storage.standings import ATTEMPTS, ROW, TABLE, Standing, Standings
from lib.storage.tables import Tables
from lib.traffic.circuit import LEAST_OUTCOMES, RESET_SECONDS, Circuit
from local.faults import drop
from tests.clock import Clock
from tests.lib.storage.front import Front

pytestmark = pytest.mark.stack

REFUSED = Response(status_code=403)


@pytest.fixture
def standings(fronted: Tables, clock: Clock) -> Standings:
    """One instance's."""
    return Standings(fronted, clock=clock)


@pytest.fixture
def others(fronted: Tables, clock: Clock) -> Standings:
    """Another instance's."""
    return Standings(fronted, clock=clock)


@pytest.fixture
def partition() -> str:
    """A partition of this test alone."""
    return secrets.token_hex(16)


def one_more(standing: Standing) -> Mapping[str, Any]:
    """Counts."""
    return {"count": standing.values.get("count", 0) + 1, "expires": 1}


def never_past_one(standing: Standing) -> Mapping[str, Any]:
    """Sees by the row that it was made already."""
    return {} if standing.values.get("count") else {"count": 1, "expires": 1}


async def test_a_row_that_is_not_there_is_read_once_and_inserted(
    standings: Standings, partition: str, front: Front, tables: Tables
) -> None:
    """And then known: the next change is one write."""
    await standings.change(f"{partition}first", one_more)  # whoever comes first of all makes the table
    front.methods.clear()
    await standings.change(partition, one_more)
    assert front.methods == ["GET", "POST"]
    front.methods.clear()
    await standings.change(partition, one_more)
    assert front.methods == ["PATCH"]
    row = await tables.read(TABLE, partition, ROW)
    assert row is not None
    assert row.values["count"] == 2


async def test_where_somebody_else_was_faster_the_change_is_made_of_what_they_wrote(
    standings: Standings, others: Standings, partition: str, front: Front
) -> None:
    """Nothing of theirs is lost: one write in vain, one read, one write."""
    await standings.change(partition, one_more)
    await others.change(partition, lambda _: {"theirs": True})
    front.methods.clear()
    standing = await standings.change(partition, one_more)
    assert front.methods == ["PATCH", "GET", "PATCH"]
    assert (standing.values["count"], standing.values["theirs"]) == (2, True)


async def test_where_somebody_else_inserted_first_the_change_is_made_of_their_row(
    standings: Standings, others: Standings, partition: str
) -> None:
    """Both had read that there was none."""
    await asyncio.gather(standings.read(partition), others.read(partition))
    await asyncio.gather(standings.change(partition, one_more), others.change(partition, one_more))
    assert (await others.read(partition)).values["count"] == 2


async def test_a_row_that_was_swept_is_inserted_anew(standings: Standings, partition: str, tables: Tables) -> None:
    """Whoever knew it begins again."""
    await standings.change(partition, one_more)
    await tables.delete(TABLE, partition, ROW)
    assert (await standings.change(partition, one_more)).values["count"] == 1


@pytest.mark.parametrize("known", [False, True], ids=["insert", "update"])
async def test_a_write_whose_reply_was_lost_is_made_once(
    standings: Standings, partition: str, front: Front, tables: Tables, known: bool
) -> None:
    """The row is read, and tells."""
    await standings.change(partition, lambda _: {"expires": 1} if known else {})
    front.planned.append(front.lose_reply)
    standing = await standings.change(partition, never_past_one)
    assert standing.values["count"] == 1
    row = await tables.read(TABLE, partition, ROW)
    assert row is not None
    assert row.values["count"] == 1


async def test_a_call_that_fails_twice_is_told(standings: Standings, partition: str, front: Front) -> None:
    """The write, and the read that should tell what became of it."""
    await standings.change(partition, one_more)
    front.planned.extend([REFUSED] * 2)
    with pytest.raises(StateUnavailable):
        await standings.change(partition, one_more)
    assert standings.away_seconds() is None


async def test_whether_a_call_would_be_made_is_known_beforehand(
    fronted_state: StateStorage, front: Front, clock: Clock, partition: str
) -> None:
    """None is while the account is away, until it is time for a probe."""
    circuit = Circuit("table_storage", clock=clock, uniform=lambda low, high: (low + high) / 2)
    tables = Tables(fronted_state, circuit=circuit)
    standings = Standings(tables, clock=clock)
    assert standings.is_reached()
    front.planned.extend([drop] * LEAST_OUTCOMES)
    for _ in range(LEAST_OUTCOMES):
        with pytest.raises(StateUnavailable):
            await tables.insert(TABLE, partition, ROW, {"expires": 1})
    front.methods.clear()
    assert not standings.is_reached()
    with pytest.raises(StateUnavailable):
        await standings.read(partition)
    assert front.methods == []
    clock.advance(RESET_SECONDS)
    assert standings.is_reached()
    await tables.close()


async def test_a_change_that_is_always_late_gives_up(standings: Standings, partition: str, front: Front) -> None:
    """After so many attempts, between which the row is read."""
    await standings.change(partition, one_more)
    front.methods.clear()

    def too_old(_: Standing) -> Mapping[str, Any]:
        raise Conflict

    with pytest.raises(Conflict):
        await standings.change(partition, too_old)
    assert front.methods == ["GET"] * (ATTEMPTS - 1)


@pytest.mark.parametrize(
    ("reply", "fault"),
    [(Response(status_code=412), Conflict), (REFUSED, StateUnavailable)],
    ids=["others-are-faster", "the-write-fails"],
)
async def test_a_write_that_is_made_in_vain_each_time_tells_why(
    standings: Standings, partition: str, front: Front, reply: Response, fault: type[Exception]
) -> None:
    """A row that can be read and not written is no matter of others who are faster."""
    await standings.change(partition, one_more)
    front.methods.clear()
    again: list[ASGIApp] = [front.pass_on, reply]
    front.planned.extend([reply, *again * (ATTEMPTS - 1)])
    with pytest.raises(fault):
        await standings.change(partition, one_more)
    assert front.methods == ["PATCH", *["GET", "PATCH"] * (ATTEMPTS - 1)]


async def test_changes_of_one_process_take_turns(standings: Standings, partition: str, front: Front) -> None:
    """Twenty at once meet no conflict; one read, and a write each."""
    await asyncio.gather(*(standings.change(partition, one_more) for _ in range(20)))
    assert (standings.known(partition) or Standing(None, 0)).values["count"] == 20
    assert front.methods.count("GET") == 1
    assert front.methods.count("PATCH") == 19


async def test_what_refuses_writes_nothing(standings: Standings, partition: str, front: Front) -> None:
    """Its failure passes, and the next one has its turn."""
    await standings.change(partition, one_more)
    front.methods.clear()

    def refuse(_: Standing) -> Mapping[str, Any]:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await standings.change(partition, refuse)
    assert front.methods == []


async def test_a_slow_read_does_not_undo_a_write_that_was_done_meanwhile(
    standings: Standings, others: Standings, partition: str, front: Front, clock: Clock
) -> None:
    """What is remembered never goes back in time."""
    await others.change(partition, one_more)
    answered, go_on = asyncio.Event(), asyncio.Event()

    async def hold_back(scope: Scope, receive: Receive, send: Send) -> None:
        reply = await front._reply(scope, receive)
        loop.call_soon_threadsafe(answered.set)
        while not go_on.is_set():  # noqa: ASYNC110  # of another loop: the front runs in a thread of its own
            await asyncio.sleep(0)
        await reply(scope, receive, send)

    loop = asyncio.get_running_loop()
    standings._remember(partition, await others.read(partition))
    front.planned.append(hold_back)
    slow = asyncio.create_task(standings.read(partition))
    await answered.wait()
    clock.advance(0.1)
    await standings.change(partition, one_more)
    go_on.set()
    assert (await slow).values["count"] == 2
    assert (standings.known(partition) or Standing(None, 0)).values["count"] == 2


async def test_what_is_known_is_bounded(standings: Standings, partition: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A crowd does not fill the memory; who was seen last is kept."""
    monkeypatch.setattr(module, "MOST_KNOWN", 4)
    for number in range(6):
        await standings.read(f"{partition}{number}")
    assert [number for number in range(6) if standings.known(f"{partition}{number}")] == [2, 3, 4, 5]


async def test_turns_of_nobody_are_forgotten(standings: Standings, partition: str) -> None:
    """There is no lock left for each person who ever asked."""
    await standings.change(partition, one_more)
    assert not standings._turns
