"""The sweeper: Table Storage has no expiry of its own, so a timer deletes the rows whose time is over.

However long a table is, a run takes its time and no more: it looks at the clock after each page, remembers where it
stopped (`lib.answers.cursors`), and the next run goes on from there; one that came to the end begins anew. A page
takes as long as a search and a deletion may, so by so much for each table a run may be late.

Rows go one by one and by their etags, so that one that was renewed meanwhile stays, and two runs at once do no harm.
A transaction would take them in fewer calls, but only rows of one partition, of which few expire together, and of
those a single one that was renewed would keep all.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from lib.answers.cursors import Cursor, Cursors
from lib.errors import StateUnavailable
from lib.storage.rows import Conflict
from lib.traffic.deadline import Deadline

if TYPE_CHECKING:
    from lib.storage.rows import Row
    from lib.storage.tables import Tables

BATCH_ROWS = 25
"""How many rows a page has at most, and how many are deleted at once."""

_log = logging.getLogger(__name__)


@dataclass
class Swept:
    """What a run did in one table: it deleted so many rows, in so many pages, and the next one goes on at `cursor`."""

    cursor: Cursor
    deleted: int = 0
    pages: int = 0
    failed: bool = False

    @property
    def ended(self) -> Literal["complete", "budget", "failed"]:
        """By what the run ended here: the end of the table, the end of its time, or a failure."""
        if self.failed:
            return "failed"
        return "budget" if self.cursor.position else "complete"


async def sweep(
    tables: "Tables",
    names: Sequence[str],
    *,
    budget_seconds: float,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, Swept]:
    """Deletes expired rows of the tables `names`, and returns what became of each.

    Each table gets an even share of what is left of the budget, and one page at least. Those with a pass under way
    come last, and have what the others leave. One that fails does not stop them.
    """
    whole = Deadline.after(budget_seconds, clock)
    cursors = Cursors(tables, now=now)
    try:
        under_way = await cursors.read()
    except StateUnavailable:
        _log.warning("no table could be swept")
        return {}
    swept: dict[str, Swept] = {}
    for index, name in enumerate(sorted(names, key=under_way.__contains__)):
        share = Deadline.after(whole.remaining() / (len(names) - index), clock)
        swept[name] = await _sweep_table(tables, name, under_way.get(name) or Cursor(int(now())), share)
        await cursors.keep(name, swept[name].cursor)
    _log.info("expired rows were deleted", extra={"event": "swept"} | _told(swept, now()))
    return swept


async def _sweep_table(tables: "Tables", name: str, cursor: Cursor, share: Deadline) -> Swept:
    """One slice of a table. Where not even its first page can be read, the next run begins anew.

    The position may be to blame: one that Table Storage takes no longer must not keep the table from being swept.
    """
    swept = Swept(replace(cursor, position=None))
    try:
        async with aclosing(tables.expired(name, cursor.before, page=BATCH_ROWS, start=cursor.position)) as pages:
            async for page in pages:
                swept.cursor = replace(cursor, position=page.following)
                swept.pages += 1
                await _delete_all(tables, name, page.rows, swept)
                if not share.remaining():
                    break
    except StateUnavailable:
        swept.failed = True
        _log.warning("a table could not be swept", extra={"table": name})
    return swept


async def _delete_all(tables: "Tables", name: str, rows: "Sequence[Row]", swept: Swept) -> None:
    outcomes = await asyncio.gather(*(_delete(tables, name, row) for row in rows), return_exceptions=True)
    swept.deleted += outcomes.count(True)
    if fault := next((one for one in outcomes if isinstance(one, BaseException)), None):
        raise fault


async def _delete(tables: "Tables", name: str, row: "Row") -> bool:
    """Whether the row is gone; one that was renewed since it was found stays."""
    try:
        await tables.delete(name, row.partition, row.key, etag=row.etag)
    except Conflict:
        return False
    return True


def _told(swept: Mapping[str, Swept], now: float) -> dict[str, Any]:
    """A run in one line; `…_seconds` is how long a pass through the table has taken by now, all its runs together."""
    told: dict[str, Any] = {
        "deleted": sum(one.deleted for one in swept.values()),
        "budget_ended": any(one.ended == "budget" for one in swept.values()),
    }
    for name, one in swept.items():
        told |= {
            f"{name}_deleted": one.deleted,
            f"{name}_pages": one.pages,
            f"{name}_ended": one.ended,
            f"{name}_seconds": int(now) - one.cursor.before,
        }
    return told
