"""Conversations that the gateway keeps: the last turns of each, for the one who had it to build upon or read again.

A conversation is its owner's alone: it lies in their partition under an id of 128 random bits, its turns are sealed
for that very row, and whoever else names it learns what they would learn of one that never was. It ends a week after
its last turn, with its owner's twenty-first that has an answer, or when they delete it; then it stays ended, for rows
are written with `insert` and `update` alone.
"""

import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from lib.agents.question import MAX_TURN_CHARACTERS, MAX_TURNS, Turn
from lib.errors import NotFound, StateUnavailable
from lib.storage.rows import Conflict, Row
from lib.storage.sealing import Sealer, Unsealable

if TYPE_CHECKING:
    from lib.identity.principal import Principal
    from lib.storage.properties import Value
    from lib.storage.row_keys import RowKeys
    from lib.storage.tables import Tables

TABLE = "conversations"
MOST_CONVERSATIONS = 20
KEPT_SECONDS = 7 * 24 * 3600
APPEND_ATTEMPTS = 3

_ID = re.compile(r"[0-9a-f]{32}")
_OVERVIEW = ("agent", "created", "updated", "turn_count", "expires")
"""What a row tells in clear."""


@dataclass(frozen=True)
class Overview:
    """A conversation without what was said. Times are in seconds since the epoch."""

    id: str
    agent: str
    created: float
    updated: float
    turn_count: int


@dataclass(frozen=True)
class Conversation:
    """A conversation with its last turns, oldest first; `row` is where it is kept, as it was read or written."""

    agent: str
    created: float
    updated: float
    turns: tuple[Turn, ...] = field(repr=False)
    row: Row = field(repr=False)

    @property
    def id(self) -> str:
        """What its owner knows it by."""
        return self.row.key


class Conversations:
    """Begins, finds, continues, lists and deletes conversations. All of it may raise `StateUnavailable`."""

    def __init__(
        self,
        tables: "Tables",
        sealer: Sealer,
        keys: "RowKeys",
        *,
        now: Callable[[], float] = time.time,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._tables = tables
        self._sealer = sealer
        self._keys = keys
        self._now = now
        self._new_id = new_id

    async def begin(self, principal: "Principal", agent: str) -> Conversation:
        """A new conversation, in which nothing was said yet: nothing makes room for it before something is."""
        partition, key, now = await self._partition(principal), self._new_id(), self._now()
        values = await self._values(partition, key, (), now)
        row = await self._tables.insert(TABLE, partition, key, {"agent": agent, "created": now, **values})
        return Conversation(agent, now, now, (), row)

    async def find(self, principal: "Principal", conversation_id: str) -> Conversation:
        """The person's conversation of that id.

        Raises `NotFound`, and the same one, where there is none, or none any more, or where it is somebody else's.
        """
        return await self.find_in(await self._partition(principal), conversation_id)

    async def find_in(self, partition: str, conversation_id: str) -> Conversation:
        """The conversation of that id of whoever has the partition, likewise."""
        row = await self._tables.read(TABLE, partition, conversation_id) if _ID.fullmatch(conversation_id) else None
        if row is None or self._is_over(row):
            raise _not_found()
        return await self._opened(row)

    async def append(self, conversation: Conversation, question: str, answer: str) -> Conversation:
        """The conversation with a question and its answer behind what was said, also by others meanwhile.

        With the first answer the person's oldest conversations make room. Of one that was deleted meanwhile nothing
        is kept. Raises `StateUnavailable` where others are always faster.
        """
        for _ in range(APPEND_ATTEMPTS):
            turns = _last(conversation.turns, question, answer)
            row, now = conversation.row, self._now()
            try:
                row = await self._tables.update(TABLE, row, await self._values(row.partition, row.key, turns, now))
            except Conflict:
                kept = await self._tables.read(TABLE, row.partition, row.key)
                if kept is None:
                    return replace(conversation, updated=now, turns=turns)
                conversation = await self._opened(kept)
            else:
                if not conversation.turns:
                    await self._make_room(row)
                return replace(conversation, updated=now, turns=turns, row=row)
        raise StateUnavailable

    async def listed(self, principal: "Principal") -> list[Overview]:
        """The person's conversations, the one that was continued last in front."""
        rows = [row for row in await self._rows(await self._partition(principal)) if not self._is_over(row)]
        return [_overview(row) for row in reversed(rows)]

    async def delete(self, principal: "Principal", conversation_id: str) -> None:
        """Ends the person's conversation of that id; where there is none that is no fault."""
        if _ID.fullmatch(conversation_id):
            await self._tables.delete(TABLE, await self._partition(principal), conversation_id)

    async def _make_room(self, newest: Row) -> None:
        """Deletes those that were continued longest ago, so that with the newest there are at most twenty.

        Once that one is there: of two that come at once, the later one to look sees both.
        """
        rows = [row for row in await self._rows(newest.partition) if row.key != newest.key]
        for row in rows[: max(0, len(rows) - MOST_CONVERSATIONS + 1)]:
            await self._tables.delete(TABLE, row.partition, row.key)

    async def _rows(self, partition: str) -> list[Row]:
        """The rows of a person without their contents, in the order in which they were continued last."""
        rows = [row async for row in self._tables.rows(TABLE, partition, only=_OVERVIEW)]
        return sorted(rows, key=lambda row: (float(row.values["updated"]), row.key))

    async def _values(self, partition: str, key: str, turns: tuple[Turn, ...], now: float) -> "dict[str, Value]":
        """What each write changes in a row."""
        # in UTF-8, of which the longest turns there can be fit into a row whatever they are written in
        text = json.dumps({"turns": [asdict(turn) for turn in turns]}, ensure_ascii=False)
        sealed = await self._sealer.seal(text.encode(errors="replace"), TABLE, partition, key)
        return {"sealed": sealed, "updated": now, "turn_count": len(turns), "expires": int(now) + KEPT_SECONDS}

    async def _opened(self, row: Row) -> Conversation:
        try:
            opened = await self._sealer.open(row.values["sealed"], TABLE, row.partition, row.key)
        except Unsealable as fault:
            raise _not_found() from fault
        turns = tuple(Turn(turn["role"], turn["content"]) for turn in json.loads(opened)["turns"])
        return Conversation(row.values["agent"], row.values["created"], row.values["updated"], turns, row)

    def _is_over(self, row: Row) -> bool:
        return self._now() >= float(row.values["expires"])

    async def _partition(self, principal: "Principal") -> str:
        return await self._keys.partition(principal.tenant_id, principal.object_id)


def _overview(row: Row) -> Overview:
    values = row.values
    return Overview(row.key, values["agent"], values["created"], values["updated"], values["turn_count"])


def _last(turns: tuple[Turn, ...], question: str, answer: str) -> tuple[Turn, ...]:
    """As many turns as a question may build upon, each as long as it may be there."""
    said = (Turn("user", question[:MAX_TURN_CHARACTERS]), Turn("assistant", answer[:MAX_TURN_CHARACTERS]))
    return (*turns, *said)[-MAX_TURNS:]


def _not_found() -> NotFound:
    return NotFound("You have no conversation with that id.")
