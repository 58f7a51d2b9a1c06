"""Doubles of what the gateway's instances share, each of whose calls waits until a test lets it through, or not.

So a test decides in which order the calls of several tasks happen, which of them fail, which replies are lost, and who
dies in the middle. Rows are as in Table Storage: a write counts where nobody was faster.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, replace
from typing import Any

from lib.agents.answer import Answer
from lib.answers.operation import FINAL, MOVES
from lib.errors import AgentFailed, StateUnavailable
from lib.storage.rows import Conflict, Row
from tests.clock import Clock

PASSES, REFUSED, LOST = "passes", "refused", "lost"
"""What becomes of a call: it is made, it is not, or it is and nobody hears of it."""


@dataclass(frozen=True)
class Gate:
    """A call that waits; `task` is who makes it."""

    task: "asyncio.Task[Any]"
    future: "asyncio.Future[str]"


class Gates:
    """All calls that wait, on a loop of their own."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.waiting: list[Gate] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.dead: list[asyncio.Task[Any]] = []

    async def passed[T](self, work: Callable[[], T | Conflict]) -> T:
        """What `work` returns, once the call is let through."""
        task, future = asyncio.current_task(), self.loop.create_future()
        assert task
        self.waiting.append(Gate(task, future))
        fate = await future
        if fate == REFUSED:
            raise StateUnavailable
        done = work()
        if fate == LOST:
            raise StateUnavailable
        if isinstance(done, Conflict):
            raise done
        return done

    def start(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """A task that goes as far as its first call."""
        task = self.loop.create_task(work)
        self.tasks.append(task)
        self._settle()
        return task

    def let(self, place: int, fate: str) -> None:
        """Decides what becomes of one of the calls that wait; who made it goes on to the next."""
        self.waiting.pop(place % len(self.waiting)).future.set_result(fate)
        self._settle()

    def let_one(self, place: int, calls: int) -> None:
        """Lets so many calls of one of those who wait pass, or as many as there are."""
        task = self.waiting[place % len(self.waiting)].task
        for _ in range(calls):
            if own := [index for index, gate in enumerate(self.waiting) if gate.task is task]:
                self.let(own[0], PASSES)

    def kill(self, place: int) -> None:
        """Whoever waits there never hears of anything again."""
        self.dead.append(self.waiting.pop(place % len(self.waiting)).task)

    def let_all(self) -> None:
        """Lets everybody who lives come to their end."""
        while self.waiting:
            self.let(0, PASSES)

    def close(self) -> None:
        """Ends what is left."""

        async def end() -> None:
            for task in self.tasks:
                task.cancel()
            await asyncio.gather(*self.tasks, return_exceptions=True)
            await self.loop.shutdown_default_executor()

        self.loop.run_until_complete(end())
        self.loop.close()

    def _settle(self) -> None:
        """Returns once everybody who lives waits or is done; some work happens in threads."""
        alive = [task for task in self.tasks if task not in self.dead]

        async def all_wait() -> None:
            until = time.monotonic() + 5
            while sum(not task.done() for task in alive) > len(self.waiting):
                assert time.monotonic() < until, "somebody waits for something else"
                await asyncio.sleep(0)

        self.loop.run_until_complete(all_wait())


class GatedTables:
    """The rows. What is written of operations is held against the table of moves, and nothing is written twice."""

    def __init__(self, gates: Gates, clock: Clock, *, ignores_etags: bool = False) -> None:
        self.clock = self
        self.now = clock
        self.kept: dict[tuple[str, str, str], Row] = {}
        self.wrong: list[str] = []
        self._gates = gates
        self._ignores_etags = ignores_etags
        self._etags = 0

    async def read(self, table: str, partition: str, key: str) -> Row | None:
        """As the real one."""
        return await self._gates.passed(lambda: self.kept.get((table, partition, key)))

    async def insert(self, table: str, partition: str, key: str, values: Mapping[str, Any]) -> Row:
        """As the real one."""
        return await self._gates.passed(lambda: self._put(table, Row(partition, key, {}, ""), values))

    async def update(self, table: str, row: Row, changes: Mapping[str, Any]) -> Row:
        """As the real one."""
        return await self._gates.passed(lambda: self._put(table, row, changes))

    def _put(self, table: str, row: Row, changes: Mapping[str, Any]) -> Row | Conflict:
        place = (table, row.partition, row.key)
        before = self.kept.get(place)
        if (before.etag if before else "") != row.etag and not self._ignores_etags:
            return Conflict()
        self._etags += 1
        values = {**(before.values if before else {}), **changes}
        self.kept[place] = replace(row, values=values, etag=str(self._etags))
        if "state" in changes:
            self._check(before.values["state"] if before else None, self.kept[place])
        return self.kept[place]

    def _check(self, before: Any, row: Row) -> None:
        after = row.values["state"]
        if before in FINAL or (before and before != after and after not in MOVES[before]):
            self.wrong.append(f"{row.key} went from {before} to {after}")
        if after == "done" and ("operations", row.partition, f"{row.key}-answer") not in self.kept:
            self.wrong.append(f"{row.key} is done without an answer")
        if after in {"asked", *FINAL} and row.values.get("sealed"):
            self.wrong.append(f"{row.key} is {after} with its token")


class GatedQueue:
    """A queue that never forgets a message, so that each may come any number of times and at any time."""

    def __init__(self, gates: Gates) -> None:
        self.messages: list[bytes] = []
        self._gates = gates

    async def send(self, text: str, *, time_to_live_seconds: float) -> None:
        """As the real one."""
        assert time_to_live_seconds
        await self._gates.passed(lambda: self.messages.append(text.encode()))


class GatedAgent:
    """An agent that counts how often it was asked what; a call that is `refused` is one that it fails."""

    def __init__(self, gates: Gates) -> None:
        self.asked = Counter[str]()
        self._gates = gates

    async def ready(self, _caller: str = "") -> None:
        """It always is."""

    async def grants_tasks(self, *_: object) -> bool:
        """It has none."""
        return False

    async def ask[T](
        self, question: str, _token: object, _deadline: object, form: Callable[[Answer], T], *_: object
    ) -> T:
        """One answer."""
        self.asked[question] += 1
        try:
            return await self._gates.passed(lambda: form(Answer(f"Asked: {question}", f"Asked: {question}")))
        except StateUnavailable:
            raise AgentFailed from None


class PlainSealer:
    """Seals with nothing but the name of the place."""

    async def seal(self, plaintext: bytes, *place: str) -> bytes:
        """As the real one."""
        return repr(place).encode() + b"\n" + plaintext

    async def open(self, sealed: bytes, *place: str) -> bytes:
        """As the real one."""
        named, _, plaintext = sealed.partition(b"\n")
        assert named == repr(place).encode()
        return plaintext
