"""Table Storage on a real Azurite: what a write needs to count, and what a failure looks like."""

import asyncio
import logging
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from azure.identity.aio import ManagedIdentityCredential
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from lib.errors import StateUnavailable
from lib.settings import StateStorage
from lib.storage import azure_sdk
from lib.storage import tables as tables_module
from lib.storage.rows import Conflict, Page, Position, Row
from lib.storage.server_clock import ServerClock
from lib.storage.tables import SEARCH_SECONDS, Tables
from lib.traffic.circuit import LEAST_OUTCOMES, RESET_SECONDS, Circuit
from local.azurite import Azurite
from local.certificates import Certificates
from local.faults import drop, hang
from tests.clock import Clock
from tests.lib.storage.front import Front

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

    from lib.storage.properties import Value

pytestmark = pytest.mark.stack

SOON = 1_900_000_000
ALIVE = {"expires": SOON}


def error(status: int, code: str) -> JSONResponse:
    """An error as Table Storage tells it."""
    return JSONResponse({"odata.error": {"code": code, "message": {"lang": "en-US", "value": "No."}}}, status)


async def test_a_row_is_read_as_it_was_inserted(tables: Tables, table: str) -> None:
    """Every type that a value may have comes back with the value, and nothing else does."""
    values: dict[str, Value] = {
        "expires": SOON,
        "text": "Grüße, 'quoted' \U0001f600",
        "empty": "",
        "small": -1,
        "large": 2**62,
        "moment": 1763845200.0,
        "fraction": 0.1,
        "yes": True,
        "sealed": b"\x00\xff",
        "nothing": b"",
        "long": bytes(range(256)) * 700,
    }
    inserted = await tables.insert(table, "p", "k", values)
    read = await tables.read(table, "p", "k")
    assert read == inserted
    assert read.values == values
    assert {name: type(value) for name, value in read.values.items()} == {
        name: type(value) for name, value in values.items()
    }
    assert read.etag


async def test_a_missing_row_is_none(tables: Tables, table: str) -> None:
    """It makes no difference whether the table exists."""
    assert await tables.read(table, "p", "k") is None
    await tables.insert(table, "p", "other", ALIVE)
    assert await tables.read(table, "p", "k") is None


async def test_a_missing_table_has_no_rows(tables: Tables, table: str) -> None:
    """Neither a partition nor a search for expired rows needs the table."""
    assert [row async for row in tables.rows(table, "p")] == []
    assert [page async for page in tables.expired(table, SOON)] == []
    assert [page async for page in tables.expired(table, SOON, start=Position("cA==", "aw=="))] == []


async def test_rows_come_with_the_values_that_were_asked_for(tables: Tables, table: str) -> None:
    """Whoever makes a list need not fetch what the rows are about."""
    await tables.insert(table, "p", "k", ALIVE | {"title": "x", "sealed": bytes(200_000)})
    (row,) = [row async for row in tables.rows(table, "p", only=("title", "expires"))]
    assert (row.partition, row.key, row.values) == ("p", "k", ALIVE | {"title": "x"})
    assert row.etag == (await read(tables, table)).etag


async def test_a_row_that_exists_is_not_inserted_again(tables: Tables, table: str) -> None:
    """The second insert is a conflict and leaves the first one's row."""
    first = await tables.insert(table, "p", "k", ALIVE | {"who": "first"})
    with pytest.raises(Conflict):
        await tables.insert(table, "p", "k", ALIVE | {"who": "second"})
    assert await tables.read(table, "p", "k") == first


async def test_a_table_is_made_once_by_many_first_writers(tables: Tables, table: str) -> None:
    """Writers that meet a missing table at the same time all succeed."""
    await asyncio.gather(*(tables.insert(table, "p", str(number), ALIVE) for number in range(8)))
    assert len([row async for row in tables.rows(table, "p")]) == 8


async def test_an_update_keeps_the_fields_it_does_not_know(tables: Tables, table: str) -> None:
    """A row that a newer version of the gateway wrote keeps what only that version knows."""
    await tables.insert(table, "p", "k", ALIVE | {"known": 1, "newer": b"new"})
    row = Row("p", "k", ALIVE | {"known": 1}, (await read(tables, table)).etag)
    updated = await tables.update(table, row, {"known": 2})
    assert updated.values == ALIVE | {"known": 2}
    assert updated.etag != row.etag
    again = await read(tables, table)
    assert again.values == ALIVE | {"known": 2, "newer": b"new"}
    assert again.etag == updated.etag


async def test_a_shorter_value_takes_the_whole_place_of_a_longer_one(tables: Tables, table: str) -> None:
    """No piece of the longer value is read again or left in the table."""
    row = await tables.insert(table, "p", "k", ALIVE | {"sealed": b"a" * 200_000})
    for sealed in (b"b" * 65_536, b"c", b"d" * 140_000, b""):
        row = await tables.update(table, row, {"sealed": sealed})
        assert (await read(tables, table)).values == ALIVE | {"sealed": sealed}
    entity = await tables._client(table).get_entity("p", "k")
    assert {name: value for name, value in entity.items() if name.startswith("sealed")} == dict.fromkeys(
        ("sealed", "sealed_1", "sealed_2", "sealed_3"), b""
    )


async def test_an_update_of_a_row_that_was_changed_since_is_a_conflict(tables: Tables, table: str) -> None:
    """Of two writers that read the same state, one counts."""
    row = await tables.insert(table, "p", "k", ALIVE | {"count": 0})
    outcomes = await asyncio.gather(
        *(tables.update(table, row, {"count": number}) for number in (1, 2)), return_exceptions=True
    )
    assert {type(outcome) for outcome in outcomes} == {Row, Conflict}


async def test_an_update_does_not_bring_a_deleted_row_back(tables: Tables, table: str) -> None:
    """A late write after a logout is a conflict, and the row stays away."""
    row = await tables.insert(table, "p", "k", ALIVE)
    await tables.delete(table, "p", "k")
    with pytest.raises(Conflict):
        await tables.update(table, row, {"last_seen": 1.0})
    assert await tables.read(table, "p", "k") is None


async def test_a_missing_row_may_be_deleted(tables: Tables, table: str) -> None:
    """With or without an etag, with or without the table."""
    await tables.delete(table, "p", "k")
    row = await tables.insert(table, "p", "k", ALIVE)
    await tables.delete(table, "p", "k", etag=row.etag)
    assert await tables.read(table, "p", "k") is None
    await tables.delete(table, "p", "k", etag=row.etag)


async def test_a_row_that_was_changed_since_is_not_deleted_by_its_etag(tables: Tables, table: str) -> None:
    """Who renewed a row in time keeps it."""
    row = await tables.insert(table, "p", "k", ALIVE)
    renewed = await tables.update(table, row, {"expires": SOON + 1})
    with pytest.raises(Conflict):
        await tables.delete(table, "p", "k", etag=row.etag)
    assert await tables.read(table, "p", "k") == renewed


async def test_the_rows_of_a_partition_come_in_the_order_of_their_keys(tables: Tables, table: str) -> None:
    """Other partitions stay out, whatever characters a partition has."""
    for partition, key in (("it's", "b"), ("it's", "a"), ("its", "c"), ("' or '' eq '", "d")):
        await tables.insert(table, partition, key, ALIVE | {"key": key})
    found = [(row.partition, row.key, row.values["key"]) async for row in tables.rows(table, "it's")]
    assert found == [("it's", "a", "a"), ("it's", "b", "b")]


async def test_of_a_partitions_rows_only_some_values_are_read_where_they_are_named(tables: Tables, table: str) -> None:
    """With keys and etags, so that a row can be deleted by them; a name that a row does not have is not there."""
    first = await tables.insert(table, "p", "a", ALIVE | {"agent": "sales", "sealed": b"x" * 100_000})
    second = await tables.insert(table, "p", "b", ALIVE)
    found = [row async for row in tables.rows(table, "p", only=("agent", "other"))]
    assert found == [Row("p", "a", {"agent": "sales"}, first.etag), Row("p", "b", {}, second.etag)]
    for row in found:
        await tables.delete(table, "p", row.key, etag=row.etag)
    assert [row async for row in tables.rows(table, "p")] == []


async def test_expired_rows_come_in_pages_of_keys_and_etags(tables: Tables, table: str) -> None:
    """Rows that end now or later stay out, and so do values."""
    rows = [
        await tables.insert(table, f"p{number}", "k", {"expires": SOON + number, "sealed": b"x"}) for number in range(7)
    ]
    pages = [page async for page in tables.expired(table, SOON + 5.9, page=2)]
    assert [len(page.rows) for page in pages] == [2, 2, 1]
    assert [row for page in pages for row in page.rows] == [
        Row(row.partition, row.key, {}, row.etag) for row in rows[:5]
    ]


async def test_a_search_goes_on_where_another_one_stopped(tables: Tables, table: str) -> None:
    """Whatever has become of the rows there and before: a position is a place, not a row."""
    for number in range(6):
        await tables.insert(table, f"p{number}", "k", ALIVE)
    whole = [page async for page in tables.expired(table, SOON + 1, page=2)]
    assert [page.following is None for page in whole] == [False, False, True]
    rest = [page async for page in tables.expired(table, SOON + 1, page=2, start=whole[0].following)]
    assert rest == whole[1:]
    for page in whole[:2]:
        for row in page.rows[:1]:
            await tables.delete(table, row.partition, row.key)
    rest = [page async for page in tables.expired(table, SOON + 1, page=2, start=whole[0].following)]
    assert [row.partition for page in rest for row in page.rows] == ["p3", "p4", "p5"]


async def test_a_search_that_is_stopped_before_it_finds_a_row_goes_on(
    tables: Tables, fronted: Tables, front: Front, table: str
) -> None:
    """An empty page with a position is no end; at the next partition there is no key in it."""
    row = await tables.insert(table, "p", "k", ALIVE)
    front.planned.append(JSONResponse({"value": []}, headers={"x-ms-continuation-NextPartitionKey": "cA=="}))
    pages = [page async for page in fronted.expired(table, SOON + 1)]
    assert pages == [Page([], Position("cA==", "")), Page([Row("p", "k", {}, row.etag)], None)]
    asked: list[str] = []

    async def ask(scope: "Scope", receive: "Receive", send: "Send") -> None:
        asked.append(scope["query_string"].decode())
        await front.pass_on(scope, receive, send)

    front.planned.append(ask)
    again = [page async for page in fronted.expired(table, SOON + 1, start=pages[0].following)]
    assert again == pages[1:]
    assert "NextPartitionKey=cA%3D%3D" in asked[0]
    assert "NextRowKey" not in asked[0], "what the service did not say it is not told"


@pytest.mark.usefixtures("trusted")
async def test_the_managed_identity_opens_the_tables(
    certificates: Certificates, credential: ManagedIdentityCredential, table: str
) -> None:
    """Without a connection string the account's address and a token are enough, over TLS."""
    with Azurite(certificates=certificates) as azurite:
        tables = Tables(StateStorage(table_url=azurite.table_url), credential)
        row = await tables.insert(table, "p", "k", ALIVE)
        assert await tables.read(table, "p", "k") == row
        await tables.ping()
        await tables.close()


async def test_the_sdk_logs_neither_addresses_nor_headers(
    tables: Tables, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even with every logger at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        await tables.insert(table, "the-partition", "the-key", ALIVE)
        await tables.read(table, "the-partition", "the-key")
        await tables.ping()
    assert "the-partition" not in caplog.text
    assert "authorization" not in caplog.text.lower()
    assert "http" not in caplog.text.lower()


type Call = Callable[[Tables, str, Row], Awaitable[Any]]


async def _rows(tables: Tables, table: str, row: Row) -> None:
    assert [found async for found in tables.rows(table, row.partition)] == [row]


async def _expired(tables: Tables, table: str, row: Row) -> None:
    assert [len(page.rows) async for page in tables.expired(table, row.values["expires"] + 1)] == [1]


REPEATED: dict[str, Call] = {
    "read": lambda tables, table, row: tables.read(table, row.partition, row.key),
    "delete": lambda tables, table, row: tables.delete(table, row.partition, row.key, etag=row.etag),
    "rows": _rows,
    "expired": _expired,
    "ping": lambda tables, _table, _row: tables.ping(),
}
NOT_REPEATED: dict[str, Call] = {
    "insert": lambda tables, table, row: tables.insert(table, row.partition, "new", ALIVE),
    "update": lambda tables, table, row: tables.update(table, row, {"count": 1}),
}
FAULTS: dict[str, ASGIApp] = {
    "cut": drop,
    "silent": hang,
    "busy": error(503, "ServerBusy"),
    "busy for long": Response(status_code=503, headers={"Retry-After": "60"}),
    "forbidden": error(403, "AuthorizationPermissionMismatch"),
    "refused": error(401, "InvalidAuthenticationInfo"),
    "elsewhere": RedirectResponse("http://127.0.0.1:9/devstoreaccount1"),
    "odd error": HTMLResponse("<h1>No</h1>", 400),
    "list as error": JSONResponse(["no"], 409),
}

ODD_REPLIES = {
    "page": HTMLResponse("<p>Welcome</p>"),
    "list": JSONResponse([]),
    "nothing": JSONResponse({}),
    "row without keys": JSONResponse({"value": [{}]}),
    "no text": Response(b"\xff", media_type="application/json"),
}
BUSY = {
    "cut": drop,
    "busy": error(503, "ServerBusy"),
    "busy for now": Response(status_code=503, headers={"Retry-After": "0"}),
    "timed out": error(500, "OperationTimedOut"),
}


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for hundreds of milliseconds where the gateway waits for seconds."""
    monkeypatch.setitem(azure_sdk.OPTIONS, "read_timeout", 0.2)
    monkeypatch.setattr(azure_sdk, "CALL_SECONDS", 0.6)
    monkeypatch.setattr(tables_module, "SEARCH_SECONDS", 0.6)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
@pytest.mark.parametrize("call", (REPEATED | NOT_REPEATED).values(), ids=(REPEATED | NOT_REPEATED).keys())
async def test_a_failure_without_a_name_of_its_own_is_state_unavailable(
    tables: Tables, fronted: Tables, front: Front, table: str, call: Call, fault: ASGIApp
) -> None:
    """Whatever the service does, the caller meets one error, and no word of the SDK's in it."""
    row = await tables.insert(table, "p", "k", ALIVE)
    front.planned.extend([fault] * 8)
    with pytest.raises(StateUnavailable) as raised:
        await call(fronted, table, row)
    assert raised.value.detail == StateUnavailable.default_detail
    front.planned.clear()


@pytest.mark.parametrize("fault", BUSY.values(), ids=BUSY.keys())
@pytest.mark.parametrize("call", REPEATED.values(), ids=REPEATED.keys())
async def test_reads_and_deletes_are_repeated_once(
    tables: Tables, fronted: Tables, front: Front, table: str, call: Call, fault: ASGIApp
) -> None:
    """One hiccup of the service goes unnoticed."""
    row = await tables.insert(table, "p", "k", ALIVE)
    front.planned.append(fault)
    await call(fronted, table, row)
    assert len(front.methods) == 2


@pytest.mark.parametrize("fault", BUSY.values(), ids=BUSY.keys())
@pytest.mark.parametrize("call", NOT_REPEATED.values(), ids=NOT_REPEATED.keys())
async def test_inserts_and_updates_are_not_repeated(
    tables: Tables, fronted: Tables, front: Front, table: str, call: Call, fault: ASGIApp
) -> None:
    """A repeat could meet the row that the first attempt wrote."""
    row = await tables.insert(table, "p", "k", ALIVE)
    front.planned.append(fault)
    with pytest.raises(StateUnavailable):
        await call(fronted, table, row)
    assert len(front.methods) == 1


@pytest.mark.parametrize("call", NOT_REPEATED.values(), ids=NOT_REPEATED.keys())
async def test_a_lost_reply_to_a_write_is_not_a_conflict(
    tables: Tables, fronted: Tables, front: Front, table: str, call: Call
) -> None:
    """The write counted, which its writer cannot know: the outcome is unknown, not refused."""
    row = await tables.insert(table, "p", "k", ALIVE)
    front.planned.append(front.lose_reply)
    with pytest.raises(StateUnavailable):
        await call(fronted, table, row)
    rows = [row async for row in tables.rows(table, "p")]
    assert len(rows) == 2 or rows[0].values == ALIVE | {"count": 1}


async def test_a_lost_reply_to_a_delete_goes_unnoticed(
    tables: Tables, fronted: Tables, front: Front, table: str
) -> None:
    """The repeat finds nothing to delete, which is what was asked for."""
    row = await tables.insert(table, "p", "k", ALIVE)
    front.planned.append(front.lose_reply)
    await fronted.delete(table, "p", "k", etag=row.etag)
    assert await tables.read(table, "p", "k") is None


async def test_a_table_that_cannot_be_made_is_state_unavailable(fronted: Tables, front: Front, table: str) -> None:
    """Where the service makes the table and still does not find it, there is no third attempt."""
    missing = error(404, "TableNotFound")
    front.planned.extend([missing, Response(status_code=204), missing])
    with pytest.raises(StateUnavailable):
        await fronted.insert(table, "p", "k", ALIVE)
    assert front.methods == ["POST", "POST", "POST"]


@pytest.mark.parametrize("code", ["TableBeingDeleted", "AccountBeingCreated"])
async def test_a_409_that_is_not_about_the_row_is_no_conflict(
    fronted: Tables, front: Front, table: str, code: str
) -> None:
    """Only the service's own word for it means that the row exists."""
    front.planned.append(error(409, code))
    with pytest.raises(StateUnavailable):
        await fronted.insert(table, "p", "k", ALIVE)


@pytest.mark.parametrize("call", ["read", "rows", "expired", "insert", "update"])
async def test_a_404_that_is_not_about_a_row_is_no_missing_row(
    fronted: Tables, front: Front, table: str, call: str
) -> None:
    """A missing row can mean that nothing was revoked: only Table Storage's own word for it is believed."""
    front.planned.append(HTMLResponse("<h1>Not here</h1>", 404))
    with pytest.raises(StateUnavailable):
        await (REPEATED | NOT_REPEATED)[call](fronted, table, Row("p", "k", ALIVE, "etag"))


@pytest.mark.parametrize("body", ODD_REPLIES.values(), ids=ODD_REPLIES.keys())
@pytest.mark.parametrize("call", ["read", "rows"])
async def test_a_reply_that_is_no_row_is_state_unavailable(
    fronted: Tables, front: Front, table: str, call: str, body: Response
) -> None:
    """A 200 from something else than Table Storage is a failure like any other."""
    row = Row("p", "k", ALIVE, "etag")
    front.planned.append(body)
    with pytest.raises(StateUnavailable):
        await REPEATED[call](fronted, table, row)


async def test_an_account_that_does_not_listen_is_state_unavailable(azurite: Azurite) -> None:
    """A refused connection is told like every other failure, by its type alone."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    account = azurite.connection_string.partition("TableEndpoint=")[0]
    tables = Tables(StateStorage(connection_string=f"{account}TableEndpoint=http://127.0.0.1:{port}/devstoreaccount1"))
    with pytest.raises(StateUnavailable):
        await tables.ping()
    await tables.close()


async def test_a_failure_is_logged_by_table_type_and_status(
    fronted: Tables, front: Front, table: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the table and no row."""
    front.planned.append(error(403, "AuthorizationFailure"))
    with pytest.raises(StateUnavailable):
        await fronted.read(table, "the-partition", "the-key")
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.__dict__ | {"table": table, "status": 403, "fault": "HttpResponseError"} == record.__dict__
    assert "the-partition" not in caplog.text


async def test_a_caller_who_gives_up_is_not_told_of_a_failure(fronted: Tables, front: Front, table: str) -> None:
    """Cancellation passes through as what it is."""
    front.planned.append(hang)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await fronted.read(table, "p", "k")


@pytest.mark.usefixtures("impatient")
async def test_a_search_through_a_table_is_waited_for_longer(
    monkeypatch: pytest.MonkeyPatch, tables: Tables, fronted: Tables, front: Front, table: str
) -> None:
    """The service itself may search for five seconds: that is no outage."""
    monkeypatch.setattr(tables_module, "SEARCH_SECONDS", SEARCH_SECONDS)
    row = await tables.insert(table, "p", "k", ALIVE)
    searching, go_on = threading.Event(), threading.Event()

    async def slow(scope: "Scope", receive: "Receive", send: "Send") -> None:
        searching.set()
        await asyncio.to_thread(go_on.wait, 20)
        await front.pass_on(scope, receive, send)

    front.planned.extend([slow, *[hang] * 4])
    search = asyncio.create_task(_expired(fronted, table, row))
    assert await asyncio.to_thread(searching.wait, 20)
    for _ in range(4):  # others are given up meanwhile, each after 0.2 s; any other call would be after 0.6 s
        with pytest.raises(StateUnavailable):
            await NOT_REPEATED["update"](fronted, table, row)
    go_on.set()
    await search


DOWN: dict[str, ASGIApp] = {
    "cut": drop,
    "silent": hang,
    "busy": error(503, "ServerBusy"),
    "timed out": error(500, "OperationTimedOut"),
    "throttled": error(429, "TooManyRequests"),
}
NOT_DOWN: dict[str, ASGIApp] = {
    "no role": error(403, "AuthorizationPermissionMismatch"),
    "no identity": error(401, "InvalidAuthenticationInfo"),
    "not a table": error(404, "TableNotFound"),
    "not there": HTMLResponse("<h1>Not here</h1>", 404),
    "being deleted": error(409, "TableBeingDeleted"),
    "elsewhere": RedirectResponse("http://127.0.0.1:9/devstoreaccount1"),
    "list": JSONResponse([]),
}


@pytest.fixture
async def guarded(fronted_state: StateStorage, front: Front, clock: Clock) -> AsyncIterator[Tables]:
    """Azurite's tables through the front, with a circuit that goes by the clock of the test."""
    circuit = Circuit("table_storage", clock=clock, uniform=lambda low, high: (low + high) / 2)
    opened = Tables(fronted_state, circuit=circuit)
    yield opened
    front.planned.clear()
    await opened.close()


async def refused(call: Awaitable[Any]) -> StateUnavailable:
    """The refusal that a call meets."""
    with pytest.raises(StateUnavailable) as raised:
        await call
    return raised.value


async def bring_down(guarded: Tables, front: Front, row: Row, fault: ASGIApp = drop) -> None:
    """So many calls that fail that the circuit opens."""
    front.planned.extend([fault] * LEAST_OUTCOMES)
    await asyncio.gather(*(refused(guarded.update("t", row, {"count": 1})) for _ in range(LEAST_OUTCOMES)))
    assert not front.planned
    front.methods.clear()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", DOWN.values(), ids=DOWN.keys())
async def test_after_five_dead_calls_none_is_made(
    guarded: Tables, front: Front, clock: Clock, caplog: pytest.LogCaptureFixture, fault: ASGIApp
) -> None:
    """Whatever they are for; each says when to come back, and none is worth a line in the log."""
    row = Row("p", "k", ALIVE, "etag")
    assert guarded.closed_for() == 0
    await bring_down(guarded, front, row, fault)
    assert guarded.away_since == clock.now
    assert guarded.closed_for() == RESET_SECONDS
    assert [record.message for record in caplog.records].count("a circuit is open") == 1
    caplog.clear()
    for call in (REPEATED | NOT_REPEATED).values():
        assert (await refused(call(guarded, "t", row))).retry_after == RESET_SECONDS
    assert front.methods == []
    assert caplog.records == []


@pytest.mark.parametrize("fault", NOT_DOWN.values(), ids=NOT_DOWN.keys())
async def test_a_refusal_is_no_outage(guarded: Tables, front: Front, table: str, fault: ASGIApp) -> None:
    """A role may be missing, and the service is there all the same."""
    front.planned.extend([fault] * 100)
    row = Row("p", "k", ALIVE, "etag")
    calls = [call(guarded, table, row) for call in (REPEATED | NOT_REPEATED).values() for _ in range(5)]
    await asyncio.gather(*calls, return_exceptions=True)
    assert len(front.methods) >= len(calls)
    assert guarded.away_since is None


async def test_a_storm_of_conflicts_is_no_outage(guarded: Tables, front: Front, table: str) -> None:
    """Each of them is an answer."""
    row = await guarded.insert(table, "p", "k", ALIVE)
    await guarded.update(table, row, {"count": 1})
    outcomes = await asyncio.gather(
        *(guarded.update(table, row, {"count": 2}) for _ in range(10)),
        *(guarded.insert(table, "p", "k", ALIVE) for _ in range(10)),
        return_exceptions=True,
    )
    assert {type(outcome) for outcome in outcomes} == {Conflict}
    assert len(front.methods) >= 22
    assert guarded.away_since is None


async def test_a_call_with_its_repeat_is_one_outcome(guarded: Tables, front: Front, table: str) -> None:
    """Four reads and their repeats are eight requests, and four failures."""
    front.planned.extend([error(503, "ServerBusy")] * 2 * LEAST_OUTCOMES)
    for _ in range(LEAST_OUTCOMES - 1):
        await refused(guarded.read(table, "p", "k"))
    assert len(front.methods) == 8
    assert guarded.away_since is None
    await refused(guarded.read(table, "p", "k"))
    assert guarded.away_since is not None


async def test_after_the_reset_timeout_one_call_at_a_time_goes_through_until_two_succeed(
    guarded: Tables, front: Front, table: str, clock: Clock
) -> None:
    """Everybody else is refused while it is under way; once it is closed, all go through again."""
    row = await guarded.insert(table, "p", "k", ALIVE)
    await bring_down(guarded, front, row)
    clock.advance(RESET_SECONDS)
    for already in range(2):
        assert guarded.away_since is not None
        outcomes = await asyncio.gather(*(guarded.read(table, "p", "k") for _ in range(5)), return_exceptions=True)
        assert [type(outcome) for outcome in outcomes] == [Row, *[StateUnavailable] * 4]
        assert front.methods == ["GET"] * (already + 1)
    assert guarded.away_since is None
    assert await asyncio.gather(*(guarded.read(table, "p", "k") for _ in range(5))) == [row] * 5


async def test_a_failed_probe_opens_it_for_another_reset_timeout(
    guarded: Tables, front: Front, table: str, clock: Clock
) -> None:
    """And the account is away since the first time."""
    row = Row("p", "k", ALIVE, "etag")
    await bring_down(guarded, front, row)
    began = clock.now
    clock.advance(RESET_SECONDS)
    front.planned.append(drop)
    assert (await refused(guarded.update(table, row, {"count": 1}))).retry_after is None
    assert (await refused(guarded.update(table, row, {"count": 1}))).retry_after == RESET_SECONDS
    assert front.methods == ["PATCH"]
    assert guarded.away_since == began


@pytest.mark.parametrize(
    "reply", [None, error(403, "AuthorizationFailure"), error(503, "ServerBusy")], ids=["its own", "forbidden", "busy"]
)
async def test_each_reply_sets_the_clock(
    fronted_state: StateStorage, front: Front, table: str, reply: ASGIApp | None
) -> None:
    """An error has a `Date` like any other reply."""
    tables = Tables(fronted_state, clock=ServerClock(lambda: time.time() - 1e6))
    row = Row("p", "k", ALIVE, "etag")
    if reply:
        front.planned.append(reply)
    assert abs(tables.clock.now() - time.time()) > 9e5
    with pytest.raises((StateUnavailable, Conflict)):
        await tables.update(table, row, {"count": 1})
    assert len(front.methods) == 1
    assert abs(tables.clock.now() - time.time()) < 5
    await tables.close()


async def read(tables: Tables, table: str) -> Row:
    """The one row of a test, which is there."""
    row = await tables.read(table, "p", "k")
    assert row is not None
    return row
