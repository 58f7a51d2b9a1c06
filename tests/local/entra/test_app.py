"""The tenant behind TLS, in front of the real clients: MSAL, PyJWT, httpx."""

import ssl
from collections.abc import Iterator, Mapping
from typing import Any

import httpx
import jwt
import msal
import pytest
import requests
import trustme
from starlette.responses import Response

from local.certificates import Certificates
from local.entra import Entra, Refused, build, registrations, tokens
from local.faults import drop
from local.issuer import Issuer
from local.people import (
    ALICE,
    BOB,
    GATEWAY_CLIENT_ID,
    GATEWAY_OBJECT_ID,
    MANAGED_IDENTITY_CLIENT_ID,
    MANAGED_IDENTITY_OBJECT_ID,
    PARTNER_TENANT_ID,
    SCRIPT_CLIENT_ID,
    TENANT_ID,
)
from local.serving import Server
from tests.local.entra.gateway import CALLBACK, FABRIC_SCOPE, SECRET, hidden_inputs

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("trusted")]

FABRIC = "https://api.fabric.microsoft.com"
LOOPBACK = "http://localhost:53682"

type Msal = Any
MSAL: Msal = msal
"""MSAL, which has no types."""


@pytest.fixture(scope="module")
def served(certificates: Certificates, own_certificate: trustme.LeafCert) -> Iterator[Entra]:
    """The tenant at its own address."""
    server = Server(certificates=certificates)
    certificate = own_certificate.cert_chain_pems[0].bytes().decode()
    known = registrations(
        redirect_uris=[CALLBACK], secret=SECRET, certificate=certificate, script_redirect_uris=[LOOPBACK]
    )
    entra = Entra(Issuer(server.url), known)
    server.app = build(entra)
    with server:
        yield entra


@pytest.fixture
def entra(served: Entra) -> Entra:
    """The tenant, with nothing counted and nothing planned."""
    served.calls.clear()
    served.faults.clear()
    return served


@pytest.fixture
def browser() -> Iterator[httpx.Client]:
    """A browser that trusts the local authority."""
    with httpx.Client(verify=ssl.create_default_context()) as browser:
        yield browser


@pytest.fixture
def session() -> Iterator[requests.Session]:
    """The HTTP client under MSAL, closed in the end."""
    with requests.Session() as session:
        yield session


@pytest.fixture
def gateway(entra: Entra, session: requests.Session) -> Msal:
    """The gateway as MSAL sees itself, with its secret."""
    return confidential(entra, session, SECRET)


def confidential(entra: Entra, session: requests.Session, credential: str | Mapping[str, Any]) -> Msal:
    """MSAL's confidential client with this credential."""
    return MSAL.ConfidentialClientApplication(
        GATEWAY_CLIENT_ID,
        client_credential=credential,
        authority=entra.authority,
        instance_discovery=False,
        http_client=session,
    )


def verified(entra: Entra, browser: httpx.Client, token: str, audience: str) -> dict[str, Any]:
    """The claims, checked with nothing but what the tenant publishes."""
    discovery = browser.get(f"{entra.authority}/v2.0/.well-known/openid-configuration").json()
    keys = jwt.PyJWKSet.from_dict(browser.get(discovery["jwks_uri"]).json())
    key = keys[jwt.get_unverified_header(token)["kid"]]
    issuer = discovery["issuer"]
    claims: dict[str, Any] = jwt.decode(token, key, algorithms=["RS256"], audience=audience, issuer=issuer)
    return claims


def signed_in(
    gateway: Msal, browser: httpx.Client, person: str, scopes: list[str], redirect_uri: str = CALLBACK
) -> dict[str, Any]:
    """MSAL's code flow with PKCE and form_post, a person picked on the page."""
    flow = gateway.initiate_auth_code_flow(scopes, redirect_uri=redirect_uri, response_mode="form_post")
    response = hidden_inputs(browser.post(flow["auth_uri"], data={"person": person}).text)
    result: dict[str, Any] = gateway.acquire_token_by_auth_code_flow(flow, response)
    return result


def test_the_discovery_document_names_the_endpoints(entra: Entra, browser: httpx.Client) -> None:
    """At the path and with the issuer that clients derive from the authority."""
    document = browser.get(f"{entra.authority}/v2.0/.well-known/openid-configuration").json()
    assert document["issuer"] == f"{entra.authority}/v2.0" == entra.issuer.url
    assert document["token_endpoint"] == entra.token_endpoint
    for name in ("authorization_endpoint", "token_endpoint", "end_session_endpoint", "jwks_uri"):
        assert browser.options(document[name]).status_code == httpx.codes.METHOD_NOT_ALLOWED
    assert browser.get(f"{entra.issuer.base_url}/common/v2.0/.well-known/openid-configuration").status_code == 404


def test_a_partner_is_another_tenant_at_the_same_address(entra: Entra, browser: httpx.Client) -> None:
    """With an issuer, people and counters of its own."""
    issuer = Issuer(entra.issuer.base_url, tenant_id=PARTNER_TENANT_ID)
    partner = entra.partners[PARTNER_TENANT_ID] = Entra(issuer, entra.registrations)
    try:
        document = browser.get(f"{partner.authority}/v2.0/.well-known/openid-configuration").json()
        (key,) = browser.get(document["jwks_uri"]).json()["keys"]
    finally:
        del entra.partners[PARTNER_TENANT_ID]
    assert document["issuer"] == key["issuer"] == f"{entra.issuer.base_url}/{PARTNER_TENANT_ID}/v2.0"
    assert document["token_endpoint"] == partner.token_endpoint != entra.token_endpoint
    assert (partner.calls, entra.calls) == ({"discovery": 1, "keys": 1}, {})


def test_msal_signs_a_person_in(entra: Entra, gateway: Msal, browser: httpx.Client) -> None:
    """Code, PKCE, nonce, form_post; tokens that verify; an account in MSAL's cache."""
    result = signed_in(gateway, browser, "alice", [FABRIC_SCOPE])
    identity = verified(entra, browser, result["id_token"], GATEWAY_CLIENT_ID)
    access = verified(entra, browser, result["access_token"], FABRIC)
    assert identity["oid"] == access["oid"] == ALICE.object_id
    assert " ".join(sorted(access)) == (
        "aio aud azp azpacr exp iat iss name nbf oid preferred_username rh scp sid sub tid uti ver"
    )
    assert access["azpacr"] == tokens.SECRET
    (account,) = gateway.get_accounts()
    assert account["username"] == ALICE.username
    assert account["home_account_id"] == f"{ALICE.object_id}.{TENANT_ID}"


def test_msal_refreshes_for_another_resource(entra: Entra, gateway: Msal, browser: httpx.Client) -> None:
    """One sign-in serves Fabric and Graph."""
    result = signed_in(gateway, browser, "bob", [FABRIC_SCOPE])
    scope = "https://localhost:8446/User.Read"
    refreshed = gateway.acquire_token_by_refresh_token(result["refresh_token"], [scope])
    claims = verified(entra, browser, refreshed["access_token"], "https://localhost:8446")
    assert (claims["oid"], claims["scp"]) == (BOB.object_id, "User.Read")
    assert refreshed["refresh_token"] != result["refresh_token"]


def test_a_page_or_a_script_signs_a_person_in_and_the_gateway_acts_on_their_behalf(
    entra: Entra, gateway: Msal, browser: httpx.Client, session: requests.Session
) -> None:
    """The whole way of a bearer token: public client, gateway's audience, then Fabric's."""
    script = MSAL.PublicClientApplication(
        SCRIPT_CLIENT_ID, authority=entra.authority, instance_discovery=False, http_client=session
    )
    scope = f"api://{GATEWAY_CLIENT_ID}/access_as_user"
    bearer = signed_in(script, browser, "alice", [scope], LOOPBACK)["access_token"]
    inbound = verified(entra, browser, bearer, GATEWAY_CLIENT_ID)
    assert (inbound["azp"], inbound["azpacr"], inbound["scp"]) == (SCRIPT_CLIENT_ID, tokens.PUBLIC, "access_as_user")
    result = gateway.acquire_token_on_behalf_of(bearer, [FABRIC_SCOPE])
    outbound = verified(entra, browser, result["access_token"], FABRIC)
    assert (outbound["oid"], outbound["azp"]) == (ALICE.object_id, GATEWAY_CLIENT_ID)


def test_msal_tells_a_denial_apart(gateway: Msal, browser: httpx.Client) -> None:
    """No code is redeemed."""
    flow = gateway.initiate_auth_code_flow([FABRIC_SCOPE], redirect_uri=CALLBACK, response_mode="form_post")
    response = hidden_inputs(browser.post(flow["auth_uri"], data={"deny": "1"}).text)
    assert gateway.acquire_token_by_auth_code_flow(flow, response)["error"] == "access_denied"


def test_msal_proves_the_gateway_by_its_managed_identity(
    entra: Entra, session: requests.Session, browser: httpx.Client
) -> None:
    """A callable gives the assertion, as MSAL wants it."""

    def assertion() -> str:
        claims = tokens.app_claims(MANAGED_IDENTITY_CLIENT_ID, MANAGED_IDENTITY_OBJECT_ID, "api://AzureADTokenExchange")
        return tokens.lasting(entra.issuer, 60, claims)

    result = confidential(entra, session, {"client_assertion": assertion}).acquire_token_for_client([FABRIC_SCOPE])
    claims = verified(entra, browser, result["access_token"], FABRIC)
    assert (claims["oid"], claims["azpacr"]) == (GATEWAY_OBJECT_ID, tokens.ASSERTION)


def test_msal_proves_the_gateway_by_its_certificate(
    entra: Entra, session: requests.Session, browser: httpx.Client, own_certificate: trustme.LeafCert
) -> None:
    """PS256 with `x5t#S256`, as MSAL signs with a PEM certificate."""
    credential = {
        "private_key": own_certificate.private_key_pem.bytes().decode(),
        "public_certificate": own_certificate.cert_chain_pems[0].bytes().decode(),
    }
    result = confidential(entra, session, credential).acquire_token_for_client([FABRIC_SCOPE])
    assert verified(entra, browser, result["access_token"], FABRIC)["azpacr"] == tokens.ASSERTION


def test_msal_is_told_that_the_secret_is_wrong(entra: Entra, session: requests.Session) -> None:
    """The operator's fault, not the caller's: AADSTS7000215."""
    result = confidential(entra, session, "wrong").acquire_token_for_client([FABRIC_SCOPE])
    assert (result["error"], result["error_codes"]) == ("invalid_client", [7000215])


def test_msal_is_told_what_a_planned_fault_says(entra: Entra, session: requests.Session, browser: httpx.Client) -> None:
    """A claims challenge once, then the token: conditional access without a tenant."""
    bearer = browser.get(f"{entra.issuer.base_url}/local/token", params={"person": "alice"}).text
    entra.faults.plan("token", Refused(50079, claims={"access_token": {"acrs": {"value": "c1"}}}).reply())
    # Two clients, because one remembers a refusal for a minute.
    first, second = (
        confidential(entra, session, SECRET).acquire_token_on_behalf_of(bearer, [FABRIC_SCOPE]) for _ in range(2)
    )
    assert first["error"] == "interaction_required"
    assert first["claims"] == '{"access_token": {"acrs": {"value": "c1"}}}'
    assert "access_token" in second
    assert entra.calls["token"] == 2


def test_every_endpoint_can_fail(entra: Entra, browser: httpx.Client) -> None:
    """By its name, and for as many requests as planned."""
    paths = {
        "discovery": "/v2.0/.well-known/openid-configuration",
        "keys": "/discovery/v2.0/keys",
        "authorize": "/oauth2/v2.0/authorize",
        "logout": "/oauth2/v2.0/logout",
    }
    for name, path in paths.items():
        entra.faults.plan(name, Response(status_code=503), drop)
        assert browser.get(entra.authority + path).status_code == httpx.codes.SERVICE_UNAVAILABLE
        with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
            browser.get(entra.authority + path)
        assert browser.get(entra.authority + path).status_code in {httpx.codes.OK, httpx.codes.BAD_REQUEST}
    assert entra.calls == dict.fromkeys(paths, 3)


def test_a_script_gets_a_token_for_the_gateway_in_one_request(entra: Entra, browser: httpx.Client) -> None:
    """An invention of the local stack; Entra has nothing like it."""
    url = f"{entra.issuer.base_url}/local/token"
    reply = browser.get(url, params={"person": "bob"})
    assert reply.headers["content-type"] == "text/plain; charset=utf-8"
    claims = verified(entra, browser, reply.text, GATEWAY_CLIENT_ID)
    assert (claims["oid"], claims["azp"], claims["scp"]) == (BOB.object_id, SCRIPT_CLIENT_ID, "access_as_user")
    unknown = browser.get(url, params={"person": "mallory"})
    assert (unknown.status_code, unknown.text) == (400, "person must be one of: alice, bob\n")


def test_a_page_of_any_origin_may_redeem_its_own_code(entra: Entra, browser: httpx.Client) -> None:
    """As at Entra, for public clients that live in a browser."""
    reply = browser.get(f"{entra.authority}/discovery/v2.0/keys", headers={"Origin": "https://page.test"})
    assert reply.headers["access-control-allow-origin"] == "*"
