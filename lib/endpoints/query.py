"""`POST /query`: a question in, the caller's own answer out."""

import asyncio
import json
import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib.agents.question import MAX_TURN_CHARACTERS, MAX_TURNS, Question, Turn, accepted_text
from lib.agents.spreadsheet import write_csv
from lib.answers.encoding import decode
from lib.errors import InvalidRequest, NotAcceptable
from lib.gateway import Gateway
from lib.traffic.deadline import Deadline
from lib.web.accept import acceptable
from lib.web.bodies import json_object
from lib.web.request import Request
from lib.web.response import Response

if TYPE_CHECKING:
    from lib.answers.questions import Given

JSON = "application/json"
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
    given = await gateway.ask(principal, agent, question, deadline, anew=wants_anew(request))
    milliseconds = round((time.perf_counter() - began) * 1000)
    return await reply(media_types, agent.name, given, milliseconds)


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


async def reply(media_types: Sequence[str], agent: str, given: "Given", milliseconds: int) -> Response:
    """The answer as the first of `media_types` that can hold it: JSON holds any, CSV its first table.

    Raises `NotAcceptable` where that is none of them.
    """
    for media_type in media_types:
        if media_type == JSON:
            headers = (("Content-Type", JSON), cache_status(given), *given.limits)
            return Response(200, answered(agent, given, milliseconds), headers)
        answer = await asyncio.to_thread(decode, given.json)
        if answer.tables:
            content_type, disposition = f"{CSV}; charset=utf-8", 'attachment; filename="answer.csv"'
            headers = (("Content-Type", content_type), ("Content-Disposition", disposition), cache_status(given))
            return Response(200, write_csv(answer.tables[0]).encode(), (*headers, *given.limits))
    refusal = NotAcceptable(f"The answer has no table, and so no form as {CSV}: take {JSON} too.")
    refusal.headers = given.limits
    raise refusal


def answered(agent: str, given: "Given", milliseconds: int) -> bytes:
    """The reply's body. The answer in it is JSON already, and goes in as it is."""
    around = {
        "id": secrets.token_hex(16),
        "agent": agent,
        "cached": {"hit": given.how == "kept", "age": given.age, "stale": given.stale},
        "timing": {"total_ms": milliseconds},
    }
    return json.dumps(around, separators=(",", ":")).encode()[:-1] + b',"answer":' + given.json + b"}"


def wants_anew(request: Request) -> bool:
    """Whether the caller takes no answer that was kept (`Cache-Control: no-cache`, RFC 9111 section 5.2.1.4)."""
    return "no-cache" in {part.strip().lower() for part in request.header("cache-control").split(",")}


def cache_status(given: "Given") -> tuple[str, str]:
    """The field that says what became of the question here (RFC 9211)."""
    told = {"kept": f"hit; ttl={given.fresh_for}", "joined": "fwd=miss; collapsed", "fetched": "fwd=miss"}
    return "Cache-Status", f"fabric-gateway; {told[given.how]}"


def _field(location: tuple[int | str, ...]) -> str:
    """The path to a field. An unknown field's own name is the caller's text and is cut short."""
    return ".".join(str(part)[:64] for part in location)


def _reason(kind: str) -> str:
    return _REASONS.get(kind, "is not valid")
