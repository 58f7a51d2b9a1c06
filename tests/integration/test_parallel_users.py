"""Fifty people at once through one process: each question goes out with its own token, whatever Entra does."""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import httpx
import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from local.entra import Refused
from local.entra.grants import token
from local.people import Person
from local.stack import FABRIC_AUDIENCE, Stack
from tests.integration.browser import Browser
from tests.integration.callers import Caller, by_redirect, by_session_of_a_token, by_token, check_own
from tests.integration.people import people_of_regions

COUNT = 50
QUESTIONS = ("What are the total sales by month?", "total sales by product", "total units by month")
STORM = 80
"""More replies of Entra's than fifty people ask for at first."""
LATER = {"Retry-After": "600"}
SLOW_DOWN = JSONResponse({"error": "temporarily_unavailable"}, 429, headers=LATER)
AWAY = JSONResponse({"error": "temporarily_unavailable"}, 503, headers=LATER)
BROKEN = JSONResponse({"error": "server_error"}, 500)
PAGE = HTMLResponse("<html>maintenance</html>", 200, headers=LATER)
NO_CONSENT = Refused(65001).reply()
NO_CONSENT.headers.update(LATER)


@dataclass(frozen=True)
class Asked:
    """One question, and what came back."""

    caller: Caller
    question: str
    reply: httpx.Response


@pytest.fixture
def people(stack: Stack) -> Iterator[list[Person]]:
    """Fifty people, each with figures that nobody else has."""
    with people_of_regions(stack, COUNT) as made:
        yield made


@pytest.fixture
def callers(stack: Stack, browser: Browser, secrets_seen: set[str], people: list[Person]) -> list[Caller]:
    """Half of them come by access token; of the others half with a session by token, half with one by redirect."""
    ways = (by_token, by_session_of_a_token, by_token, by_redirect)
    made = [ways[number % 4](stack, browser, person) for number, person in enumerate(people)]
    bearers = (caller.headers.get("Authorization", "") for caller in made)
    secrets_seen.update(bearer.removeprefix("Bearer ") for bearer in bearers if bearer)
    return made


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """One client for all of them."""
    limits = httpx.Limits(max_connections=COUNT)
    with httpx.Client(trust_env=False, timeout=60, limits=limits) as opened:
        yield opened


@pytest.fixture
def upstream(stack: Stack) -> Iterator[Counter[tuple[str, str]]]:
    """Whose token each question came to Fabric with, by person and sign-in."""
    seen = Counter[tuple[str, str]]()

    async def watch(scope: Scope, receive: Receive, send: Send) -> None:
        bearer = Request(scope).headers["authorization"].removeprefix("Bearer ")
        claims = stack.issuer.verify(bearer, FABRIC_AUDIENCE)
        seen[claims["oid"], claims["sid"]] += 1
        await scope["usual"](scope, receive, send)

    stack.fabric.faults.plan("tools/call", *[watch] * (4 * COUNT * len(QUESTIONS)))
    yield seen
    stack.fabric.faults.clear()
    stack.entra.faults.clear()


def test_each_question_goes_out_with_its_own_token(
    stack: Stack, callers: list[Caller], client: httpx.Client, upstream: Counter[tuple[str, str]]
) -> None:
    """One hundred and fifty questions at once; of each person, one exchange."""
    exchanges = stack.entra.calls["token"]
    for asked in ask_all(client, stack, callers):
        check_own(stack, asked.caller.person, asked.question, asked.reply)
    assert upstream == {caller.identity: len(QUESTIONS) for caller in callers}
    assert stack.entra.calls["token"] - exchanges == COUNT


def test_while_entra_fails_nobody_gets_anothers_token_answer_or_failure(
    stack: Stack, callers: list[Caller], client: httpx.Client, upstream: Counter[tuple[str, str]]
) -> None:
    """Msal would remember such replies for whoever asks next; here they concern the one who met them.

    Entra fails less often than not, or the gateway would leave it alone.
    """
    chance = random.Random(11)
    kinds: tuple[ASGIApp, ...] = (SLOW_DOWN, AWAY, BROKEN, PAGE, NO_CONSENT, *[token_with_retry_after(stack)] * 8)
    storm = [chance.choice(kinds) for _ in range(STORM)]
    stack.entra.faults.plan("token", *storm)
    everything = ask_all(client, stack, callers)
    stack.entra.faults.clear()
    told = {status: [asked for asked in everything if asked.reply.status_code == status] for status in (200, 403, 503)}
    assert sum(map(len, told.values())) == len(everything)
    assert all(told.values())
    for asked in told[200]:
        check_own(stack, asked.caller.person, asked.question, asked.reply)
    assert {asked.reply.json()["code"] for asked in told[503]} == {"identity_provider_unavailable"}
    assert {asked.reply.json()["code"] for asked in told[403]} == {"consent_required"}
    assert len(identities(told[403])) <= storm.count(NO_CONSENT), "a refusal is one person's"
    assert upstream == Counter(asked.caller.identity for asked in told[200])
    exchanges = stack.entra.calls["token"]
    for asked in ask_all(client, stack, callers):  # a remembered failure would last ten minutes
        check_own(stack, asked.caller.person, asked.question, asked.reply)
    assert stack.entra.calls["token"] - exchanges == COUNT - len(identities(told[200]))


def ask_all(client: httpx.Client, stack: Stack, callers: list[Caller]) -> list[Asked]:
    """Everybody asks everything, in an order of chance, all at once."""
    wanted = [(caller, question) for caller in callers for question in QUESTIONS]
    random.Random(7).shuffle(wanted)

    def ask(pair: tuple[Caller, str]) -> Asked:
        caller, question = pair
        url = f"{stack.public_url}/api/query"
        return Asked(caller, question, client.post(url, json={"question": question}, headers=caller.headers))

    with ThreadPoolExecutor(COUNT) as pool:
        return list(pool.map(ask, wanted))


def identities(asked: list[Asked]) -> set[tuple[str, str]]:
    """Whose questions these are."""
    return {each.caller.identity for each in asked}


def token_with_retry_after(stack: Stack) -> ASGIApp:
    """The usual token with a header that makes msal keep a reply: a proxy between here and Entra may add it."""

    async def fault(scope: Scope, receive: Receive, send: Send) -> None:
        response = await token(stack.entra, Request(scope, receive))
        response.headers.update(LATER)
        await response(scope, receive, send)

    return fault
