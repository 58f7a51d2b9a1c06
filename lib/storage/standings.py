"""The row `standing` of a principal or of a tenant, as it was last read or written here.

Several rules live in that one row (from when on tokens count, how much was asked), so that a request reads and writes
it once for all of them. What is remembered is never older than what it replaces: a slow read that began before a
write was done cannot undo it here.
"""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

from lib.errors import StateUnavailable
from lib.storage.rows import Conflict, Row
from lib.traffic.single_flight import SingleFlight

if TYPE_CHECKING:
    from lib.storage.properties import Value
    from lib.storage.tables import Tables

TABLE = "principals"
ROW = "standing"
MOST_KNOWN = 10_000
ATTEMPTS = 5


@dataclass(frozen=True)
class Standing:
    """A row, None where there is none, as it was at `as_of` (by the clock of `Standings`) or later."""

    row: Row | None
    as_of: float

    @property
    def values(self) -> Mapping[str, Any]:
        """What the row holds."""
        return self.row.values if self.row else {}


type Change = Callable[[Standing], Mapping[str, Value]]
"""What to write into a row, given how it stands; nothing, where it holds that already.

It raises to refuse, and `Conflict` where the row is too old to tell and has to be read again.
"""


class Standings:
    """Reads, changes and remembers those rows, by partition."""

    def __init__(self, tables: "Tables", *, clock: Callable[[], float] = time.monotonic) -> None:
        self._tables = tables
        self._clock = clock
        self._known: OrderedDict[str, Standing] = OrderedDict()
        self._reads = SingleFlight[Standing]()
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def known(self, partition: str) -> Standing | None:
        """What is remembered, without asking anybody."""
        return self._known.get(partition)

    def age(self, standing: Standing) -> float:
        """Seconds since it stood so."""
        return self._clock() - standing.as_of

    def away_seconds(self) -> float | None:
        """For how long Table Storage has been away; None while it is not, whatever became of the last call."""
        since = self._tables.away_since
        return None if since is None else self._clock() - since

    def is_reached(self) -> bool:
        """Whether a call to Table Storage would be made now, instead of refused since it is away."""
        return not self._tables.closed_for()

    async def read(self, partition: str) -> Standing:
        """What Table Storage says now. Raises `StateUnavailable`."""
        return await self._reads.run(partition, lambda: self._read(partition))

    async def change(self, partition: str, change: Change) -> Standing:
        """Writes what `change` makes of the row, and asks it again where somebody else was faster.

        Where only the reply to a write was lost, the row is read and `change` asked again, which sees that it was
        made. Changes of this process go one after the other: they would only be in each other's way.
        Raises what `change` raises, and of so many attempts what ended the last: `Conflict` where somebody else was
        faster, `StateUnavailable` where the write failed.
        """
        async with self._turns.setdefault(partition, asyncio.Lock()):
            standing = self.known(partition) or await self.read(partition)
            for _ in range(ATTEMPTS - 1):
                try:
                    return await self._write(partition, standing, change(standing))
                except (Conflict, StateUnavailable):
                    standing = await self.read(partition)
            return await self._write(partition, standing, change(standing))

    async def _write(self, partition: str, standing: Standing, changes: "Mapping[str, Value]") -> Standing:
        if not changes:
            return standing
        if standing.row is None:
            row = await self._tables.insert(TABLE, partition, ROW, changes)
        else:
            row = await self._tables.update(TABLE, standing.row, changes)
        return self._remember(partition, Standing(row, self._clock()))

    async def _read(self, partition: str) -> Standing:
        began = self._clock()
        return self._remember(partition, Standing(await self._tables.read(TABLE, partition, ROW), began))

    def _remember(self, partition: str, standing: Standing) -> Standing:
        """The newest there is: this one, unless a newer one came in before it."""
        before = self._known.get(partition)
        newest = before if before and before.as_of > standing.as_of else standing
        self._known[partition] = newest
        self._known.move_to_end(partition)
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return newest
