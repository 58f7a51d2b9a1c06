"""What has to be known of an agent before it can be asked: its protocol, and its one tool.

It belongs to the agent and not to the caller, so it is found under the token of whoever comes first, kept for a
while and shared, on this instance and, by `Notices`, with the others. An agent that opens a session is the exception:
the session is the caller's own.
"""

import asyncio
import logging
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from lib.agents import mcp
from lib.agents.connection import Connection
from lib.agents.failures import ServerFault, Throttled, Unreached
from lib.errors import DeadlineExceeded
from lib.traffic.deadline import Deadline

SECONDS = 15.0
ATTEMPTS = 3
NOT_PROCESSED = (Unreached, Throttled)

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Discovery:
    """What was found."""

    session: mcp.Session
    tool: mcp.Tool


class Retry(Protocol):
    """`lib.traffic.retries.retry`, with its clockwork and budget chosen."""

    async def __call__[T](
        self, call: Callable[[], Awaitable[T]], *, on: tuple[type[Exception], ...], attempts: int, deadline: Deadline
    ) -> T:
        """As there."""
        ...


class Discoveries:
    """Finds and keeps what is known of one agent, for `ttl` seconds by `now`."""

    def __init__(self, connection: Connection, retry: Retry, *, ttl: float, now: Callable[[], float]) -> None:
        self._connection = connection
        self._retry = retry
        self._ttl = ttl
        self._now = now
        self._known: Discovery | None = None
        self._known_until = -math.inf
        self._pinned: mcp.Tool | None = None
        self._disproved: mcp.Tool | None = None
        self._discovering = asyncio.Lock()
        self._failed_at = -math.inf
        self._opens_sessions = False

    @property
    def known(self) -> Discovery | None:
        """What is kept and still good; None where that is nothing."""
        return self._known if self._known and self._now() < self._known_until else None

    @property
    def good_for(self) -> float:
        """Seconds for which what is known stays good."""
        return max(0.0, self._known_until - self._now()) if self._known else 0.0

    def adopt(self, found: Discovery, seconds: float) -> None:
        """Takes what another instance has found, for as long as it is good; what is known here already goes first.

        One that would be good for longer than any was told by a clock that is wrong, and is not taken; nor is what has
        turned out here to be no longer so: others may tell of it for a while.
        """
        if not self.known and 0 < seconds <= self._ttl and not _same(found.tool, self._disproved):
            self._keep(found, seconds)

    def forget(self, found: Discovery) -> None:
        """Drops what has turned out to be no longer so, unless something newer is known."""
        self._disproved = found.tool
        if self._known is found:
            self._known = None

    async def find(self, bearer: str, deadline: Deadline, *, anew: bool = False) -> tuple[Discovery, bool]:
        """What is kept, or a new discovery and True: one caller at a time, each under its own token.

        One made `anew` takes the place of what is kept once it is there, and nobody waits for it.
        """
        if (known := self.known) and not anew:
            return known, False
        if self._opens_sessions or anew:  # nothing to share, so nothing to wait for
            return await self._found(bearer, deadline), True
        waiting_since = self._now()
        async with self._discovering:
            if known := self.known:
                return known, False
            if self._failed_at >= waiting_since:  # what the one before has waited for in vain is not waited for again
                raise Unreached
            try:
                return await self._found(bearer, deadline), True
            except (DeadlineExceeded, Unreached, ServerFault):
                self._failed_at = self._now()
                raise

    async def _found(self, bearer: str, deadline: Deadline) -> Discovery:
        """A new discovery, whose steps together have a time of their own."""
        try:
            async with asyncio.timeout(SECONDS):
                return await self._discovered(bearer, deadline)
        except TimeoutError as fault:
            raise ServerFault from fault

    async def _discovered(self, bearer: str, deadline: Deadline) -> Discovery:
        session = await self._step(mcp.initialize, mcp.session_from, bearer, deadline)
        await self._step(partial(mcp.initialized, session), mcp.acknowledged, bearer, deadline)
        tool = await self._step(partial(mcp.list_tools, session), mcp.tool_from, bearer, deadline)
        found = Discovery(session, tool)
        self._opens_sessions = session.id is not None
        if _same(tool, self._disproved):  # it is so again
            self._disproved = None
        if session.id is None:
            self._keep(found, self._ttl)
        self._pin(found)
        return found

    def _keep(self, found: Discovery, seconds: float) -> None:
        self._known, self._known_until = found, self._now() + min(seconds, self._ttl)

    def _pin(self, found: Discovery) -> None:
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
            lambda: self._connection.exchange(build, read, bearer, deadline.within(SECONDS)),
            on=(*NOT_PROCESSED, ServerFault),
            attempts=ATTEMPTS,
            deadline=deadline,
        )


def _same(tool: mcp.Tool, other: mcp.Tool | None) -> bool:
    """Whether two tools are called in the same way; what others tell of one has no description."""
    return other is not None and (tool.name, tool.schema_hash) == (other.name, other.schema_hash)
