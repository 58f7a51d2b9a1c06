"""Rules for signing in by redirect."""

import base64
import hashlib
import json
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from lib.errors import (
    ClientCredentialRejected,
    ConsentRequired,
    GatewayError,
    IdentityProviderUnavailable,
    LoginFailed,
    StepUpRequired,
)
from lib.identity.credentials import ClientCredential
from lib.identity.entra import EntraClient
from lib.identity.flows import FLOW_SECONDS, Flow
from lib.identity.sessions import SignedIn
from lib.identity.sign_in import SignIn
from lib.identity.signing_keys import SigningKeys
from lib.identity.tokens import TokenValidator
from tests.clock import Clock
from tests.lib.identity.authority import (
    FABRIC,
    HOST,
    PERSON,
    SPA,
    TENANT,
    Authority,
    TokenEndpoint,
    claims,
    granted,
    mint,
    raw,
    refused,
    reply,
    settings,
)
from tests.lib.identity.client import Identity, Vault

CALLBACK = "https://ask.contoso.com/api/login/callback"
ORIGINS = ("https://app.contoso.com", "http://localhost:5173")


class World:
    """A gateway and an Entra that signs people in."""

    def __init__(self, http: httpx.AsyncClient, clock: Clock) -> None:
        self.clock = clock
        self.nonce = ""
        self.id_token_changes: dict[str, object] = {}
        self.endpoint = TokenEndpoint(self.grant)
        self.answer: Callable[[], httpx.Response] | None = None
        self.spent: list[str] = []
        told = settings(CLIENT_CREDENTIAL="secret")
        credential = ClientCredential(told, Identity(clock), Vault(client_secret="hush"), clock)
        self.entra = EntraClient(told, credential, transport=self.endpoint.transport, now=clock)
        validator = TokenValidator(told, SigningKeys(http, HOST, [TENANT], now=clock), clock)
        random = iter(range(256))
        self.sign_in = SignIn(told, self.entra, validator, now=clock, random=lambda size: bytes([next(random)]) * size)

    def grant(self, form: dict[str, str]) -> httpx.Response:
        """The tokens of the code."""
        if self.answer:
            return self.answer()
        assert form["code"] == "the-code"
        id_token = mint(claims(**({"nonce": self.nonce, "login_hint": "alice-hint"} | self.id_token_changes)))
        return granted("fabric-token", refresh_token="the-refresh-token", id_token=id_token)

    async def begin(self, return_to: str = "/api/app") -> tuple[dict[str, str], Flow]:
        """What Entra is asked, and what the gateway remembers."""
        url, flow = await self.sign_in.begin(return_to)
        asked = {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
        self.nonce = asked["nonce"]
        return asked, flow

    async def form(self) -> tuple[dict[str, str], Flow]:
        """The form that Entra posts, and the flow it belongs to."""
        asked, flow = await self.begin()
        return {"code": "the-code", "state": asked["state"], "session_state": "x"}, flow

    async def complete(self, form: dict[str, str], flow: Flow) -> SignedIn:
        """Who has signed in, by that form."""

        async def spend() -> None:
            self.spent.append(flow.state)

        return await self.sign_in.complete(form, flow, spend)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    """A world that is closed in the end."""
    clock = Clock()
    async with Authority(clock).client() as http:
        made = World(http, clock)
        yield made
        made.entra.close()


async def test_a_browser_is_sent_to_entra_with_three_secrets_of_its_own(world: World) -> None:
    """State against forgery, PKCE against a stolen code, a nonce against another's id token: 256 bits each."""
    asked, flow = await world.begin()
    assert (asked["redirect_uri"], asked["response_mode"]) == (CALLBACK, "form_post")
    assert asked["scope"].split() == [FABRIC, "openid", "profile", "offline_access"]
    assert asked["state"] == flow.state
    challenge = base64.urlsafe_b64encode(hashlib.sha256(flow.code_verifier.encode()).digest()).rstrip(b"=").decode()
    assert (asked["code_challenge"], asked["code_challenge_method"]) == (challenge, "S256")
    assert asked["nonce"] == hashlib.sha256(flow.nonce.encode()).hexdigest()
    assert len({flow.state, flow.code_verifier, flow.nonce}) == 3
    assert {len(secret) for secret in (flow.state, flow.code_verifier, flow.nonce)} == {43}
    assert not {flow.code_verifier, flow.nonce} & set(asked.values())


async def test_a_sign_in_that_answers_a_challenge_asks_for_its_claims(world: World) -> None:
    """Of the same person, and with protections of its own; the claims stay out of what the browser keeps."""
    challenge = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
    weaker = SignedIn(TENANT, PERSON, login_hint="alice-hint", challenge=challenge, challenge_handle="handle")
    url, flow = await world.sign_in.begin("/api/app", weaker)
    asked = {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
    assert json.loads(asked["claims"])["access_token"]["acrs"] == {"essential": True, "value": "c1"}
    assert asked["login_hint"] == "alice-hint"
    assert flow.challenge_handle == "handle"
    assert "c1" not in str(asdict(flow))
    asked, flow = await world.begin()
    assert "acrs" not in asked["claims"]
    assert "login_hint" not in asked
    assert flow.challenge_handle == ""


async def test_no_two_sign_ins_are_alike(world: World) -> None:
    """Nor can one be told from another."""
    (_, first), (_, second) = await world.begin(), await world.begin()
    assert not {first.state, first.nonce, first.code_verifier} & {second.state, second.nonce, second.code_verifier}


async def test_nothing_is_asked_of_anybody_to_begin(world: World) -> None:
    """Whoever opens the page costs no request."""
    await world.begin()
    assert world.endpoint.requests == []


async def test_a_person_signs_in(world: World) -> None:
    """The code becomes a session's worth: who it is, and the refresh token."""
    form, flow = await world.form()
    signed_in = await world.complete(form, flow)
    assert (signed_in.tenant_id, signed_in.object_id) == (TENANT, PERSON)
    assert (signed_in.name, signed_in.username) == ("Alice Arden", "alice@contoso.example")
    assert (signed_in.login_hint, signed_in.refresh_token) == ("alice-hint", "the-refresh-token")
    (redeemed,) = world.endpoint.forms
    assert (redeemed["code_verifier"], redeemed["redirect_uri"]) == (flow.code_verifier, CALLBACK)
    assert not [secret for secret in ("the-refresh-token", "alice-hint") if secret in repr(signed_in)]
    assert world.spent == [flow.state]


@pytest.mark.parametrize("state", [None, "", "another", "\ud800"])
async def test_a_form_of_another_browser_is_refused(world: World, state: str | None) -> None:
    """The state is the cookie's, or the sign-in was not begun here; no code is redeemed for it."""
    form, flow = await world.form()
    form = {"code": "the-code"} if state is None else form | {"state": state}
    with pytest.raises(LoginFailed) as fault:
        await world.complete(form, flow)
    assert flow.state not in f"{fault.value} {fault.value.__cause__}"
    assert (world.endpoint.requests, world.spent) == ([], [])


async def test_a_sign_in_takes_ten_minutes_at_most(world: World) -> None:
    """As long as its cookie lives, whatever the browser makes of that."""
    form, flow = await world.form()
    world.clock.advance(FLOW_SECONDS + 1)
    with pytest.raises(LoginFailed):
        await world.complete(form, flow)
    world.clock.advance(-1)
    await world.complete(form, flow)


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        ({"error": "access_denied", "error_description": "AADSTS65004 <script>"}, LoginFailed),
        ({"error": "invalid_request"}, LoginFailed),
        ({"error": "consent_required"}, ConsentRequired),
        ({"error": "temporarily_unavailable"}, IdentityProviderUnavailable),
        ({"error": "server_error"}, IdentityProviderUnavailable),
        ({"error": "access_denied", "code": "the-code"}, LoginFailed),
        ({"error": "\r\n forged log line"}, LoginFailed),
        ({"error": ""}, LoginFailed),
        ({"code": ""}, LoginFailed),
        ({}, LoginFailed),
    ],
)
async def test_an_outcome_without_a_code_is_told_for_what_it_is(
    world: World, outcome: dict[str, str], kind: type[GatewayError], caplog: pytest.LogCaptureFixture
) -> None:
    """Entra's own words stay out of the error and out of the log."""
    form, flow = await world.form()
    with caplog.at_level(logging.INFO), pytest.raises(GatewayError) as fault:
        await world.complete({"state": form["state"]} | outcome, flow)
    assert type(fault.value) is kind
    logged = " ".join(str(record.__dict__) for record in caplog.records)
    assert "script" not in f"{fault.value} {logged}"
    assert "forged" not in logged
    assert (world.endpoint.requests, world.spent) == ([], [])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"nonce": "strange"}, id="another sign-in's nonce"),
        pytest.param({"nonce": None}, id="no nonce"),
        pytest.param({"aud": SPA}, id="another client's"),
        pytest.param({"tid": PERSON, "iss": f"{HOST}/{PERSON}/v2.0"}, id="a tenant that is not allowed"),
        pytest.param({"exp": 1}, id="no lifetime"),
    ],
)
async def test_an_id_token_is_believed_only_once_it_is_validated(world: World, changes: dict[str, object]) -> None:
    """That it comes from the token endpoint is not enough."""
    form, flow = await world.form()
    world.id_token_changes = changes
    with pytest.raises(LoginFailed) as fault:
        await world.complete(form, flow)
    assert flow.nonce not in f"{fault.value} {fault.value.__cause__}"


async def test_an_expired_id_token_is_a_failed_sign_in(world: World) -> None:
    """It cannot have been issued for this form."""
    form, flow = await world.form()
    now = int(world.clock())
    world.id_token_changes = {"iat": now - 4000, "nbf": now - 4000, "exp": now - 100}
    with pytest.raises(LoginFailed):
        await world.complete(form, flow)


@pytest.mark.parametrize("left_out", ["id_token", "refresh_token"])
async def test_tokens_that_make_no_session_are_a_failed_sign_in(world: World, left_out: str) -> None:
    """Both are asked for, and without either nothing can come of it."""
    form, flow = await world.form()
    tokens = {"refresh_token": "r", "id_token": mint(claims(nonce=world.nonce))}
    del tokens[left_out]
    world.answer = lambda: granted("fabric-token", **tokens)
    with pytest.raises(LoginFailed):
        await world.complete(form, flow)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (lambda: refused("invalid_grant", 54005), LoginFailed),
        (lambda: refused("invalid_grant", 70008), LoginFailed),
        (lambda: refused("invalid_grant", 501481), LoginFailed),
        (lambda: refused("invalid_grant", 65001), ConsentRequired),
        (lambda: refused("interaction_required", 50079, claims='{"access_token":{"a":{}}}'), StepUpRequired),
        (lambda: refused("invalid_client", 7000215, status=401), ClientCredentialRejected),
        (lambda: raw(b"", 503), IdentityProviderUnavailable),
    ],
    ids=["used", "too old", "another verifier", "consent", "step up", "credential", "away"],
)
async def test_a_code_that_is_refused_is_told_for_what_it_is(
    world: World, answer: Callable[[], httpx.Response], kind: type[GatewayError]
) -> None:
    """Beginning anew helps with some of it; the rest is for others to do."""
    form, flow = await world.form()
    world.answer = answer
    with pytest.raises(GatewayError) as fault:
        await world.complete(form, flow)
    assert type(fault.value) is kind


async def test_keys_that_cannot_be_had_are_no_failed_sign_in() -> None:
    """Entra is away, and that is what the person is told."""
    authority = Authority()
    authority.fault = lambda _: reply({}, 503)
    async with authority.client() as http:
        world = World(http, Clock())
        form, flow = await world.form()
        with pytest.raises(IdentityProviderUnavailable):
            await world.complete(form, flow)
        world.entra.close()
