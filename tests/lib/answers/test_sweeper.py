"""The sweeper on a real Azurite: what it deletes, what it leaves, how far it goes, and what does not stop it."""

import asyncio
import itertools
import json
import logging
import math
import re
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lib.answers import sweeper
from lib.answers.cursors import KEPT_SECONDS, TIMER
from lib.answers.sweeper import BATCH_ROWS, Swept
from lib.settings import StateStorage
from lib.storage.leases import TABLE
from lib.storage.tables import Tables
from lib.telemetry.logs import JsonFormatter
from local.azurite import Azurite
from local.serving import Server
from tests.clock import Clock
from tests.lib.storage.front import Front

pytestmark = pytest.mark.stack

NOW = 1_800_000_000
FORBIDDEN = Response(status_code=403)
REFUSED = Response(status_code=400)
DENSE = 100
"""Rows of a partition, which are made in one transaction."""


class Searching(Front):
    """Stops a search after `LOOKED_AT` rows, as Table Storage does after five seconds: with whatever it has found."""

    LOOKED_AT = 20

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A search for expired rows asks Azurite for the next rows of any kind."""
        query = dict(Request(scope).query_params)
        wanted = re.fullmatch("expires lt ([0-9]+)L", query.pop("$filter", ""))
        if not wanted:
            await super().pass_on(scope, receive, send)
            return
        query |= {"$top": str(self.LOOKED_AT), "$select": "PartitionKey,RowKey,expires"}
        reply = await self._reply({**scope, "query_string": str(httpx.QueryParams(query)).encode()}, receive)
        body = json.loads(bytes(reply.body))
        body["value"] = [row for row in body["value"] if int(row["expires"]) < int(wanted[1])]
        headers = {name: value for name, value in reply.headers.items() if name != "content-length"}
        await Response(json.dumps(body), reply.status_code, headers)(scope, receive, send)


@pytest.fixture
def state(azurite: Azurite) -> Iterator[StateStorage]:
    """An account whose searches end early."""
    account = azurite.connection_string.partition("TableEndpoint=")[0]
    with Server(Searching(azurite.table_url.removesuffix("/devstoreaccount1")), host="127.0.0.1") as server:
        yield StateStorage(connection_string=f"{account}TableEndpoint={server.url}/devstoreaccount1")


@pytest.fixture
async def searched(state: StateStorage) -> AsyncIterator[Tables]:
    """Its tables."""
    opened = Tables(state)
    yield opened
    await opened.close()


@pytest.fixture
def names() -> list[str]:
    """The names of two tables that do not exist yet."""
    return [f"t{secrets.token_hex(8)}" for _ in range(2)]


async def fill(tables: Tables, table: str, *expiries: int) -> None:
    """Makes a row for each end of life, in partitions as long as a transaction."""
    await tables.insert(table, "first", "k", {"expires": NOW + 10**6})
    numbered = enumerate(expiries)
    for partition, rows in enumerate(itertools.batched(numbered, DENSE, strict=False)):
        key = f"p{partition:03}"
        await tables._client(table).submit_transaction(
            [
                ("create", {"PartitionKey": key, "RowKey": f"k{number:06}", "expires": (at, "Edm.Int64")})
                for number, at in rows
            ]
        )
    await tables.delete(table, "first", "k")


async def sweep_now(
    tables: Tables, names: list[str], *, seconds: float = math.inf, now: float = NOW
) -> dict[str, Swept]:
    """One run, in which a second passes at each look at the clock."""
    return await sweeper.sweep(tables, names, now=lambda: now, budget_seconds=seconds, clock=itertools.count().__next__)


async def deleted_now(tables: Tables, names: list[str]) -> dict[str, int]:
    """How much one run with all the time in the world deletes, by table."""
    return {name: one.deleted for name, one in (await sweep_now(tables, names)).items()}


async def left(tables: Tables, table: str) -> list[int]:
    """The ends of life of the rows that are there."""
    query = tables._client(table).query_entities("PartitionKey ge ''", select="expires")
    return sorted([row["expires"].value async for row in query])


async def cursor_of(tables: Tables, table: str) -> dict[str, Any] | None:
    """What is remembered of a table."""
    row = await tables.read(TABLE, TIMER, table)
    return dict(row.values) if row else None


async def test_rows_past_their_end_are_deleted(
    tables: Tables, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Those whose last second has come stay until it is over; the run is one line in the log."""
    await fill(tables, names[0], NOW - 1, NOW, NOW + 1)
    await fill(tables, names[1], NOW - 100, NOW - 200)
    with caplog.at_level(logging.INFO, "lib"):
        swept = await sweep_now(tables, names)
    assert [(name, one.deleted) for name, one in swept.items()] == [(names[0], 1), (names[1], 2)]
    assert await left(tables, names[0]) == [NOW, NOW + 1]
    assert await left(tables, names[1]) == []
    [record] = caplog.records
    told = json.loads(JsonFormatter().format(record))
    facts = {"deleted": 1, "pages": 1, "ended": "complete", "seconds": 0}
    assert told == {
        "level": "info",
        "logger": "lib.answers.sweeper",
        "message": "expired rows were deleted",
        "event": "swept",
        "deleted": 3,
        "budget_ended": False,
        **{f"{names[0]}_{fact}": value for fact, value in facts.items()},
        **{f"{names[1]}_{fact}": value for fact, value in (facts | {"deleted": 2}).items()},
    }


async def test_a_table_that_nobody_wrote_to_is_no_failure(tables: Tables, names: list[str]) -> None:
    """Tables are made by their first writers."""
    swept = await sweep_now(tables, names)
    assert [(one.deleted, one.pages, one.ended) for one in swept.values()] == [(0, 0, "complete")] * 2


async def test_a_row_that_is_renewed_meanwhile_stays(
    tables: Tables, fronted: Tables, front: Front, names: list[str]
) -> None:
    """Between the search and the deletion a session may be used again."""
    await fill(tables, names[0], NOW - 1)
    loop = asyncio.get_running_loop()

    async def renew() -> None:
        row = await tables.read(names[0], "p000", "k000000")
        assert row is not None
        await tables.update(names[0], row, {"expires": NOW + 1})

    async def renew_first(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(renew(), loop))
        await front.pass_on(scope, receive, send)

    front.planned.extend([front.pass_on, front.pass_on, renew_first])
    assert await deleted_now(fronted, names[:1]) == {names[0]: 0}
    assert front.methods == ["GET", "GET", "DELETE"]
    assert await left(tables, names[0]) == [NOW + 1]


async def test_a_table_that_fails_does_not_stop_the_others(
    tables: Tables, fronted: Tables, front: Front, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log and swept the next time."""
    for name in names:
        await fill(tables, name, NOW - 1)
    front.planned.extend([front.pass_on, FORBIDDEN])
    swept = await sweep_now(fronted, names)
    assert [(one.deleted, one.ended) for one in swept.values()] == [(0, "failed"), (1, "complete")]
    assert names[0] in [
        record.__dict__.get("table") for record in caplog.records if record.name == "lib.answers.sweeper"
    ]
    assert await deleted_now(fronted, names) == {names[0]: 1, names[1]: 0}


async def test_what_was_deleted_before_a_failure_counts(
    tables: Tables, fronted: Tables, front: Front, names: list[str]
) -> None:
    """One row of three cannot be deleted."""
    await fill(tables, names[0], NOW - 1, NOW - 2, NOW - 3)
    front.planned.extend([front.pass_on, front.pass_on, FORBIDDEN])
    assert await deleted_now(fronted, names[:1]) == {names[0]: 2}
    assert len(await left(tables, names[0])) == 1


async def test_where_the_account_is_away_nothing_is_tried(
    fronted: Tables, front: Front, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """The first call tells, and so does the log."""
    front.planned.append(FORBIDDEN)
    assert await sweep_now(fronted, names) == {}
    assert front.methods == ["GET"]
    assert [record.message for record in caplog.records if record.name == "lib.answers.sweeper"] == [
        "no table could be swept"
    ]


async def test_thousands_of_rows_are_worked_through_in_slices(
    tables: Tables, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """No run takes more than its time, each goes on where the last one stopped, and at the end nothing is left."""
    seconds = 9
    await fill(tables, names[0], *(NOW - 1 if number % 8 == 0 else NOW + number for number in range(4000)))
    await fill(tables, names[1], NOW - 1)
    places, deleted, runs = [], 0, 0
    while True:
        assert runs <= math.ceil(501 / BATCH_ROWS / (seconds // 3)), "each deletes what it has time for"
        caplog.clear()
        with caplog.at_level(logging.INFO, "lib"):
            swept = await sweep_now(tables, names, seconds=seconds, now=NOW + runs)
        runs += 1
        assert sum(one.pages for one in swept.values()) <= seconds
        deleted += sum(one.deleted for one in swept.values())
        [record] = caplog.records
        assert record.__dict__[f"{names[0]}_ended"] == swept[names[0]].ended
        assert record.__dict__["budget_ended"] == (swept[names[0]].ended == "budget")
        assert record.__dict__[f"{names[0]}_seconds"] == runs - 1, "how long the pass has taken"
        if swept[names[0]].ended == "complete":
            break
        places.append((await cursor_of(tables, names[0]) or {})["partition"])
    assert len(places) == len(set(places)) == runs - 1
    assert runs >= 4
    assert deleted == 501
    assert await left(tables, names[0]) == [NOW + number for number in range(4000) if number % 8]
    assert await cursor_of(tables, names[0]) is None


async def test_a_stretch_without_expired_rows_is_worked_through_too(
    tables: Tables, searched: Tables, names: list[str]
) -> None:
    """A search that is stopped before it finds a row has come nearer to it all the same."""
    await fill(tables, names[0], *range(NOW, NOW + 500), NOW - 1)
    runs: list[Swept] = []
    while not runs or runs[-1].ended == "budget":
        assert len(runs) < 9, "the runs get nowhere"
        runs.append((await sweep_now(searched, names[:1], seconds=8))[names[0]])
        assert runs[-1].pages <= 8
    assert [one.deleted for one in runs] == [0] * (len(runs) - 1) + [1]
    assert sum(one.pages for one in runs) == math.ceil(501 / Searching.LOOKED_AT)
    assert len(runs) >= 4


async def test_a_table_with_a_pass_under_way_has_the_time_that_the_others_leave(
    tables: Tables, names: list[str]
) -> None:
    """The first time it has its share; then it comes last."""
    await fill(tables, names[0], *[NOW - 1] * 20 * BATCH_ROWS)
    await fill(tables, names[1], NOW - 1)
    first = await sweep_now(tables, names, seconds=18)
    second = await sweep_now(tables, names, seconds=18)
    assert (list(first), list(second)) == (names, names[::-1])
    assert first[names[0]].pages < second[names[0]].pages <= 18


async def test_without_time_each_table_gets_a_page(tables: Tables, names: list[str]) -> None:
    """However little there is, a long table leaves some to the next one; what is left waits for the next run."""
    for name in names:
        await fill(tables, name, *[NOW - 1] * (BATCH_ROWS + 1))
    for count in (BATCH_ROWS, 1):
        swept = await sweep_now(tables, names, seconds=0)
        assert [(one.pages, one.deleted) for one in swept.values()] == [(1, count)] * 2


async def test_a_pass_goes_by_the_time_when_it_began(tables: Tables, names: list[str]) -> None:
    """What expires meanwhile is for the next pass, so that each query of a pass is the same."""
    await fill(tables, names[0], *[NOW - 1] * (BATCH_ROWS + 1), NOW)
    await sweep_now(tables, names[:1], seconds=0)
    swept = await sweep_now(tables, names[:1], now=NOW + 900)
    assert (swept[names[0]].deleted, swept[names[0]].cursor.before) == (1, NOW)
    swept = await sweep_now(tables, names[:1], now=NOW + 1800)
    assert swept[names[0]].deleted == 1
    assert await left(tables, names[0]) == []


async def test_rows_that_go_meanwhile_do_not_move_the_place(tables: Tables, names: list[str]) -> None:
    """The very row where a run is to go on may be deleted before it does, and those behind it are found."""
    await fill(tables, names[0], *[NOW - 1] * (BATCH_ROWS + 3))
    await sweep_now(tables, names[:1], seconds=0)
    await tables.delete(names[0], "p000", f"k{BATCH_ROWS:06}")
    assert await deleted_now(tables, names[:1]) == {names[0]: 2}


async def test_rows_that_could_not_be_deleted_wait_for_the_next_pass(
    tables: Tables, fronted: Tables, front: Front, names: list[str]
) -> None:
    """One row that cannot be deleted does not keep the sweeper from those behind it."""
    await fill(tables, names[0], *[NOW - 1] * (BATCH_ROWS + 2))
    front.planned.extend([front.pass_on, front.pass_on, FORBIDDEN])
    assert await deleted_now(fronted, names[:1]) == {names[0]: BATCH_ROWS - 1}
    assert await deleted_now(fronted, names[:1]) == {names[0]: 2}
    assert await deleted_now(fronted, names[:1]) == {names[0]: 1}


async def test_a_place_that_is_refused_is_given_up(
    tables: Tables, fronted: Tables, front: Front, names: list[str]
) -> None:
    """How long Table Storage knows it is written nowhere: the next run begins anew."""
    await fill(tables, names[0], *[NOW - 1] * (BATCH_ROWS + 1))
    await sweep_now(tables, names[:1], seconds=0)
    front.planned.extend([front.pass_on, REFUSED])
    swept = await sweep_now(fronted, names[:1])
    assert swept[names[0]].ended == "failed"
    assert await cursor_of(tables, names[0]) is None
    assert await deleted_now(fronted, names[:1]) == {names[0]: 1}


@pytest.mark.parametrize(
    "changes",
    [{"expires": NOW}, {"before": NOW + 1}, {"key": 5}, {"before": "1"}],
    ids=["too old", "of a time to come", "no key", "no time"],
)
async def test_a_place_that_makes_no_sense_is_not_gone_on_from(
    tables: Tables, names: list[str], changes: dict[str, Any]
) -> None:
    """It may be an old one, or another release's: the run begins anew, and what it remembers takes its place."""
    await fill(tables, names[0], *[NOW - 1] * (2 * BATCH_ROWS + 1))
    await sweep_now(tables, names[:1], seconds=0)
    assert ((await cursor_of(tables, names[0])) or {})["expires"] == NOW + KEPT_SECONDS
    await fill(tables, names[0], NOW - 2)
    row = await tables.read(TABLE, TIMER, names[0])
    assert row is not None
    await tables.update(TABLE, row, changes)
    await sweep_now(tables, names[:1], seconds=0)
    assert NOW - 2 not in await left(tables, names[0])
    assert ((await cursor_of(tables, names[0])) or {})["before"] == NOW
    assert await deleted_now(tables, names[:1]) == {names[0]: 2}


@pytest.mark.parametrize("known", [False, True], ids=["insert", "update"])
async def test_a_place_that_cannot_be_kept_is_no_failure(
    tables: Tables, fronted: Tables, front: Front, names: list[str], known: bool
) -> None:
    """The next run goes the way again."""
    await fill(tables, names[0], *[NOW - 1] * (3 * BATCH_ROWS))
    if known:
        await sweep_now(tables, names[:1], seconds=0)
    front.planned.extend([front.pass_on] * (2 + BATCH_ROWS) + [FORBIDDEN])
    swept = await sweep_now(fronted, names[:1], seconds=0)
    assert swept[names[0]].ended == "budget"
    assert front.methods[-1] == ("PATCH" if known else "POST")
    await sweep_now(tables, names[:1])
    assert await left(tables, names[0]) == []


async def test_two_runs_at_once_do_no_harm(tables: Tables, names: list[str]) -> None:
    """Where a lease was outlived: what both find is deleted once, and neither fails."""
    for name in names:
        await fill(tables, name, *[NOW - 1, NOW + 1] * 2 * BATCH_ROWS)
    both = await asyncio.gather(*(sweep_now(tables, names, seconds=4) for _ in range(2)))
    assert {one.ended for swept in both for one in swept.values()} <= {"budget", "complete"}
    for _ in range(2):
        await sweep_now(tables, names)
    for name in names:
        assert await left(tables, name) == [NOW + 1] * 2 * BATCH_ROWS


@given(
    st.lists(st.booleans(), max_size=60),
    st.lists(st.integers(0, 6), max_size=8),
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_whatever_time_the_runs_have_in_the_end_what_expired_is_gone_and_nothing_else(
    searched: Tables, expired: list[bool], budgets: list[int]
) -> None:
    """However the rows lie; and no run takes more pages than it has time for, or one."""
    name, clock = f"t{secrets.token_hex(8)}", Clock(NOW)
    await fill(searched, name, *(NOW - 1 if one else NOW + 10**6 for one in expired))
    for seconds in budgets:
        swept = await sweep_now(searched, [name], seconds=seconds, now=clock())
        assert swept[name].pages <= max(1, seconds)
        clock.advance(900)
    for _ in range(2):  # one ends the pass that is under way, and one goes from end to end
        swept = await sweep_now(searched, [name], now=clock())
        assert swept[name].ended == "complete"
    assert await left(searched, name) == [NOW + 10**6] * expired.count(False)
