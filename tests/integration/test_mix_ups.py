"""Ten thousand requests of twenty people at once, while the agents and Entra fail: nobody gets what is another's.

Everybody has figures that nobody else has, so that an answer says whose it is. Answers are fresh for a few seconds, so
that all ways to one are gone: it is asked for, waited for together, given again, and given since the agent is down.
"""

import json
import random
import re
import uuid
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from local.entra import Refused
from local.entra.grants import token
from local.fabric import SALES_AGENT, Agent, faults
from local.faults import drop
from local.people import Person
from local.stack import Stack
from tests.integration.agent_faults import CLAIMS, error, plain
from tests.integration.browser import Browser
from tests.integration.callers import Caller, Way, by_redirect, by_session_of_a_token, by_token, own_rows
from tests.integration.instances import Instance, instance_of
from tests.integration.people import people_of_regions

SEED = 3
REQUESTS = 10_000
PEOPLE = 20
AT_ONCE = 24
FRESH_SECONDS = 10
TOKEN_SECONDS = 315
"""How long Entra's tokens last: five minutes of it they are not used any more, so that they are got again and again."""
QUESTIONS = ("total sales by month", "total units by month")
SETTINGS = {
    "QUERY_DEADLINE_SECONDS": 10,
    "LIMIT_PER_MINUTE": 6000,
    "LIMIT_BURST": 1000,
    "LIMIT_PER_DAY": 1_000_000,
    "LIMIT_IN_FLIGHT": 100,
    "LOG_LEVEL": "WARNING",
}
THOUGHTS: Sequence[ASGIApp] = [faults.late(seconds) for seconds in (0, 0.02, 0.1)]
AGENT_FAULTS: Sequence[ASGIApp] = (
    plain(500),
    plain(503),
    plain(503, "1"),
    plain(429, "1"),
    error(401, "InvalidToken"),
    error(403, "InsufficientPrivileges"),
    faults.challenge(CLAIMS),
    faults.cut(40),
    faults.misaddress(),
    faults.run_failed(),
    HTMLResponse("<html>maintenance</html>"),
    drop,
)
BUSY = (plain(503, "1"), plain(429, "1"))
"""An agent that says so is left alone for a second: whoever asks then gets what they were told before."""
OUTAGE = [faults.late(0)] * 3 + [plain(500)] * 6
"""How the second agent begins: so few good answers that the circuit opens."""
ENTRA_FAULTS: Sequence[ASGIApp] = (
    JSONResponse({"error": "temporarily_unavailable"}, 503, headers={"Retry-After": "600"}),
    JSONResponse({"error": "temporarily_unavailable"}, 429, headers={"Retry-After": "600"}),
    Response("<html>", 200, media_type="text/html"),
    Refused(65001).reply(),
    drop,
)
TOLD = {
    401: {"step_up_required"},
    403: {"agent_access_denied", "consent_required"},
    502: {"agent_failed"},
    503: {"agent_unavailable", "capacity_exceeded", "circuit_open", "identity_provider_unavailable"},
    504: {"deadline_exceeded"},
}
"""Every failure that these faults can come to, by status."""


@dataclass(frozen=True)
class Wish:
    """One request: of somebody, by one of their ways to be known, to one of the agents."""

    caller: Caller
    agent: str
    question: str


@pytest.fixture
def agents(stack: Stack) -> Iterator[dict[str, Agent]]:
    """Two agents that fail independently of each other, shared with whom the sales agent is shared with."""
    made = {name: replace(SALES_AGENT, object_id=str(uuid.uuid4())) for name in ("first", "second")}
    yield made
    for agent in made.values():
        stack.fabric.agents.pop(agent.object_id, None)
    stack.fabric.faults_at.clear()
    stack.entra.faults.clear()


@pytest.fixture
def people(stack: Stack, agents: dict[str, Agent]) -> Iterator[list[Person]]:
    """Those who may ask both."""
    with people_of_regions(stack, PEOPLE) as made:
        readers = frozenset(person.object_id for person in made)
        stack.fabric.agents.update({agent.object_id: replace(agent, readers=readers) for agent in agents.values()})
        yield made


@pytest.fixture
def callers(stack: Stack, browser: Browser, people: list[Person]) -> list[Caller]:
    """Each of them by token, and by a session of one kind or the other."""
    sessions = (by_session_of_a_token, by_redirect)
    ways: list[tuple[Way, Person]] = [(by_token, person) for person in people]
    ways += [(sessions[number % 2], person) for number, person in enumerate(people)]
    return [way(stack, browser, person) for way, person in ways]


@pytest.fixture
def instance(stack: Stack, agents: dict[str, Agent], tmp_path: Path) -> Iterator[Instance]:
    """A gateway for them, before an Entra whose tokens do not last."""
    described = {
        name: {"url": stack.urls["fabric"] + agent.path, "cache_seconds": FRESH_SECONDS}
        for name, agent in agents.items()
    }
    with instance_of(stack, tmp_path / "log", SETTINGS | {"DATA_AGENTS": json.dumps(described)}) as started:
        lasted, stack.entra.token_seconds = stack.entra.token_seconds, TOKEN_SECONDS
        yield started
        stack.entra.token_seconds = lasted


def test_nobody_gets_what_is_anothers(
    stack: Stack, agents: dict[str, Agent], callers: list[Caller], instance: Instance
) -> None:
    """Each answer is the person's own to the very question, row for row, however it came about."""
    chance = random.Random(SEED)
    stack.fabric.faults_at[agents["second"].object_id].plan("tools/call", *OUTAGE)
    for agent in agents.values():
        met = weather(chance, THOUGHTS, AGENT_FAULTS, BUSY)
        stack.fabric.faults_at[agent.object_id].plan("tools/call", *met)
    stack.entra.faults.plan("token", *weather(chance, [served_by_entra(stack)], ENTRA_FAULTS, ENTRA_FAULTS))
    told = Crowd(stack, instance, callers).ask(list(wishes(chance, callers, list(agents))))
    assert told.total() == REQUESTS
    assert told.keys() >= {"miss", "collapsed", "hit", "stale", "circuit_open", "identity_provider_unavailable"}
    assert told["miss"] + told["collapsed"] + told["hit"] + told["stale"] > REQUESTS / 4
    assert len(told.keys() & {code for codes in TOLD.values() for code in codes}) >= 5


def weather(
    chance: random.Random, usual: Sequence[ASGIApp], faults: Sequence[ASGIApp], storm: Sequence[ASGIApp]
) -> Iterator[ASGIApp]:
    """What one request after the other meets: mostly what is usual, now and then a fault, and at times only storm."""
    met = 0
    while met < REQUESTS:
        calm, stormy = chance.randint(30, 120), chance.randint(2, 4)
        yield from (chance.choice(faults if chance.random() < 0.1 else usual) for _ in range(calm))
        yield from (chance.choice(storm) for _ in range(stormy))
        met += calm + stormy


def served_by_entra(stack: Stack) -> ASGIApp:
    """What the token endpoint does when nothing is planned."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await (await token(stack.entra, Request(scope, receive)))(scope, receive, send)

    return serve


def wishes(chance: random.Random, callers: Sequence[Caller], agents: Sequence[str]) -> Iterator[Wish]:
    """The requests in their order. The same one often comes several times in a row, now and then by a session."""
    left = REQUESTS
    while left:
        place, agent, question = chance.randrange(PEOPLE), chance.choice(agents), chance.choice(QUESTIONS)
        for _ in range(min(left, chance.choice((1, 1, 2, 6)))):
            left -= 1
            yield Wish(callers[place + chance.choice((0, 0, 0, PEOPLE))], agent, question)


class Crowd:
    """Everybody, through so many connections at once."""

    def __init__(self, stack: Stack, instance: Instance, callers: Sequence[Caller]) -> None:
        self._instance = instance
        self._own = {
            (caller.person, question): own_rows(stack, caller.person, question)
            for caller in callers
            for question in QUESTIONS
        }

    def ask(self, wanted: Sequence[Wish]) -> Counter[str]:
        """How often each kind of reply came. Raises where one is not what it should be."""
        with ThreadPoolExecutor(AT_ONCE) as pool:
            return Counter(pool.map(self._ask, wanted))

    def _ask(self, wish: Wish) -> str:
        body = {"question": wish.question, "agent": wish.agent}
        reply = self._instance.http.post("/api/query", json=body, headers=wish.caller.headers)
        value = reply.json()
        if reply.status_code != 200:
            assert value["code"] in TOLD[reply.status_code], reply.text
            return str(value["code"])
        assert value["agent"] == wish.agent
        (table,) = value["answer"]["tables"]
        rows = [f"| {' | '.join(row)} |" for row in table["rows"]]
        assert rows == self._own[wish.caller.person, wish.question], "another's answer, or one to something else"
        if value["cached"]["stale"]:
            return "stale"
        return re.sub(r".*?(miss|collapsed|hit)(; ttl=.*)?$", r"\1", reply.headers["cache-status"])
