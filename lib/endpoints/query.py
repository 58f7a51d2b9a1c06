"""`POST /query`: a question in, the caller's own answer out, or an operation that will have it."""

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from lib.agents.failures import NOT_PROCESSED
from lib.agents.question import refused
from lib.answers.cache import Kept
from lib.answers.given import Given
from lib.answers.idempotency import read_key
from lib.answers.operation import Operation
from lib.asking import NEW_CONVERSATION, Inquiry
from lib.errors import GatewayError, StateUnavailable
from lib.gateway import Gateway
from lib.replies import CSV, answer_reply, operation_reply
from lib.telemetry.signals import span
from lib.traffic.deadline import Deadline
from lib.web.accept import acceptable
from lib.web.bodies import JSON
from lib.web.prefer import Preference, preference
from lib.web.request import Request
from lib.web.response import Response


@dataclass(frozen=True)
class Outcome:
    """What came of a question, and the conversation it is part of."""

    of: Given | Operation
    conversation: str = ""


async def ask(gateway: Gateway, request: Request) -> Response:
    """Asks the agent on the caller's behalf: waits for the answer until the deadline, or as the caller prefers."""
    began, seconds = time.perf_counter(), gateway.settings.query_deadline_seconds
    deadline = Deadline.after(seconds)
    media_types = acceptable(request.header("accept"), (JSON, CSV))
    preferred = preference(request.header("prefer"), longest=seconds)
    key = read_key(request.header("idempotency-key")) if "idempotency-key" in request.headers else ""
    principal = await gateway.authenticate(request)
    async with gateway.audited(principal, began) as asked:
        with span("parse"):
            from lib.question_body import parse  # noqa: PLC0415  # heavy: pydantic

            question, conversation_id = parse(request)
        agent = gateway.agents.choose(question.agent, principal.kind)
        asked.agent = agent.name
        inquiry = Inquiry(principal, agent, question, wants_anew(request))
        asking = _Asking(gateway, inquiry, conversation_id, deadline, preferred)
        outcome = await (asking.once(key, request.body) if key else asking.outcome())
        of = await asking.waited(outcome.of)
        if isinstance(of, Operation) and not of.is_final:
            asked.accepted(of.id)
            return operation_reply(of, gateway.tables.clock.now(), asking.applied)
        around = {"agent": agent.name, "conversation_id": outcome.conversation or None}
        headers: tuple[tuple[str, str], ...] = ()
        if isinstance(of, Operation):
            asked.operation = around["id"] = of.id
            headers = asking.applied
            of = await gateway.answer(principal, of)
        asked.answered("stale" if of.stale else of.how, of.age)
        timing = {"timing": {"total_ms": round((time.perf_counter() - began) * 1000)}}
        with span("reply"):
            return (await answer_reply(media_types, of, {**around, **timing})).with_headers(headers)


@dataclass(frozen=True)
class _Asking:
    """One request on its way: what is asked, in which conversation, and how long the caller waits."""

    gateway: Gateway
    inquiry: Inquiry
    conversation_id: str
    deadline: Deadline
    preferred: Preference | None

    @property
    def applied(self) -> tuple[tuple[str, str], ...]:
        """The field that says which preference was followed."""
        return (("Preference-Applied", self.preferred.applied),) if self.preferred else ()

    async def outcome(self) -> Outcome:
        """The answer, or the operation that will have it."""
        inquiry = await self._in_conversation()
        try:
            of = await self.gateway.ask(inquiry, None if self.preferred else self.deadline)
        except GatewayError:
            if self.conversation_id == NEW_CONVERSATION:
                with suppress(StateUnavailable):
                    await self.gateway.conversations.delete(inquiry.principal, inquiry.conversation)
            raise
        return Outcome(of, inquiry.conversation)

    async def waited(self, of: Given | Operation) -> Given | Operation:
        """The operation after as much of a wait as is preferred, or as the deadline leaves.

        Where it cannot be looked after any more it is told as it was: who comes for it then learns why.
        """
        if isinstance(of, Given):
            return of
        seconds = self.deadline.remaining() if self.preferred is None else self.preferred.wait
        try:
            return await self.gateway.wait(self.inquiry.principal, of, seconds, lambda operation: operation.is_final)
        except GatewayError:
            return of

    async def once(self, key: str, body: bytes) -> Outcome:
        """The outcome under an idempotency key: what came of the first request with it, however often it comes."""
        principal, agent = self.inquiry.principal, self.inquiry.agent
        partition = await self.gateway.row_keys.partition(principal.tenant_id, principal.object_id)
        content = hashlib.sha256(body + repr((agent.name, sorted(principal.acrs))).encode()).hexdigest()

        async def work() -> bytes:
            return _written(await self.outcome())

        seconds = self.deadline.remaining()
        kept, _ = await self.gateway.idempotency.once(partition, key, content, seconds, work, NOT_PROCESSED)
        return await self._read(json.loads(kept), self.gateway.limiter.fields(partition))

    async def _in_conversation(self) -> Inquiry:
        """The inquiry with what was said before in its conversation, if it has one."""
        inquiry, conversations = self.inquiry, self.gateway.conversations
        if not self.conversation_id:
            return inquiry
        if self.conversation_id == NEW_CONVERSATION:
            conversation = await conversations.begin(inquiry.principal, inquiry.agent.name)
        else:
            conversation = await conversations.find(inquiry.principal, self.conversation_id)
        if conversation.agent != inquiry.agent.name:
            raise refused("conversation_id", "is of a conversation with another agent")
        question = replace(inquiry.question, history=conversation.turns)
        return replace(inquiry, question=question, conversation=conversation.id)

    async def _read(self, kept: dict[str, Any], limits: tuple[tuple[str, str], ...]) -> Outcome:
        if "operation" in kept:
            return Outcome(
                await self.gateway.operation(self.inquiry.principal, kept["operation"]), kept["conversation"]
            )
        age = max(0, int(self.gateway.tables.clock.now() - kept["asked_at"]))
        answer = Kept(kept["answer"].encode(), kept["asked_at"])
        return Outcome(Given(answer, kept["how"], age, kept["fresh_for"], limits), kept["conversation"])


def wants_anew(request: Request) -> bool:
    """Whether the caller takes no answer that was kept (`Cache-Control: no-cache`, RFC 9111 section 5.2.1.4)."""
    return "no-cache" in {part.strip().lower() for part in request.header("cache-control").split(",")}


def _written(outcome: Outcome) -> bytes:
    """The outcome as an idempotency key keeps it."""
    of = outcome.of
    if isinstance(of, Operation):
        value: dict[str, Any] = {"operation": of.id}
    else:
        value = {
            "answer": of.json.decode(),
            "asked_at": of.kept.asked_at,
            "how": of.how,
            "fresh_for": of.fresh_for,
        }
    return json.dumps({**value, "conversation": outcome.conversation}, separators=(",", ":")).encode()
