"""Revocation: from a moment on, nothing that was issued before it counts, neither tokens nor sessions.

The moment is `valid_after` in the row `standing` of a principal, of a tenant or of everybody, whichever is latest. A
known moment is used for 30 s, and for 5 min while Table Storage is away; where none is known then, nobody gets in.
Entra dates tokens back by up to 5 min, so who revokes everything waits that long for a token that counts again.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING

from lib.errors import StateUnavailable
from lib.storage.rows import Conflict
from lib.traffic.single_flight import SingleFlight

if TYPE_CHECKING:
    from lib.storage.row_keys import RowKeys
    from lib.storage.tables import Tables

TABLE = "principals"
ROW = "standing"
EVERY = "*"
"""Stands for every principal of a tenant, or for every tenant."""
FRESH_SECONDS = 30
OUTAGE_SECONDS = 300
KEPT_SECONDS = 2 * 24 * 3600
"""Longer than any token or session lives: after that there is nothing left to refuse."""
MOST_KNOWN = 10_000

_ATTEMPTS = 5


class Revocations:
    """Knows, and moves, the moments before which nothing counts. All are in seconds since the epoch."""

    def __init__(self, tables: "Tables", keys: "RowKeys", *, now: Callable[[], float] = time.time) -> None:
        self._tables = tables
        self._keys = keys
        self._now = now
        self._known: OrderedDict[str, tuple[float, float]] = OrderedDict()
        self._reads = SingleFlight[float]()

    async def valid_after(self, tenant_id: str, object_id: str) -> float:
        """The moment for one principal; 0 where nothing was ever revoked. Raises `StateUnavailable`."""
        scopes = ((tenant_id, object_id), (tenant_id, EVERY), (EVERY, EVERY))
        return max(await asyncio.gather(*(self._latest(*scope) for scope in scopes)))

    async def revoke(self, tenant_id: str, object_id: str = EVERY) -> None:
        """From now on nothing issued before counts: for the principal, or for every one of the tenant."""
        partition = await self._keys.partition(tenant_id, object_id)
        now = self._now()
        for _ in range(_ATTEMPTS):
            try:
                await self._write(partition, now)
            except Conflict:
                continue
            self._remember(partition, now)
            return
        raise StateUnavailable

    async def _write(self, partition: str, now: float) -> None:
        values = {"valid_after": now, "expires": int(now) + KEPT_SECONDS}
        row = await self._tables.read(TABLE, partition, ROW)
        if row is None:
            await self._tables.insert(TABLE, partition, ROW, values)
        else:
            await self._tables.update(TABLE, row, values)

    async def _latest(self, tenant_id: str, object_id: str) -> float:
        partition = await self._keys.partition(tenant_id, object_id)
        moment, read_at = self._known.get(partition, (0.0, float("-inf")))
        age = self._now() - read_at
        if age < FRESH_SECONDS:
            return moment
        try:
            return await self._reads.run(partition, lambda: self._read(partition))
        except StateUnavailable:
            if age < OUTAGE_SECONDS:
                return moment
            raise

    async def _read(self, partition: str) -> float:
        row = await self._tables.read(TABLE, partition, ROW)
        moment = float(row.values.get("valid_after", 0)) if row else 0.0
        self._remember(partition, moment)
        return moment

    def _remember(self, partition: str, moment: float) -> None:
        self._known[partition] = moment, self._now()
        self._known.move_to_end(partition)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
