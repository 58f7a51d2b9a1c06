"""The body of `POST /query`: its fields, and the question they make.

pydantic comes with this module, which is imported for the first question: an instance starts without.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lib.agents.question import MAX_TURN_CHARACTERS, MAX_TURNS, Question, Turn, accepted_text, refused
from lib.asking import NEW_CONVERSATION
from lib.errors import InvalidRequest
from lib.web.bodies import json_object
from lib.web.request import Request

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
    conversation_id: str | None = None
    history: list[TurnBody] = Field(default_factory=list, max_length=MAX_TURNS)


def parse(request: Request) -> tuple[Question, str]:
    """The question in the body of `request`, and the conversation it goes on with, empty where there is none.

    Raises `InvalidRequest`, naming each field that is wrong.
    """
    value = json_object(request)
    try:
        body = QuestionBody.model_validate(value)
    except ValidationError as fault:
        wrong = [
            {"field": _field(error["loc"]), "reason": _reason(error["type"])} for error in fault.errors()[:MAX_ERRORS]
        ]
        raise InvalidRequest("Fields of the body are not valid.", members={"errors": wrong}) from None
    if body.conversation_id == "":
        raise refused("conversation_id", f"must be the id of a conversation, or {NEW_CONVERSATION}")
    if body.conversation_id and body.history:
        raise refused("history", "is kept here where there is a conversation_id: send one of the two")
    turns = (
        Turn(turn.role, accepted_text(f"history.{index}.content", turn.content, MAX_TURN_CHARACTERS))
        for index, turn in enumerate(body.history)
    )
    question = Question(accepted_text("question", body.question), body.agent, tuple(turns))
    return question, body.conversation_id or ""


def _field(location: tuple[int | str, ...]) -> str:
    """The path to a field. An unknown field's own name is the caller's text and is cut short."""
    return ".".join(str(part)[:64] for part in location)


def _reason(kind: str) -> str:
    return _REASONS.get(kind, "is not valid")
