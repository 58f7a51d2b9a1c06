"""Rules for the way to one agent: what goes out with a message, and what each failure on the way means."""

import asyncio
import gzip
import json
import traceback
from collections.abc import AsyncIterator

import httpx
import pytest

from lib.agents import mcp
from lib.agents.connection import CONNECT_SECONDS, Connection
from lib.agents.failures import FabricTokenRejected, ServerFault, Unreached
from lib.agents.wire import MAX_BODY, STEP
from lib.errors import DeadlineExceeded, GatewayError, RateLimited
from lib.traffic.deadline import Deadline
from tests.clock import Clock
from tests.lib.agents.recorded import answer, in_events, sample
from tests.lib.agents.upstream import ADDRESS, URL, Upstream, soon


@pytest.fixture
async def upstream() -> Upstream:
    """The agent."""
    return Upstream()


async def initialize(
    connection: Connection, bearer: str | None = "token", deadline: Deadline | None = None
) -> mcp.Session:
    """The first message."""
    return await connection.exchange(mcp.initialize, mcp.session_from, bearer, deadline or soon())


async def test_a_message_goes_to_the_address_with_the_token_and_an_id_of_its_own(upstream: Upstream) -> None:
    """What is read is the reply to it."""
    connection = Connection(ADDRESS, upstream.transport())
    assert await initialize(connection) == mcp.Session("2025-06-18")
    await initialize(connection)
    first, second = upstream.requests
    assert (first.method, str(first.url), first.headers["authorization"]) == ("POST", URL, "Bearer token")
    assert first.headers["x-ms-client-request-id"] == upstream.messages[0]["id"] != upstream.messages[1]["id"]
    assert second.headers["x-ms-client-request-id"] == upstream.messages[1]["id"]


async def test_a_reply_in_events_is_left_once_it_is_there(upstream: Upstream) -> None:
    """What would come after it is not read."""
    upstream.plan(
        "initialize", lambda call_id: in_events(answer(call_id, {"protocolVersion": "2025-06-18"}), "x" * 999)
    )
    assert await initialize(Connection(ADDRESS, upstream.transport())) == mcp.Session("2025-06-18")


async def test_without_a_token_none_is_sent_and_nothing_is_charged(upstream: Upstream) -> None:
    """Fabric counts such a message against nobody."""

    async def charge() -> None:
        raise RateLimited("app", retry_after=1)

    connection = Connection(ADDRESS, upstream.transport(), charge)
    upstream.plan("initialize", sample("token-missing"))
    with pytest.raises(FabricTokenRejected):
        await initialize(connection, None)
    assert "authorization" not in upstream.requests[0].headers
    with pytest.raises(RateLimited):
        await initialize(connection)
    assert len(upstream.requests) == 1


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (httpx.ConnectError(""), Unreached),
        (httpx.ConnectTimeout(""), Unreached),
        (httpx.PoolTimeout(""), Unreached),
        (httpx.ReadTimeout(""), DeadlineExceeded),
        (httpx.WriteTimeout(""), DeadlineExceeded),
        (httpx.ReadError(""), ServerFault),
        (httpx.WriteError(""), ServerFault),
        (httpx.RemoteProtocolError(""), ServerFault),
        (httpx.LocalProtocolError(""), ServerFault),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_each_failure_says_whether_the_message_went_out(
    upstream: Upstream, fault: Exception, expected: type[GatewayError]
) -> None:
    """Never sent, sent and not answered in time, or broken on the way."""
    upstream.plan("initialize", fault)
    with pytest.raises(GatewayError) as failed:
        await initialize(Connection(ADDRESS, upstream.transport()))
    assert type(failed.value) is expected


async def test_a_token_that_no_header_can_hold_is_not_told(upstream: Upstream) -> None:
    """The library's error would quote it."""
    token = "secr\u00e9t"
    with pytest.raises(ServerFault) as failed:
        await initialize(Connection(ADDRESS, upstream.transport()), token)
    told = "".join(traceback.format_exception(failed.value))
    assert token not in told
    assert repr(token)[1:-1] not in told
    assert ascii(token)[1:-1] not in told
    assert upstream.requests == []


async def test_a_redirect_leads_nowhere(upstream: Upstream) -> None:
    """The token stays here."""
    upstream.plan("initialize", (307, {"location": "https://evil.example/"}, b""))
    with pytest.raises(ServerFault):
        await initialize(Connection(ADDRESS, upstream.transport()))
    assert [str(request.url) for request in upstream.requests] == [URL]


async def test_each_hop_has_its_own_time_or_what_is_left(upstream: Upstream, clock: Clock) -> None:
    """Connecting is short, the answer may take all of it; past the deadline nothing is sent."""
    connection = Connection(ADDRESS, upstream.transport())
    for seconds in (100, 2):
        await initialize(connection, deadline=Deadline.after(seconds, clock))
    with pytest.raises(DeadlineExceeded):
        await initialize(connection, deadline=Deadline.after(0, clock))
    timeouts = [request.extensions["timeout"] for request in upstream.requests]
    assert [(each["connect"], each["pool"], each["read"]) for each in timeouts] == [
        (CONNECT_SECONDS, CONNECT_SECONDS, 100),
        (2, 2, 2),
    ]


async def test_a_reply_that_unfolds_holds_nobody_up() -> None:
    """A few bytes of gzip that came at once are read over many turns of the loop."""

    async def reply(request: httpx.Request) -> httpx.Response:
        message = answer(json.loads(request.content)["id"], {"protocolVersion": "2025-06-18"})
        body = gzip.compress(b" " * (MAX_BODY - 999) + json.dumps(message).encode())
        headers = {"content-type": "application/json", "content-encoding": "gzip"}
        return httpx.Response(200, headers=headers, content=at_once(body))

    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    other = asyncio.create_task(others())
    connection = Connection(ADDRESS, httpx.MockTransport(reply))
    session = await connection.exchange(mcp.initialize, mcp.session_from, None, soon())
    other.cancel()
    assert session == mcp.Session("2025-06-18")
    assert turns >= MAX_BODY // STEP - 1


async def at_once(body: bytes) -> AsyncIterator[bytes]:
    """The body as one part."""
    yield body
