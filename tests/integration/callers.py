"""Callers of the gateway: people with one way each to be known, and the check that an answer is their own."""

import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from local.entra import tokens
from local.entra.grants import access_token
from local.entra.tenant import GATEWAY_SCOPE, Access
from local.people import GATEWAY_CLIENT_ID, SCRIPT_CLIENT_ID, Person
from local.stack import Stack
from tests.integration.browser import Browser


@dataclass(frozen=True)
class Caller:
    """Somebody with one way to be known: the headers they send, and what Entra calls their sign-in."""

    person: Person
    sid: str
    headers: Mapping[str, str]

    @property
    def identity(self) -> tuple[str, str]:
        """Person and sign-in, as their Fabric tokens have to name them."""
        return self.person.object_id, self.sid


type Way = Callable[[Stack, Browser, Person], Caller]
"""Makes a caller of somebody."""


def by_token(stack: Stack, _browser: Browser, person: Person) -> Caller:
    """Brings an access token with each question."""
    sid = str(uuid.uuid4())
    return Caller(person, sid, {"Authorization": f"Bearer {token_of(stack, person, sid)}"})


def by_session_of_a_token(stack: Stack, browser: Browser, person: Person) -> Caller:
    """Made a session of an access token."""
    bearer = by_token(stack, browser, person)
    browser.call("POST", "/api/login", headers=bearer.headers)
    return Caller(person, bearer.sid, page_headers(browser))


def by_redirect(_stack: Stack, browser: Browser, person: Person) -> Caller:
    """Signed in at Entra."""
    begun = browser.call("GET", "/api/login")
    form = browser.pick(begun.headers["location"], person.key)
    browser.come_back(form)
    return Caller(person, form["session_state"], page_headers(browser))


def token_of(stack: Stack, person: Person, sid: str = "") -> str:
    """An access token of somebody for the gateway."""
    access = Access(GATEWAY_CLIENT_ID, (GATEWAY_SCOPE,))
    return access_token(stack.entra, SCRIPT_CLIENT_ID, tokens.PUBLIC, person, sid or str(uuid.uuid4()), access)


def page_headers(browser: Browser) -> dict[str, str]:
    """What a page sends in the session that the browser has now, which then has none."""
    cookie = f"__Host-session={browser.cookies.pop('__Host-session')}"
    origin = browser.stack.public_url
    return {"X-CSRF": "1", "Origin": origin, "Sec-Fetch-Site": "same-origin", "Cookie": cookie}


def check_own(stack: Stack, person: Person, question: str, reply: httpx.Response) -> None:
    """Checks that the answer is this person's to this question, row for row."""
    assert reply.status_code == 200, reply.text
    (table,) = reply.json()["answer"]["tables"]
    assert [f"| {' | '.join(row)} |" for row in table["rows"]] == own_rows(stack, person, question)


def own_rows(stack: Stack, person: Person, question: str) -> list[str]:
    """The rows that this person's answer to this question has."""
    expected = stack.fabric.sales.answer(question, person.region)
    return [line for line in expected.splitlines() if line.startswith("|")][2:]
