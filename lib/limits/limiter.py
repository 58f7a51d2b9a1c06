"""The limiter: lets a question through by one write into the principal's row, and gives its place back by another.

A row that is known is written without reading it first: If-Match tells whether it still stood so, and a rate that
refuses by a known row refuses by any later one, so that neither costs a read. While Table Storage is away each
instance lets through its safe share; a single call that fails is no outage, and closes the door. A place that may have
been taken by a write of which nothing was heard is looked for behind, and given back.
"""

import asyncio
import logging
import math
import random
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from lib.errors import GatewayError, RateLimited, ReducedCapacity, StateUnavailable, TooManyInFlight
from lib.limits.fields import fields
from lib.limits.usage import Debt, Limits, Refusal, Slot, Usage
from lib.storage.rows import Conflict
from lib.storage.server_clock import LAST_REPLIES
from lib.telemetry import metrics
from lib.telemetry.signals import count, span
from lib.traffic.gcra import MINUTE_MS

if TYPE_CHECKING:
    from lib.limits.safe_share import SafeShare
    from lib.storage.standings import Standing, Standings

SLOT_GRACE_SECONDS = 5
RELEASE_SECONDS = 2
GIVE_BACK_AFTER = (0, 5, 30)
"""When a place is looked for that may have been taken: the write may still be on its way, or storage away for a bit."""
MOST_BEHIND = 100
LOOKS = LAST_REPLIES // 2 + 1
"""So often a row that makes no sense is read again: as many replies that tell the time set a wrong clock right."""
RECENT_SECONDS = 1
"""A place may have been given back elsewhere since: an older row is read again before it refuses by that."""
BUSY_SECONDS = 2
JITTER = 0.2
"""Who waits comes up to this part of the wait later, though of no more than a minute."""

_log = logging.getLogger(__name__)


@dataclass
class _Question:
    """One on its way in.

    `is_unsure` where a write may have let it in of which nothing was heard. `looks` counts how often a row that makes
    no sense was read again for it, since the time was `heard` so often.
    """

    id: str
    milliseconds: int
    is_unsure: bool = False
    looks: int = 0
    heard: int = 0


class Limiter:
    """Holds principals to their limits, over all instances.

    `now` is the time by Table Storage, in seconds, and `heard` counts the replies that have told it: without them
    every row is believed, since it might be our own clock that is wrong.
    """

    def __init__(  # noqa: PLR0913  # what tells the time, and chance
        self,
        standings: "Standings",
        share: "SafeShare",
        limits: Limits,
        *,
        now: Callable[[], float] = time.time,
        heard: Callable[[], int] = lambda: 0,
        uniform: Callable[[float, float], float] = random.uniform,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._standings = standings
        self._share = share
        self._limits = limits
        self._now = now
        self._heard = heard
        self._uniform = uniform
        self._new_id = new_id
        self._sleep = sleep
        self._behind: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def place(self, partition: str, seconds: float) -> AsyncIterator[None]:
        """Lets one question through that takes at most `seconds`, and holds its place while it is under way.

        Raises `RateLimited`, `TooManyInFlight`, or `StateUnavailable`.
        """
        question = _Question(self._new_id(), _milliseconds(seconds))
        await self._enter(partition, question)
        try:
            yield
        finally:
            await self._release(partition, question)

    async def admit(self, partition: str, slot_id: str, seconds: float) -> None:
        """Lets one through likewise, whose place is given back by `release`, here or elsewhere. Raises likewise."""
        await self._enter(partition, _Question(slot_id, _milliseconds(seconds)))

    async def release(self, partition: str, slot_id: str) -> None:
        """Gives back the place of one that was let through so, by whichever instance."""
        await self._release(partition, _Question(slot_id, 0, is_unsure=True))

    async def charge(self, partition: str) -> None:
        """Counts one call, which takes no place. Raises `RateLimited` or `StateUnavailable`."""
        with span("admit", {"policy": self._limits.name}):
            await self._admit(partition, _Question(self._new_id(), 0))

    def refuse_known(self, partition: str) -> None:
        """Raises `RateLimited` where the row that is known here refuses by a rate: so would any later one of its."""
        known, now = self._standings.known(partition), self._now_ms()
        usage = Usage.read(known.values if known else {})
        refusal = usage.refusal(self._limits, now) if usage.sensible(self._limits, now) == usage else None
        if refusal and refusal.policy != "in-flight":
            self._tell(refusal, "memory")
            raise self._refused(refusal)

    def fields(self, partition: str) -> tuple[tuple[str, str], ...]:
        """The reply's fields that tell how much is left, as far as it is known here."""
        if (known := self._standings.known(partition)) is None:
            return ()
        now = self._now_ms()
        usage, debt = Usage.read(known.values).sensible(self._limits, now), self._share.debt(partition)
        return fields(self._limits, usage.owing(debt, now) if debt.asked else usage, now)

    async def _enter(self, partition: str, question: _Question) -> None:
        try:
            with span("admit", {"policy": self._limits.name}):
                await self._admit(partition, question)
        except StateUnavailable:
            if question.is_unsure:
                self._give_back_behind(partition, question)
            raise

    async def _admit(self, partition: str, question: _Question) -> None:
        owed = Debt()

        def let_in(standing: "Standing") -> Mapping[str, Any]:
            nonlocal owed  # looked up where changes take turns, so that it is written once
            owed = self._share.debt(partition)
            return self._let_in(question, owed, standing)

        try:
            await self._standings.change(partition, let_in)
        except Conflict as fault:  # others of the same principal were faster each time
            policy = self._limits.name if self._limits.in_flight is None else "in-flight"
            refusal = Refusal(policy, BUSY_SECONDS * 1000)
            self._tell(refusal, "row")
            raise self._refused(refusal) from fault
        except StateUnavailable:
            if (away := self._standings.away_seconds()) is None:
                raise
            self._admit_by_share(partition, question.id, away)
        else:
            question.is_unsure = False
            self._share.repaid(partition, owed)
            self._tell(None, "row")

    def _let_in(self, question: _Question, owed: Debt, standing: "Standing") -> Mapping[str, Any]:
        """The row with one more let through, and what is owed; nothing where it says so already."""
        usage, now = Usage.read(standing.values), self._now_ms()
        if usage.has_admitted(question.id):  # the reply to our own write was lost
            return {}
        usage = self._believed(question, usage, now).owing(owed, now)
        if refusal := usage.refusal(self._limits, now):
            if refusal.policy == "in-flight" and self._standings.age(standing) > RECENT_SECONDS:
                raise Conflict
            self._tell(refusal, "row")
            raise self._refused(refusal)
        admitted = usage.admitted(self._limits, now, Slot(question.id, now + question.milliseconds))
        question.is_unsure = question.is_unsure or self._standings.is_reached()
        return admitted.written(standing.values.get("expires", 0))

    def _believed(self, question: _Question, usage: Usage, now: int) -> Usage:
        """What is believed of a row. Raises `Conflict` where it makes no sense, until our own clock certainly does."""
        sensible = usage.sensible(self._limits, now)
        if sensible == usage:
            return usage
        if question.looks < LOOKS:
            question.heard = question.heard or self._heard()
            question.looks += 1
            raise Conflict
        return sensible if self._heard() - question.heard >= LOOKS else usage

    def _admit_by_share(self, partition: str, slot_id: str, away_seconds: float) -> None:
        now = self._now_ms()
        refusal = self._share.admit(partition, slot_id, now - int(away_seconds * 1000), now)
        facts = {"event": "limiter_degraded", "refused": refusal is not None}
        _log.warning("a limit is kept by this instance alone", extra=facts)
        count(metrics.DEGRADED, {"mode": "safe_share"})
        self._tell(refusal, "share")
        if refusal:
            raise ReducedCapacity(
                retry_after=self._retry_after(refusal), members={"violated-policies": [refusal.policy]}
            ) from None

    async def _release(self, partition: str, question: _Question) -> None:
        """Gives the place back. Where that fails it ends by itself, soon after the question's deadline."""
        with span("release"):
            if not self._share.release(partition, question.id) or question.is_unsure:
                await self._give_back(partition, question)

    async def _give_back(self, partition: str, question: _Question) -> bool:
        """Frees the row's place; whether there was one to free."""
        freed = False

        def free(standing: "Standing") -> Mapping[str, Any]:
            nonlocal freed
            before = Usage.read(standing.values)
            after = before.released(question.id)
            freed = after != before
            return {"slots": after.written(0)["slots"]} if freed else {}

        try:
            async with asyncio.timeout(RELEASE_SECONDS):  # the answer is there, and waits for this
                if question.is_unsure:  # what is known here is older than the write
                    await self._standings.read(partition)
                await self._standings.change(partition, free)
        except (Conflict, GatewayError, TimeoutError) as fault:
            _log.warning("a place could not be given back", extra={"fault": type(fault).__name__})
            return False
        return freed

    def _give_back_behind(self, partition: str, question: _Question) -> None:
        if len(self._behind) < MOST_BEHIND:
            giving = asyncio.create_task(self._give_back_soon(partition, question))
            self._behind.add(giving)
            giving.add_done_callback(self._behind.discard)

    async def _give_back_soon(self, partition: str, question: _Question) -> None:
        for seconds in GIVE_BACK_AFTER:
            await self._sleep(seconds)
            if await self._give_back(partition, question):
                return

    def _tell(self, refusal: Refusal | None, by: str) -> None:
        policy, decision = (refusal.policy, "refused") if refusal else (self._limits.name, "admitted")
        count(metrics.DECISIONS, {"policy": policy, "decision": decision, "by": by})

    def _refused(self, refusal: Refusal) -> RateLimited | TooManyInFlight:
        if refusal.policy == "in-flight":
            return TooManyInFlight(refusal.policy, retry_after=min(BUSY_SECONDS, self._retry_after(refusal)))
        return RateLimited(refusal.policy, retry_after=self._retry_after(refusal))

    def _retry_after(self, refusal: Refusal) -> int:
        """Whole seconds, never too early, and not the same for all who wait."""
        late = min(refusal.wait, MINUTE_MS) * self._uniform(0, JITTER)
        return math.ceil((refusal.wait + late) / 1000)

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


def _milliseconds(seconds: float) -> int:
    return int((seconds + SLOT_GRACE_SECONDS) * 1000)
