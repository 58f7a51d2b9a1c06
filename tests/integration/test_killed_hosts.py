"""The gateway's process is killed twenty times in the middle of its work: nothing is asked twice, nothing is lost.

What an operation has come to is told at the latest when its time has passed: the answer, or that nobody knows.
"""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from lib.answers.operation import PICK_UP_SECONDS, SEND_AGAIN_SECONDS
from lib.answers.operations import FINISH_SECONDS
from local import fabric
from local.azurite import Azurite
from local.fabric import SALES_AGENT
from local.people import Person
from local.serving import Server
from local.stack import FABRIC_AUDIENCE, Stack, free_port
from tests.integration.callers import check_own, token_of
from tests.integration.instances import Instance, bearer, instance_of
from tests.integration.people import people_of_regions

SEED = 9
KILLS = 20
AT_ONCE = 8
DEADLINE_SECONDS = 5
THOUGHTS = (0.02, 0.2, 1.5)
"""Seconds; answers come before a kill, and would have come after it."""
SETTINGS = {
    "QUERY_DEADLINE_SECONDS": DEADLINE_SECONDS,
    "ANSWER_CACHE_SECONDS": 0,
    "LIMIT_PER_MINUTE": 6000,
    "LIMIT_BURST": 1000,
    "LIMIT_PER_DAY": 1_000_000,
    "LIMIT_IN_FLIGHT": 100,
}
MOST_SECONDS = SEND_AGAIN_SECONDS + DEADLINE_SECONDS + FINISH_SECONDS + 20
"""After the last kill: a message is sent again, its question is asked, and its time passes, on a slow machine too."""


@dataclass
class Asked:
    """A question that somebody has left with the gateway; `location` is empty where nobody said that it was taken."""

    person: Person
    token: str = field(repr=False)
    question: str
    location: str = ""
    accepted_at: float = 0
    outcome: httpx.Response | None = None
    ended_at: float = 0


class Operator:
    """Starts the gateway, always on one port, leaves questions with it, and kills it. What happens when is chance."""

    def __init__(self, stack: Stack, log: Path, settings: Mapping[str, object], people: list[Person]) -> None:
        self._stack = stack
        self._log = log
        self._settings = settings
        self._people = [(person, token_of(stack, person)) for person in people]
        self._port = free_port()
        self._chance = random.Random(SEED)
        self.asked: list[Asked] = []

    @property
    def accepted(self) -> list[Asked]:
        """The questions that the gateway has taken."""
        return [each for each in self.asked if each.location]

    def started(self) -> AbstractContextManager[Instance]:
        """A running gateway."""
        return instance_of(self._stack, self._log, self._settings, port=self._port)

    def round(self, number: int) -> None:
        """Some questions at once, and a kill."""
        made = [
            Asked(*self._chance.choice(self._people), f"total sales by month, {number} of {place}")
            for place in range(AT_ONCE)
        ]
        self.asked += made
        with self.started() as instance, ThreadPoolExecutor(AT_ONCE) as pool:
            leaving = [pool.submit(self._leave, instance, each) for each in made]
            self._wait_for_the_moment(made)
            instance.host.process.kill()
            instance.host.process.wait()
            for each in leaving:
                each.result()

    def look(self, instance: Instance) -> None:
        """Every question that has not ended, once."""
        for each in self.accepted:
            if each.outcome is None:
                reply = instance.operation(each.token, each.location)
                if reply.status_code != 202:
                    each.outcome, each.ended_at = reply, time.monotonic()

    def _leave(self, instance: Instance, asked: Asked) -> None:
        headers = bearer(asked.token) | {"Prefer": "respond-async"}
        try:
            reply = instance.http.post("/api/query", json={"question": asked.question}, headers=headers)
        except httpx.TransportError:  # the process has died: whether the question was taken is not known
            return
        assert reply.status_code == 202, reply.text
        asked.location, asked.accepted_at = reply.headers["location"], time.monotonic()

    def _wait_for_the_moment(self, made: list[Asked]) -> None:
        """Once so many of them were accepted, or have come to the agent; and a little later."""
        at_the_agent, enough = self._chance.random() < 0.6, self._chance.randint(1, AT_ONCE)
        seconds, until = self._chance.uniform(0, 0.3), time.monotonic() + DEADLINE_SECONDS
        while time.monotonic() < until:
            if enough <= sum(self.times_asked(each) if at_the_agent else bool(each.location) for each in made):
                break
            time.sleep(0.005)
        time.sleep(seconds)

    def times_asked(self, asked: Asked) -> int:
        """How often the agent got the question."""
        return self._stack.fabric.times_asked(asked.question)


@pytest.fixture
def operator(stack: Stack, tmp_path: Path) -> Iterator[Operator]:
    """A gateway whose agents think for a while, with storage of its own, from which nobody else takes messages."""
    chance = random.Random(SEED)
    server = Server(certificates=stack.certificates)
    server.app = fabric.build(
        stack.fabric,
        claims_of=lambda token: stack.issuer.verify(token, FABRIC_AUDIENCE),
        sleep=lambda _: asyncio.sleep(chance.choice(THOUGHTS)),
    )
    with server, Azurite() as azurite, people_of_regions(stack, 4) as people:
        settings = SETTINGS | {
            "STATE_STORAGE": azurite.connection_string,
            "DATA_AGENTS": f'{{"sales": {{"url": "{server.url}{SALES_AGENT.path}"}}}}',
        }
        yield Operator(stack, tmp_path / "log", settings, people)


def test_twenty_kills_lose_no_question_and_ask_none_twice(stack: Stack, operator: Operator) -> None:
    """Whoever has worked on a question may be gone: then it ends as one whose outcome nobody knows."""
    for number in range(KILLS):
        operator.round(number)
    with operator.started() as instance:
        until = time.monotonic() + MOST_SECONDS
        while any(each.outcome is None for each in operator.accepted) and time.monotonic() < until:
            operator.look(instance)
            time.sleep(1)
        told = Counter(check_end(stack, operator, each) for each in operator.accepted)
        again = [instance.operation(each.token, each.location) for each in operator.accepted]
    assert len(operator.accepted) >= KILLS
    assert told["done"] >= 1
    assert told["outcome_unknown"] >= 1
    assert max(map(operator.times_asked, operator.asked)) == 1, "asked twice"
    assert [reply.status_code for reply in again] == [
        each.outcome.status_code for each in operator.accepted if each.outcome
    ]


def check_end(stack: Stack, operator: Operator, asked: Asked) -> str:
    """Checks that a question has ended in time, and as what it came to at the agent; tells how."""
    reply = asked.outcome
    assert reply, "it has not ended"
    assert asked.ended_at - asked.accepted_at < PICK_UP_SECONDS + MOST_SECONDS
    if reply.status_code == 200:
        check_own(stack, asked.person, asked.question, reply)
        assert operator.times_asked(asked) == 1
        return "done"
    value = reply.json()
    assert reply.headers["content-type"].startswith("application/problem+json")
    if value["code"] == "operation_expired":  # nobody has taken it up, on a machine this slow
        assert (reply.status_code, operator.times_asked(asked)) == (410, 0)
        assert value["operation"]["status"] == "expired"
    else:
        assert (reply.status_code, value["code"]) == (502, "outcome_unknown")
        assert value["operation"]["status"] == "failed"
    return str(value["code"])
