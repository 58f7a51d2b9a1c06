"""The body of a question: each field that is wrong is named, as far as there is room."""

import json

import pytest

from lib.errors import InvalidRequest
from lib.question_body import MAX_ERRORS, parse
from lib.web.request import Request


def parsed(value: object) -> object:
    """What a body says."""
    return parse(Request("POST", {"content-type": "application/json"}, body=json.dumps(value).encode()))


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "question"),
        ({"question": 7}, "question"),
        ({"question": ""}, "question"),
        ({"question": "x" * 2001}, "question"),
        ({"question": "x", "agent": 7}, "agent"),
        ({"question": "x", "Agent": "sales"}, "Agent"),
        ({"question": "x", "conversation_id": ""}, "conversation_id"),
        ({"question": "x", "conversation_id": 7}, "conversation_id"),
        ({"question": "x", "conversation_id": "new", "history": [{"role": "user", "content": "y"}]}, "history"),
        ({"question": "x", "history": [{"role": "system", "content": "y"}]}, "history.0.role"),
        ({"question": "x", "history": [{"role": "user", "content": ""}]}, "history.0.content"),
        ({"question": "x", "history": ["y"]}, "history.0"),
        ({"question": "x", "history": [{"role": "user", "content": "y"}] * 21}, "history"),
    ],
)
def test_a_field_that_is_wrong_is_named(body: dict[str, object], field: str) -> None:
    """With a reason of ours."""
    with pytest.raises(InvalidRequest) as refusal:
        parsed(body)
    assert [error["field"] for error in refusal.value.members["errors"]] == [field]


def test_not_every_wrong_field_is_told() -> None:
    """And none at any length."""
    with pytest.raises(InvalidRequest) as refusal:
        parsed({"question": "x"} | {f"{number}{'y' * 100}": 1 for number in range(100)})
    assert len(refusal.value.members["errors"]) == MAX_ERRORS
    assert max(len(error["field"]) for error in refusal.value.members["errors"]) == 64
