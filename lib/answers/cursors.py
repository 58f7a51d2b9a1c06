"""How far the sweeper is in each table, in rows of their own, so that its next run goes on from there.

A position is Table Storage's own: a continuation token. A search by `expires`, which is no key, is stopped after five
seconds whether it has found something or not, and of a stretch without expired rows the token alone tells how far it
came. Were the last row's key remembered, a run that finds none in its time would leave the next one where it began.

Whoever goes on by a token has to ask the same again
(https://learn.microsoft.com/rest/api/storageservices/query-timeout-and-pagination), so a pass through a table goes
by one point in time, from its beginning to its end. How long a token is good is documented nowhere: one that was kept
for a day is not used any more. A token is a place, not a row: what is deleted there or before does not matter.
"""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib.errors import StateUnavailable
from lib.storage.leases import TABLE
from lib.storage.properties import EXPIRES
from lib.storage.rows import Conflict, Position

if TYPE_CHECKING:
    from lib.storage.properties import Value
    from lib.storage.rows import Row
    from lib.storage.tables import Tables

TIMER = "sweep"
KEPT_SECONDS = 86_400


@dataclass(frozen=True)
class Cursor:
    """A pass through a table, for the rows that expired before `before`; it goes on at `position`, or begins."""

    before: int
    position: Position | None = None


class Cursors:
    """The cursors of one run, by table: read once, and written as the run goes."""

    def __init__(self, tables: "Tables", *, now: Callable[[], float]) -> None:
        self._tables = tables
        self._now = now
        self._rows: dict[str, Row] = {}

    async def read(self) -> dict[str, Cursor]:
        """The passes that are under way. Raises `StateUnavailable`."""
        self._rows = {row.key: row async for row in self._tables.rows(TABLE, TIMER)}
        read = {table: self._cursor(row) for table, row in self._rows.items()}
        return {table: cursor for table, cursor in read.items() if cursor}

    async def keep(self, table: str, cursor: Cursor) -> None:
        """Where the next run goes on; at the beginning, where there is no position.

        A failure is no matter: the next run does again what this one did.
        """
        row = self._rows.pop(table, None)
        with suppress(Conflict, StateUnavailable):
            if cursor.position:
                await self._write(table, row, cursor.before, cursor.position)
            elif row:
                await self._tables.delete(TABLE, TIMER, table, etag=row.etag)

    async def _write(self, table: str, row: "Row | None", before: int, position: Position) -> None:
        values: dict[str, Value] = {
            "before": before,
            "partition": position.partition,
            "key": position.key,
            EXPIRES: int(self._now()) + KEPT_SECONDS,
        }
        if row:
            await self._tables.update(TABLE, row, values)
        else:
            await self._tables.insert(TABLE, TIMER, table, values)

    def _cursor(self, row: "Row") -> Cursor | None:
        """What a row says; None for one that is too old, says something else, or is of a time that has not come."""
        now = self._now()
        match row.values:
            case {"before": int(before), "partition": str(partition), "key": str(key), "expires": int(expires)} if (
                before <= now < expires
            ):
                return Cursor(before, Position(partition, key))
        return None
