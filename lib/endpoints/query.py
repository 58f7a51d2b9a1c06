"""`POST /query`: a question in, the caller's own answer out."""

import secrets
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib.agents.question import MAX_TURN_CHARACTERS, MAX_TURNS, Question, Turn, accepted_text
from lib.errors import InvalidRequest
from lib.gateway import Gateway
from lib.traffic.deadline import Deadline
from lib.web.bodies import json_object
from lib.web.request import Request
from lib.web.response import Response, json_response

if TYPE_CHECKING:
    from lib.agents.answer import Answer

MAX_ERRORS = 20
_REASONS = {
    "missing": "is required",
    "extra_forbidden": "is not a field of this request",
    "string_type": "must be a text",
    "list_type": "must be a list",
    "model_type": "must be an object",
    "literal_error": "must be user or assistant",
    "too_long": f"must not have more than {MAX_TURNS} turns",
}


class TurnBody(BaseModel):
    """One turn of `history` on the wire."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["user", "assistant"]
    content: str


class QuestionBody(BaseModel):
    """The body of `POST /query`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    question: str
    agent: str | None = None
    history: list[TurnBody] = Field(default=[], max_length=MAX_TURNS)


async def ask(gateway: Gateway, request: Request) -> Response:
    """Asks the agent on the caller's behalf and waits for the answer until the deadline."""
    deadline = Deadline.after(gateway.settings.query_deadline_seconds)
    began = time.perf_counter()
    principal = await gateway.authenticate(request)
    question = parse(request)
    agent = gateway.agents.choose(question.agent, principal.kind)
    answer = await gateway.ask(principal, agent, question, deadline)
    milliseconds = round((time.perf_counter() - began) * 1000)
    return json_response(answered(agent.name, answer, milliseconds))


def parse(request: Request) -> Question:
    """The question in the body of `request`. Raises `InvalidRequest`, naming each field that is wrong."""
    value = json_object(request)
    try:
        body = QuestionBody.model_validate(value)
    except ValidationError as fault:
        wrong = [
            {"field": _field(error["loc"]), "reason": _reason(error["type"])} for error in fault.errors()[:MAX_ERRORS]
        ]
        raise InvalidRequest("Fields of the body are not valid.", members={"errors": wrong}) from None
    turns = (
        Turn(turn.role, accepted_text(f"history.{index}.content", turn.content, MAX_TURN_CHARACTERS))
        for index, turn in enumerate(body.history)
    )
    return Question(accepted_text("question", body.question), body.agent, tuple(turns))


def answered(agent: str, answer: "Answer", milliseconds: int) -> dict[str, Any]:
    """The reply's body for an answer that has just been fetched."""
    return {
        "id": secrets.token_hex(16),
        "agent": agent,
        "answer": asdict(answer),
        "cached": {"hit": False, "age": 0, "stale": False},
        "timing": {"total_ms": milliseconds},
    }


def _field(location: tuple[int | str, ...]) -> str:
    """The path to a field. An unknown field's own name is the caller's text and is cut short."""
    return ".".join(str(part)[:64] for part in location)


def _reason(kind: str) -> str:
    return _REASONS.get(kind, "is not valid")
