"""Operations in Table Storage: one row for the state, and, once there is an answer, one for that.

The answer's row comes first and the state `done` after it, so that whoever sees `done` finds the answer; it is kept
for an hour, the state for a day. What a runner needs, the person's Fabric token among it, is sealed in the row while
the state is `accepted`, and erased by the very write that makes it `asked`.
"""

import asyncio
import json
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing, suppress
from typing import TYPE_CHECKING

from lib.answers.cache import Kept
from lib.answers.encoding import pack, unpack
from lib.answers.failures_kept import to_json
from lib.answers.operation import FINAL, MOVES, PICK_UP_SECONDS, Operation, State, overdue
from lib.answers.questions import Given
from lib.answers.work import Work, read_work
from lib.errors import GatewayError, OutcomeUnknown, StateUnavailable
from lib.storage.rows import Conflict, Row
from lib.traffic.deadline import Deadline

if TYPE_CHECKING:
    from lib.storage.properties import Value
    from lib.storage.sealing import Sealer
    from lib.storage.tables import Tables

TABLE = "operations"
ANSWER_SECONDS = 3600
TOMBSTONE_SECONDS = 24 * 3600
FINISH_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
FINISH_SECONDS = 60
"""What all of that may take: a deadline for the answer leaves so much time for keeping it."""
_ANSWER = "-answer"


class Operations:
    """Keeps them. `now` is the time by Table Storage, in seconds."""

    def __init__(
        self,
        tables: "Tables",
        sealer: "Sealer",
        *,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        self._tables = tables
        self._sealer = sealer
        self._now = now
        self._sleep = sleep
        self.new_id = new_id

    async def accept(self, operation_id: str, work: Work) -> Operation:
        """A new operation for a runner to pick up, who needs the `work`. Raises `StateUnavailable`."""
        sealed = await self._sealer.seal(work.written(), TABLE, work.wanted.payer, operation_id)
        values: dict[str, Value] = {"state": "accepted", "sealed": sealed, "sent": self._now()}
        return await self._insert(operation_id, work, PICK_UP_SECONDS, values)

    async def ask(self, operation_id: str, work: Work, seconds: float) -> Operation:
        """A new operation that is asked at once, and has so many seconds for it. Raises `StateUnavailable`."""
        return await self._insert(operation_id, work, seconds, {"state": "asked"})

    async def read(self, partition: str, operation_id: str) -> Operation | None:
        """How it stands; None where there is none of that name in the partition."""
        row = await self._tables.read(TABLE, partition, operation_id)
        return None if row is None or "state" not in row.values else _operation(row)

    async def work(self, operation: Operation) -> Work:
        """What a runner, or whoever looks, needs. Raises `Unsealable` where that is not what was put there."""
        sealed = operation.row.values.get("sealed", b"")
        return read_work(await self._sealer.open(sealed, TABLE, operation.partition, operation.id))

    async def run(self, operation: Operation, work: Work, task: str, seconds: float, look_after: float) -> Operation:
        """The operation as a task of the agent's, which keeps it for so many seconds; `work` is for whoever looks."""
        now = self._now()
        sealed = await self._sealer.seal(work.written(), TABLE, operation.partition, operation.id)
        return await self.move(
            operation, "running", task=task, sealed=sealed, deadline=now + seconds, look_at=now + look_after
        )

    async def move(self, operation: Operation, state: State, **values: "Value") -> Operation:
        """The operation in its next state, which nobody else has made it before. Raises `Conflict` otherwise."""
        if state != operation.state and state not in MOVES[operation.state]:
            raise ValueError(f"no way from {operation.state} to {state}")
        return _operation(await self._tables.update(TABLE, operation.row, {"state": state, **values}))

    async def settle(self, operation: Operation) -> Operation:
        """The operation as time has left it: one that is overdue is moved to the state that says so."""
        state = overdue(operation, self._now())
        if state is None:
            return operation
        fault = OutcomeUnknown() if state == "failed" else None
        try:
            return await self._end(operation, state, fault)
        except Conflict:
            return await self.read(operation.partition, operation.id) or operation

    async def settle_all(self, deadline: Deadline) -> int:
        """Settles the operations that nobody has come back for, for as long as it may; returns how many.

        What is left over waits for the next time. Raises `StateUnavailable`.
        """
        settled = 0
        async with aclosing(self._tables.overdue(TABLE, self._now(), [*MOVES.keys() - FINAL])) as pages:
            async for page in pages:
                for row in page.rows:
                    if not deadline.remaining():
                        return settled
                    settled += (await self.settle(_operation(row))).is_final
                if not deadline.remaining():
                    return settled
        return settled

    async def done(self, operation: Operation, given: Given) -> Operation:
        """The operation with its answer, or as somebody else has ended it before.

        The answer is in hand, so it is tried for half a minute. Raises `StateUnavailable` where all was in vain.
        """
        name = operation.id + _ANSWER
        values: dict[str, Value] = {
            "asked_ms": int(given.kept.asked_at * 1000),
            "stale": given.stale,
            "sealed": await self._sealer.seal(pack(given.json), TABLE, operation.partition, name),
            "expires": int(self._now()) + ANSWER_SECONDS,
        }

        async def finish(known: Operation) -> Operation:
            with suppress(Conflict):  # our own row, where the reply to it was lost
                await self._tables.insert(TABLE, known.partition, name, values)
            return await self._end(known, "done")

        return await self._finished(operation, finish)

    async def failed(self, operation: Operation, fault: GatewayError) -> Operation:
        """The operation with its failure, likewise."""
        return await self._finished(operation, lambda known: self._end(known, "failed", fault))

    async def end(self, operation: Operation, state: State) -> Operation:
        """The operation in a final state without an answer. Raises `Conflict`."""
        return await self._end(operation, state)

    async def answer(self, operation: Operation) -> Given | None:
        """The answer of one that is done; None where an hour has passed since. Raises `StateUnavailable`."""
        row = await self._tables.read(TABLE, operation.partition, operation.id + _ANSWER)
        if row is None or row.values["expires"] < self._now():
            return None
        sealed = row.values["sealed"]
        packed = await self._sealer.open(sealed, TABLE, operation.partition, operation.id + _ANSWER)
        kept = Kept(unpack(packed), row.values["asked_ms"] / 1000)
        stale = bool(row.values.get("stale"))
        age = int(self._now() - kept.asked_at) if stale else 0
        return Given(kept, "kept" if stale else "fetched", age, -age)

    async def _insert(self, operation_id: str, work: Work, seconds: float, values: "dict[str, Value]") -> Operation:
        now = self._now()
        values = {
            "agent": work.wanted.key.agent,
            "conversation": work.conversation,
            "created": now,
            "deadline": now + seconds,
            "expires": int(now) + TOMBSTONE_SECONDS,
            **values,
        }
        return _operation(await self._tables.insert(TABLE, work.wanted.payer, operation_id, values))

    async def _end(self, operation: Operation, state: State, fault: GatewayError | None = None) -> Operation:
        values: dict[str, Value] = {"sealed": b"", "expires": int(self._now()) + TOMBSTONE_SECONDS}
        if fault:
            values["failure"] = json.dumps(to_json(fault))
        return await self.move(operation, state, **values)

    async def _finished(self, operation: Operation, finish: Callable[[Operation], Awaitable[Operation]]) -> Operation:
        for pause in (*FINISH_PAUSES, None):
            try:
                return await finish(operation)
            except Conflict:
                now = await self.read(operation.partition, operation.id)
                if now is None or now.is_final:
                    return now or operation
                operation = now  # somebody has only looked
            except StateUnavailable:
                if pause is None:
                    raise
                await self._sleep(pause)
        raise StateUnavailable


def _operation(row: Row) -> Operation:
    values = row.values
    return Operation(
        id=row.key,
        state=values["state"],
        agent=values["agent"],
        created=float(values["created"]),
        deadline=float(values["deadline"]),
        row=row,
        sent=float(values.get("sent", 0)),
        failure=values.get("failure", ""),
        task=values.get("task", ""),
        look_at=float(values.get("look_at", 0)),
        conversation=values.get("conversation", ""),
    )
