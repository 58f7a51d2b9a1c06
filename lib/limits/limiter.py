"""The limiter: lets a question through by one write into the principal's row, and gives its place back by another.

A row that is known is written without reading it first: If-Match tells whether it still stood so, and a rate that
refuses by a known row refuses by any later one, so that neither costs a read. While Table Storage is away each
instance lets through its safe share; a single call that fails is no outage, and closes the door.
"""

import asyncio
import logging
import math
import random
import secrets
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from lib.errors import GatewayError, RateLimited, ReducedCapacity, StateUnavailable, TooManyInFlight
from lib.limits.fields import fields
from lib.limits.usage import Debt, Limits, Refusal, Slot, Usage
from lib.storage.rows import Conflict
from lib.traffic.gcra import MINUTE_MS

if TYPE_CHECKING:
    from lib.limits.safe_share import SafeShare
    from lib.storage.standings import Standing, Standings

SLOT_GRACE_SECONDS = 5
RELEASE_SECONDS = 2
RECENT_SECONDS = 1
"""A place may have been given back elsewhere since: an older row is read again before it refuses by that."""
BUSY_SECONDS = 2
JITTER = 0.2
"""Who waits comes up to this part of the wait later, though of no more than a minute."""

_log = logging.getLogger(__name__)


class Limiter:
    """Holds principals to their limits, over all instances. `now` is the time by Table Storage, in seconds."""

    def __init__(
        self,
        standings: "Standings",
        share: "SafeShare",
        limits: Limits,
        *,
        now: Callable[[], float] = time.time,
        uniform: Callable[[float, float], float] = random.uniform,
        new_id: Callable[[], str] = lambda: secrets.token_hex(8),
    ) -> None:
        self._standings = standings
        self._share = share
        self._limits = limits
        self._now = now
        self._uniform = uniform
        self._new_id = new_id

    @asynccontextmanager
    async def place(self, partition: str, seconds: float) -> AsyncIterator[None]:
        """Lets one question through that takes at most `seconds`, and holds its place while it is under way.

        Raises `RateLimited`, `TooManyInFlight`, or `StateUnavailable`.
        """
        slot_id = self._new_id()
        await self.admit(partition, slot_id, seconds)
        try:
            yield
        finally:
            await self.release(partition, slot_id)

    async def admit(self, partition: str, slot_id: str, seconds: float) -> None:
        """Lets one through likewise, whose place is given back by whoever ends it. Raises likewise."""
        await self._admit(partition, slot_id, int((seconds + SLOT_GRACE_SECONDS) * 1000))

    async def charge(self, partition: str) -> None:
        """Counts one call, which takes no place. Raises `RateLimited` or `StateUnavailable`."""
        await self._admit(partition, self._new_id(), 0)

    def fields(self, partition: str) -> tuple[tuple[str, str], ...]:
        """The reply's fields that tell how much is left, as far as it is known here."""
        if (known := self._standings.known(partition)) is None:
            return ()
        now = self._now_ms()
        return fields(self._limits, Usage.read(known.values).owing(self._share.debt(partition), now), now)

    async def _admit(self, partition: str, slot_id: str, milliseconds: int) -> None:
        owed = Debt()

        def let_in(standing: "Standing") -> Mapping[str, Any]:
            nonlocal owed  # looked up where changes take turns, so that it is written once
            owed = self._share.debt(partition)
            return self._let_in(slot_id, milliseconds, owed, standing)

        try:
            await self._standings.change(partition, let_in)
        except Conflict as fault:  # others of the same principal were faster each time
            policy = self._limits.name if self._limits.in_flight is None else "in-flight"
            raise self._refused(Refusal(policy, BUSY_SECONDS * 1000)) from fault
        except StateUnavailable:
            if (away := self._standings.away_seconds()) is None:
                raise
            self._admit_by_share(partition, slot_id, away)
        else:
            self._share.repaid(partition, owed)

    def _let_in(self, slot_id: str, milliseconds: int, owed: Debt, standing: "Standing") -> Mapping[str, Any]:
        """The row with one more let through, and what is owed; nothing where it says so already."""
        usage, now = Usage.read(standing.values), self._now_ms()
        if usage.has_admitted(slot_id):  # the reply to our own write was lost
            return {}
        usage = usage.owing(owed, now)
        if refusal := usage.refusal(self._limits, now):
            if refusal.policy == "in-flight" and self._standings.age(standing) > RECENT_SECONDS:
                raise Conflict
            raise self._refused(refusal)
        admitted = usage.admitted(self._limits, now, Slot(slot_id, now + milliseconds))
        return admitted.written(standing.values.get("expires", 0))

    def _admit_by_share(self, partition: str, slot_id: str, away_seconds: float) -> None:
        now = self._now_ms()
        refusal = self._share.admit(partition, slot_id, now - int(away_seconds * 1000), now)
        _log.info("a limit is kept by this instance alone", extra={"refused": refusal is not None})
        if refusal:
            raise ReducedCapacity(
                retry_after=self._retry_after(refusal), members={"violated-policies": [refusal.policy]}
            ) from None

    async def release(self, partition: str, slot_id: str) -> None:
        """Gives the place back. Where that fails it ends by itself, soon after the question's deadline."""
        if self._share.release(partition, slot_id):
            return

        def release(standing: "Standing") -> Mapping[str, Any]:
            before = Usage.read(standing.values)
            after = before.released(slot_id)
            return {} if after == before else {"slots": after.written(0)["slots"]}

        try:
            async with asyncio.timeout(RELEASE_SECONDS):  # the answer is there, and waits for this
                await self._standings.change(partition, release)
        except (Conflict, GatewayError, TimeoutError) as fault:
            _log.warning("a place could not be given back", extra={"fault": type(fault).__name__})

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
