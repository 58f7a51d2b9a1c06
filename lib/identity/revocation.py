"""Revocation: from a moment on, nothing that was issued before it counts, neither tokens nor sessions.

The moment is `valid_after` in the row `standing` of a principal or of a tenant, whichever is later. A known moment is
used for 30 s, and for 5 min while Table Storage is away; where none is known then, nobody gets in.
Entra dates tokens back by up to 5 min, so who revokes everything waits that long for a token that counts again.
"""

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lib.errors import SessionExpired, StateUnavailable
from lib.storage.rows import Conflict
from lib.telemetry import metrics
from lib.telemetry.signals import count

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lib.identity.sessions import Session, Sessions
    from lib.storage.properties import Value
    from lib.storage.row_keys import RowKeys
    from lib.storage.standings import Standing, Standings

EVERY = "*"
"""Stands for every principal of a tenant."""
FRESH_SECONDS = 30
OUTAGE_SECONDS = 300
KEPT_SECONDS = 2 * 24 * 3600
"""Longer than any token or session lives: after that there is nothing left to refuse."""


class Revocations:
    """Knows, and moves, the moments before which nothing counts. All are in seconds since the epoch."""

    def __init__(self, standings: "Standings", keys: "RowKeys", *, now: Callable[[], float] = time.time) -> None:
        self._standings = standings
        self._keys = keys
        self._now = now

    async def valid_after(self, tenant_id: str, object_id: str, *, at_once: bool = False) -> float:
        """The moment for one principal; 0 where nothing was ever revoked. Raises `StateUnavailable`.

        `at_once` is for who must not be 30 s late: the principal's own row is read again.
        """
        own = await self._keys.partition(tenant_id, object_id)
        everybody = await self._keys.partition(tenant_id, EVERY)
        if at_once:
            await self._standings.read(own)
        persons, tenants = self._known(own), self._known(everybody)
        if persons is not None and tenants is not None:  # a gather makes tasks, and most requests need none
            return max(persons, tenants)
        return max(await asyncio.gather(self._latest(own), self._latest(everybody)))

    async def revoke(self, tenant_id: str, object_id: str = EVERY) -> None:
        """From now on nothing issued before counts: for the principal, or for every one of the tenant."""
        now = self._now()

        def change(standing: "Standing") -> "Mapping[str, Value]":
            if _moment(standing) >= now:
                return {}
            kept = max(int(now) + KEPT_SECONDS, standing.values.get("expires", 0))
            return {"valid_after": now, "expires": kept}

        try:
            await self._standings.change(await self._keys.partition(tenant_id, object_id), change)
        except Conflict as fault:
            raise StateUnavailable from fault

    def _known(self, partition: str, seconds: float = FRESH_SECONDS) -> float | None:
        """The moment as it was at most so many seconds ago, where that is known here."""
        standing = self._standings.known(partition)
        return _moment(standing) if standing and self._standings.age(standing) < seconds else None

    async def _latest(self, partition: str) -> float:
        if (known := self._known(partition)) is not None:
            return known
        try:
            return _moment(await self._standings.read(partition))
        except StateUnavailable:
            if (known := self._known(partition, OUTAGE_SECONDS)) is None:
                raise
            count(metrics.DEGRADED, {"mode": "standing_kept"})
            return known


async def session_in_force(cookie: str, sessions: "Sessions", revocations: Revocations) -> "Session":
    """The session of `cookie`. Raises `SessionExpired` where it has ended, or where what it stands for was revoked."""
    session = await sessions.find(cookie)
    signed_in = session.signed_in
    if session.issued_at < await revocations.valid_after(signed_in.tenant_id, signed_in.object_id):
        raise SessionExpired
    return session


def _moment(standing: "Standing") -> float:
    return float(standing.values.get("valid_after", 0))
