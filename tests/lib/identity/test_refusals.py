"""Rules for what Entra's refusals mean."""

import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import (
    ClientCredentialRejected,
    ConsentRequired,
    GatewayError,
    IdentityProviderUnavailable,
    LoginFailed,
    ReauthRequired,
    StepUpRequired,
    TokenExpired,
)
from lib.identity.refusals import LONGEST_CLAIMS, read_claims, refusal
from tests.lib.identity.authority import TENANT

CLAIMS = '{"access_token": {"capolids": {"essential": true, "values": ["0001"]}}}'


@pytest.mark.parametrize(
    ("error", "number", "kind"),
    [
        *(("interaction_required", number, StepUpRequired) for number in (50072, 50074, 50076, 50079, 50158)),
        *(("interaction_required", number, StepUpRequired) for number in (53000, 53001, 53002, 53003)),
        ("invalid_grant", 50076, StepUpRequired),
        ("interaction_required", 1, StepUpRequired),
        ("invalid_grant", 65001, ConsentRequired),
        ("consent_required", 0, ConsentRequired),
        ("invalid_grant", 500133, TokenExpired),
        ("invalid_grant", 50013, TokenExpired),
        *(("invalid_grant", number, ReauthRequired) for number in (50173, 700082, 70043, 70008, 70000, 0)),
        ("login_required", 0, ReauthRequired),
        *(("invalid_client", number, ClientCredentialRejected) for number in (7000215, 7000222, 700027)),
        *(("invalid_client", number, ClientCredentialRejected) for number in (700213, 700211, 700212, 700024, 0)),
        ("unauthorized_client", 700016, ClientCredentialRejected),
        ("invalid_scope", 70011, IdentityProviderUnavailable),
        ("temporarily_unavailable", 0, IdentityProviderUnavailable),
        ("server_error", 0, IdentityProviderUnavailable),
        ("invalid_request", 90033, IdentityProviderUnavailable),
        ("invalid_grant", 50196, IdentityProviderUnavailable),
    ],
)
def test_a_refusal_becomes_the_error_that_tells_what_to_do(error: str, number: int, kind: type[GatewayError]) -> None:
    """By number where it is known, else by name."""
    reply = {"error": error, "error_codes": [number] if number else [], "claims": CLAIMS}
    assert type(refusal(reply)) is kind


def test_a_reason_that_is_not_known_is_what_the_caller_makes_of_it() -> None:
    """What is known stays what it is."""
    malformed = {"error": "invalid_request", "error_codes": [9002313]}
    assert isinstance(refusal(malformed), IdentityProviderUnavailable)
    assert isinstance(refusal(malformed, LoginFailed), LoginFailed)
    assert isinstance(refusal({"error": "server_error"}, LoginFailed), IdentityProviderUnavailable)


def test_the_suberror_says_more_than_the_error() -> None:
    """`invalid_grant` alone would send a person to sign in again in vain."""
    assert isinstance(refusal({"error": "invalid_grant", "suberror": "consent_required"}), ConsentRequired)


def test_the_claims_of_a_challenge_come_along_written_anew() -> None:
    """Minified, so that they fit a header."""
    error = refusal({"error": "interaction_required", "error_codes": [50079], "claims": CLAIMS})
    assert isinstance(error, StepUpRequired)
    assert error.claims == '{"access_token":{"capolids":{"essential":true,"values":["0001"]}}}'


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("{", id="no JSON"),
        pytest.param("[]", id="a list"),
        pytest.param('{"id_token":{}}', id="of no access token"),
        pytest.param('{"access_token":5}', id="of a number"),
        pytest.param({"access_token": {}}, id="not text"),
        pytest.param("\ud800", id="a lone surrogate"),
        pytest.param(json.dumps({"access_token": {"a": "x" * LONGEST_CLAIMS}}), id="too long"),
    ],
)
def test_a_challenge_that_cannot_be_passed_on_asks_for_a_new_sign_in(claims: object) -> None:
    """A step-up without claims would lead in a circle."""
    assert read_claims(claims) == ""
    assert isinstance(refusal({"error": "interaction_required", "claims": claims}), ReauthRequired)


def test_the_log_has_codes_alone(caplog: pytest.LogCaptureFixture) -> None:
    """Enough to find the request at Entra, nothing about whose it was."""
    reply = {"error": "invalid_grant", "error_codes": [65001], "correlation_id": TENANT}
    with caplog.at_level(logging.INFO):
        refusal(reply | {"error_description": "alice@contoso.example"})
    (record,) = caplog.records
    told = (record.__dict__["error_code"], record.__dict__["error"], record.__dict__["correlation_id"])
    assert told == (65001, "invalid_grant", TENANT)
    assert "alice" not in str(record.__dict__)


def test_a_refused_credential_is_an_alarm(caplog: pytest.LogCaptureFixture) -> None:
    """Nobody can be served until those who operate the gateway act."""
    refusal({"error": "invalid_client", "error_codes": [7000215]})
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


@given(
    st.fixed_dictionaries(
        {},
        optional={
            name: st.none() | st.integers() | st.text() | st.lists(st.integers() | st.text()) | st.just({"a": 1})
            for name in ("error", "suberror", "error_codes", "claims", "correlation_id")
        },
    )
)
def test_any_reply_is_understood(reply: dict[str, object]) -> None:
    """Whatever comes, an error of ours comes out."""
    assert isinstance(refusal(reply), GatewayError)
