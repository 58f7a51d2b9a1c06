"""`POST /query`: a question in, the caller's own answer out."""

import secrets
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib.agents.question import MAX_TURN_CHARACTERS, MAX_TURNS, Question, Turn, accepted_text
from lib.agents.spreadsheet import write_csv
from lib.errors import InvalidRequest, NotAcceptable
from lib.gateway import Gateway
from lib.traffic.deadline import Deadline
from lib.web.accept import acceptable
from lib.web.bodies import JSON, json_object
from lib.web.request import Request
from lib.web.response import Response, json_response

if TYPE_CHECKING:
    from lib.answers.questions import Given

CSV = "text/csv"
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
    media_types = acceptable(request.header("accept"), (JSON, CSV))
    principal = await gateway.authenticate(request)
    question = parse(request)
    agent = gateway.agents.choose(question.agent, principal.kind)
    given = await gateway.ask(principal, agent, question, deadline)
    milliseconds = round((time.perf_counter() - began) * 1000)
    return reply(media_types, agent.name, given, milliseconds)


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


def reply(media_types: Sequence[str], agent: str, given: "Given", milliseconds: int) -> Response:
    """The answer as the first of `media_types` that can hold it: JSON holds any, CSV its first table.

    Raises `NotAcceptable` where that is none of them.
    """
    for media_type in media_types:
        if media_type == JSON:
            return json_response(answered(agent, given, milliseconds), headers=given.limits)
        if given.answer.tables:
            content_type, disposition = f"{CSV}; charset=utf-8", 'attachment; filename="answer.csv"'
            headers = (("Content-Type", content_type), ("Content-Disposition", disposition), *given.limits)
            return Response(200, write_csv(given.answer.tables[0]).encode(), headers)
    refusal = NotAcceptable(f"The answer has no table, and so no form as {CSV}: take {JSON} too.")
    refusal.headers = given.limits
    raise refusal


def answered(agent: str, given: "Given", milliseconds: int) -> dict[str, Any]:
    """The reply's body."""
    return {
        "id": secrets.token_hex(16),
        "agent": agent,
        "answer": asdict(given.answer),
        "cached": {"hit": given.age is not None, "age": given.age or 0, "stale": False},
        "timing": {"total_ms": milliseconds},
    }


def _field(location: tuple[int | str, ...]) -> str:
    """The path to a field. An unknown field's own name is the caller's text and is cut short."""
    return ".".join(str(part)[:64] for part in location)


def _reason(kind: str) -> str:
    return _REASONS.get(kind, "is not valid")
