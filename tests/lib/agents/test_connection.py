"""The way to one agent: what reading a reply leaves to others."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator

import httpx

from lib.agents import mcp
from lib.agents.connection import Connection
from lib.agents.wire import MAX_BODY, STEP
from tests.lib.agents.recorded import answer
from tests.lib.agents.upstream import ADDRESS, soon


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

    async with httpx.AsyncClient(transport=httpx.MockTransport(reply)) as http:
        other = asyncio.create_task(others())
        session = await Connection(ADDRESS, http).exchange(mcp.initialize, mcp.session_from, None, soon())
        other.cancel()
    assert session == mcp.Session("2025-06-18")
    assert turns >= MAX_BODY // STEP - 1


async def at_once(body: bytes) -> AsyncIterator[bytes]:
    """The body as one part."""
    yield body
