"""The token endpoint, grant by grant."""

import base64
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import jwt
import pytest

from local.entra import Entra, build
from local.entra.grants import REFRESH_SECONDS
from local.entra.sign_in import CODE_SECONDS
from local.issuer import Issuer
from local.people import ALICE, BOB, GATEWAY_CLIENT_ID, GATEWAY_OBJECT_ID, PEOPLE, SCRIPT_CLIENT_ID, TENANT_ID
from tests.local.entra.gateway import CHALLENGE, FABRIC_SCOPE, SCOPE, SECRET, Gateway

FABRIC = "https://api.fabric.microsoft.com"
ON_BEHALF_OF = "urn:ietf:params:oauth:grant-type:jwt-bearer"


def claims_of(token: str) -> dict[str, Any]:
    """What a token says; its signature is checked elsewhere."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def code_of(reply: dict[str, Any]) -> int:
    """The AADSTS code of a refusal."""
    (code,) = reply["error_codes"]
    assert isinstance(code, int)
    return code


def contexts(*wanted: str) -> str:
    """A claims request for authentication contexts."""
    return json.dumps({"access_token": {"acrs": {"essential": True, "values": list(wanted)}}})


def inbound(issuer: Issuer, **changes: Any) -> str:
    """An access token of Alice's for the gateway, but for `changes`; None leaves a claim out."""
    now = int(issuer.now())
    usual = {"iss": issuer.url, "aud": GATEWAY_CLIENT_ID, "nbf": now, "exp": now + 60, "scp": "access_as_user"}
    claims = usual | {"oid": ALICE.object_id} | changes
    return issuer.sign({name: value for name, value in claims.items() if value is not None})


async def test_a_code_is_worth_the_tokens_that_its_scope_asks_for(gateway: Gateway, entra: Entra) -> None:
    """Access token, refresh token, id token and account, and how long the access token lasts."""
    code = (await gateway.sign_in())["code"]
    reply = await gateway.redeem_code(code, client_info="1")
    assert reply.pop("token_type") == "Bearer"
    assert reply.pop("expires_in") == reply.pop("ext_expires_in") == entra.token_seconds
    assert reply.pop("scope") == f"{FABRIC}/DataAgent.Execute.All {FABRIC}/Item.Read.All"
    account = json.loads(base64.urlsafe_b64decode(reply.pop("client_info") + "=="))
    assert account == {"uid": ALICE.object_id, "utid": TENANT_ID}
    assert reply.keys() == {"access_token", "refresh_token", "id_token"}


async def test_scopes_that_are_not_asked_for_give_no_tokens(gateway: Gateway) -> None:
    """No refresh token without offline_access, no id token without openid, no account without client_info."""
    reply = await gateway.redeem_code((await gateway.sign_in())["code"], scope=FABRIC_SCOPE)
    assert reply.keys() == {"token_type", "expires_in", "ext_expires_in", "access_token", "scope"}


async def test_the_id_token_is_for_the_client_and_carries_the_nonce(gateway: Gateway) -> None:
    """The nonce ties it to the browser's own request; `sid` is the session that the browser was told of."""
    members = await gateway.sign_in("bob", nonce="n-1")
    claims = claims_of((await gateway.redeem_code(members["code"]))["id_token"])
    assert (claims["aud"], claims["nonce"], claims["login_hint"]) == (GATEWAY_CLIENT_ID, "n-1", BOB.username)
    assert (claims["oid"], claims["sid"]) == (BOB.object_id, members["session_state"])


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"redirect_uri": "https://gateway.test/"}, 500112, id="another redirect URI"),
        pytest.param({"code_verifier": CHALLENGE}, 501481, id="the challenge as verifier"),
        pytest.param({"code_verifier": None}, 900144, id="no verifier"),
        pytest.param({"client_id": SCRIPT_CLIENT_ID, "client_secret": None}, 70000, id="another client"),
        pytest.param({"scope": f"{FABRIC_SCOPE} https://graph.test/User.Read"}, 28000, id="two resources"),
    ],
)
async def test_a_code_is_bound_to_what_it_was_issued_for(
    gateway: Gateway, changes: dict[str, str | None], code: int
) -> None:
    """Whoever steals a code still lacks one of these."""
    stolen = (await gateway.sign_in())["code"]
    assert code_of(await gateway.redeem_code(stolen, **changes)) == code


async def test_a_code_is_good_once(gateway: Gateway) -> None:
    """A second redemption is refused, also after a first that failed; so is a code never issued."""
    code = (await gateway.sign_in())["code"]
    assert code_of(await gateway.redeem_code(code, code_verifier="wrong")) == 501481
    assert code_of(await gateway.redeem_code(code)) == 54005
    assert code_of(await gateway.redeem_code(f"{code}x")) == 70000


async def test_a_code_is_good_for_five_minutes(gateway: Gateway, clock: list[float]) -> None:
    """On the second."""
    early, late = [(await gateway.sign_in())["code"] for _ in range(2)]
    clock[0] += CODE_SECONDS - 1
    assert "access_token" in await gateway.redeem_code(early)
    clock[0] += 1
    assert code_of(await gateway.redeem_code(late)) == 70008


@pytest.mark.parametrize(
    ("scope", "audience", "scp"),
    [
        pytest.param(FABRIC_SCOPE, FABRIC, "DataAgent.Execute.All Item.Read.All", id="what was consented"),
        pytest.param(f"{FABRIC}/DataAgent.Execute.All", FABRIC, "DataAgent.Execute.All", id="one permission"),
        pytest.param(f"api://{GATEWAY_CLIENT_ID}/access_as_user", GATEWAY_CLIENT_ID, "access_as_user", id="own API"),
        pytest.param(f"{GATEWAY_CLIENT_ID}/.default", GATEWAY_CLIENT_ID, "access_as_user", id="own API by client id"),
        pytest.param("https://localhost:8446/User.Read", "https://localhost:8446", "User.Read", id="any resource"),
        pytest.param("https://unknown.test/.default", "https://unknown.test", "user_impersonation", id="unknown"),
        pytest.param("openid profile", "https://graph.microsoft.com", "openid profile", id="OpenID scopes alone"),
    ],
)
async def test_a_refresh_token_is_good_for_any_resource(gateway: Gateway, scope: str, audience: str, scp: str) -> None:
    """The scope's prefix decides the audience: a client id for an application's API, else the resource itself."""
    first = await gateway.redeem_code((await gateway.sign_in())["code"])
    claims = claims_of(
        (await gateway.redeem("refresh_token", refresh_token=first["refresh_token"], scope=scope))["access_token"]
    )
    assert (claims["aud"], claims["scp"], claims["oid"]) == (audience, scp, ALICE.object_id)


async def test_a_refresh_token_rotates_and_keeps_its_scope_and_session(gateway: Gateway) -> None:
    """The successor is another one, for the same session; the predecessor still works, as in Entra."""
    first = await gateway.redeem_code((await gateway.sign_in())["code"])
    second = await gateway.redeem("refresh_token", refresh_token=first["refresh_token"])
    assert second["refresh_token"] != first["refresh_token"]
    assert second["scope"] == first["scope"]
    assert claims_of(second["id_token"])["sid"] == claims_of(first["id_token"])["sid"]
    assert "nonce" not in claims_of(second["id_token"])
    assert "access_token" in await gateway.redeem("refresh_token", refresh_token=first["refresh_token"])


async def test_a_refresh_token_survives_a_restart_of_the_tenant(gateway: Gateway, entra: Entra, keys: Path) -> None:
    """Nothing but the signing key is kept."""
    token = (await gateway.redeem_code((await gateway.sign_in())["code"]))["refresh_token"]
    again = Entra(Issuer(entra.issuer.base_url, keys, now=entra.issuer.now), entra.registrations)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build(again)), base_url=again.authority) as client:
        assert "access_token" in await Gateway(client).redeem("refresh_token", refresh_token=token)


async def test_a_refresh_token_ends_and_belongs_to_its_client(gateway: Gateway, clock: list[float]) -> None:
    """After ninety days, for another client and after tampering it is refused."""
    token = (await gateway.redeem_code((await gateway.sign_in())["code"]))["refresh_token"]
    other = {"client_id": SCRIPT_CLIENT_ID, "client_secret": None}
    assert code_of(await gateway.redeem("refresh_token", refresh_token=token, **other)) == 70000
    assert code_of(await gateway.redeem("refresh_token", refresh_token=f"{token}x")) == 70000
    clock[0] += REFRESH_SECONDS
    assert code_of(await gateway.redeem("refresh_token", refresh_token=token)) == 700082


async def test_a_token_tells_the_authentication_contexts_that_it_is_asked_for_with(gateway: Gateway) -> None:
    """Where the sign-in has proven them, through each renewal; else what it takes to sign in again is told."""
    strong = await gateway.redeem_code((await gateway.sign_in(claims=contexts("c1", "c2")))["code"])
    renewed = await gateway.redeem("refresh_token", refresh_token=strong["refresh_token"], claims=contexts("c1"))
    assert claims_of(renewed["access_token"])["acrs"] == ["c1"]
    plain = await gateway.redeem("refresh_token", refresh_token=renewed["refresh_token"])
    assert "acrs" not in claims_of(plain["access_token"])
    weak = await gateway.redeem_code((await gateway.sign_in())["code"])
    refused = await gateway.redeem("refresh_token", refresh_token=weak["refresh_token"], claims=contexts("c1"))
    assert (refused["error"], refused["error_codes"]) == ("interaction_required", [50076])
    assert json.loads(refused["claims"]) == json.loads(contexts("c1"))


async def test_a_claims_request_that_cannot_be_read_is_refused(gateway: Gateway) -> None:
    """At the token endpoint."""
    assert code_of(await gateway.redeem_code((await gateway.sign_in())["code"], claims="{")) == 700009


async def test_the_gateway_acts_on_behalf_of_its_caller(gateway: Gateway, issuer: Issuer) -> None:
    """The caller's own access token becomes one for Fabric, of the same person, for the gateway."""
    asked = {"assertion": inbound(issuer, sid="s"), "requested_token_use": "on_behalf_of", "scope": SCOPE}
    reply = await gateway.redeem(ON_BEHALF_OF, **asked)
    claims = claims_of(reply["access_token"])
    assert (claims["aud"], claims["azp"]) == (FABRIC, GATEWAY_CLIENT_ID)
    assert (claims["oid"], claims["sid"]) == (ALICE.object_id, "s")
    assert {"refresh_token", "id_token"} <= reply.keys()


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        pytest.param({"aud": FABRIC}, 50013, id="for another audience"),
        pytest.param({"exp": 1_800_000_000}, 500133, id="expired"),
        pytest.param({"scp": None, "idtyp": "app"}, 7000114, id="app-only"),
        pytest.param({"oid": "somebody-unknown"}, 50034, id="of nobody here"),
        pytest.param({"oid": None}, 50034, id="of nobody at all"),
    ],
)
async def test_an_assertion_that_is_no_callers_is_refused(
    gateway: Gateway, issuer: Issuer, claims: dict[str, Any], code: int
) -> None:
    """Whatever the gateway lets through by mistake, Entra does not."""
    assertion = inbound(issuer, **claims)
    asked = {"assertion": assertion, "requested_token_use": "on_behalf_of", "scope": FABRIC_SCOPE}
    assert code_of(await gateway.redeem(ON_BEHALF_OF, **asked)) == code


async def test_a_forged_assertion_is_refused(gateway: Gateway, issuer: Issuer) -> None:
    """Signed with another key."""
    forged = inbound(Issuer(issuer.base_url, now=issuer.now))
    asked = {"assertion": forged, "requested_token_use": "on_behalf_of", "scope": FABRIC_SCOPE}
    assert code_of(await gateway.redeem(ON_BEHALF_OF, **asked)) == 50013


async def test_a_grant_of_assertions_is_for_acting_on_behalf_of(gateway: Gateway, issuer: Issuer) -> None:
    """The grant type alone is not enough."""
    asked = {"assertion": inbound(issuer), "requested_token_use": "something", "scope": FABRIC_SCOPE}
    assert code_of(await gateway.redeem(ON_BEHALF_OF, **asked)) == 700009


async def test_more_people_may_be_added_to_the_tenant(gateway: Gateway, entra: Entra, issuer: Issuer) -> None:
    """Load tests bring their own crowd."""
    carol = replace(ALICE, key="carol", object_id="ca201000-0000-4000-8000-0000000ca201")
    entra.people = PEOPLE | {"carol": carol}
    assertion = inbound(issuer, oid=carol.object_id)
    asked = {"assertion": assertion, "requested_token_use": "on_behalf_of", "scope": FABRIC_SCOPE}
    assert claims_of((await gateway.redeem(ON_BEHALF_OF, **asked))["access_token"])["oid"] == carol.object_id


async def test_the_gateway_gets_tokens_for_itself(gateway: Gateway) -> None:
    """App-only: its service principal is the subject, and nobody's scopes are in it."""
    reply = await gateway.redeem("client_credentials", scope=FABRIC_SCOPE)
    assert reply.keys() == {"token_type", "expires_in", "ext_expires_in", "access_token"}
    claims = claims_of(reply["access_token"])
    assert (claims["aud"], claims["oid"], claims["sub"]) == (FABRIC, GATEWAY_OBJECT_ID, GATEWAY_OBJECT_ID)
    assert (claims["idtyp"], claims["azpacr"]) == ("app", "1")
    assert not {"scp", "name", "preferred_username", "sid", "roles"} & claims.keys()


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"scope": f"{FABRIC}/DataAgent.Execute.All"}, 1002012, id="a delegated permission"),
        pytest.param({"scope": f"{FABRIC_SCOPE} https://other.test/.default"}, 1002012, id="two resources"),
        pytest.param({"scope": None}, 900144, id="no scope"),
        pytest.param({"client_id": SCRIPT_CLIENT_ID, "client_secret": None}, 7000216, id="public client"),
    ],
)
async def test_client_credentials_have_their_own_rules(
    gateway: Gateway, changes: dict[str, str | None], code: int
) -> None:
    """One resource, by `/.default`, for a client that can prove itself."""
    assert code_of(await gateway.redeem("client_credentials", **({"scope": FABRIC_SCOPE} | changes))) == code


async def test_app_roles_are_told_to_the_gateway_alone(gateway: Gateway, entra: Entra) -> None:
    """A person's and an application's roles are in tokens for the API that defines them."""
    entra.roles = {"alice": ("Gateway.Operate",), GATEWAY_CLIENT_ID: ("Query.All",)}
    own = f"api://{GATEWAY_CLIENT_ID}/.default"
    app = await gateway.redeem("client_credentials", scope=own)
    assert claims_of(app["access_token"])["roles"] == ["Query.All"]
    person = await gateway.redeem_code((await gateway.sign_in())["code"], scope=own)
    assert claims_of(person["access_token"])["roles"] == ["Gateway.Operate"]
    elsewhere = await gateway.redeem_code((await gateway.sign_in())["code"])
    assert "roles" not in claims_of(elsewhere["access_token"])


@pytest.mark.parametrize(
    ("grant_type", "changes", "code"),
    [
        pytest.param("password", {}, 70003, id="unknown grant"),
        pytest.param("", {}, 900144, id="no grant"),
        pytest.param("refresh_token", {"client_id": None}, 900144, id="no client"),
        pytest.param("refresh_token", {"client_id": "somebody"}, 700016, id="unknown client"),
        pytest.param("refresh_token", {"client_secret": "wrong"}, 7000215, id="wrong secret"),
        pytest.param("refresh_token", {}, 900144, id="no refresh token"),
    ],
)
async def test_a_request_that_is_no_grant_is_refused(
    gateway: Gateway, grant_type: str, changes: dict[str, str | None], code: int
) -> None:
    """What is missing or unknown is told by its code."""
    assert code_of(await gateway.redeem(grant_type, **changes)) == code


async def test_requests_are_counted_by_grant(gateway: Gateway, entra: Entra) -> None:
    """Tests count how often a client really asked."""
    await gateway.redeem("client_credentials", scope=FABRIC_SCOPE, client_secret=SECRET)
    await gateway.redeem("refresh_token", refresh_token="unknown")
    assert entra.calls == {"token": 2, "client_credentials": 1, "refresh_token": 1}
