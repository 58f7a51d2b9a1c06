"""A question on its way to the agent: answered before, being asked already, or let through as one more.

Two caches stand before the agent, in this instance's memory and in Table Storage, and whoever asks what is being asked
already waits for that. Where the agent fails in a way that will pass, the caller's own earlier answer is given with
its age, once it is certain that they may still have it.
"""

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib.agents.failures import AddressUnknown, FabricTokenRejected
from lib.answers.cache import AnswerCache, Kept
from lib.answers.given import Given
from lib.answers.stored import Found
from lib.errors import (
    AgentPaused,
    AgentUnavailable,
    CapacityExceeded,
    DeadlineExceeded,
    Forbidden,
    GatewayError,
    RateLimited,
    ReducedCapacity,
    StateUnavailable,
    TooManyRequests,
    Unauthenticated,
    Unavailable,
    UpstreamError,
)
from lib.telemetry import metrics
from lib.telemetry.signals import count, span
from lib.traffic.gcra import Meter
from lib.traffic.single_flight import SingleFlight

if TYPE_CHECKING:
    from lib.answers.encoding import Encoded
    from lib.answers.stored import StoredAnswers
    from lib.answers.wanted import Wanted
    from lib.identity.revocation import Revocations
    from lib.limits.limiter import Limiter
    from lib.traffic.deadline import Deadline

_TELLS_LIMITS = (TooManyRequests, UpstreamError, Unavailable)
"""Failures whose replies tell how much is left; who may not ask is told nothing of limits (the draft, section 8.2)."""
_ACCESS_LOST = (Unauthenticated, Forbidden, AddressUnknown, FabricTokenRejected)
"""401, 403 and 404 while the agent is asked: what it has answered before is not given again."""
_OWN_LIMITS = (TooManyRequests, ReducedCapacity)
WILL_PASS = (DeadlineExceeded, AgentUnavailable, AgentPaused, CapacityExceeded)
"""Timeouts, 5xx, 429 and an open circuit: until the agent is back, its last answer may serve."""


@dataclass(frozen=True)
class Agent:
    """The two things that a question wants of its agent: that it is `ready` for one, and what `fetch` brings."""

    ready: Callable[[], Awaitable[None]]
    fetch: Callable[[], Awaitable["Encoded"]]


@dataclass(frozen=True)
class _Refused:
    """What the leader was refused by its own grant or as a payer (`who`), which says nothing of anybody else."""

    who: str
    fault: GatewayError


class Questions:
    """Asks agents, no more often than it has to and than the principal may."""

    def __init__(  # noqa: PLR0913  # the parts it is made of
        self,
        cache: AnswerCache,
        stored: "StoredAnswers",
        repeats: Meter,
        limiter: "Limiter",
        revocations: "Revocations",
        *,
        stale_seconds: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`repeats` meters what costs no call, kept answers and those of others, in this process alone."""
        self._cache = cache
        self._stored = stored
        self._repeats = repeats
        self._limiter = limiter
        self._revocations = revocations
        self._stale_seconds = stale_seconds
        self._now = now
        self._flights: SingleFlight[tuple[str, Kept] | _Refused] = SingleFlight()

    async def ask(self, wanted: "Wanted", deadline: "Deadline", agent: Agent) -> Given:
        """The answer, which `agent` is asked for unless another instance has kept one: `known` has none here.

        Raises `RateLimited`, `TooManyInFlight`, `StateUnavailable` or what `agent` raises.
        """
        self._count_repeat(wanted)  # first, so that nobody waits for an answer that they will not be given
        valid_after = await self._revocations.valid_after(*wanted.owner)
        own, leads = (wanted.payer, wanted.grant), False

        async def lead() -> tuple[str, Kept] | _Refused:
            nonlocal leads
            leads = True
            try:
                return await self._found(wanted, valid_after, deadline, agent)
            except (Unauthenticated, Forbidden) as fault:
                return _Refused(wanted.grant, fault)

        flight = (wanted.key, wanted.anew, valid_after)  # what was asked before a revocation is not given after it
        try:
            outcome = await self._flights.run(flight, lead)
            for again in (flight, (*flight, *own)):
                if not isinstance(outcome, _Refused) or outcome.who in own:
                    break
                outcome = await self._flights.run(again, lead)  # who was refused has left the lead to another
        except WILL_PASS as fault:
            return await self.stale(wanted, fault)
        if isinstance(outcome, _Refused):
            raise outcome.fault
        how, kept = outcome
        return self._given(wanted, how if leads or how == "kept" else "joined", kept)

    async def stored(self, wanted: "Wanted") -> Given | None:
        """The answer, where another instance has kept a fresh one. Raises `RateLimited`."""
        given = None
        if not wanted.anew:
            await self._look(wanted)
            given = await self.known(wanted, "stored")
        if given is None:
            count(metrics.LOOKUPS, {"result": "none"})
        return given

    @contextmanager
    def telling_limits(self, wanted: "Wanted") -> Iterator[None]:
        """Lets failures tell how much is left, where they may."""
        try:
            yield
        except _TELLS_LIMITS as fault:
            fault.headers = self._limiter.fields(wanted.payer)
            raise

    async def known(self, wanted: "Wanted", where: str = "memory") -> Given | None:
        """The answer, where a fresh one is in this instance's memory. Raises `RateLimited`.

        `where` is where it has come from, as metrics tell it.
        """
        with span("look", {"where": "memory"}):
            kept = self._fresh(wanted, await self._revocations.valid_after(*wanted.owner))
        if kept is None:
            return None
        count(metrics.LOOKUPS, {"result": where})
        self._count_repeat(wanted)
        return self._given(wanted, "kept", kept)

    async def run(self, wanted: "Wanted", agent: Agent) -> Given:
        """The answer to a question that was let through before: asked for, or an earlier one as above.

        Raises what `agent` raises.
        """
        try:
            found = await self._look(wanted)
            await agent.ready()
            kept = await self.keep(wanted, *await self._fetched(wanted, agent), found)
        except WILL_PASS as fault:
            return await self.stale(wanted, fault)
        return self._given(wanted, "fetched", kept)

    async def keep(self, wanted: "Wanted", encoded: "Encoded", asked_at: float, found: Found | None = None) -> Kept:
        """The answer, which is kept where it may be."""
        kept = Kept(encoded.json, asked_at)
        if wanted.fresh_seconds and not encoded.is_clarifying:
            with span("keep"):
                self._cache.put(wanted.key, kept)
                await self._stored.write(wanted.key, kept, found or await self._stored.read(wanted.key))
        return kept

    async def is_fresh(self, wanted: "Wanted", seconds: float = 0) -> bool:
        """Whether an answer is kept for all instances that will be fresh for so many seconds more.

        Raises `StateUnavailable`.
        """
        found, valid_after = await self._look(wanted), await self._revocations.valid_after(*wanted.owner)
        if found is None or found.kept is None or found.kept.asked_at < valid_after:
            return False
        return 0 <= self._now() - found.kept.asked_at < wanted.fresh_seconds - seconds

    async def renew(self, wanted: "Wanted", agent: Agent) -> None:
        """Has the question asked, whatever is kept, and keeps the answer. Raises what `agent` raises."""
        found = await self._look(wanted)
        await agent.ready()
        await self.keep(wanted, *await self._fetched(wanted, agent), found)

    @asynccontextmanager
    async def purging(self, wanted: "Wanted") -> AsyncIterator[None]:
        """Drops what is kept of the agent for its owner, where it turns out that they have lost it."""
        try:
            yield
        except _ACCESS_LOST:
            await self.forget(wanted.key.partition, wanted.key.agent)
            raise

    async def forget(self, partition: str, agent: str | None = None) -> None:
        """Drops what is kept of one owner: of that agent, or all."""
        self._cache.forget(partition, agent)
        await self._stored.forget(partition, agent)

    async def _found(
        self, wanted: "Wanted", valid_after: float, deadline: "Deadline", agent: Agent
    ) -> tuple[str, Kept] | _Refused:
        """Asks as the leader of all who ask the same here, who alone is charged; the place ends with the call."""
        try:
            self._limiter.refuse_known(wanted.payer)  # a flood costs no look
        except RateLimited as fault:
            return _Refused(wanted.payer, fault)
        found = await self._look(wanted)
        if kept := self._fresh(wanted, valid_after):
            count(metrics.LOOKUPS, {"result": "stored"})
            return "kept", kept
        count(metrics.LOOKUPS, {"result": "none"})
        await agent.ready()
        async with AsyncExitStack() as place:
            try:
                await place.enter_async_context(self._limiter.place(wanted.payer, deadline.remaining()))
            except _OWN_LIMITS as fault:
                return _Refused(wanted.payer, fault)
            fetched = await self._fetched(wanted, agent)
        return "fetched", await self.keep(wanted, *fetched, found)

    async def _look(self, wanted: "Wanted") -> Found | None:
        """What is stored for the question, which is in memory then too; None where nothing is to be kept."""
        if not wanted.fresh_seconds:
            return None
        with span("look", {"where": "stored"}):
            found = await self._stored.read(wanted.key)
        if found.kept:
            self._cache.put(wanted.key, found.kept)
        return found

    async def _fetched(self, wanted: "Wanted", agent: Agent) -> "tuple[Encoded, float]":
        """What the agent says now, and when that was asked for."""
        asked_at = self._now()
        async with self.purging(wanted):
            encoded = await agent.fetch()
            return encoded, asked_at

    async def stale(self, wanted: "Wanted", fault: GatewayError) -> Given:
        """The owner's earlier answer; `fault` where there is none, or where it is not certain that they may have it."""
        if wanted.anew or not wanted.fresh_seconds or isinstance(fault, _ACCESS_LOST):
            raise fault
        try:
            valid_after = await self._revocations.valid_after(*wanted.owner, at_once=True)
        except StateUnavailable:
            raise fault from None
        kept = self._cache.get(wanted.key, at_most=self._stale_seconds, valid_after=valid_after)
        if kept is None:
            raise fault
        count(metrics.DEGRADED, {"mode": "stale_answer"})
        return self._given(wanted, "kept", kept)

    def _fresh(self, wanted: "Wanted", valid_after: float) -> Kept | None:
        if wanted.anew or not wanted.fresh_seconds:
            return None
        return self._cache.get(wanted.key, at_most=wanted.fresh_seconds, valid_after=valid_after)

    def _count_repeat(self, wanted: "Wanted") -> None:
        wait = self._repeats.hit(wanted.payer)
        decision = "refused" if wait else "admitted"
        count(metrics.DECISIONS, {"policy": "repeats", "decision": decision, "by": "memory"})
        if wait:
            raise RateLimited("repeats", retry_after=math.ceil(wait / 1000))

    def _given(self, wanted: "Wanted", how: str, kept: Kept) -> Given:
        age = max(0, int(self._now() - kept.asked_at))
        return Given(kept, how, age, wanted.fresh_seconds - age, self._limiter.fields(wanted.payer))
