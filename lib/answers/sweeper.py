"""The sweeper: Table Storage has no expiry of its own, so a timer deletes the rows whose time is over."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING

from lib.errors import StateUnavailable
from lib.storage.rows import Conflict
from lib.traffic.deadline import Deadline

if TYPE_CHECKING:
    from lib.storage.rows import Row
    from lib.storage.tables import Tables

BATCH_ROWS = 25

_log = logging.getLogger(__name__)


async def sweep(
    tables: "Tables",
    names: Sequence[str],
    *,
    budget_seconds: float,
    now: Callable[[], float] = time.time,
    clock: Callable[[], float] = time.monotonic,
) -> dict[str, int]:
    """Deletes expired rows of the tables `names`, and returns how many of each.

    Each table gets an even share of what is left of the budget, so that a long one does not keep the others waiting
    for ever; one that fails does not stop them. What is left over waits for the next run.
    """
    whole = Deadline.after(budget_seconds, clock)
    deleted = {}
    for index, name in enumerate(names):
        share = Deadline.after(whole.remaining() / (len(names) - index), clock)
        deleted[name] = await _sweep_table(tables, name, now(), share)
    _log.info("expired rows were deleted", extra={"deleted": deleted})
    return deleted


async def _sweep_table(tables: "Tables", name: str, now: float, share: Deadline) -> int:
    deleted = 0
    try:
        async with aclosing(tables.expired(name, now, page=BATCH_ROWS)) as batches:
            async for batch in batches:
                deletions = (_delete(tables, name, row) for row in batch)
                outcomes = await asyncio.gather(*deletions, return_exceptions=True)
                deleted += outcomes.count(True)
                if fault := next((one for one in outcomes if isinstance(one, BaseException)), None):
                    raise fault
                if not share.remaining():
                    break
    except StateUnavailable:
        _log.warning("a table could not be swept", extra={"table": name})
    return deleted


async def _delete(tables: "Tables", name: str, row: "Row") -> bool:
    """Whether the row is gone; one that was renewed since it was found stays."""
    try:
        await tables.delete(name, row.partition, row.key, etag=row.etag)
    except Conflict:
        return False
    return True
