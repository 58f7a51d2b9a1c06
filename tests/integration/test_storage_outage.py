"""The gateway's own storage is away for half a minute, first silent and then gone, while everybody goes on asking.

What docs/failures.md says of that: who gets what meanwhile, and that all of it ends by itself.
"""

import re
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import httpx
import pytest

from local.azurite import Azurite
from local.stack import Stack, free_port
from tests.integration.callers import token_of
from tests.integration.instances import QUESTION, Instance, bearer, instance_of
from tests.integration.people import newcomers

SILENT_SECONDS = GONE_SECONDS = 15
LONGEST_SECONDS = 25
"""What any request may take: storage that is silent is waited for, call by call, until its circuit is open."""
RECOVERY_SECONDS = 60
PAUSE_SECONDS = 0.2
PER_DAY = 100_000
SETTINGS = {
    "LIMIT_PER_MINUTE": 600,
    "LIMIT_BURST": 1000,
    "LIMIT_PER_DAY": PER_DAY,
    "LIMIT_IN_FLIGHT": 100,
    "QUERY_DEADLINE_SECONDS": 10,
    "MAX_INSTANCES": 2,
    "ANSWER_CACHE_SECONDS": 300,
}
AWAY = (503, "state_unavailable")
REFUSED = ("session", "sign-in", "operation", "look", "key", "conversations")
"""The ways that are closed without storage."""


@dataclass(frozen=True)
class Seen:
    """A reply, and when its request was sent and answered."""

    sent: float
    answered: float
    status: int
    code: str
    hit: bool
    left_today: int


@dataclass
class Load:
    """People who ask without a pause worth the name, each in their own way, until they are told to stop."""

    ways: Mapping[str, Callable[[], httpx.Response]]
    seen: dict[str, list[Seen]] = field(default_factory=dict)
    _over: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """The load lasts as long as the block; a request that is not answered at all fails it."""
        with ThreadPoolExecutor(len(self.ways)) as pool:
            going = [pool.submit(self._go_on, name, way) for name, way in self.ways.items()]
            try:
                yield
            finally:
                self._over.set()
        for each in going:
            each.result()

    def _go_on(self, name: str, way: Callable[[], httpx.Response]) -> None:
        while not self._over.wait(PAUSE_SECONDS):
            sent = time.monotonic()
            self.seen.setdefault(name, []).append(seen(way(), sent))

    def between(self, name: str, begin: float, end: float) -> list[Seen]:
        """What was asked and answered in that time."""
        return [each for each in self.seen[name] if begin <= each.sent and each.answered <= end]

    def unserved(self, since: float) -> dict[str, Seen]:
        """Who was not yet answered well since then, and what they were told last."""
        now = time.monotonic()
        served = {name for name in self.ways if any(each.status < 300 for each in self.between(name, since, now))}
        return {name: self.seen[name][-1] for name in self.ways.keys() - served}


def seen(reply: httpx.Response, sent: float) -> Seen:
    """What there is to know of a reply."""
    value = reply.json()
    left = re.search(r'"day";r=([0-9]+);', reply.headers.get("ratelimit", ""))
    hit = value.get("cached", {}).get("hit", False)
    return Seen(sent, time.monotonic(), reply.status_code, value.get("code", ""), hit, int(left[1]) if left else -1)


@pytest.fixture
def azurite(tmp_path: Path) -> Iterator[Azurite]:
    """Storage of this test alone, which finds its rows again when it comes back at the same address."""
    with Azurite(folder=tmp_path / "azurite", table_port=free_port(), queue_port=free_port()) as running:
        yield running


@pytest.fixture
def instance(stack: Stack, azurite: Azurite, tmp_path: Path) -> Iterator[Instance]:
    """A gateway that stands on it."""
    with instance_of(stack, tmp_path / "log", SETTINGS | {"STATE_STORAGE": azurite.connection_string}) as started:
        yield started


@pytest.fixture
def loads(stack: Stack, instance: Instance) -> Iterator[tuple[Load, Load]]:
    """Everybody who was here before, and a stranger."""
    with newcomers(stack, 6) as people:
        carol, dave, erin, frank, grace, stranger = (token_of(stack, person) for person in people)
        numbers = count()
        page = page_headers(stack, instance.http.post("/api/login", headers=bearer(frank)))
        accepted = instance.ask(grace, headers={"Prefer": "wait=60"})
        assert accepted.status_code == 200, accepted.text
        done = f"/api/query/{accepted.json()['id']}"
        ways: dict[str, Callable[[], httpx.Response]] = {
            "kept": lambda: instance.ask(carol),
            "new": lambda: instance.ask(dave, f"{QUESTION} {next(numbers)}"),
            "operation": lambda: instance.ask(erin, f"{QUESTION} {next(numbers)}", headers={"Prefer": "respond-async"}),
            "session": lambda: instance.ask("", headers=page),
            "look": lambda: instance.operation(grace, done),
            "key": lambda: instance.ask(erin, headers={"Idempotency-Key": f"key-{next(numbers)}"}),
            "sign-in": lambda: instance.http.post("/api/login", headers=bearer(grace)),
            "conversations": lambda: instance.http.get("/api/conversations", headers=bearer(grace)),
            "alive": lambda: instance.http.get("/api/health"),
            "ready": lambda: instance.http.get("/api/health/ready"),
        }
        for name, way in ways.items():
            assert way().status_code < 300, name
        yield Load(ways), Load({"stranger": lambda: instance.ask(stranger)})


def page_headers(stack: Stack, signed_in: httpx.Response) -> dict[str, str]:
    """What a page of the gateway's sends in the session that was just opened."""
    assert signed_in.status_code == 201, signed_in.text
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    return {"X-CSRF": "1", "Origin": stack.public_url, "Sec-Fetch-Site": "same-origin", "Cookie": cookie}


def test_while_storage_is_away_most_is_refused_some_is_served_and_all_comes_back(
    instance: Instance, azurite: Azurite, loads: tuple[Load, Load]
) -> None:
    """Nobody restarts anything, and what was let through meanwhile is counted afterwards."""
    load, strangers = loads
    with load.going_on():
        time.sleep(2)
        away = time.monotonic()
        with strangers.going_on():
            stop(azurite)
            back = time.monotonic()
            azurite.start()
            wait_for_all(back, load, strangers)
        recovered = time.monotonic()
        time.sleep(2)
    end = time.monotonic()
    assert instance.host.process.poll() is None
    for name in load.ways:
        assert {each.status for each in load.between(name, 0, away)} <= {200, 201, 202}, name
        assert {each.status for each in load.between(name, recovered, end)} <= {200, 201, 202}, name
        assert max(each.answered - each.sent for each in load.seen[name]) < LONGEST_SECONDS
    assert {each.hit for each in load.between("kept", away, back)} == {True}
    assert {each.status for each in load.between("alive", away, back)} == {200}
    for refused in (load.between(name, away, back) for name in REFUSED):
        assert {(each.status, each.code) for each in refused} == {AWAY}
    assert {(each.status, each.code) for each in strangers.between("stranger", away, back)} == {AWAY}
    assert {each.status for each in load.between("ready", away, back)} >= {503}
    shared = load.between("new", away, back)
    assert {(each.status, each.code) for each in shared} == {AWAY, (200, "")}
    answered = [each.status for each in load.seen["new"]].count(200)
    used = PER_DAY - load.seen["new"][-1].left_today
    assert answered <= used - 1 <= len(load.seen["new"])  # and the one that let dave in


def wait_for_all(since: float, *loads: Load) -> None:
    """Until everybody was served, or for as long as that may take."""
    while unserved := {name: told for load in loads for name, told in load.unserved(since).items()}:
        assert time.monotonic() < since + RECOVERY_SECONDS, unserved
        time.sleep(0.2)


def stop(azurite: Azurite) -> None:
    """It answers nothing for a while, and then it is gone for as long."""
    process = azurite._process
    assert process
    process.send_signal(signal.SIGSTOP)
    time.sleep(SILENT_SECONDS)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    azurite.stop()
    time.sleep(GONE_SECONDS)
