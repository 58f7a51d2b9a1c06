"""Fifty people at once through one process: each question goes out with its own token, whatever Entra does."""

import random
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from starlette.responses import HTMLResponse, JSONResponse

from local.people import Person
from local.stack import Stack
from tests.integration.browser import Browser
from tests.integration.people import newcomers

COUNT = 50
QUESTIONS = ("What are the total sales by month?", "total sales by product", "total units by month")
SLOW_DOWN = JSONResponse({"error": "temporarily_unavailable"}, 429, headers={"Retry-After": "600"})
AWAY = JSONResponse({"error": "temporarily_unavailable"}, 503, headers={"Retry-After": "600"})
BROKEN = JSONResponse({"error": "server_error"}, 500)
PAGE = HTMLResponse("<html>maintenance</html>", 200, headers={"Retry-After": "600"})


@pytest.fixture
def people(stack: Stack) -> Iterator[list[Person]]:
    """Fifty people, of two regions."""
    with newcomers(stack, COUNT) as made:
        yield made


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    """One client for all of them."""
    limits = httpx.Limits(max_connections=COUNT)
    with httpx.Client(trust_env=False, timeout=60, limits=limits) as opened:
        yield opened


def ask_all(
    client: httpx.Client, stack: Stack, people: list[Person], headers: dict[str, dict[str, str]]
) -> list[tuple[Person, str, httpx.Response]]:
    """Everybody asks everything, in an order of chance, all at once."""
    wanted = [(person, question) for person in people for question in QUESTIONS]
    random.Random(7).shuffle(wanted)

    def ask(pair: tuple[Person, str]) -> tuple[Person, str, httpx.Response]:
        person, question = pair
        url = f"{stack.public_url}/api/query"
        return person, question, client.post(url, json={"question": question}, headers=headers[person.key])

    with ThreadPoolExecutor(COUNT) as pool:
        return list(pool.map(ask, wanted))


def check_own(stack: Stack, person: Person, question: str, reply: httpx.Response) -> None:
    """Checks that the answer is this person's to this question, row for row."""
    expected = stack.fabric.sales.answer(question, person.region)
    for row in reply.json()["answer"]["tables"][0]["rows"]:
        assert f"| {' | '.join(row)} |" in expected


def bearers(browser: Browser, people: list[Person]) -> dict[str, dict[str, str]]:
    """Everybody's access token."""
    return {person.key: {"Authorization": f"Bearer {browser.token(person.key)}"} for person in people}


def test_each_question_goes_out_with_its_own_token(
    stack: Stack, browser: Browser, people: list[Person], client: httpx.Client
) -> None:
    """Half of them by access token, half by session."""
    headers = bearers(browser, people)
    for person in people[::3]:
        signed_in = client.post(f"{stack.public_url}/api/login", headers=headers[person.key])
        cookie = signed_in.headers["set-cookie"].partition(";")[0]
        page = {"X-CSRF": "1", "Origin": stack.public_url, "Sec-Fetch-Site": "same-origin"}
        headers[person.key] = page | {"Cookie": cookie}
        client.cookies.clear()
    stack.fabric.asked.clear()
    for person, question, reply in ask_all(client, stack, people, headers):
        assert reply.status_code == 200, reply.text
        check_own(stack, person, question, reply)
    asked = Counter(object_id for object_id, _ in stack.fabric.asked)
    assert asked == {person.object_id: len(QUESTIONS) for person in people}


def test_while_entra_fails_nobody_gets_anothers_token_answer_or_failure(
    stack: Stack, browser: Browser, people: list[Person], client: httpx.Client
) -> None:
    """Msal would remember such replies for whoever asks next; here they concern the one who met them."""
    headers = bearers(browser, people)
    chance = random.Random(11)
    stack.entra.faults.plan("token", *(chance.choice((SLOW_DOWN, AWAY, BROKEN, PAGE)) for _ in range(40)))
    stack.fabric.asked.clear()
    replies = ask_all(client, stack, people, headers)
    stack.entra.faults.clear()
    statuses = Counter(reply.status_code for _, _, reply in replies)
    assert statuses[503] > 0
    assert statuses[200] > 0
    assert set(statuses) == {200, 503}
    answered = Counter[str]()
    for person, question, reply in replies:
        if reply.status_code == 200:
            check_own(stack, person, question, reply)
            answered[person.object_id] += 1
        else:
            assert reply.json()["code"] == "identity_provider_unavailable"
    assert Counter(object_id for object_id, _ in stack.fabric.asked) == answered
    for person, question, reply in ask_all(client, stack, people, headers):
        assert reply.status_code == 200, reply.text  # a remembered failure would last ten minutes
        check_own(stack, person, question, reply)
