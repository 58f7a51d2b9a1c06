"""Asking a data agent over the network: discovery once, the question once, every step within the deadline.

A question costs capacity, leaves a record in Fabric and may be answered differently each time, so it is sent again
only where it provably was not processed: never sent at all, turned away with a time to come back, refused for its
token, or meant for a tool that is gone. `lib.agents.failures` says which replies prove that.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import httpx

from lib.agents import mcp
from lib.agents.addresses import AgentAddress
from lib.agents.answer import Answer, parse_result
from lib.agents.connection import Connection
from lib.agents.discovery import NOT_PROCESSED, Discoveries, Discovery
from lib.agents.failures import AddressUnknown, FabricTokenRejected, ToolUnknown
from lib.agents.guard import Guard
from lib.agents.notices import NoNotices, Notices
from lib.errors import AgentUnavailable, DeadlineExceeded
from lib.traffic.deadline import Deadline
from lib.traffic.retries import RetryBudget, retry

PING_SECONDS = 3.0
QUESTION_ATTEMPTS = 2
DISCOVERY_TTL = 600
WIDTH = 32


class TokenSource(Protocol):
    """Where Fabric tokens for one caller come from: on behalf of a person, or for the app itself."""

    async def __call__(self, *, rejected: str | None = None) -> str:
        """A token; a new one where Fabric has `rejected` the last."""
        ...


class DataAgent:
    """One published data agent.

    `width` is how many questions to it may be under way here, `charge` is awaited before each call that brings a
    token and may refuse it, `notices` are what other instances tell of the agent. Answers are read in the threads of
    `readers`. Times are read from `now`.
    """

    def __init__(  # noqa: PLR0913  # all but two have a default
        self,
        address: AgentAddress,
        http: httpx.AsyncClient,
        *,
        name: str = "agent",
        width: int = WIDTH,
        notices: Notices | None = None,
        link_hosts: frozenset[str] = frozenset(),
        readers: Executor | None = None,
        charge: Callable[[], Awaitable[None]] | None = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._connection = Connection(address, http, charge)
        self._link_hosts = link_hosts
        self._readers = readers
        self._notices = notices or NoNotices()
        self._retry = partial(retry, sleep=sleep, budget=RetryBudget(now))
        self._discoveries = Discoveries(self._connection, self._retry, ttl=DISCOVERY_TTL, now=now)
        self._guard = Guard(name, width, clock=now)

    @property
    def state(self) -> str:
        """`closed` while it is asked as usual; else why it is not."""
        return self._guard.state

    async def ready(self, caller: str = "") -> None:
        """Raises what a question of `caller` would meet here without being sent: `CapacityExceeded`, `AgentPaused`."""
        notice = await self._notices.read()
        if notice.cooldown_seconds > 0:
            self._guard.cooldown.hold(notice.cooldown_seconds)
        if notice.discovery:
            self._discoveries.adopt(notice.discovery, notice.discovery_seconds)
        self._guard.refuse(caller)

    async def ask[T](
        self,
        question: str,
        token: TokenSource,
        deadline: Deadline,
        form: Callable[[Answer], T],
        caller: str = "",
    ) -> T:
        """What `form` makes of the agent's answer to `caller`, whom `ready` lets pass.

        Raises `UpstreamError`, `AgentAccessDenied`, `StepUpRequired` or what `token` raises.
        """
        async with _until(deadline):
            bearer = await token()
        async with self._guarded(caller, deadline):
            result = await self._ask_with(bearer, token, question, deadline)
        async with _until(deadline):
            # a long answer takes a while to read: not on the loop, nor in the threads that others wait for
            read = partial(_read, result, self._link_hosts, form)
            return await asyncio.get_running_loop().run_in_executor(self._readers, read)

    async def discover(self, token: TokenSource, deadline: Deadline) -> None:
        """Finds out what has to be known before a question, where it is not known. Raises likewise."""
        await self.ready()
        async with _until(deadline):
            bearer = await token()
        async with self._guarded("", deadline):
            await self._find(bearer, deadline)

    async def ping(self) -> None:
        """Passes where Fabric's front door answers, which says 401 without a token: no capacity, no right needed.

        Raises `UpstreamError` otherwise.
        """
        deadline = Deadline.after(PING_SECONDS)
        try:
            async with _until(deadline):
                await self._connection.exchange(mcp.initialize, mcp.session_from, None, deadline)
        except FabricTokenRejected:
            return
        raise AgentUnavailable  # who lets a stranger in is not Fabric

    @asynccontextmanager
    async def _guarded(self, caller: str, deadline: Deadline) -> AsyncIterator[None]:
        """Holds one call to the agent; where that says when to come back, the other instances are told."""
        try:
            async with self._guard.call(caller), _until(deadline):
                yield
        finally:
            if wait := self._guard.cooldown.remaining():
                await self._notices.tell_cooldown(wait)

    async def _ask_with(self, bearer: str, token: TokenSource, question: str, deadline: Deadline) -> mcp.ToolResult:
        try:
            return await self._ask(question, bearer, deadline)
        except FabricTokenRejected:
            return await self._ask(question, await token(rejected=bearer), deadline)

    async def _ask(self, question: str, bearer: str, deadline: Deadline) -> mcp.ToolResult:
        """Discovers and asks; once more where the agent has changed since it was discovered."""
        known = await self._find(bearer, deadline)
        try:
            return await self._call(known, question, bearer, deadline)
        except (ToolUnknown, AddressUnknown):
            self._discoveries.forget(known)
        return await self._call(await self._find(bearer, deadline), question, bearer, deadline)

    async def _find(self, bearer: str, deadline: Deadline) -> Discovery:
        found, is_new = await self._discoveries.find(bearer, deadline)
        if is_new and found.session.id is None:
            await self._notices.tell_discovery(found, DISCOVERY_TTL)
        return found

    async def _call(self, known: Discovery, question: str, bearer: str, deadline: Deadline) -> mcp.ToolResult:
        call = partial(mcp.call_tool, known.session, known.tool, question)
        return await self._retry(
            lambda: self._connection.exchange(call, mcp.result_from, bearer, deadline),
            on=NOT_PROCESSED,
            attempts=QUESTION_ATTEMPTS,
            deadline=deadline,
        )


def _read[T](result: mcp.ToolResult, link_hosts: frozenset[str], form: Callable[[Answer], T]) -> T:
    return form(parse_result(result, link_hosts))


@asynccontextmanager
async def _until(deadline: Deadline) -> AsyncIterator[None]:
    """A block that ends with `DeadlineExceeded` once the deadline has passed."""
    try:
        async with asyncio.timeout(deadline.timeout(math.inf)):
            yield
    except TimeoutError as fault:
        raise DeadlineExceeded from fault
