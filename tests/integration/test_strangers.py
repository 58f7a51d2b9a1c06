"""What somebody whom nobody knows can make the gateway do: little, and the less the more they try."""

import json
import secrets
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from starlette.responses import Response

from local.faults import drop
from local.stack import Host, Stack, free_port
from tests.integration.browser import Browser
from tests.lib.storage.front import Front

type Start = Callable[..., "Instance"]


class Instance:
    """A gateway of its own, and somebody who has no part in it."""

    def __init__(self, host: Host, log: Path) -> None:
        self._http = httpx.Client(base_url=f"{host.url}/api", trust_env=False, timeout=30)
        self._log = log

    def begin(self) -> tuple[str, dict[str, str]]:
        """A sign-in that is under way: where the browser is sent, and its cookie."""
        begun = self._http.get("/login")
        assert begun.status_code == 302, begun.text
        return begun.headers["location"], {"Cookie": begun.headers["set-cookie"].partition(";")[0]}

    def come_back(self, cookie: dict[str, str], form: dict[str, str]) -> httpx.Response:
        """Entra's form, or what is made to look like it."""
        return self._http.post("/login/callback", data=form, headers={"Origin": "null", **cookie})

    def bring(self, **outcome: str) -> str:
        """Begins a sign-in and brings this outcome of it; what the page that began is told."""
        location, cookie = self.begin()
        reply = self.come_back(cookie, {"state": parse_qs(urlsplit(location).query)["state"][0], **outcome})
        assert reply.status_code == 303, reply.text
        error: str = reply.headers["location"].removeprefix("/api/app?error=")
        return error

    def session(self, token: str) -> int:
        """The status of asking who that is."""
        return self._http.get("/session", headers={"Authorization": f"Bearer {token}"}).status_code

    def front_channel(self, sid: str) -> None:
        """Tells that a sign-in has ended; the reply is always the same."""
        reply = self._http.get("/logout/frontchannel", params={"sid": sid})
        assert (reply.status_code, reply.content) == (200, b"")

    def logged(self) -> list[str]:
        """The codes of the failures that the gateway has logged."""
        lines = (json.loads(line) for line in self._log.read_text("utf-8").splitlines() if line.startswith("{"))
        return [line["code"] for line in lines if line["message"] == "a request failed"]

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()


@pytest.fixture
def start(stack: Stack, storage: tuple[Front, str], tmp_path: Path) -> Iterator[Start]:
    """Starts an instance before that storage, with these settings."""
    with ExitStack() as running:

        def instance(**settings: str) -> Instance:
            path = tmp_path / uuid.uuid4().hex
            log = running.enter_context(path.open("wb"))
            host = Host(free_port(), stack.environment | {"STATE_STORAGE": storage[1]} | settings, log)
            running.callback(host.stop)
            started = Instance(host, path)
            running.callback(started.close)
            return started

        yield instance


def test_codes_that_are_none_are_counted_and_then_cost_nothing(
    start: Start, storage: tuple[Front, str], stack: Stack, browser: Browser
) -> None:
    """Twenty rows and twenty calls to Entra; then neither, and whoever has a token or a session does not feel it."""
    instance, (front, _), token = start(FAILURES_PER_MINUTE="1"), storage, browser.token("alice")
    assert instance.session(token) == 200
    told = [instance.bring(code=secrets.token_hex(8)) for _ in range(21)]
    assert told == ["login_failed"] * 20 + ["rate_limited"]
    location, cookie = instance.begin()
    form = browser.pick(location, "alice")
    calls, asked = len(front.methods), stack.entra.calls["token"]
    assert {instance.bring(code=secrets.token_hex(8)) for _ in range(5)} == {"rate_limited"}
    assert instance.come_back(cookie, form).headers["location"] == "/api/app?error=rate_limited"
    assert (len(front.methods), stack.entra.calls["token"]) == (calls, asked)
    assert instance.session(token) == 200


@pytest.mark.parametrize("error", ["access_denied", "server_error", "consent_required"])
def test_an_outcome_without_a_code_leaves_no_row(start: Start, storage: tuple[Front, str], error: str) -> None:
    """There is nothing to bring a second time, and anybody can bring as many of them as they like."""
    instance = start()
    assert instance.bring(error=error)
    assert storage[0].methods == []


def test_codes_leave_no_row_while_entra_is_left_alone(start: Start, storage: tuple[Front, str], stack: Stack) -> None:
    """Five failures make a circuit; what comes then is told at once, and may be brought again."""
    instance, (front, _) = start(), storage
    stack.entra.faults.plan("token", *[Response(status_code=503, headers={"Retry-After": "600"})] * 5)
    told = [instance.bring(code=secrets.token_hex(8)) for _ in range(5)]
    rows, asked = len(front.methods), stack.entra.calls["token"]
    told += [instance.bring(code=secrets.token_hex(8)) for _ in range(5)]
    stack.entra.faults.clear()
    assert told == ["identity_provider_unavailable"] * 10
    assert (len(front.methods), stack.entra.calls["token"]) == (rows, asked)


def test_forms_without_a_sign_in_are_counted_too(start: Start, storage: tuple[Front, str]) -> None:
    """There is no page to send them back to: they are told themselves, and when to come again."""
    instance = start(FAILURES_PER_MINUTE="1")
    replies = [instance.come_back({}, {"state": "x", "code": "y"}) for _ in range(22)]
    codes = [(reply.status_code, reply.json()["code"]) for reply in replies]
    assert codes == [(400, "login_failed")] * 20 + [(429, "rate_limited")] * 2
    assert replies[-1].json()["violated-policies"] == ["failures"]
    assert 1 <= int(replies[-1].headers["retry-after"]) <= 60
    assert storage[0].methods == []


def test_logouts_of_nobody_are_counted_and_then_cost_nothing(start: Start, storage: tuple[Front, str]) -> None:
    """A look into the table each, twenty times."""
    instance, (front, _) = start(FAILURES_PER_MINUTE="1"), storage
    for _ in range(25):
        instance.front_channel(str(uuid.uuid4()))
    assert 20 <= len(front.methods) <= 21
    assert set(front.methods) == {"GET"}


def test_logouts_of_somebody_are_not_counted(start: Start, browser: Browser) -> None:
    """However many leave an office in the evening."""
    instance = start(FAILURES_PER_MINUTE="1")
    for _ in range(25):
        location, cookie = instance.begin()
        form = browser.pick(location, "alice")
        assert instance.come_back(cookie, form).headers["location"] == "/api/app"
        instance.front_channel(form["session_state"])
    assert instance.bring(code="x") == "login_failed"


def test_a_logout_at_entra_is_answered_alike_while_storage_is_away(start: Start, storage: tuple[Front, str]) -> None:
    """Entra's page can do nothing about it; those who operate the gateway read of it."""
    instance, (front, _) = start(), storage
    front.planned.extend([drop] * 1000)
    instance.front_channel(str(uuid.uuid4()))
    assert instance.logged() == ["state_unavailable"]
    front.planned.clear()
    instance.front_channel(str(uuid.uuid4()))
    assert instance.logged() == ["state_unavailable"]


def test_a_logout_at_entra_costs_nothing_where_there_are_no_sessions(start: Start, storage: tuple[Front, str]) -> None:
    """Nor where nothing can be meant."""
    bearers_alone, usual = start(SESSIONS="off"), start()
    bearers_alone.front_channel(str(uuid.uuid4()))
    for nonsense in ("", "../x", "x" * 129, "a b"):
        usual.front_channel(nonsense)
    assert storage[0].methods == []
