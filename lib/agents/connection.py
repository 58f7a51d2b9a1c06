"""The way to one agent: a message out, its reply in, and an error of our tree for everything that can go wrong between.

The token goes to the agent's address and nowhere else: redirects, cookies and the credentials of a `.netrc` are a
matter of HTTP clients, and messages go over httpx's transport without one.
"""

import asyncio
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import aclosing

import httpx

from lib.agents import mcp
from lib.agents.addresses import AgentAddress
from lib.agents.failures import ServerFault, Unreached
from lib.agents.reading import ReplyReader
from lib.errors import CapacityExceeded, DeadlineExceeded
from lib.telemetry.http_calls import HttpCall, http_call
from lib.traffic.deadline import Deadline

CONNECT_SECONDS = 3.0

_log = logging.getLogger(__name__)


class Connection:
    """Sends messages to `address`. `charge` is awaited before each that brings a token, and may refuse it."""

    def __init__(
        self, address: AgentAddress, http: httpx.AsyncBaseTransport, charge: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        self._url = httpx.URL(address.url)
        self._http = http
        self._charge = charge

    async def exchange[T](
        self, build: Callable[[str], mcp.Call], read: Callable[[mcp.Reply], T], bearer: str | None, deadline: Deadline
    ) -> T:
        """Sends what `build` makes with a fresh id, and reads the reply.

        Raises `Unreached` where nothing was sent, `ServerFault` where the connection broke, `DeadlineExceeded`, or
        what `read` and `charge` raise.
        """
        if bearer and self._charge:
            await self._charge()
        call = build(str(uuid.uuid4()))
        try:
            reply = await self._send(call, bearer, deadline)
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as fault:
            raise Unreached from fault
        except httpx.TimeoutException as fault:
            raise DeadlineExceeded from fault
        except (httpx.LocalProtocolError, UnicodeEncodeError):
            raise ServerFault from None  # its text may hold the header that could not be sent: the token
        except httpx.TransportError as fault:
            raise ServerFault from fault
        try:
            return read(reply)
        except CapacityExceeded as fault:
            facts = {"event": "upstream_throttled", "peer": "fabric", "status": reply.status}
            _log.warning("fabric throttles", extra=facts | {"retry_after": fault.retry_after})
            raise

    async def _send(self, call: mcp.Call, bearer: str | None, deadline: Deadline) -> mcp.Reply:
        headers = {**call.headers, **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
        left, connect = deadline.timeout(math.inf), deadline.timeout(CONNECT_SECONDS)
        with http_call("fabric", "POST", {"mcp.method.name": call.method}) as told:
            return await self._read(call, headers, httpx.Timeout(left, connect=connect, pool=connect), told)

    async def _read(
        self, call: mcp.Call, headers: Mapping[str, str], waits: httpx.Timeout, told: HttpCall
    ) -> mcp.Reply:
        timeouts = {"timeout": waits.as_dict()}
        request = httpx.Request("POST", self._url, headers=headers, content=call.body, extensions=timeouts)
        async with aclosing(await self._http.handle_async_request(request)) as response:
            told.status = response.status_code
            reader = ReplyReader(call, response.status_code, response.headers)
            async for part in response.aiter_raw():
                for _ in reader.feed(part):
                    await asyncio.sleep(0)
                if reader.is_complete:
                    break
            return reader.reply()
