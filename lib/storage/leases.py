"""A lease on the work of a timer: of several runs that begin at the same time, exactly one works.

A timer may fire twice, and during an update the old and the new code run side by side. The lease is a row that was
inserted, or taken over by its etag once it had expired, and holds an id that its owner made: who finds that id there
owns it, whatever became of the reply to the write.

It is never renewed: whoever takes one asks for more time than the work can take. Where the work outlives it all the
same, another run may begin beside it, so that work has to bear being done twice; the lease saves that, no more.
"""

import logging
import math
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from lib.errors import StateUnavailable
from lib.storage.properties import EXPIRES
from lib.storage.rows import Conflict, Row

if TYPE_CHECKING:
    from lib.storage.properties import Value
    from lib.storage.tables import Tables

TABLE = "timers"
ROW = "lease"
ATTEMPTS = 3

_log = logging.getLogger(__name__)


class Leases:
    """Gives out leases by the names of timers. `now` is in seconds since the epoch, and best the same for everybody."""

    def __init__(
        self,
        tables: "Tables",
        *,
        now: Callable[[], float] = time.time,
        new_id: Callable[[], str] = secrets.token_urlsafe,
    ) -> None:
        self._tables = tables
        self._now = now
        self._new_id = new_id

    @asynccontextmanager
    async def hold(self, name: str, seconds: float) -> AsyncIterator[bool]:
        """Whether the lease was got; it is the caller's for what is done in here, and for `seconds` at most.

        Not got is one that another run has, and one that Table Storage could not be asked for: the log says which.
        """
        lease = await self._take(name, seconds)
        try:
            yield lease is not None
        finally:
            if lease:
                await self._release(lease)

    async def _take(self, name: str, seconds: float) -> Row | None:
        """The row of a lease that is ours; None where it is not, or where nobody can tell."""
        owner = self._new_id()
        for _ in range(ATTEMPTS):
            with suppress(Conflict, StateUnavailable):  # the row tells, when it is read again
                row = await self._tables.read(TABLE, name, ROW)
                if row is None or row.values[EXPIRES] <= self._now():
                    return await self._write(name, row, owner, seconds)
                if row.values.get("owner") == owner:
                    return row
                _log.info("another run has the lease", extra={"timer": name})
                return None
        _log.warning("a lease could not be had", extra={"timer": name})
        return None

    async def _write(self, name: str, row: Row | None, owner: str, seconds: float) -> Row:
        values: dict[str, Value] = {"owner": owner, EXPIRES: math.ceil(self._now() + seconds)}
        if row is None:
            return await self._tables.insert(TABLE, name, ROW, values)
        return await self._tables.update(TABLE, row, values)

    async def _release(self, lease: Row) -> None:
        """Makes the lease expire; where that fails it does so by itself."""
        try:
            await self._tables.update(TABLE, lease, {EXPIRES: int(self._now())})
        except Conflict:
            _log.warning("the work outlived its lease", extra={"timer": lease.partition})
        except StateUnavailable:
            _log.info("a lease runs out by itself", extra={"timer": lease.partition})
