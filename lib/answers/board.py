"""The board on which the instances tell each other about one agent: rows of the table `agents`.

`discovery` is what has to be known before a question, `cooldown` until when nobody is to call it, `health` whether it
could be reached lately. All of it is read at once, at most every 30 s, and behind a question where it was read a moment
ago. The board is an optimisation: what fails here, or takes long, is logged and skipped. Its rows are no secret, but
what they say is checked like anything from outside, and so is their time: a clock that was wrong for a moment must not
keep everybody from an agent for years.
"""

import asyncio
import logging
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

from lib.agents.discovery import Discovery
from lib.agents.mcp import PROTOCOLS, Session, Tool
from lib.agents.notices import Notice
from lib.errors import StateUnavailable
from lib.storage.rows import Conflict, Row
from lib.traffic.cooldown import MOST_SECONDS
from lib.traffic.single_flight import SingleFlight

if TYPE_CHECKING:
    from lib.storage.tables import Tables

TABLE = "agents"
READ_SECONDS = 30
MOST_CALL_SECONDS = 2
"""A question waits for this."""
OLDEST_SECONDS = 60
"""What was read longer ago, before an instance was idle or its timer's last run, is waited for again."""
LEAST_COOLDOWN_SECONDS = 5
"""A shorter one is over before anybody else has read of it."""
HEALTH_SECONDS = 300
"""What was told of an agent's health is taken for so long, and told anew after as long, or once it changes."""
KEPT_SECONDS = 24 * 3600

_TEXT = re.compile(r".{1,512}", re.DOTALL)
_log = logging.getLogger(__name__)


class Board:
    """One agent's part of the board. `now` is the time by Table Storage, `clock` this instance's own, in seconds.

    `address` is where the agent is: what was told of another one under its name is not taken.
    """

    def __init__(
        self,
        tables: "Tables",
        agent: str,
        address: str,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tables = tables
        self._agent = agent
        self._address = address
        self._now = now
        self._clock = clock
        self._rows: Mapping[str, Row] = {}
        self._read_at = -math.inf
        self._told_until = -math.inf
        self._reads = SingleFlight[None]()
        self._behind: set[asyncio.Task[None]] = set()

    async def read(self, *, at_once: bool = False) -> Notice:
        """What stands there, as it was at most 30 s ago, or up to a minute where it is being read again.

        With `at_once` as it is now.
        """
        age = self._clock() - self._read_at
        if at_once or age >= OLDEST_SECONDS:
            await self._reads.run("rows", self._read)
        elif age >= READ_SECONDS:
            self._read_behind()
        return self._notice()

    async def tell_cooldown(self, seconds: float) -> None:
        """Tells that nobody is to call the agent for so long, unless that stands there already."""
        stands = max(self._left("cooldown", MOST_SECONDS), self._told_until - self._clock())
        if seconds < max(LEAST_COOLDOWN_SECONDS, stands + 1):
            return
        self._told_until = self._clock() + seconds
        if not await self._write("cooldown", {"address": self._address, "until": self._now() + seconds}):
            self._told_until = -math.inf

    async def tell_discovery(self, found: Discovery, seconds: float) -> None:
        """Tells what was found out, and for how long it is good; nothing that nobody would take from here."""
        tool = found.tool
        if not (_TEXT.fullmatch(tool.name) and _TEXT.fullmatch(tool.question_argument)):
            return
        values = {
            "address": self._address,
            "protocol": found.session.protocol,
            "tool": tool.name,
            "argument": tool.question_argument,
            "schema_hash": tool.schema_hash,
            "tasks": found.session.tasks and tool.tasks,
            "until": self._now() + seconds,
        }
        await self._write("discovery", values)

    async def tell_health(self, *, answers: bool) -> None:
        """Tells whether the agent could be reached, unless that stands there already."""
        if self._health() is not answers:
            await self._write("health", {"address": self._address, "answers": answers, "at": self._now()})

    def _read_behind(self) -> None:
        self._read_at = self._clock()  # the questions that come meanwhile need not read as well
        reading = asyncio.create_task(self._reads.run("rows", self._read))
        self._behind.add(reading)
        reading.add_done_callback(self._behind.discard)

    async def _read(self) -> None:
        async def work() -> None:
            self._rows = {row.key: row async for row in self._tables.rows(TABLE, self._agent)}

        await self._skipped("read", work)
        self._read_at = self._clock()

    async def _write(self, key: str, values: dict[str, Any]) -> bool:
        """Whether it stands there now."""
        values = {**values, "expires": int(self._now()) + KEPT_SECONDS}

        async def work() -> None:
            row = self._rows.get(key) or await self._tables.read(TABLE, self._agent, key)
            if row is None:
                written = await self._tables.insert(TABLE, self._agent, key, values)
            else:
                written = await self._tables.update(TABLE, row, values)
            self._rows = {**self._rows, key: written}

        if not (done := await self._skipped("written", work)):
            self._rows = {name: row for name, row in self._rows.items() if name != key}  # it was not as it is here
        return done

    async def _skipped(self, what: str, work: Callable[[], Awaitable[None]]) -> bool:
        try:
            async with asyncio.timeout(MOST_CALL_SECONDS):
                await work()
        except (StateUnavailable, Conflict, TimeoutError) as fault:
            told = {"agent": self._agent, "fault": type(fault).__name__}
            level = logging.INFO if isinstance(fault, Conflict) else logging.WARNING  # somebody was faster: all is well
            _log.log(level, "the board of agents could not be %s", what, extra=told)
            return False
        return True

    def _notice(self) -> Notice:
        found = self._discovery()
        discovery_seconds = self._left("discovery", KEPT_SECONDS) if found else 0
        return Notice(self._left("cooldown", MOST_SECONDS), found, discovery_seconds, self._health())

    def _health(self) -> bool | None:
        values = self._values("health")
        answers, at = values.get("answers"), values.get("at")
        if not isinstance(answers, bool) or not isinstance(at, float | int):
            return None
        return answers if abs(self._now() - at) < HEALTH_SECONDS else None  # a clock may have been years ahead

    def _discovery(self) -> Discovery | None:
        values = self._values("discovery")
        texts = [values.get(name) for name in ("protocol", "tool", "argument", "schema_hash")]
        protocol, tool, argument, schema_hash = (
            text if isinstance(text, str) and _TEXT.fullmatch(text) else "" for text in texts
        )
        if protocol not in PROTOCOLS or not (tool and argument):
            return None
        tasks = values.get("tasks") is True
        return Discovery(Session(protocol, tasks=tasks), Tool(tool, argument, schema_hash, tasks=tasks))

    def _left(self, key: str, most: float) -> float:
        """For how many seconds a row is good; 0 where that is over, or for longer than anybody tells of."""
        until = self._values(key).get("until")
        left = until - self._now() if isinstance(until, int | float) else 0
        return left if 0 < left <= most else 0

    def _values(self, key: str) -> Mapping[str, Any]:
        row = self._rows.get(key)
        return row.values if row and row.values.get("address") == self._address else {}
