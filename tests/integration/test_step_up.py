"""A question that takes a stronger sign-in: by session through the gateway's own login, by token through the caller."""

import json
from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from local.entra import Refused
from local.fabric import faults
from local.people import ALICE
from local.stack import FABRIC_AUDIENCE, Stack
from tests.integration.browser import Browser

QUESTION = "total sales by month"
WANTED = {"acrs": {"essential": True, "value": "c1"}}
CLAIMS = json.dumps({"access_token": WANTED})


@pytest.fixture
def weak(browser: Browser) -> Browser:
    """Alice's browser after a usual sign-in."""
    browser.sign_in("alice")
    return browser


@pytest.fixture(autouse=True)
def _no_fault_left(stack: Stack) -> Iterator[None]:
    """A fault that nobody met is not the next test's."""
    yield
    stack.entra.faults.clear()
    stack.fabric.faults.clear()


def test_a_session_steps_up_by_signing_in_again(weak: Browser, stack: Stack, secrets_seen: set[str]) -> None:
    """Fabric wants a context: a login address is told, Entra asked for it, and the next token has it."""
    old = weak.cookies["__Host-session"]
    told: list[list[str]] = []
    stack.fabric.faults.plan("tools/call", *[demanding(stack, told)] * 2)
    url = login_url(weak, secrets_seen)
    authorize = begin(weak, url, "/api/app?view=1")
    asked = {name: value for name, (value,) in parse_qs(urlsplit(authorize).query).items()}
    assert json.loads(asked["claims"]) == {"access_token": {**WANTED, "xms_cc": {"values": ["CP1"]}}}
    assert asked["login_hint"] == ALICE.username
    assert weak.cookies["__Host-session"] == old, "nothing changes before somebody has signed in"
    done = weak.come_back(weak.pick(authorize, "alice"))
    assert (done.status_code, done.headers["location"]) == (303, "/api/app?view=1")
    assert weak.ask(QUESTION).status_code == 200
    assert told == [[], ["c1"]]
    assert weak.cookies["__Host-session"] != old
    weak.cookies["__Host-session"] = old
    assert weak.call("GET", "/api/session").json()["code"] == "session_expired"


def test_entra_may_be_the_one_who_wants_more(weak: Browser, stack: Stack, secrets_seen: set[str]) -> None:
    """Its refusal of a token comes out the same."""
    stack.entra.faults.plan("token", Refused(50076, claims={"access_token": WANTED}).reply())
    authorize = begin(weak, login_url(weak, secrets_seen))
    assert json.loads(parse_qs(urlsplit(authorize).query)["claims"][0])["access_token"]["acrs"] == WANTED["acrs"]
    weak.come_back(weak.pick(authorize, "alice"))
    assert weak.ask(QUESTION).status_code == 200


def test_a_handle_is_good_in_its_own_browser_alone(weak: Browser, stack: Stack, secrets_seen: set[str]) -> None:
    """Elsewhere, from a page of another site, made up or used up, it begins nothing."""
    stack.fabric.faults.plan("tools/call", faults.challenge(CLAIMS))
    path, _, query = login_url(weak, secrets_seen).removeprefix(stack.public_url).partition("?")
    with Browser(stack, secrets_seen) as stranger:
        assert refused(stranger, f"{path}?{query}")
        stranger.sign_in("alice")
        assert refused(stranger, f"{path}?{query}")
    assert weak.call("GET", f"{path}?{query}", cross_site=True).json()["code"] == "login_failed"
    for made_up in (f"step_up={'x' * 22}", "step_up=../x"):
        assert refused(weak, f"{path}?{made_up}")
    weak.come_back(weak.pick(begin(weak, f"{stack.public_url}{path}?{query}"), "alice"))
    assert refused(weak, f"{path}?{query}")


def test_a_stronger_sign_in_that_is_declined_leaves_the_session_as_it_was(
    weak: Browser, stack: Stack, secrets_seen: set[str]
) -> None:
    """The page is told, and asks again when it likes."""
    stack.fabric.faults.plan("tools/call", faults.challenge(CLAIMS))
    url = login_url(weak, secrets_seen)
    state = parse_qs(urlsplit(begin(weak, url)).query)["state"][0]
    declined = weak.come_back({"state": state, "error": "access_denied"})
    assert declined.headers["location"] == "/api/app?error=login_failed"
    assert weak.ask(QUESTION).status_code == 200
    begin(weak, url)


def test_a_challenge_that_came_meanwhile_is_not_taken_for_answered(
    weak: Browser, stack: Stack, secrets_seen: set[str]
) -> None:
    """Another tab met other claims while this one was at Entra: no token is asked for with what nobody has proven."""
    stack.fabric.faults.plan("tools/call", faults.challenge(CLAIMS), faults.challenge(CLAIMS.replace("c1", "c2")))
    authorize = begin(weak, login_url(weak, secrets_seen))
    login_url(weak, secrets_seen)
    weak.come_back(weak.pick(authorize, "alice"))
    assert weak.ask(QUESTION).status_code == 200


@pytest.mark.parametrize("by", ["token", "session"])
def test_who_brought_a_token_is_told_the_claims(browser: Browser, stack: Stack, by: str) -> None:
    """They signed in elsewhere, and so they step up there, also where the token became a session."""
    bearer = {"Authorization": f"Bearer {browser.token('alice')}"}
    if by == "session":
        browser.call("POST", "/api/login", headers=bearer)
    stack.fabric.faults.plan("tools/call", faults.challenge(CLAIMS))
    reply = browser.page_call(
        "POST", "/api/query", json={"question": QUESTION}, headers=bearer if by == "token" else {}
    )
    assert (reply.status_code, reply.json()["code"]) == (401, "step_up_required")
    assert 'error="insufficient_claims"' in reply.headers["www-authenticate"]
    assert "login_url" not in reply.json()


def test_a_session_keeps_its_secret_until_the_next_sign_in(weak: Browser) -> None:
    """No other reply sets a cookie: a new secret marks a sign-in, and nothing else."""
    replies = [weak.ask(QUESTION), weak.call("GET", "/api/session?profile=graph"), weak.call("GET", "/api/agents")]
    assert [reply.headers.get_list("set-cookie") for reply in replies] == [[], [], []]


@pytest.mark.parametrize("way", ["redirect", "token"])
def test_a_planted_session_is_never_adopted(browser: Browser, stack: Stack, secrets_seen: set[str], way: str) -> None:
    """Bob's cookie in Alice's browser: after her sign-in she has one of her own, and his is ended."""
    with Browser(stack, secrets_seen) as attacker:
        attacker.sign_in("bob")
        planted = browser.cookies["__Host-session"] = attacker.cookies["__Host-session"]
        if way == "redirect":
            browser.sign_in("alice")
        else:
            browser.call("POST", "/api/login", headers={"Authorization": f"Bearer {browser.token('alice')}"})
        assert browser.cookies["__Host-session"] != planted
        assert browser.call("GET", "/api/session").json()["object_id"] == ALICE.object_id
        assert attacker.call("GET", "/api/session").json()["code"] == "session_expired"


def login_url(browser: Browser, secrets_seen: set[str]) -> str:
    """Where a question sends the person to who has to step up: nothing of the claims is in the reply."""
    reply = browser.ask(QUESTION)
    assert (reply.status_code, reply.json()["code"]) == (401, "step_up_required"), reply.text
    assert reply.headers["www-authenticate"] == 'Bearer realm=""'
    assert "acrs" not in reply.text
    url: str = reply.json()["login_url"]
    assert url.startswith(f"{browser.stack.public_url}/api/login?step_up=")
    secrets_seen.add(parse_qs(urlsplit(url).query)["step_up"][0])
    return url


def begin(browser: Browser, url: str, return_to: str = "/api/app") -> str:
    """Goes to a login URL as the page does; returns where Entra's sign-in page is."""
    parts = urlsplit(url)
    query = {name: value for name, (value,) in parse_qs(parts.query).items()}
    reply = browser.call("GET", parts.path, params={**query, "return_to": return_to})
    assert reply.status_code == 302, reply.text
    location: str = reply.headers["location"]
    return location


def refused(browser: Browser, path: str) -> bool:
    """Whether a login URL begins nothing: no redirect, and no cookie of a sign-in under way."""
    reply = browser.call("GET", path)
    return (reply.status_code, reply.json()["code"], "set-cookie" in reply.headers) == (400, "login_failed", False)


def demanding(stack: Stack, told: list[list[str]]) -> ASGIApp:
    """An agent that answers whoever has proven the context; what they have proven is added to `told`."""

    async def fault(scope: Scope, receive: Receive, send: Send) -> None:
        token = Request(scope).headers["authorization"].removeprefix("Bearer ")
        told.append(stack.issuer.verify(token, FABRIC_AUDIENCE).get("acrs", []))
        await (scope["usual"] if "c1" in told[-1] else faults.challenge(CLAIMS))(scope, receive, send)

    return fault
