"""Answers kept in Table Storage, sealed, for every instance: an optimisation, whose failures are logged and skipped.

Each owner has 256 places, and a question's own is chosen by its hash: so what one person can take up is bounded
without counting it. Two questions with the same place take it from each other, which costs a question and no more.
The configured questions have places of their own, or two of them could take each other's at every run of the timer.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib.answers.cache import AnswerKey, Kept
from lib.answers.encoding import pack, unpack
from lib.errors import StateUnavailable
from lib.storage.rows import Conflict, Row
from lib.storage.sealing import Unsealable
from lib.telemetry import metrics
from lib.telemetry.signals import count

if TYPE_CHECKING:
    from lib.storage.properties import Value
    from lib.storage.sealing import Sealer
    from lib.storage.tables import Tables

TABLE = "answers"
PLACE_DIGITS = 2
MOST_ON_LOOP = 32 * 1024
LONGEST_BYTES = 512 * 1024
"""What is longer is kept in memory alone: its way here and back would cost more than it is worth."""
MOST_CALL_SECONDS = 3
"""A question waits for this, and an answer that is there."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Found:
    """What stands in a question's place: its own answer, another one's or nothing; `row` is written over."""

    kept: Kept | None = None
    row: Row | None = None


class StoredAnswers:
    """Reads and writes them; each is kept for `seconds` after it was asked for."""

    def __init__(self, tables: "Tables", sealer: "Sealer", seconds: int) -> None:
        self._tables = tables
        self._sealer = sealer
        self._seconds = seconds

    async def read(self, key: AnswerKey) -> Found:
        """What is kept for a question, however old."""
        row = await _skipped("read", lambda: self._tables.read(TABLE, key.partition, _place(key)))
        if row is None or row.values.get("question") != key.question or row.values.get("agent") != key.agent:
            return Found(None, row)
        return Found(await _skipped("opened", lambda: self._opened(key, row)), row)

    async def write(self, key: AnswerKey, kept: Kept, found: Found) -> None:
        """Keeps an answer in its place, where nobody has put another one since that was `found` so."""
        packed = await _sized(pack, kept.json)
        if len(packed) <= LONGEST_BYTES:
            await _skipped("written", lambda: self._written(key, kept, packed, found.row))

    async def forget(self, partition: str, agent: str | None = None) -> None:
        """Deletes what is kept of one owner: of that agent, or all."""
        await _skipped("deleted", lambda: self._deleted(partition, agent), bounded=False)

    async def _opened(self, key: AnswerKey, row: Row) -> Kept:
        asked_ms = int(row.values["asked_ms"])
        opened = await self._sealer.open(row.values["sealed"], TABLE, *_context(key), str(asked_ms))
        return Kept(await _sized(unpack, opened), asked_ms / 1000)

    async def _written(self, key: AnswerKey, kept: Kept, packed: bytes, row: Row | None) -> None:
        asked_ms = int(kept.asked_at * 1000)
        values: dict[str, Value] = {
            "agent": key.agent,
            "question": key.question,
            "asked_ms": asked_ms,
            "sealed": await self._sealer.seal(packed, TABLE, *_context(key), str(asked_ms)),
            "expires": int(kept.asked_at) + self._seconds + 1,
        }
        if row is None:
            await self._tables.insert(TABLE, key.partition, _place(key), values)
        else:
            await self._tables.update(TABLE, row, values)

    async def _deleted(self, partition: str, agent: str | None) -> None:
        rows = [row async for row in self._tables.rows(TABLE, partition, only=("agent",))]
        for row in rows:
            if agent in {None, row.values.get("agent")}:
                await self._tables.delete(TABLE, partition, row.key)


def _place(key: AnswerKey) -> str:
    return key.question if key.configured else key.question[:PLACE_DIGITS]


def _context(key: AnswerKey) -> tuple[str, str, str]:
    return key.partition, key.agent, key.question


async def _sized(work: Callable[[bytes], bytes], data: bytes) -> bytes:
    """What `work` makes of `data`: in a thread where there is so much of it that others would wait."""
    return await asyncio.to_thread(work, data) if len(data) > MOST_ON_LOOP else work(data)


async def _skipped[T](what: str, work: Callable[[], Awaitable[T]], *, bounded: bool = True) -> T | None:
    """What `work` returns; None where it fails as storage does, takes too long, or meets bytes that are not ours."""
    try:
        async with asyncio.timeout(MOST_CALL_SECONDS if bounded else None):
            return await work()
    except (StateUnavailable, Conflict, Unsealable, TimeoutError, LookupError, TypeError, ValueError) as fault:
        _log.warning("a kept answer could not be %s", what, extra={"fault": type(fault).__name__})
        count(metrics.DEGRADED, {"mode": "answers_skipped"})
        return None
