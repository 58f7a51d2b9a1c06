"""What refusals mean: each status, code and message of Fabric, and nothing of them in what the caller reads."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.agents.failures import (
    MAX_SAID,
    AddressUnknown,
    Blocked,
    CapacityPaused,
    FabricTokenRejected,
    ServerFault,
    Throttled,
    ToolUnknown,
    Unreached,
    failed_answer,
    failure,
)
from lib.errors import (
    AgentAccessDenied,
    AgentFailed,
    AgentNotPublished,
    AgentUnavailable,
    CapacityExceeded,
    DeadlineExceeded,
    GatewayError,
    StepUpRequired,
    UpstreamError,
)

CLAIMS = {"access_token": {"nbf": {"essential": True, "value": "1604106651"}}}


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (302, ServerFault),
        (400, AgentFailed),
        (401, FabricTokenRejected),
        (403, AgentAccessDenied),
        (404, AddressUnknown),
        (408, DeadlineExceeded),
        (413, AgentFailed),
        (422, AgentFailed),
        (429, CapacityExceeded),
        (430, CapacityExceeded),
        (500, ServerFault),
        (502, ServerFault),
        (503, ServerFault),
        (504, DeadlineExceeded),
    ],
)
def test_a_status_has_a_meaning(status: int, expected: type[GatewayError]) -> None:
    """Without a word in the body the status decides."""
    assert type(failure(status, {})) is expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"errorCode": "CapacityLimitExceeded", "message": "private"}, CapacityExceeded),
        ({"errorCode": "FabricThrottled"}, CapacityExceeded),
        ({"errorCode": "TooManyRequestsForCapacity"}, CapacityExceeded),
        ({"message": "CapacityNotActive: Capacity 7d1e9f3a is not active"}, CapacityPaused),
        ({"error": {"code": "CapacityNotActive", "pbi.error": {}}}, CapacityPaused),
        (
            {"message": "Your organization's Fabric compute capacity has exceeded its limits. Try again later."},
            CapacityExceeded,
        ),
        ({"errorCode": "Outer", "moreDetails": [{"errorCode": "EntityNotFound"}]}, AddressUnknown),
        ({"errorCode": "ItemNotFound"}, AddressUnknown),
        ({"errorCode": "DataAgentNotPublished"}, AgentNotPublished),
        ({"code": -32603, "message": "Stage configuration not found."}, AgentNotPublished),
        ({"code": -32602, "message": "Unknown tool: DataAgent_Old"}, ToolUnknown),
        ([{"errorCode": "EntityNotFound"}, "text"], AddressUnknown),
    ],
)
@pytest.mark.parametrize("status", [200, 400, 403, 404, 500])
def test_what_the_body_says_goes_before_the_status(status: int, said: Any, expected: type[GatewayError]) -> None:
    """A code or a message that is known decides, whatever HTTP says."""
    assert type(failure(status, {}, said)) is expected


def test_the_code_may_be_in_a_header() -> None:
    """Fabric's front door names the error in `x-ms-public-api-error-code`."""
    assert type(failure(400, {"x-ms-public-api-error-code": "CapacityLimitExceeded"})) is CapacityExceeded


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (200, -32601, AddressUnknown),
        (500, -32601, AddressUnknown),
        (200, -32602, ToolUnknown),
        (400, -32602, ToolUnknown),
        (200, -32603, AgentFailed),
        (500, -32603, ServerFault),
        (200, -32700, AgentFailed),
        (200, 7, AgentFailed),
        (401, -32602, FabricTokenRejected),
    ],
)
def test_the_code_of_a_json_rpc_error_counts(status: int, code: int, expected: type[GatewayError]) -> None:
    """Codes that prove something go before the status; 401 alone is about the token and nothing else."""
    assert type(failure(status, {}, {"code": code, "message": "?"}, code)) is expected


@pytest.mark.parametrize(
    "said",
    [
        {"message": "The question 'CapacityLimitExceeded?' is not valid"},
        {"question": "CapacityLimitExceeded"},
        {"message": ["CapacityLimitExceeded"]},
        {"errorCode": {"x": "CapacityLimitExceeded"}},
    ],
    ids=["echoed", "another-field", "a-list", "an-object"],
)
def test_a_question_cannot_name_a_failure(said: Any) -> None:
    """Words that a caller could have put there, further into a message or in another field, mean nothing."""
    assert type(failure(400, {}, said)) is AgentFailed


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "30"}, 30),
        ({"retry-after": " 7 "}, 7),
        ({"retry-after": "0"}, 1),
        ({"retry-after": "99999"}, 3600),
        ({"retry-after": "Sun, 22 Nov 2026 21:33:03 GMT", "date": "Sun, 22 Nov 2026 21:32:33 GMT"}, 30),
        ({"retry-after": "Sun, 22 Nov 2026 21:32:03 GMT", "date": "Sun, 22 Nov 2026 21:32:33 GMT"}, 1),
        ({"retry-after": "Sun, 22 Nov 2026 21:33:03 GMT"}, None),
        ({"retry-after": "Sun, 22 Nov 2026 21:33:03", "date": "Sun, 22 Nov 2026 21:32:33 GMT"}, None),
        ({"retry-after": "-5"}, None),
        ({"retry-after": "1.5"}, None),
        ({"retry-after": "\u0663"}, None),
        ({"retry-after": "9" * 5000}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": ""}, None),
        ({}, None),
    ],
)
def test_retry_after_is_seconds_or_a_date(headers: dict[str, str], seconds: int | None) -> None:
    """Seconds are clamped to an hour, a date counts from the reply's own, and garbage is no time at all."""
    assert failure(403, headers).retry_after == seconds
    assert failure(429, headers).retry_after == seconds


@pytest.mark.parametrize(("status", "expected"), [(429, Blocked), (503, Unreached)])
def test_a_refusal_with_a_time_to_come_back_processed_nothing(status: int, expected: type[GatewayError]) -> None:
    """Turned away at the door: these alone may be asked again after they were sent."""
    refused = failure(status, {"retry-after": "5"}, {"errorCode": "RequestBlocked"})
    assert type(refused) is expected
    assert refused.retry_after == 5


def test_a_429_is_the_callers_own_only_where_it_says_so() -> None:
    """By `RequestBlocked`, with a time to come back or without; any other may be about everybody."""
    assert type(failure(429, {}, {"errorCode": "RequestBlocked"})) is Blocked
    assert type(failure(429, {"retry-after": "5", "x-ms-public-api-error-code": "RequestBlocked"})) is Blocked
    assert type(failure(429, {"retry-after": "5"})) is Throttled
    assert type(failure(429, {"retry-after": "5"}, {"message": "Not RequestBlocked"})) is Throttled
    assert type(failure(400, {"retry-after": "5"}, {"errorCode": "RequestBlocked"})) is AgentFailed


def test_an_exhausted_capacity_is_not_asked_again() -> None:
    """A 429 that names the capacity is no matter of seconds, even with a time to come back."""
    assert type(failure(429, {"retry-after": "5"}, {"errorCode": "CapacityLimitExceeded"})) is CapacityExceeded


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode], ids=["base64", "base64url"])
@pytest.mark.parametrize("padded", [True, False])
def test_a_claims_challenge_asks_for_a_stronger_sign_in(encode: Any, padded: bool) -> None:
    """The claims come out as JSON text, whichever alphabet they were sent in."""
    encoded = encode(json.dumps(CLAIMS).encode()).decode()
    value = f'Bearer realm="", error="insufficient_claims", claims="{encoded if padded else encoded.rstrip("=")}"'
    step_up = failure(401, {"www-authenticate": value})
    assert isinstance(step_up, StepUpRequired)
    assert json.loads(step_up.claims) == CLAIMS


@pytest.mark.parametrize(
    "claims",
    [
        b"not json",
        b"[1]",
        b"{}",
        json.dumps({"id_token": {}}).encode(),
        json.dumps({"access_token": "x" * 5000}).encode(),
        b"[" * 3000 + b"]" * 3000,
        b"\xff\xff",
    ],
    ids=["text", "list", "empty", "no-access-token", "too-long", "deep", "bytes"],
)
def test_claims_that_are_none_are_a_plain_401(claims: bytes) -> None:
    """Only a small JSON object about the access token is handed on to a client."""
    value = f'Bearer error="insufficient_claims", claims="{base64.b64encode(claims).decode()}"'
    assert type(failure(401, {"www-authenticate": value})) is FabricTokenRejected


@pytest.mark.parametrize(
    "challenge",
    [
        "",
        "Bearer",
        'Bearer error="invalid_token"',
        f'Bearer error="invalid_token", claims="{base64.b64encode(json.dumps(CLAIMS).encode()).decode()}"',
        'Bearer error="insufficient_claims"',
        'Bearer error="insufficient_claims", claims="!!!"',
        'Bearer error="insufficient_claims", claims="A"',
    ],
)
def test_any_other_401_asks_for_another_token(challenge: str) -> None:
    """Without claims there is nothing to step up to."""
    assert type(failure(401, {"www-authenticate": challenge})) is FabricTokenRejected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("CapacityNotActive. Capacity 7d1e9f3a is not active", CapacityPaused),
        (" Stage configuration not found. ", AgentNotPublished),
        ({"error": "CapacityLimitExceeded"}, CapacityExceeded),
        ({"error": "The source failed. RAID: 7e1b3c5d"}, AgentFailed),
        ("Something else", AgentFailed),
        ("", AgentFailed),
    ],
)
def test_a_failure_in_the_form_of_an_answer_is_understood_too(said: Any, expected: type[UpstreamError]) -> None:
    """The same words mean the same where they come as the text of an answer."""
    assert type(failed_answer(said)) is expected


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["errorCode", "code", "message", "error", "x"]) | st.text(), inner)
    ),
)


@given(
    status=st.integers(200, 599), said=JSON, challenge=st.text(), retry_after=st.text(), code=st.integers() | st.none()
)
def test_any_refusal_is_one_of_our_errors(
    status: int, said: Any, challenge: str, retry_after: str, code: int | None
) -> None:
    """Whatever comes becomes an error of the tree whose text was written here."""
    headers = {"www-authenticate": challenge, "retry-after": retry_after}
    refused = failure(status, headers, said, code)
    assert refused.detail == type(refused).default_detail
    assert refused.members == {}


def test_no_word_of_fabric_reaches_the_caller() -> None:
    """What Fabric wrote is neither in the text nor in the members nor in the repr of the error."""
    said = {"errorCode": "CapacityLimitExceeded", "message": "Contoso secret"}
    for refused in (failure(400, {}, said), failed_answer(said), failure(500, {}, said), failure(401, {}, said)):
        assert "secret" not in f"{refused!r} {refused.detail} {refused.members}"
        assert isinstance(refused, AgentUnavailable | CapacityExceeded)


def test_what_is_more_than_a_failure_has_is_not_looked_at() -> None:
    """A failure is a few words; who sends a hundred thousand is not understood, and holds nobody up."""
    code = {"errorCode": "CapacityNotActive"}
    assert type(failure(400, {}, [code, *[{}] * (MAX_SAID - 3)])) is CapacityPaused
    assert type(failure(400, {}, [code, *[{}] * MAX_SAID])) is AgentFailed
