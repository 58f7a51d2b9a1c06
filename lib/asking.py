"""How a question is answered by all parts together: at once, or as an operation that outlives its request.

Which way it goes is decided before the agent is called, since nobody can take over a call that is under way: who does
not want to wait has an operation, by the agent's own task where it grants them, by the queue where not; who says
nothing waits here, or for the agent's task.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

from lib.agents.transcript import compose
from lib.answers.by_queue import LEAST_TOKEN_SECONDS
from lib.answers.by_task import BEGIN_SECONDS
from lib.answers.encoding import encode
from lib.answers.failures_kept import from_json
from lib.answers.given import Given
from lib.answers.operation import PICK_UP_SECONDS
from lib.answers.questions import WILL_PASS, Agent
from lib.answers.wanted import wanted
from lib.answers.work import Work
from lib.errors import AgentUnknown, NotFound, OperationCancelled, OperationExpired, StateUnavailable
from lib.identity.step_up import step_up_by_sign_in
from lib.question_parts import QuestionParts
from lib.storage.rows import Conflict
from lib.traffic.deadline import Deadline

if TYPE_CHECKING:
    from lib.agent_settings import AgentSettings
    from lib.agents.data_agent import TokenSource
    from lib.agents.question import Question
    from lib.answers.operation import Operation
    from lib.identity.principal import Principal

FIRST_PAUSE, LONGEST_PAUSE = 0.25, 2.0
CANCEL_ATTEMPTS = 3
NEW_CONVERSATION = "new"
"""In the place of an id: a conversation that begins with the question."""

_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Inquiry:
    """What one principal wants to know of one agent. `history` in the question is what was said before.

    An answer that was kept is not given to who wants it `anew`. It is noted in the `conversation`, if there is one.
    """

    principal: "Principal"
    agent: "AgentSettings"
    question: "Question" = field(repr=False)
    anew: bool = False
    conversation: str = ""


class Asking(QuestionParts):
    """The gateway as far as it answers questions."""

    async def ask(self, inquiry: Inquiry, deadline: Deadline | None) -> "Given | Operation":
        """The answer, within the deadline; under the person's own Fabric token, or the app's where that is asked.

        It is an operation that goes on without its request, and raises what shows before the agent has taken the
        question, where there is no deadline, or where the agent is known to go on by itself; but never where the answer
        is known already.
        """
        work = await self._work(inquiry)
        with self.questions.telling_limits(work.wanted):
            of = await self.questions.known(work.wanted) or await self._found_out(inquiry, work, deadline)
        if isinstance(of, Given):
            await self.note(work, of)
        return of

    async def operation(self, principal: "Principal", operation_id: str) -> "Operation":
        """The principal's operation of that name, as it stands now. Raises `NotFound`, or `StateUnavailable`."""
        found = None
        if _ID.fullmatch(operation_id):
            partition = await self.row_keys.partition(principal.tenant_id, principal.object_id)
            found = await self.operations.read(partition, operation_id)
        if found is None:
            raise NotFound("You have no operation of that id.")
        found = await self._settled(found)
        if found.state == "accepted":
            return await self.by_queue.look(found)
        if found.state not in {"running", "cancelling"}:
            return found
        agent = self._agent(found)
        async with self._challenges(principal, agent.identity):
            token = self._fabric_token(principal, agent)
            return await self.by_task.look(found, self.data_agents[agent.name], token)

    async def wait(
        self, principal: "Principal", operation: "Operation", seconds: float, until: "Callable[[Operation], bool]"
    ) -> "Operation":
        """The operation once `until` is so of it, or after so many seconds. While storage is away it is as it was."""
        left, pause = Deadline.after(seconds), FIRST_PAUSE
        while not until(operation) and left.remaining():
            await asyncio.sleep(min(pause, left.remaining()))
            pause = min(LONGEST_PAUSE, 1.5 * pause)
            try:
                operation = await self.operation(principal, operation.id)
            except StateUnavailable:
                continue
        return operation

    async def cancel(self, principal: "Principal", operation_id: str) -> "Operation":
        """The operation given up, or about to be; one that has ended stays as it is. Raises likewise."""
        for _ in range(CANCEL_ATTEMPTS):
            found = await self.operation(principal, operation_id)
            if found.is_final:
                return found
            try:
                if found.state in {"accepted", "asked"}:
                    ended = await self.operations.end(found, "cancelled")
                    if found.state == "accepted":  # else whoever asks gives the place back
                        await self.limiter.release(found.partition, found.id)
                    return ended
                agent = self._agent(found)
                async with self._challenges(principal, agent.identity):
                    token = self._fabric_token(principal, agent)
                    return await self.by_task.cancel(found, self.data_agents[agent.name], token)
            except Conflict:
                continue
        raise StateUnavailable

    async def answer(self, principal: "Principal", operation: "Operation") -> Given:
        """The answer of an operation that has ended.

        Raises its failure, `OperationCancelled` or `OperationExpired` where it has none.
        """
        if operation.state == "cancelled":
            raise OperationCancelled
        if operation.state == "failed":
            identity = self._agent(operation).identity
            async with self._challenges(principal, identity):
                raise from_json(operation.failed_with)
        given = await self.operations.answer(operation) if operation.state == "done" else None
        if given is None:
            raise OperationExpired
        return replace(given, limits=self.limiter.fields(operation.partition))

    async def run_message(self, message: bytes) -> None:
        """Asks the question that a message of the queue is about."""
        await self.by_queue.run(message)

    async def _found_out(self, inquiry: Inquiry, work: Work, deadline: Deadline | None) -> "Given | Operation":
        peer, wanted = self.data_agents[inquiry.agent.name], work.wanted
        async with self._challenges(inquiry.principal, inquiry.agent.identity):
            if deadline and not await peer.is_known_to_grant_tasks():
                fetch = partial(peer.ask, work.text, self._token(inquiry), deadline, encode, wanted.caller)
                return await self.questions.ask(wanted, deadline, Agent(partial(peer.ready, wanted.caller), fetch))
            if given := await self.questions.stored(wanted):
                return given
            try:
                return await self._begun(inquiry, work)
            except WILL_PASS as fault:
                return await self.questions.stale(wanted, fault)

    async def _begun(self, inquiry: Inquiry, work: Work) -> "Operation":
        peer, token, wanted = self.data_agents[inquiry.agent.name], self._token(inquiry), work.wanted
        await peer.ready(wanted.caller)
        operation_id = self.operations.new_id()
        await self.limiter.admit(wanted.payer, operation_id, PICK_UP_SECONDS + self.settings.query_deadline_seconds)
        try:
            if await peer.grants_tasks(token, Deadline.after(BEGIN_SECONDS), wanted.caller):
                return await self.by_task.begin(operation_id, work, peer, token)
            if inquiry.agent.identity == "user":
                lasting = self._fabric_token(inquiry.principal, inquiry.agent, lasting=LEAST_TOKEN_SECONDS)
                work = replace(work, token=await lasting())
            return await self.by_queue.begin(operation_id, work)
        except BaseException:
            await self.limiter.release(wanted.payer, operation_id)
            raise

    async def _settled(self, operation: "Operation") -> "Operation":
        """The operation as time has left it; one that is over by that has no place any more."""
        settled = await self.operations.settle(operation)
        if settled.state != operation.state:
            await self.limiter.release(operation.partition, operation.id)
        return settled

    async def _work(self, inquiry: Inquiry) -> Work:
        principal, agent, question = inquiry.principal, inquiry.agent, inquiry.question
        want = await wanted(self.row_keys, principal, agent, question, self.own_identity, anew=inquiry.anew)
        text = compose(question.text, question.history)
        return Work(want, text, conversation=inquiry.conversation, question=question.text)

    def _token(self, inquiry: Inquiry) -> "TokenSource":
        return self._fabric_token(inquiry.principal, inquiry.agent)

    def _fabric_token(self, principal: "Principal", agent: "AgentSettings", lasting: float = 0) -> "TokenSource":
        scope = self.settings.fabric_scope
        if agent.identity == "app":
            return partial(self.on_behalf_of.token_for_app, scope)
        return partial(self.on_behalf_of.token_for, principal, scope, lasting=lasting)

    def _agent(self, operation: "Operation") -> "AgentSettings":
        agent = self.settings.agents.get(operation.agent)
        if agent is None:  # the settings have changed since
            raise AgentUnknown(members={"agents": list(self.settings.agents)})
        return agent

    @asynccontextmanager
    async def _challenges(self, principal: "Principal", identity: str) -> AsyncIterator[None]:
        """Tells a session where to sign in more strongly. Nobody can do that for the app."""
        if identity == "app":
            yield
        else:
            async with step_up_by_sign_in(principal, self.settings.public_base_url):
                yield
