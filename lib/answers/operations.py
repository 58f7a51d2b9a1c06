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
from lib.answers.given import Given
from lib.answers.operation import FINAL, MOVES, PICK_UP_SECONDS, Operation, State, overdue
from lib.answers.work import Note, Work, read_work
from lib.errors import AgentFailed, GatewayError, OperationExpired, OutcomeUnknown, StateUnavailable
from lib.storage.rows import Conflict, Row
from lib.storage.sealing import Unsealable
from lib.telemetry.audit import tell_operation
from lib.traffic.deadline import Deadline

if TYPE_CHECKING:
    from lib.storage.properties import Value
    from lib.storage.sealing import Sealer
    from lib.storage.tables import Tables

TABLE = "operations"
ANSWER_SECONDS = 3600
TOMBSTONE_SECONDS = 24 * 3600
MOST_ANSWER_BYTES = 720 * 1024
"""Of an answer as it is kept, compressed: a longer one would be more than 1 MiB on its way, in base64."""
FINISH_PAUSES = (1.0, 2.0, 4.0, 8.0, 16.0)
FINISH_SECONDS = 60
"""What all of that may take: a deadline for the answer leaves so much time for keeping it."""
TOO_LONG = "The data agent's answer is too long to be kept for you. Ask for less, or wait for it without `Prefer`."
_ANSWER = "-answer"


class Operations:
    """Keeps them. `now` is the time by Table Storage, in seconds."""

    def __init__(  # noqa: PLR0913  # the parts it is made of, and its clockwork
        self,
        tables: "Tables",
        sealer: "Sealer",
        note: Note,
        *,
        pseudonym: Callable[[str], Awaitable[str]] | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        new_id: Callable[[], str] = lambda: secrets.token_hex(16),
    ) -> None:
        """`note` is told of each answer that belongs to a conversation; `pseudonym` is whom audit lines name.

        Neither raises anything.
        """
        self._tables = tables
        self._sealer = sealer
        self._note = note
        self._pseudonym = pseudonym or _nobody
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

    async def again(self, operation: Operation) -> Operation:
        """The operation as it stands now, after somebody else was faster; as it was, where it is gone."""
        return await self.read(operation.partition, operation.id) or operation

    async def work(self, operation: Operation) -> Work:
        """What a runner, or whoever looks, needs. Raises `OperationExpired` where the key to it is gone."""
        sealed = operation.row.values.get("sealed", b"")
        try:
            return read_work(await self._sealer.open(sealed, TABLE, operation.partition, operation.id))
        except Unsealable as fault:
            raise OperationExpired from fault

    async def run(self, operation: Operation, work: Work, task: str, seconds: float, look_after: float) -> Operation:
        """The operation as a task of the agent's, which keeps it for so many seconds; `work` is for whoever looks.

        The agent has the question, so it is tried for half a minute. Raises `StateUnavailable` where all was in vain.
        """
        now = self._now()

        async def begin(known: Operation) -> Operation:
            sealed = await self._sealer.seal(work.written(), TABLE, known.partition, known.id)
            return await self.move(
                known, "running", task=task, sealed=sealed, deadline=now + seconds, look_at=now + look_after
            )

        return await self._persistently(operation, "running", begin)

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
            return await self.end(operation, state, fault)
        except Conflict:
            return await self.again(operation)

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

    async def done(self, operation: Operation, work: Work, given: Given) -> Operation:
        """The operation with its answer, or as somebody else has ended it before.

        It is noted before it can be seen here: who sees it may go on with the conversation at once. The answer is in
        hand, so it is tried for half a minute. Raises `StateUnavailable` where all was in vain.
        """
        packed, name = await asyncio.to_thread(pack, given.json), operation.id + _ANSWER
        if len(packed) > MOST_ANSWER_BYTES:
            return await self.failed(operation, AgentFailed(TOO_LONG))
        if work.conversation and await self._awaits_answer(operation):
            await self._note(work, given)

        async def finish(known: Operation) -> Operation:
            values: dict[str, Value] = {
                "asked_ms": int(given.kept.asked_at * 1000),
                "stale": given.stale,
                "sealed": await self._sealer.seal(packed, TABLE, known.partition, name),
                "expires": int(self._now()) + ANSWER_SECONDS,
            }
            with suppress(Conflict):  # our own row, where the reply to it was lost
                await self._tables.insert(TABLE, known.partition, name, values)
            return await self.end(known, "done")

        return await self._persistently(operation, "done", finish)

    async def failed(self, operation: Operation, fault: GatewayError) -> Operation:
        """The operation with its failure, likewise."""
        return await self._persistently(operation, "failed", lambda known: self.end(known, "failed", fault))

    async def end(self, operation: Operation, state: State, fault: GatewayError | None = None) -> Operation:
        """The operation in a final state, which nobody else has made it before. Raises `Conflict` otherwise."""
        values: dict[str, Value] = {"sealed": b"", "expires": int(self._now()) + TOMBSTONE_SECONDS}
        if fault:
            values["failure"] = json.dumps(to_json(fault))
        ended = await self.move(operation, state, **values)
        await self._audit(ended, fault)
        return ended

    async def answer(self, operation: Operation) -> Given | None:
        """The answer of one that is done; None where an hour has passed since, or the key to it is gone.

        Raises `StateUnavailable`.
        """
        row = await self._tables.read(TABLE, operation.partition, operation.id + _ANSWER)
        if row is None or row.values["expires"] < self._now():
            return None
        try:
            packed = await self._sealer.open(row.values["sealed"], TABLE, row.partition, row.key)
        except Unsealable:
            return None
        kept = Kept(await asyncio.to_thread(unpack, packed), row.values["asked_ms"] / 1000)
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

    async def _audit(self, ended: Operation, fault: GatewayError | None) -> None:
        tell_operation(
            who=await self._pseudonym(ended.partition),
            agent=ended.agent,
            outcome=ended.state,
            code=fault.code if fault else "",
            milliseconds=(self._now() - ended.created) * 1000,
            operation=ended.id,
        )

    async def _awaits_answer(self, operation: Operation) -> bool:
        """Whether nobody has ended the operation meanwhile, as far as can be seen."""
        try:
            return "done" in MOVES[(await self.again(operation)).state]
        except StateUnavailable:
            return True

    async def _persistently(
        self, operation: Operation, state: State, move: Callable[[Operation], Awaitable[Operation]]
    ) -> Operation:
        """What `move` makes of the operation, on its way to `state`, however often storage has to be asked."""
        for pause in FINISH_PAUSES:
            with suppress(StateUnavailable):
                return await self._moved(operation, state, move)
            await self._sleep(pause)
        return await self._moved(operation, state, move)

    async def _moved(
        self, operation: Operation, state: State, move: Callable[[Operation], Awaitable[Operation]]
    ) -> Operation:
        """The same, past everybody who has only looked; as it stands, once there is no way to `state` any more."""
        while state in MOVES[operation.state]:
            try:
                return await move(operation)
            except Conflict:
                now = await self.read(operation.partition, operation.id)
                if now is None:
                    break
                operation = now
        return operation


async def _nobody(_partition: str) -> str:
    return ""


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
