"""The queue way of an operation: a message with ids only, and whoever receives it asks the question, once.

The row comes first and the message after it. A message may come twice, or never: the one who makes the row `asked`
asks, and a reader sends again what seems lost. Between those two writes a process may die, and then nobody knows
whether the agent was asked: time says so (`outcome_unknown`), and the question is not asked again.
"""

import json
import logging
import re
import secrets
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from lib.agents.failures import FabricTokenRejected
from lib.answers.encoding import encode
from lib.answers.operation import PICK_UP_SECONDS, SEND_AGAIN_SECONDS, Operation
from lib.answers.operations import FINISH_SECONDS
from lib.answers.questions import Agent
from lib.answers.work import Work
from lib.errors import AgentUnknown, GatewayError, OperationExpired, StateUnavailable
from lib.storage.rows import Conflict
from lib.telemetry.signals import traceparent
from lib.traffic.deadline import Deadline

if TYPE_CHECKING:
    from lib.agents.data_agent import DataAgent, TokenSource
    from lib.answers.operations import Operations
    from lib.answers.questions import Questions
    from lib.limits.limiter import Limiter
    from lib.storage.queues import Queue

QUEUE = "questions"
LEAST_TOKEN_SECONDS = 900
"""How long the token in the row has to be good: for the way through the queue, the question, and some delay."""

_ID = re.compile(r"[0-9a-f]{32}")
_log = logging.getLogger(__name__)


class ByQueue:
    """Accepts questions, sends messages about them, and runs those that arrive."""

    def __init__(  # noqa: PLR0913  # the parts it is made of
        self,
        operations: "Operations",
        queue: "Queue",
        questions: "Questions",
        limiter: "Limiter",
        agents: "Callable[[], Mapping[str, DataAgent]]",
        app_token: "TokenSource",
        *,
        seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`app_token` is for agents that are asked as the gateway; a question may take `seconds`."""
        self._operations = operations
        self._queue = queue
        self._questions = questions
        self._limiter = limiter
        self._agents = agents
        self._app_token = app_token
        self._seconds = seconds
        self._now = now

    async def begin(self, operation_id: str, work: Work) -> Operation:
        """A new operation, on its way to a runner. Raises `StateUnavailable`, and then there is none."""
        operation = await self._operations.accept(operation_id, work)
        try:
            await self._send(operation)
        except StateUnavailable:
            try:
                await self._operations.end(operation, "expired")
            except Conflict:  # the message has arrived all the same
                return operation
            raise
        return operation

    async def look(self, operation: Operation) -> Operation:
        """The operation; one that is not picked up is sent again. Raises `StateUnavailable`."""
        if operation.state != "accepted" or self._now() < operation.sent + SEND_AGAIN_SECONDS:
            return operation
        try:
            operation = await self._operations.move(operation, "accepted", sent=self._now())
        except Conflict:
            return await self._operations.again(operation)
        await self._send(operation)
        return operation

    async def run(self, message: bytes) -> None:
        """Asks the question that a message is about, unless that was done. Raises `StateUnavailable`: deliver again."""
        partition, operation_id = _ids(message)
        operation = await self._operations.read(partition, operation_id) if partition else None
        if operation is None or (await self._operations.settle(operation)).state != "accepted":
            return
        try:
            work = await self._operations.work(operation)
        except OperationExpired:  # nobody can open it any more: time will say so
            return
        asked = await self._claim(operation)
        if asked is None:
            return
        try:
            await self._run(asked, work)
        finally:
            await self._limiter.release(operation.partition, operation.id)

    async def _claim(self, operation: Operation) -> Operation | None:
        """The operation as ours to ask, in one write that also erases the token; None where it is not ours."""
        run, deadline = secrets.token_hex(8), self._now() + self._seconds + FINISH_SECONDS
        try:
            return await self._operations.move(operation, "asked", run=run, deadline=deadline, sealed=b"")
        except Conflict:
            return None
        except StateUnavailable:  # was it made?
            now = await self._operations.read(operation.partition, operation.id)
            if now is None or now.row.values.get("run") != run:
                raise
            return now

    async def _run(self, operation: Operation, work: Work) -> None:
        try:
            agent = self._agents().get(operation.agent)
            if agent is None:  # the settings have changed since
                raise AgentUnknown
            deadline, caller = Deadline.after(self._seconds), work.wanted.caller
            fetch = partial(agent.ask, work.text, self._token(work), deadline, encode, caller)
            given = await self._questions.run(work.wanted, Agent(partial(agent.ready, caller), fetch))
        except GatewayError as fault:
            await self._operations.failed(operation, fault)
        else:
            await self._operations.done(operation, work, given)

    def _token(self, work: Work) -> "TokenSource":
        if not work.token:
            return self._app_token

        async def token(*, rejected: str | None = None) -> str:
            if rejected:
                raise FabricTokenRejected
            return work.token

        return token

    async def _send(self, operation: Operation) -> None:
        members = {"partition": operation.partition, "operation": operation.id, "traceparent": traceparent()}
        message = json.dumps(members, separators=(",", ":"))
        await self._queue.send(message, time_to_live_seconds=PICK_UP_SECONDS)


def traceparent_of(message: bytes) -> str:
    """The trace that a message belongs to, as whoever sent it has written it; empty where that is not known."""
    try:
        value = json.loads(message)["traceparent"]
    except (ValueError, LookupError, TypeError):
        return ""
    return value if isinstance(value, str) else ""


def _ids(message: bytes) -> tuple[str, str]:
    """Partition and operation that a message names; empty where it is none of ours, which running again cannot help."""
    try:
        value = json.loads(message)
        partition, operation_id = value["partition"], value["operation"]
        if _ID.fullmatch(partition) and _ID.fullmatch(operation_id):
            return partition, operation_id
    except (ValueError, LookupError, TypeError):
        pass
    _log.error("a message of the queue names no operation")
    return "", ""
