"""Rules for the addresses of Entra's pages."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from lib.identity.authorization import admin_consent_url, authorization_url, claims_request
from tests.lib.identity.authority import CLIENT, FABRIC, HOST, OTHER_TENANT, TENANT, settings

CAPABLE = {"xms_cc": {"values": ["CP1"]}}


def test_the_browser_is_sent_to_entra_with_everything_it_needs() -> None:
    """OpenID Connect Core 3.1.2.1 and RFC 7636."""
    url = authorization_url(
        settings(),
        redirect_uri="https://ask.contoso.com/api/login/callback",
        scope=FABRIC,
        state="s&t=ate",
        nonce="nonce",
        code_challenge="challenge",
    )
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{HOST}/{TENANT}/oauth2/v2.0/authorize"
    assert {name: value for name, (value,) in parse_qs(parts.query).items()} == {
        "client_id": CLIENT,
        "response_type": "code",
        "response_mode": "form_post",
        "redirect_uri": "https://ask.contoso.com/api/login/callback",
        "scope": f"{FABRIC} openid profile offline_access",
        "state": "s&t=ate",
        "nonce": "nonce",
        "code_challenge": "challenge",
        "code_challenge_method": "S256",
        "claims": '{"access_token":{"xms_cc":{"values":["CP1"]}}}',
    }


def test_a_stronger_sign_in_asks_for_its_claims_and_for_the_same_person() -> None:
    """In the one parameter that says what the gateway can handle, too."""
    asked = {"redirect_uri": CLIENT, "scope": FABRIC, "state": "s", "nonce": "n", "code_challenge": "c"}
    claims = '{"access_token":{"acrs":{"value":"c1"}}}'
    url = authorization_url(settings(), **asked, claims=claims, login_hint="alice&co")
    told = {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
    assert json.loads(told["claims"]) == {"access_token": {"acrs": {"value": "c1"}, "xms_cc": {"values": ["CP1"]}}}
    assert told["login_hint"] == "alice&co"


@pytest.mark.parametrize(
    ("wanted", "asked"),
    [
        ("", {"access_token": CAPABLE}),
        ('{"access_token":{"nbf":{"essential":true}}}', {"access_token": {"nbf": {"essential": True}, **CAPABLE}}),
        ('{"access_token":{"xms_cc":{"values":["x"]}}}', {"access_token": CAPABLE}),
        ('{"access_token":null,"id_token":{"a":null}}', {"access_token": CAPABLE, "id_token": {"a": None}}),
    ],
    ids=["none", "of a challenge", "capabilities of their own", "no object"],
)
def test_a_claims_request_always_says_what_the_gateway_can_handle(wanted: str, asked: dict[str, object]) -> None:
    """Whatever else is asked stays as it is."""
    assert json.loads(claims_request(wanted)) == asked


def test_an_administrator_consents_in_their_own_tenant() -> None:
    """To this very application."""
    assert admin_consent_url(settings(), OTHER_TENANT) == f"{HOST}/{OTHER_TENANT}/adminconsent?client_id={CLIENT}"
