"""Asking a data agent over the network: discovery once, the question once, every step within the deadline.

A question costs capacity, leaves a record in Fabric and may be answered differently each time, so it is sent again
only where it provably was not processed: never sent at all, turned away with a time to come back, refused for its
token, or meant for a tool that is gone. `lib.agents.failures` says which replies prove that.
"""

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import httpx

from lib.agents import mcp
from lib.agents.addresses import AgentAddress
from lib.agents.answer import Answer, parse_result
from lib.agents.failures import AddressUnknown, Blocked, FabricTokenRejected, ServerFault, ToolUnknown, Unreached
from lib.errors import AgentUnavailable, DeadlineExceeded
from lib.traffic.deadline import Deadline
from lib.traffic.retries import retry

CONNECT_SECONDS = 3.0
PING_SECONDS = 3.0
DISCOVERY_SECONDS = 15.0
DISCOVERY_ATTEMPTS = 3
QUESTION_ATTEMPTS = 2
NOT_PROCESSED = (Unreached, Blocked)

_log = logging.getLogger(__name__)


class TokenSource(Protocol):
    """Where Fabric tokens for one caller come from: on behalf of a person, or for the app itself."""

    async def __call__(self, *, rejected: str | None = None) -> str:
        """A token; a new one where Fabric has `rejected` the last."""
        ...


@dataclass(frozen=True)
class _Discovery:
    """What has to be known before a question can be asked."""

    session: mcp.Session
    tool: mcp.Tool


class DataAgent:
    """One published data agent. A token goes to its address and nowhere else; redirects are not followed.

    What discovery finds belongs to the agent, not to the caller, so it is kept for `discovery_ttl` seconds and shared,
    unless the agent opens a session, which is the caller's own. `charge` is awaited before each call that brings a
    token, and may refuse it. Times are read from `now`. Answers are read in the
    threads of `readers`.
    """

    def __init__(  # noqa: PLR0913  # all but two have a default
        self,
        address: AgentAddress,
        http: httpx.AsyncClient,
        *,
        link_hosts: frozenset[str] = frozenset(),
        readers: Executor | None = None,
        charge: Callable[[], Awaitable[None]] | None = None,
        discovery_ttl: float = 600,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._address = address
        self._http = http
        self._link_hosts = link_hosts
        self._readers = readers
        self._charge = charge
        self._discovery_ttl = discovery_ttl
        self._now = now
        self._retry = partial(retry, sleep=sleep)
        self._known: _Discovery | None = None
        self._known_until = 0.0
        self._pinned: mcp.Tool | None = None
        self._discovering = asyncio.Lock()
        self._failed_at = -math.inf

    async def ask(self, question: str, token: TokenSource, deadline: Deadline) -> Answer:
        """The agent's answer. Raises `UpstreamError`, `AgentAccessDenied`, `StepUpRequired` or what `token` raises."""
        try:
            async with asyncio.timeout(deadline.timeout(math.inf)):
                result = await self._ask_with(token, question, deadline)
                # a long answer takes seconds to read: not on the loop, nor in the threads that others wait for
                read = partial(parse_result, result, self._link_hosts)
                return await asyncio.get_running_loop().run_in_executor(self._readers, read)
        except TimeoutError as fault:
            raise DeadlineExceeded from fault

    async def ping(self) -> None:
        """Passes where Fabric's front door answers, which says 401 without a token: no capacity, no right needed.

        Raises `UpstreamError` otherwise.
        """
        try:
            async with asyncio.timeout(PING_SECONDS):
                await self._exchange(mcp.initialize, mcp.session_from, None, Deadline.after(PING_SECONDS))
        except FabricTokenRejected:
            return
        except TimeoutError as fault:
            raise DeadlineExceeded from fault
        raise AgentUnavailable  # who lets a stranger in is not Fabric

    async def _ask_with(self, token: TokenSource, question: str, deadline: Deadline) -> mcp.ToolResult:
        bearer = await token()
        try:
            return await self._ask(question, bearer, deadline)
        except FabricTokenRejected:
            return await self._ask(question, await token(rejected=bearer), deadline)

    async def _ask(self, question: str, bearer: str, deadline: Deadline) -> mcp.ToolResult:
        """Discovers and asks; once more where the agent has changed since it was discovered."""
        known = await self._discover(bearer, deadline)
        try:
            return await self._call(known, question, bearer, deadline)
        except (ToolUnknown, AddressUnknown):
            if self._known is known:
                self._known = None
        return await self._call(await self._discover(bearer, deadline), question, bearer, deadline)

    async def _call(self, known: _Discovery, question: str, bearer: str, deadline: Deadline) -> mcp.ToolResult:
        call = partial(mcp.call_tool, known.session, known.tool, question)
        return await self._retry(
            lambda: self._exchange(call, mcp.result_from, bearer, deadline),
            on=NOT_PROCESSED,
            attempts=QUESTION_ATTEMPTS,
            deadline=deadline,
        )

    async def _discover(self, bearer: str, deadline: Deadline) -> _Discovery:
        """The discovery that is kept, or a new one: one caller at a time, each under its own token."""
        if self._known and self._now() < self._known_until:
            return self._known
        waiting_since = self._now()
        async with self._discovering:
            if self._known and self._now() < self._known_until:
                return self._known
            if self._failed_at >= waiting_since:  # what the one before has waited for in vain is not waited for again
                raise AgentUnavailable
            try:
                async with asyncio.timeout(DISCOVERY_SECONDS):
                    return await self._discovered(bearer, deadline)
            except TimeoutError as fault:
                self._failed_at = self._now()
                raise AgentUnavailable from fault
            except (DeadlineExceeded, Unreached, ServerFault):
                self._failed_at = self._now()
                raise

    async def _discovered(self, bearer: str, deadline: Deadline) -> _Discovery:
        """A new discovery, kept where it may be."""
        session = await self._step(mcp.initialize, mcp.session_from, bearer, deadline)
        await self._step(partial(mcp.initialized, session), mcp.acknowledged, bearer, deadline)
        tool = await self._step(partial(mcp.list_tools, session), mcp.tool_from, bearer, deadline)
        found = _Discovery(session, tool)
        if session.id is None:
            self._known, self._known_until = found, self._now() + self._discovery_ttl
        self._pin(found)
        return found

    def _pin(self, found: _Discovery) -> None:
        """Tells of a tool that is not the one from before: republishing does that, and so would somebody's meddling."""
        changed = self._pinned not in {None, found.tool}
        self._pinned = found.tool
        told = {"tool_changed": changed, "schema_hash": found.tool.schema_hash, "protocol": found.session.protocol}
        _log.log(logging.WARNING if changed else logging.INFO, "agent discovered", extra=told)

    async def _step[T](
        self, build: Callable[[str], mcp.Call], read: Callable[[mcp.Reply], T], bearer: str, deadline: Deadline
    ) -> T:
        """One step of discovery, which may be repeated whatever became of it."""
        return await self._retry(
            lambda: self._exchange(build, read, bearer, _within(DISCOVERY_SECONDS, deadline)),
            on=(*NOT_PROCESSED, ServerFault),
            attempts=DISCOVERY_ATTEMPTS,
            deadline=deadline,
        )

    async def _exchange[T](
        self, build: Callable[[str], mcp.Call], read: Callable[[mcp.Reply], T], bearer: str | None, deadline: Deadline
    ) -> T:
        """Sends what `build` makes with a fresh id, and reads the reply."""
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
        return read(reply)

    async def _send(self, call: mcp.Call, bearer: str | None, deadline: Deadline) -> mcp.Reply:
        headers = {**call.headers, **({"Authorization": f"Bearer {bearer}"} if bearer else {})}
        left, connect = deadline.timeout(math.inf), deadline.timeout(CONNECT_SECONDS)
        async with self._http.stream(
            "POST",
            self._address.url,
            headers=headers,
            content=call.body,
            timeout=httpx.Timeout(left, connect=connect, pool=connect),
            follow_redirects=False,
        ) as response:
            reader = mcp.ReplyReader(call, response.status_code, response.headers)
            async for part in response.aiter_raw():
                if reader.feed(part):
                    break
            return reader.reply()


def _within(seconds: float, deadline: Deadline) -> Deadline:
    return Deadline.after(deadline.timeout(seconds), deadline.clock)
