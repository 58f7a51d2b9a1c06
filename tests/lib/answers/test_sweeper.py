"""The sweeper on a real Azurite: what it deletes, what it leaves, and what it does not let itself be stopped by."""

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from lib.answers import sweeper
from lib.settings import StateStorage
from lib.storage.tables import Tables
from local.azurite import Azurite
from local.serving import Server
from tests.lib.storage.front import Front

pytestmark = pytest.mark.stack

NOW = 1_800_000_000
FORBIDDEN = Response(status_code=403)


@pytest.fixture
def front(azurite: Azurite) -> Front:
    """What stands before Azurite."""
    return Front(azurite.table_url.removesuffix("/devstoreaccount1"))


@pytest.fixture
def state(azurite: Azurite, front: Front) -> Iterator[StateStorage]:
    """The storage account behind the front."""
    account = azurite.connection_string.partition("TableEndpoint=")[0]
    with Server(front) as server:
        yield StateStorage(connection_string=f"{account}TableEndpoint={server.url}/devstoreaccount1")


@pytest.fixture
async def tables(state: StateStorage) -> AsyncIterator[Tables]:
    """Its tables."""
    opened = Tables(state)
    yield opened
    await opened.close()


@pytest.fixture
def names() -> list[str]:
    """The names of two tables that do not exist yet."""
    return [f"t{secrets.token_hex(8)}" for _ in range(2)]


async def fill(tables: Tables, table: str, *expiries: int) -> None:
    """Makes a row for each end of life, each in a partition of its own."""
    await asyncio.gather(
        *(tables.insert(table, f"p{number}", "k", {"expires": at}) for number, at in enumerate(expiries))
    )


async def sweep_now(tables: Tables, names: list[str], budget_seconds: float = 60) -> dict[str, int]:
    """One sweep while time stands still."""
    return await sweeper.sweep(tables, names, now=lambda: NOW, budget_seconds=budget_seconds, clock=lambda: 0.0)


async def left(tables: Tables, table: str) -> set[int]:
    """The ends of life of the rows that are there."""
    return {row.values["expires"] for number in range(3) async for row in tables.rows(table, f"p{number}")}


async def test_rows_past_their_end_are_deleted(
    tables: Tables, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Those whose last second has come stay until it is over; the deleted ones are counted and logged."""
    await fill(tables, names[0], NOW - 1, NOW, NOW + 1)
    await fill(tables, names[1], NOW - 100, NOW - 200)
    with caplog.at_level(logging.INFO, "lib"):
        assert await sweep_now(tables, names) == {names[0]: 1, names[1]: 2}
    assert await left(tables, names[0]) == {NOW, NOW + 1}
    assert await left(tables, names[1]) == set()
    [record] = caplog.records
    assert record.__dict__["deleted"] == {names[0]: 1, names[1]: 2}


async def test_a_table_that_nobody_wrote_to_is_no_failure(tables: Tables, names: list[str]) -> None:
    """Tables are made by their first writers."""
    assert await sweep_now(tables, names) == dict.fromkeys(names, 0)


async def test_a_row_that_is_renewed_meanwhile_stays(
    state: StateStorage, tables: Tables, front: Front, names: list[str]
) -> None:
    """Between the search and the deletion a session may be used again."""
    await fill(tables, names[0], NOW - 1)

    async def renew_first(scope: Scope, receive: Receive, send: Send) -> None:
        own = Tables(state)
        row = await own.read(names[0], "p0", "k")
        assert row is not None
        await own.update(names[0], row, {"expires": NOW + 1})
        await own.close()
        await front.pass_on(scope, receive, send)

    front.planned.extend([front.pass_on, renew_first])
    assert await sweep_now(tables, names[:1]) == {names[0]: 0}
    assert await left(tables, names[0]) == {NOW + 1}


async def test_a_table_that_fails_does_not_stop_the_others(
    tables: Tables, front: Front, names: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log and swept the next time."""
    for name in names:
        await fill(tables, name, NOW - 1)
    front.planned.append(FORBIDDEN)
    assert await sweep_now(tables, names) == {names[0]: 0, names[1]: 1}
    assert names[0] in [
        record.__dict__.get("table") for record in caplog.records if record.name == "lib.answers.sweeper"
    ]
    assert await sweep_now(tables, names) == {names[0]: 1, names[1]: 0}


async def test_what_was_deleted_before_a_failure_counts(tables: Tables, front: Front, names: list[str]) -> None:
    """One row of three cannot be deleted."""
    await fill(tables, names[0], NOW - 1, NOW - 2, NOW - 3)
    front.planned.extend([front.pass_on, FORBIDDEN])
    assert await sweep_now(tables, names[:1]) == {names[0]: 2}
    assert len(await left(tables, names[0])) == 1


async def test_a_sweep_ends_with_its_budget_and_every_table_gets_its_share(
    tables: Tables, names: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However little time there is, a long table leaves some to the next one; what is left waits for the next run."""
    monkeypatch.setattr(sweeper, "BATCH_ROWS", 2)
    for name in names:
        await fill(tables, name, NOW - 1, NOW - 2, NOW - 3)
    assert await sweep_now(tables, names, budget_seconds=0) == dict.fromkeys(names, 2)
    assert await sweep_now(tables, names) == dict.fromkeys(names, 1)
