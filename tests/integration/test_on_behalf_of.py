"""What a caller is told when Entra or Fabric refuses them behind the gateway: status, code, one challenge, no more."""

import base64
import json
import re
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from local.fabric import faults
from local.people import ALICE, GATEWAY_CLIENT_ID, TENANT_ID
from local.stack import FABRIC_AUDIENCE, Stack
from tests.integration.browser import Browser

QUESTION = "total sales by month"
PAGE = "https://app.contoso.example"
NAMED = "Zacharias Quastenflosser of Umbrella Holding"
"""Whom Entra names in its descriptions."""
LONGEST_CLAIMS = 4096
BAD_TOKEN = 'Bearer realm="", error="invalid_token", error_description="The access token has expired"'
REVOKED = 'Bearer realm="", error="invalid_token", error_description="Sign in again"'
WANTED = {"access_token": {"acrs": {"essential": True, "value": "c1"}}}
CLAIMS = json.dumps(WANTED)

type Ask = Callable[..., httpx.Response]


@dataclass(frozen=True)
class Refusal:
    """How Entra words a refusal."""

    number: int
    error: str = "invalid_grant"
    suberror: str = ""
    claims: str = ""

    def reply(self, correlation_id: str) -> Response:
        """Its reply, which says more than anybody is to hear."""
        description = f"AADSTS{self.number}: {NAMED} ... Trace ID: x Correlation ID: {correlation_id}"
        reasons = {"suberror": self.suberror, "claims": self.claims}
        body = {
            "error": self.error,
            "error_description": description,
            "error_codes": [self.number],
            "error_uri": f"https://login.evil.example/error?code={self.number}",
            "correlation_id": correlation_id,
            "trace_id": str(uuid.uuid4()),
        }
        status = 401 if self.error == "invalid_client" else 400
        return JSONResponse(body | {name: value for name, value in reasons.items() if value}, status)


@dataclass(frozen=True)
class Told:
    """What the caller is told of a refusal."""

    status: int
    code: str
    challenge: str | None = None


CONSENT = Told(403, "consent_required")
EXPIRED = Told(401, "token_expired", BAD_TOKEN)
AGAIN = Told(401, "reauth_required", REVOKED)
REJECTED = Told(503, "client_credential_rejected")
AWAY = Told(503, "identity_provider_unavailable")

REFUSALS: dict[str, tuple[Refusal, Told]] = {
    "nobody has consented": (Refusal(65001, suberror="consent_required"), CONSENT),
    "nobody has consented, by number alone": (Refusal(65001), CONSENT),
    "an administrator has to consent": (Refusal(90094, suberror="consent_required"), CONSENT),
    "consent, by name": (Refusal(0, "consent_required"), CONSENT),
    "the token's signature counts no more": (Refusal(50013), EXPIRED),
    "the token is out of its time": (Refusal(500133), EXPIRED),
    "the password has changed": (Refusal(50173), AGAIN),
    "the refresh token was not used for long": (Refusal(700082), AGAIN),
    "the refresh token is too old": (Refusal(70008), AGAIN),
    "the sign-in is too long ago": (Refusal(70043), AGAIN),
    "the person is gone": (Refusal(50034), AGAIN),
    "more is wanted, and not said what": (Refusal(50076, "interaction_required"), AGAIN),
    "sign in, by name": (Refusal(0, "login_required"), AGAIN),
    "the app is unknown": (Refusal(700016, "unauthorized_client"), REJECTED),
    "the assertion is out of its time": (Refusal(700024, "invalid_client"), REJECTED),
    "the certificate is unknown": (Refusal(700027, "invalid_client"), REJECTED),
    "the issuer is not trusted": (Refusal(700211, "invalid_client"), REJECTED),
    "the audience is not trusted": (Refusal(700212, "invalid_client"), REJECTED),
    "the subject is not trusted": (Refusal(700213, "invalid_client"), REJECTED),
    "the secret is wrong": (Refusal(7000215, "invalid_client"), REJECTED),
    "the secret has expired": (Refusal(7000222, "invalid_client"), REJECTED),
    "the client, by name": (Refusal(0, "invalid_client"), REJECTED),
    "too many of the same": (Refusal(50196), AWAY),
    "a passing fault": (Refusal(90033, "temporarily_unavailable"), AWAY),
    "a request that Entra does not understand": (Refusal(900144, "invalid_request"), AWAY),
    "a reason that nobody knows": (Refusal(1, "something_new"), AWAY),
}
STEP_UPS = (50072, 50074, 50076, 50079, 50158, 53000, 53001, 53002, 53003, 1)
"""The last one is not known by its number."""

PASSED_ON = {
    "as Entra writes them": CLAIMS,
    "with spaces": json.dumps(WANTED, indent=8),
    "with more than an access token": json.dumps(WANTED | {"id_token": {"acr": None}}),
    "with quotation marks and line ends": json.dumps({"access_token": {'"\r\nSet-Cookie: a=b': {"value": '"'}}}),
    "in any script": json.dumps({"access_token": {"ключ": {"value": "値"}}}, ensure_ascii=False),
    "as long as they may be": json.dumps({"access_token": {"x": "y" * (LONGEST_CLAIMS - 25)}}, separators=(",", ":")),
}
NOT_PASSED_ON = {
    "no JSON": "{",
    "no object": json.dumps([WANTED]),
    "a text": json.dumps(CLAIMS),
    "nothing for an access token": json.dumps({"id_token": {"acr": None}}),
    "no number": '{"access_token":{"x":NaN}}',
    "too deep": '{"access_token":' * 500 + "1" + "}" * 500,
    "a character too long": json.dumps({"access_token": {"x": "y" * (LONGEST_CLAIMS - 24)}}, separators=(",", ":")),
}
NOT_PASSED_ON_BY_ENTRA = NOT_PASSED_ON | {
    "an access token that is null": json.dumps({"access_token": None}),
    "an access token that is a text": json.dumps({"access_token": "c1"}),
    "a member twice": '{"access_token":{},"access_token":{"acrs":{"value":"c1"}}}',
    "half a character": '{"access_token":{"x":"\\ud800"}}',
}


@pytest.fixture(autouse=True)
def _no_fault_left(stack: Stack) -> Iterator[None]:
    """A fault that nobody met is not the next test's."""
    yield
    stack.entra.faults.clear()
    stack.fabric.faults.clear()


@pytest.fixture
def settled(browser: Browser) -> None:
    """Exchanges that have just gone well, so that a failure or two do not make the gateway leave Entra alone."""
    for _ in range(4):
        bearer = {"Authorization": f"Bearer {browser.token('alice')}"}
        assert browser.call("GET", "/api/session?profile=graph", headers=bearer).json()["profile"]


@pytest.fixture
def log(host_log: Path) -> Callable[[], str]:
    """What the gateway has logged since the test began."""
    began = host_log.stat().st_size

    def read() -> str:
        with host_log.open("rb") as file:
            file.seek(began)
            return file.read().decode()

    return read


@pytest.fixture
def ask(browser: Browser, log: Callable[[], str], secrets_seen: set[str]) -> Ask:
    """Asks as a page elsewhere does, under an access token that no Fabric token is known for yet.

    Whatever comes back, nothing of what Entra says about people is in it, nor in the log.
    """
    secrets_seen.add(NAMED)
    bearer = {"Authorization": f"Bearer {browser.token('alice')}"}

    def asked(origin: str = PAGE) -> httpx.Response:
        reply = browser.call("POST", "/api/query", json={"question": QUESTION}, headers={"Origin": origin, **bearer})
        told = reply.text + str(reply.headers.multi_items())
        assert "AADSTS" not in told
        for text in (told, log()):
            assert NAMED not in text
            assert "evil.example/error" not in text
        return reply

    return asked


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("name", REFUSALS)
def test_a_refusal_of_entra_is_told_as_what_the_caller_can_do(
    ask: Ask, stack: Stack, log: Callable[[], str], name: str
) -> None:
    """Entra is asked once, Fabric not at all; operators read the number, and the next question is not refused."""
    refusal, told = REFUSALS[name]
    exchanges, questions, correlation_id = stack.entra.calls["token"], Counter(stack.fabric.calls), str(uuid.uuid4())
    stack.entra.faults.plan("token", refusal.reply(correlation_id))
    reply = ask()
    assert (reply.status_code, reply.json()["code"]) == (told.status, told.code), reply.text
    assert reply.headers.get_list("www-authenticate") == ([told.challenge] if told.challenge else [])
    consent_url = f"{stack.urls['entra']}/{TENANT_ID}/adminconsent?client_id={GATEWAY_CLIENT_ID}"
    assert reply.json().get("admin_consent_url") == (consent_url if told is CONSENT else None)
    assert (stack.entra.calls["token"], stack.fabric.calls) == (exchanges + 1, questions)
    (line,) = (json.loads(line) for line in log().splitlines() if correlation_id in line)
    assert (line["error_code"], line["error"]) == (refusal.number, refusal.error)
    assert line["level"] == ("error" if told is REJECTED else "info")
    assert ask().status_code == 200


@pytest.mark.parametrize("number", STEP_UPS)
def test_a_challenge_of_entra_reaches_the_caller(ask: Ask, stack: Stack, number: int) -> None:
    """Its claims, to be taken to Entra; Fabric is not asked, and the next question is asked anew."""
    questions = Counter(stack.fabric.calls)
    stack.entra.faults.plan("token", Refusal(number, "interaction_required", claims=CLAIMS).reply("-"))
    assert json.loads(challenge(stack, ask())) == WANTED
    assert stack.fabric.calls == questions
    assert ask().status_code == 200


@pytest.mark.parametrize("source", ["entra", "fabric"])
@pytest.mark.parametrize("name", PASSED_ON)
def test_claims_are_passed_on_written_anew(ask: Ask, stack: Stack, source: str, name: str) -> None:
    """They mean what they meant, in as few characters as they can."""
    demand(stack, source, PASSED_ON[name])
    claims = challenge(stack, ask())
    assert json.loads(claims) == json.loads(PASSED_ON[name])
    assert claims == json.dumps(json.loads(claims), separators=(",", ":"), ensure_ascii=claims.isascii())
    assert len(claims) <= LONGEST_CLAIMS


@pytest.mark.parametrize("name", NOT_PASSED_ON_BY_ENTRA)
def test_what_entra_calls_claims_and_nobody_could_read_asks_for_a_new_sign_in(
    ask: Ask, stack: Stack, name: str
) -> None:
    """A challenge without claims would lead in a circle."""
    demand(stack, "entra", NOT_PASSED_ON_BY_ENTRA[name])
    reply = ask()
    assert (reply.status_code, reply.json()["code"]) == (401, "reauth_required"), reply.text
    assert reply.headers.get_list("www-authenticate") == [REVOKED]


@pytest.mark.parametrize("name", NOT_PASSED_ON)
def test_what_fabric_calls_claims_and_nobody_could_read_is_a_token_refused(ask: Ask, stack: Stack, name: str) -> None:
    """So it gets another one, once."""
    exchanges = stack.entra.calls["token"]
    demand(stack, "fabric", NOT_PASSED_ON[name])
    assert ask().status_code == 200
    assert stack.entra.calls["token"] == exchanges + 2
    demand(stack, "fabric", NOT_PASSED_ON[name], times=2)
    reply = ask()
    assert (reply.status_code, reply.json()["code"]) == (503, "agent_unavailable")
    assert "www-authenticate" not in reply.headers


@pytest.mark.parametrize("source", ["entra", "fabric"])
def test_a_page_of_another_origin_can_read_the_challenge(ask: Ask, stack: Stack, source: str) -> None:
    """Where the origin is on the list; a page of any other is told nothing."""
    demand(stack, source, CLAIMS)
    reply = ask()
    assert reply.headers["access-control-allow-origin"] == PAGE
    exposed = {name.strip().lower() for name in reply.headers["access-control-expose-headers"].split(",")}
    assert exposed >= {"www-authenticate", "retry-after"}
    demand(stack, source, CLAIMS)
    stranger = ask("https://evil.example")
    assert not [name for name in stranger.headers if name.startswith("access-control-")]


def test_a_challenge_is_not_repeated_to_fabric(ask: Ask, stack: Stack) -> None:
    """Another token of the same sign-in would be challenged the same."""
    assert ask().status_code == 200
    exchanges, questions = stack.entra.calls["token"], stack.fabric.calls["tools/call"]
    demand(stack, "fabric", CLAIMS)
    challenge(stack, ask())
    assert (stack.entra.calls["token"], stack.fabric.calls["tools/call"]) == (exchanges, questions + 1)


@pytest.mark.parametrize("by", ["token", "session"])
def test_a_token_that_fabric_does_not_take_is_got_anew_once(browser: Browser, stack: Stack, by: str) -> None:
    """Another one, of the same person, with the same question; then it is the gateway's own trouble."""
    headers = {"Authorization": f"Bearer {browser.token('alice')}"} if by == "token" else {}
    if by == "session":
        browser.sign_in("alice")

    def asked() -> httpx.Response:
        return browser.page_call("POST", "/api/query", json={"question": QUESTION}, headers=headers)

    assert asked().status_code == 200
    exchanges = stack.entra.calls["token"]
    seen: list[str] = []
    stack.fabric.faults.plan("tools/call", refusing(seen), noting(seen))
    assert asked().status_code == 200
    assert stack.entra.calls["token"] == exchanges + 1
    assert [stack.issuer.verify(token, FABRIC_AUDIENCE)["oid"] for token in seen] == [ALICE.object_id] * 2
    stack.fabric.faults.plan("tools/call", noting(seen), refusing(seen), refusing(seen), noting(seen))
    assert asked().status_code == 200
    reply = asked()
    assert (reply.status_code, reply.json()["code"]) == (503, "agent_unavailable")
    assert "www-authenticate" not in reply.headers
    assert stack.entra.calls["token"] == exchanges + 2
    first, second, third, fourth, fifth = seen
    assert (second, fourth) == (third, third), "what was got anew is kept"
    assert len({first, second, fifth}) == 3


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    ("refusal", "told"),
    [(Refusal(65001), CONSENT), (Refusal(50173), AGAIN), (Refusal(7000215, "invalid_client"), REJECTED)],
    ids=["consent", "revoked", "credential"],
)
def test_a_session_meets_the_same_refusals(browser: Browser, stack: Stack, refusal: Refusal, told: Told) -> None:
    """Where its refresh token is redeemed; it goes on, for the next time may be another."""
    browser.sign_in("alice")
    stack.entra.faults.plan("token", refusal.reply("-"))
    reply = browser.ask(QUESTION)
    assert (reply.status_code, reply.json()["code"]) == (told.status, told.code), reply.text
    assert NAMED not in reply.text
    assert browser.ask(QUESTION).status_code == 200


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    ("asked", "told", "attempts"),
    [("7", "7", 1), ("60", "60", 1), ("86400", "60", 1), ("soon", "5", 2), ("-1", "5", 2)],
)
def test_how_long_entra_wants_to_be_left_alone_is_told(
    ask: Ask, stack: Stack, asked: str, told: str, attempts: int
) -> None:
    """In seconds, no more than a minute; here nobody waits so long, and what cannot be read asks for nothing."""
    exchanges = stack.entra.calls["token"]
    stack.entra.faults.plan("token", *[Response(status_code=429, headers={"Retry-After": asked})] * 2)
    reply = ask()
    assert (reply.status_code, reply.json()["code"]) == (503, "identity_provider_unavailable")
    assert reply.headers["retry-after"] == told
    assert stack.entra.calls["token"] == exchanges + attempts
    stack.entra.faults.clear()
    assert ask().status_code == 200


def demand(stack: Stack, source: str, claims: str, times: int = 1) -> None:
    """Lets Entra or Fabric want these claims first."""
    if source == "entra":
        stack.entra.faults.plan("token", *[Refusal(50076, "interaction_required", claims=claims).reply("-")] * times)
    else:
        stack.fabric.faults.plan("tools/call", *[faults.challenge(claims)] * times)


def challenge(stack: Stack, reply: httpx.Response) -> str:
    """The claims of the one challenge of a reply, as JSON text; checks everything around them."""
    assert (reply.status_code, reply.json()["code"]) == (401, "step_up_required"), reply.text
    (told,) = reply.headers.get_list("www-authenticate")
    uri = f"{stack.urls['entra']}/{TENANT_ID}/oauth2/v2.0/authorize"
    form = rf'Bearer realm="", authorization_uri="{re.escape(uri)}", error="insufficient_claims", claims="([^"]+)"'
    found = re.fullmatch(form, told)
    assert found, told
    return base64.b64decode(found[1], validate=True).decode()


def noting(seen: list[str]) -> ASGIApp:
    """The usual answer; the token that it was asked with is added to `seen`."""

    async def fault(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(Request(scope).headers["authorization"].removeprefix("Bearer "))
        await scope["usual"](scope, receive, send)

    return fault


def refusing(seen: list[str]) -> ASGIApp:
    """A plain 401, likewise."""

    async def fault(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(Request(scope).headers["authorization"].removeprefix("Bearer "))
        await Response(status_code=401, headers={"WWW-Authenticate": "Bearer"})(scope, receive, send)

    return fault
