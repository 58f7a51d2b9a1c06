"""The task way of an operation: the agent itself goes on with the question, and is asked now and then how it stands.

A task is the asker's, and so is looked at under the token of whoever comes for it: on any instance, by one at a time.
Nobody's token is kept.
"""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from lib.agents.failures import TaskUnknown
from lib.answers.encoding import Encoded, encode
from lib.answers.operation import Operation
from lib.answers.questions import WILL_PASS, Given
from lib.answers.work import Note, Work
from lib.errors import AgentFailed, Forbidden, GatewayError, OperationCancelled
from lib.storage.rows import Conflict
from lib.traffic.deadline import Deadline

if TYPE_CHECKING:
    from lib.agents.data_agent import DataAgent, TokenSource
    from lib.answers.operations import Operations
    from lib.answers.questions import Questions
    from lib.limits.limiter import Limiter

TASK_SECONDS = 600
"""How long the agent is asked to keep a task and its answer; after that the operation has expired."""
BEGIN_SECONDS = 60
LOOK_SECONDS = 15
FIRST_LEASE_SECONDS, LONGEST_LEASE_SECONDS = 5, 15


class ByTask:
    """Begins tasks, looks after them and gives them up."""

    def __init__(
        self,
        operations: "Operations",
        questions: "Questions",
        limiter: "Limiter",
        note: Note,
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._operations = operations
        self._questions = questions
        self._limiter = limiter
        self._note = note
        self._now = now

    async def begin(self, operation_id: str, work: Work, agent: "DataAgent", token: "TokenSource") -> Operation:
        """A new operation whose task has begun, or that is done, where the agent has answered at once.

        Raises what asking raises, and then the operation has failed.
        """
        wanted = work.wanted
        operation = await self._operations.ask(operation_id, work, 2 * BEGIN_SECONDS)
        asked_at, deadline = self._now(), Deadline.after(BEGIN_SECONDS)
        try:
            outcome = await agent.begin(work.text, token, deadline, TASK_SECONDS, encode, wanted.caller)
        except GatewayError as fault:
            await self._end(operation, wanted.payer, fault)
            raise
        if isinstance(outcome, Encoded):
            return await self._done(operation, work, outcome, asked_at)
        wish = FIRST_LEASE_SECONDS if outcome.poll_seconds is None else outcome.poll_seconds
        return await self._operations.run(operation, work.for_looking(), outcome.id, TASK_SECONDS, wish)

    async def look(self, operation: Operation, agent: "DataAgent", token: "TokenSource") -> Operation:
        """The operation as the agent says it stands, asked by one reader at a time; else as it is kept.

        Raises what is wrong with the reader's own sign-in. While the agent cannot be asked nothing changes.
        """
        if self._now() < operation.look_at:
            return operation
        age = self._now() - operation.created
        lease = min(LONGEST_LEASE_SECONDS, max(FIRST_LEASE_SECONDS, age / 6))
        try:
            operation = await self._operations.move(operation, operation.state, look_at=self._now() + lease)
        except Conflict:
            return await self._operations.read(operation.partition, operation.id) or operation
        if operation.state == "cancelling":
            return await self._give_up(operation, agent, token)
        return await self._seen(operation, agent, token)

    async def _seen(self, operation: Operation, agent: "DataAgent", token: "TokenSource") -> Operation:
        work = await self._operations.work(operation)
        deadline, caller = Deadline.after(LOOK_SECONDS), work.wanted.caller
        try:
            outcome = await agent.look(operation.task, token, deadline, encode, caller)
        except TaskUnknown:
            return await self._operations.end(operation, "expired")
        except WILL_PASS:
            return operation
        except (AgentFailed, Forbidden, OperationCancelled) as fault:
            return await self._end(operation, work.wanted.payer, fault)
        if not isinstance(outcome, Encoded):
            return operation
        return await self._done(operation, work, outcome, operation.created)

    async def cancel(self, operation: Operation, agent: "DataAgent", token: "TokenSource") -> Operation:
        """The operation given up, or about to be where the agent cannot be told at once. Raises `Conflict`."""
        if operation.state == "running":
            operation = await self._operations.move(operation, "cancelling", look_at=self._now() + FIRST_LEASE_SECONDS)
        return await self._give_up(operation, agent, token)

    async def _give_up(self, operation: Operation, agent: "DataAgent", token: "TokenSource") -> Operation:
        work = await self._operations.work(operation)
        try:
            await agent.cancel(operation.task, token, Deadline.after(LOOK_SECONDS), work.wanted.caller)
        except WILL_PASS:
            return operation
        except (AgentFailed, Forbidden):  # there is nothing left to give up, or nobody who may
            pass
        ended = await self._operations.end(operation, "cancelled")
        await self._limiter.release(work.wanted.payer, operation.id)
        return ended

    async def _done(self, operation: Operation, work: Work, encoded: Encoded, asked_at: float) -> Operation:
        kept = await self._questions.keep(work.wanted, encoded, asked_at)
        given = Given(kept, "fetched", 0, work.wanted.fresh_seconds)
        ended = await self._operations.done(operation, given)
        await self._limiter.release(work.wanted.payer, operation.id)
        await self._note(work, given)
        return ended

    async def _end(self, operation: Operation, payer: str, fault: GatewayError) -> Operation:
        ended = await self._operations.failed(operation, fault)
        await self._limiter.release(payer, operation.id)
        return ended
