"""Many who want the same at once: the agent is asked once for each person, who pays once."""

import asyncio
import random
import re
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from local.fabric import SALES_AGENT
from local.stack import Stack
from tests.integration.callers import check_own, token_of
from tests.integration.instances import QUESTION, Instance, bearer, instance_of
from tests.integration.people import people_of_regions

ALL = 200
PER_DAY = 1000
SETTINGS = {"LIMIT_PER_MINUTE": 60, "LIMIT_BURST": 10, "LIMIT_PER_DAY": PER_DAY, "LIMIT_IN_FLIGHT": 1}
"""One under way at a time: of a second one for the same person everybody would hear."""
MOST_SECONDS = 60
LOOKS, LOOK_SECONDS = 20, 0.1


class Crowd:
    """Everybody's questions: they are sent at once, and the agent thinks until the gateway has taken them in."""

    def __init__(self, instance: Instance, asking: Sequence[tuple[str, str]]) -> None:
        """`asking` has a token and a question for each."""
        self._instance = instance
        self._asking = asking
        self._unsent = len(asking)
        self._all_sent = threading.Event()
        self._taken_in = threading.Event()
        self._counting = threading.Lock()

    def ask(self) -> list[httpx.Response]:
        """The replies, in the order of those who ask."""
        with ThreadPoolExecutor(len(self._asking)) as pool:
            replies = pool.map(self._ask, self._asking)
            assert self._all_sent.wait(MOST_SECONDS)
            for _ in range(LOOKS):  # its one loop serves all in turn: who came before these has come far
                self._instance.http.get("/api/health")
                time.sleep(LOOK_SECONDS)
            self._taken_in.set()
            return list(replies)

    async def think(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What a question meets at the agent."""
        assert await asyncio.to_thread(self._taken_in.wait, MOST_SECONDS)
        await scope["usual"](scope, receive, send)

    def _ask(self, of: tuple[str, str]) -> httpx.Response:
        token, question = of
        body, watch = {"question": question}, {"trace": self._trace}
        return self._instance.http.post("/api/query", json=body, headers=bearer(token), extensions=watch)

    def _trace(self, event: str, _info: object) -> None:
        if event == "http11.send_request_body.complete":
            with self._counting:
                self._unsent -= 1
                if not self._unsent:
                    self._all_sent.set()


@pytest.fixture(scope="module")
def instance(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A gateway that keeps answers."""
    with instance_of(stack, tmp_path_factory.mktemp("flight") / "log", SETTINGS) as started:
        yield started
    stack.fabric.faults_at.clear()


def asked_by(stack: Stack, instance: Instance, asking: Sequence[tuple[str, str]]) -> tuple[list[httpx.Response], int]:
    """The replies to all of these, and how many questions the agent got for them."""
    at_the_agent = stack.fabric.faults_at[SALES_AGENT.object_id]
    crowd = Crowd(instance, asking)
    at_the_agent.plan("tools/call", *[crowd.think] * len(asking))
    before = at_the_agent.calls["tools/call"]
    return crowd.ask(), at_the_agent.calls["tools/call"] - before


def ways(replies: Sequence[httpx.Response]) -> Counter[str]:
    """How many were asked for, given together or given again (RFC 9211)."""
    told = [reply.headers["cache-status"].removeprefix("fabric-gateway; ") for reply in replies]
    return Counter(re.sub(r"; ttl=.*", "", each) for each in told)


def left_today(instance: Instance, token: str) -> int:
    """How many questions are left of the person's day; a kept answer tells, and takes none of them."""
    reply = instance.ask(token)
    assert reply.json()["cached"]["hit"] is True
    found = re.search(r'"day";r=([0-9]+);', reply.headers["ratelimit"])
    assert found
    return int(found[1])


def test_two_hundred_identical_questions_of_one_person_are_one(stack: Stack, instance: Instance) -> None:
    """One call, one charge, two hundred answers, and all of them the person's own."""
    with people_of_regions(stack, 1) as (person,):
        token = token_of(stack, person)
        replies, calls = asked_by(stack, instance, [(token, QUESTION)] * ALL)
        for reply in replies:
            check_own(stack, person, QUESTION, reply)
        assert calls == 1
        assert left_today(instance, token) == PER_DAY - 1
    told = ways(replies)
    assert told["fwd=miss"] == 1
    assert told["fwd=miss; collapsed"] + told["hit"] == ALL - 1
    assert told["fwd=miss; collapsed"] > ALL / 2


def test_the_same_question_of_twenty_people_is_one_of_each(stack: Stack, instance: Instance) -> None:
    """Nobody shares with another, whatever they ask at once."""
    with people_of_regions(stack, 20) as people:
        tokens = {person: token_of(stack, person) for person in people}
        order = people * 10
        random.Random(5).shuffle(order)
        replies, calls = asked_by(stack, instance, [(tokens[person], QUESTION) for person in order])
        for person, reply in zip(order, replies, strict=True):
            check_own(stack, person, QUESTION, reply)
        assert calls == len(people)
        assert {left_today(instance, token) for token in tokens.values()} == {PER_DAY - 1}
    told = ways(replies)
    assert told["fwd=miss"] == len(people)
    assert told["fwd=miss; collapsed"] > ALL / 2
