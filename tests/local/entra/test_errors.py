"""Entra's refusals on the wire."""

import json
import re
from typing import Any

import pytest

from local.entra import Refused


def body_of(refused: Refused) -> dict[str, Any]:
    """The JSON of the reply."""
    body: dict[str, Any] = json.loads(bytes(refused.reply().body))
    return body


@pytest.mark.parametrize(
    ("code", "error", "status"),
    [(7000215, "invalid_client", 401), (65001, "invalid_grant", 400), (50079, "interaction_required", 400)],
)
def test_a_refusal_has_the_shape_of_entras(code: int, error: str, status: int) -> None:
    """RFC 6749's members and Entra's own; a client that failed to prove itself gets 401."""
    reply = Refused(code).reply()
    body = body_of(Refused(code))
    assert reply.status_code == status
    assert (body["error"], body["error_codes"]) == (error, [code])
    tail = r"Trace ID: [0-9a-f-]{36} Correlation ID: [0-9a-f-]{36} Timestamp: \d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"
    assert re.fullmatch(rf"AADSTS{code}: .+\. {tail}", body["error_description"])
    assert body["trace_id"] in body["error_description"]
    assert body["timestamp"] in body["error_description"]


def test_a_claims_challenge_travels_as_text() -> None:
    """Clients pass it on unread, so it is a string of JSON inside JSON."""
    challenge = {"access_token": {"acrs": {"essential": True, "value": "c1"}}}
    body = body_of(Refused(50079, claims=challenge))
    assert json.loads(body["claims"]) == challenge
    assert body["suberror"] == "basic_action"
    assert "claims" not in body_of(Refused(50079))


def test_a_refusal_names_the_parameter() -> None:
    """Where one is missing or wrong."""
    assert Refused(900144, parameter="nonce").description.endswith("Parameter: 'nonce'.")
