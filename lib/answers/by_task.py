"""The task way of an operation: the agent itself goes on with the question, and is asked now and then how it stands.

A task is the asker's, and so is looked at under the token of whoever comes for it: on any instance, by one at a time.
Nobody's token is kept.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from lib.agents.failures import TaskFailed, TaskUnknown
from lib.answers.encoding import Encoded, encode
from lib.answers.given import Given
from lib.answers.operation import Operation, State
from lib.answers.questions import WILL_PASS
from lib.answers.work import Work
from lib.errors import (
    Forbidden,
    GatewayError,
    OperationCancelled,
    OutcomeUnknown,
    StateUnavailable,
    TooManyRequests,
    Unavailable,
    UpstreamError,
)
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


_PASSES = (*WILL_PASS, TooManyRequests, Unavailable)
"""What says nothing of the task: the agent, or a token for it, cannot be had for a moment, or not more often."""


class ByTask:
    """Begins tasks, looks after them and gives them up."""

    def __init__(
        self,
        operations: "Operations",
        questions: "Questions",
        limiter: "Limiter",
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._operations = operations
        self._questions = questions
        self._limiter = limiter
        self._now = now

    async def begin(self, operation_id: str, work: Work, agent: "DataAgent", token: "TokenSource") -> Operation:
        """A new operation whose task has begun, or that is done, where the agent has answered at once.

        Raises what asking raises, and then the operation has failed; `OutcomeUnknown` where the agent has the question
        and nobody could write that down.
        """
        operation = await self._operations.ask(operation_id, work, 2 * BEGIN_SECONDS)
        asked_at, deadline = self._now(), Deadline.after(BEGIN_SECONDS)
        try:
            async with self._questions.purging(work.wanted):
                outcome = await agent.begin(work.text, token, deadline, TASK_SECONDS, encode, work.wanted.caller)
        except GatewayError as fault:
            with suppress(Conflict, StateUnavailable):  # the caller is told, and nobody else knows of it
                await self._operations.end(operation, "failed", fault)
            raise
        try:
            if isinstance(outcome, Encoded):
                return await self._done(operation, work, outcome, asked_at)
            wish = FIRST_LEASE_SECONDS if outcome.poll_seconds is None else outcome.poll_seconds
            return await self._operations.run(operation, work.for_looking(), outcome.id, TASK_SECONDS, wish)
        except StateUnavailable as fault:  # which would mean that nothing was asked
            raise OutcomeUnknown from fault

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
            if operation.state == "cancelling":
                return await self._give_up(operation, agent, token)
            return await self._seen(operation, agent, token)
        except Conflict:
            return await self._operations.again(operation)

    async def cancel(self, operation: Operation, agent: "DataAgent", token: "TokenSource") -> Operation:
        """The operation given up, or about to be where the agent cannot be told at once. Raises `Conflict`."""
        if operation.state == "running":
            operation = await self._operations.move(operation, "cancelling", look_at=self._now() + FIRST_LEASE_SECONDS)
        return await self._give_up(operation, agent, token)

    async def _seen(self, operation: Operation, agent: "DataAgent", token: "TokenSource") -> Operation:
        work = await self._operations.work(operation)
        deadline, caller = Deadline.after(LOOK_SECONDS), work.wanted.caller
        try:
            async with self._questions.purging(work.wanted):
                outcome = await agent.look(operation.task, token, deadline, encode, caller)
        except TaskUnknown:
            return await self._end(operation, "expired")
        except TaskFailed as failed:
            return await self._failed(operation, failed.fault)
        except _PASSES:
            return operation
        except (UpstreamError, Forbidden, OperationCancelled) as fault:
            return await self._failed(operation, fault)
        if not isinstance(outcome, Encoded):
            return operation
        return await self._done(operation, work, outcome, operation.created)

    async def _give_up(self, operation: Operation, agent: "DataAgent", token: "TokenSource") -> Operation:
        work = await self._operations.work(operation)
        try:
            await agent.cancel(operation.task, token, Deadline.after(LOOK_SECONDS), work.wanted.caller)
        except _PASSES:
            return operation
        except (UpstreamError, Forbidden):  # there is nothing left to give up, or nobody who may
            pass
        return await self._end(operation, "cancelled")

    async def _done(self, operation: Operation, work: Work, encoded: Encoded, asked_at: float) -> Operation:
        kept = await self._questions.keep(work.wanted, encoded, asked_at)
        ended = await self._operations.done(operation, work, Given(kept, "fetched", 0, work.wanted.fresh_seconds))
        await self._limiter.release(operation.partition, operation.id)
        return ended

    async def _failed(self, operation: Operation, fault: GatewayError) -> Operation:
        ended = await self._operations.failed(operation, fault)
        await self._limiter.release(operation.partition, operation.id)
        return ended

    async def _end(self, operation: Operation, state: State) -> Operation:
        ended = await self._operations.end(operation, state)
        await self._limiter.release(operation.partition, operation.id)
        return ended
