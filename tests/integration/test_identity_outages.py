"""Entra's keys that fail, hang, redirect or lie: an outage is 503, what is known goes on, and no lie is believed.

Where its token endpoint fails, it is left alone.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from local.entra import Refused
from local.faults import drop, hang
from local.issuer import Issuer
from local.stack import Host, Stack, free_port
from tests.integration.browser import Browser
from tests.integration.people import newcomers

FAULTS: dict[str, ASGIApp] = {
    "fails": Response(status_code=500),
    "is busy": Response(status_code=429, headers={"Retry-After": "1"}),
    "hangs": hang,
    "drops": drop,
    "redirects": RedirectResponse("https://evil.example/keys", 302),
    "is a page": HTMLResponse("<html>"),
    "is empty": JSONResponse({"keys": []}),
    "is endless": Response(b" " * 400_000, media_type="application/json"),
    "is no object": JSONResponse([1]),
}


@pytest.fixture
def cold(stack: Stack, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Starts a gateway that knows no keys yet; gives its address."""
    with ExitStack() as running:

        def start() -> str:
            log = running.enter_context((tmp_path / "log").open("wb"))
            host = Host(free_port(), stack.environment, log)
            running.callback(host.stop)
            return host.url

        yield start
        stack.entra.faults.clear()


@pytest.mark.parametrize(
    ("fault", "code"),
    [
        (Response(status_code=503, headers={"Retry-After": "600"}), "identity_provider_unavailable"),
        (Refused(7000215).reply(), "client_credential_rejected"),
    ],
    ids=["away", "does not take our credential"],
)
def test_a_token_endpoint_that_fails_is_left_alone(
    cold: Callable[[], str], stack: Stack, browser: Browser, fault: ASGIApp, code: str
) -> None:
    """Five failures; from then on whoever asks hears the same at once, and when to come again."""
    url, calls = cold(), stack.entra.calls["token"]
    stack.entra.faults.plan("token", *[fault] * 100)
    with newcomers(stack, 8) as people:
        replies = [ask(url, browser.token(person.key)) for person in people]
    assert [(reply.status_code, reply.json()["code"]) for reply in replies] == [(503, code)] * 8
    assert stack.entra.calls["token"] == calls + 5
    assert {1 <= int(reply.headers["retry-after"]) <= 20 for reply in replies[5:]} == {True}


def ask(url: str, token: str) -> httpx.Response:
    """A question of theirs."""
    headers, body = {"Authorization": f"Bearer {token}"}, {"question": "total sales"}
    return httpx.post(f"{url}/api/query", json=body, headers=headers, trust_env=False, timeout=30)


def session(url: str, token: str) -> httpx.Response:
    """Who that is."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{url}/api/session", headers=headers, trust_env=False, timeout=30)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_cold_gateway_tells_an_outage_and_never_blames_the_token(
    cold: Callable[[], str], stack: Stack, browser: Browser, fault: str
) -> None:
    """503 with a code of its own, in bounded time."""
    url, token = cold(), browser.token("alice")
    stack.entra.faults.plan("keys", *[FAULTS[fault]] * 5)
    reply = session(url, token)
    assert (reply.status_code, reply.json()["code"]) == (503, "identity_provider_unavailable"), reply.text
    assert "www-authenticate" not in reply.headers


def test_what_is_known_goes_on_and_a_strangers_key_is_not_believed(
    cold: Callable[[], str], stack: Stack, browser: Browser
) -> None:
    """Unknown keys make it look again, once; then it fails, and the known ones still count."""
    url, token = cold(), browser.token("alice")
    assert session(url, token).status_code == 200
    stranger = Issuer(stack.urls["entra"])
    forged = stranger.sign({"aud": "x"})
    stack.entra.faults.plan("keys", *[Response(status_code=500)] * 5)
    for _ in range(3):
        reply = session(url, forged)
        assert reply.status_code in {401, 503}, reply.text
    assert session(url, token).status_code == 200
    stack.entra.faults.clear()
    assert session(url, token).status_code == 200
