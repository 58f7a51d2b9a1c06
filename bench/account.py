"""A stand-in for Table Storage that keeps time with the loop, and fails as it is told.

Neither clocks that disagree nor such failures can be had from the real service, or from Azurite, at this speed. Etags,
conflicts and merges are those of `lib.storage.tables`; the circuit and the clock are the real ones. Reads are not
repeated here, so that a single failure is felt more than it would be.
"""

import asyncio
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from email.utils import formatdate
from random import Random
from typing import Any

from lib.errors import StateUnavailable
from lib.storage.azure_sdk import ServiceDown
from lib.storage.rows import Conflict, Row
from lib.storage.server_clock import ServerClock
from lib.traffic.circuit import Circuit, CircuitOpen

FASTEST, SLOWEST = 0.002, 0.060
TAIL, TAIL_SHARE = 1.5, 0.01
"""One call in a hundred takes up to so many seconds."""
TIMEOUT = 3.0


@dataclass(frozen=True)
class Weather:
    """How the account fares: the shares of calls that fail before and of writes whose reply is lost after the work.

    In an `outage` (from, to; seconds) every call fails, half of them only after a timeout; of the writes among those
    `half_done` are made all the same. An account that `ignores_etags` lets everybody overwrite everybody, and one that
    does not tell the time leaves wrong clocks as they are: with either, nothing holds.
    """

    failing: float = 0
    lost: float = 0
    outage: tuple[float, float] = (math.inf, math.inf)
    half_done: float = 0
    ignores_etags: bool = False
    tells_time: bool = True


class Account:
    """The rows that all instances share. `now` is the true time, in seconds since the epoch."""

    def __init__(self, weather: Weather, chance: Random, now: Callable[[], float]) -> None:
        self.now = now
        self.calls = Counter[str]()
        self.lost_replies = 0
        self.charged: defaultdict[str, list[float]] = defaultdict(list)
        """When the writes that let a question through were sent, by the question's id."""
        self._weather = weather
        self._chance = chance
        self._rows: dict[tuple[str, str], Row] = {}
        self._etags = 0

    async def answer[T](self, partition: str, work: Callable[[], T], *, is_write: bool) -> tuple[T, str]:
        """What `work` returned, and the reply's `Date`; `ServiceDown` where the call or its reply is lost."""
        self.calls[partition] += 1
        seconds = self._chance.uniform(FASTEST, SLOWEST)
        if self._chance.random() < TAIL_SHARE:
            seconds = self._chance.uniform(SLOWEST, TAIL)
        way_there = seconds * self._chance.random()
        await asyncio.sleep(way_there)
        fault = self._fault(is_write=is_write)
        if fault == "refused":
            raise ServiceDown
        if fault == "unheard":
            await asyncio.sleep(TIMEOUT)
            raise ServiceDown
        done, date = work(), formatdate(int(self.now()), usegmt=True) if self._weather.tells_time else ""
        if fault == "lost":
            self.lost_replies += 1
            await asyncio.sleep(TIMEOUT)
            raise ServiceDown
        await asyncio.sleep(seconds - way_there)
        return done, date

    def _fault(self, *, is_write: bool) -> str:
        weather = self._weather
        begins, ends = weather.outage
        if begins <= asyncio.get_running_loop().time() < ends:
            if self._chance.random() < 1 / 2:
                return "refused"
            return "lost" if is_write and self._chance.random() < weather.half_done else "unheard"
        if self._chance.random() < weather.failing:
            return self._chance.choice(("refused", "unheard"))
        return "lost" if is_write and self._chance.random() < weather.lost else ""

    def get(self, partition: str, key: str) -> Row | None:
        """The row."""
        return self._rows.get((partition, key))

    def put(self, row: Row, changes: Mapping[str, Any], sent: float) -> Row | Conflict:
        """The row with `changes` merged into what stands there, if that is `row`; one that is new has no etag."""
        before = self.get(row.partition, row.key)
        if not self._weather.ignores_etags and (before.etag if before else "") != row.etag:
            return Conflict()
        self._etags += 1
        values = {**(before.values if before else {}), **changes}
        self._rows[row.partition, row.key] = replace(row, values=values, etag=str(self._etags))
        if "asked" in changes:
            self.charged[changes["last"]].append(sent)
        return replace(row, values={**row.values, **changes}, etag=str(self._etags))


class AccountTables:
    """One instance's `Tables` of an account. A dead instance makes no calls."""

    def __init__(self, account: Account, clock: ServerClock, chance: Random) -> None:
        self.clock = clock
        self.is_dead = False
        self._account = account
        self._loop = asyncio.get_running_loop()
        self._circuit = Circuit("table_storage", clock=self._loop.time, uniform=chance.uniform)

    @property
    def away_since(self) -> float | None:
        """As the real one."""
        return self._circuit.away_since

    def closed_for(self) -> float:
        """As the real one."""
        return self._circuit.closed_for()

    async def read(self, _table: str, partition: str, key: str) -> Row | None:
        """As the real one."""
        return await self._call(partition, lambda: self._account.get(partition, key), is_write=False)

    async def insert(self, _table: str, partition: str, key: str, values: Mapping[str, Any]) -> Row:
        """As the real one."""
        return await self._write(Row(partition, key, {}, ""), values)

    async def update(self, _table: str, row: Row, changes: Mapping[str, Any]) -> Row:
        """As the real one."""
        return await self._write(row, changes)

    async def _write(self, row: Row, changes: Mapping[str, Any]) -> Row:
        sent = self._loop.time()
        return await self._call(row.partition, lambda: self._account.put(row, changes, sent), is_write=True)

    async def _call[T](self, partition: str, work: Callable[[], T | Conflict], *, is_write: bool) -> T:
        if self.is_dead:
            raise StateUnavailable
        try:
            with self._circuit.attempt(ServiceDown):
                done, date = await self._account.answer(partition, work, is_write=is_write)
                self.clock.hear(date)
                if isinstance(done, Conflict):
                    raise done
                return done
        except CircuitOpen as fault:
            raise StateUnavailable from fault
