"""Shared agents, end to end: a timer has their questions answered, and everybody is given the same on any instance."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.fabric import SALES_AGENT, Agent
from local.people import GATEWAY_OBJECT_ID
from local.stack import Host, Stack, free_port
from tests.integration.browser import Browser
from tests.integration.people import newcomers

SHARED = Agent(
    name="Board Agent",
    description="The same figures for everybody.",
    object_id="5b1f6a72-8394-4ea5-8fb6-cef1d038e011",
    readers=frozenset({GATEWAY_OBJECT_ID}),
    app_region="East",
)
QUESTIONS = ["total sales", "What are the total sales by month?"]
BURST = 5


@dataclass
class Gateway:
    """Two instances of one gateway: one that a timer reached, and one that serves; and what the first wrote."""

    timer: Host
    serving: Host
    log: Path

    def warm(self) -> dict[str, Any]:
        """Runs the timer as the host does, and returns what it tells of itself."""
        before = len(self._runs())
        reply = httpx.post(f"{self.timer.url}/admin/functions/warm", json={}, trust_env=False)
        assert reply.status_code == 202
        deadline = time.monotonic() + 30
        while len(self._runs()) == before:
            assert time.monotonic() < deadline, self.log.read_text(encoding="utf-8")
        return self._runs()[-1]

    def ask(self, token: str, agent: str, question: str) -> httpx.Response:
        """One question to the instance that serves."""
        headers = {"Authorization": f"Bearer {token}"}
        body = {"agent": agent, "question": question}
        return httpx.post(f"{self.serving.url}/api/query", json=body, headers=headers, timeout=60, trust_env=False)

    def _runs(self) -> Sequence[dict[str, Any]]:
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if '"agents were warmed"' in line]


@pytest.fixture(scope="module")
def gateway(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with an agent that is shared, and one that is asked as each person."""
    stack.fabric.agents[SHARED.object_id] = SHARED
    url = stack.urls["fabric"]
    shared = {"identity": "app", "shared": True, "cache_seconds": 3600, "questions": QUESTIONS}
    agents = {"board": {"url": url + SHARED.path, **shared}, "mine": {"url": url + SALES_AGENT.path}}
    environment = stack.environment | {"DATA_AGENTS": json.dumps(agents), "LIMIT_BURST": str(BURST)}
    folder = tmp_path_factory.mktemp("shared")
    with ExitStack() as running:
        logs = [running.enter_context((folder / name).open("wb")) for name in ("timer", "serving")]
        timer, serving = (Host(free_port(), environment, log) for log in logs)
        running.callback(timer.stop)
        running.callback(serving.stop)
        yield Gateway(timer, serving, folder / "timer")
    del stack.fabric.agents[SHARED.object_id]


@pytest.fixture
def two_tokens(stack: Stack, browser: Browser) -> Iterator[list[str]]:
    """The tokens of two people who have never asked anything, and see different rows."""
    with newcomers(stack, 2) as people:
        yield [browser.token(person.key) for person in people]


def test_the_timer_answers_for_everybody_and_nobody_pays(gateway: Gateway, two_tokens: list[str], stack: Stack) -> None:
    """What was asked once as the gateway is given to both, on another instance, without a single call to Fabric."""
    stack.fabric.asked.clear()
    run = gateway.warm()
    assert (run["warmed"], run["asked"], run["budget_ended"]) == (2, len(QUESTIONS), False)
    assert stack.fabric.asked == [(GATEWAY_OBJECT_ID, SHARED.tool_name)] * len(QUESTIONS)
    calls = stack.fabric.calls.total()
    answers = set()
    for token in two_tokens:
        for question in (*QUESTIONS, "  total\n sales "):
            reply = gateway.ask(token, "board", question)
            assert reply.status_code == 200, reply.text
            assert reply.json()["cached"]["hit"] is True
            assert reply.headers["ratelimit"].startswith(f'"minute";r={BURST};t=')
            answers.add(reply.json()["answer"]["text"])
    assert len(answers) == len(QUESTIONS)
    assert stack.fabric.calls.total() == calls
    log = gateway.log.read_text(encoding="utf-8")
    assert [text for text in (*QUESTIONS, *answers) if text in log] == []


def test_what_is_fresh_is_not_asked_again(gateway: Gateway, stack: Stack) -> None:
    """The next run finds everything as it should be, and calls nobody."""
    gateway.warm()
    calls = stack.fabric.calls.total()
    run = gateway.warm()
    assert (run["warmed"], run["asked"], run["fresh"]) == (2, 0, len(QUESTIONS))
    assert stack.fabric.calls.total() == calls


def test_a_question_to_a_shared_agent_is_asked_for_all_by_whoever_comes_first(
    gateway: Gateway, two_tokens: list[str], stack: Stack
) -> None:
    """One that is not configured, too; the first one pays."""
    stack.fabric.asked.clear()
    first, second = (gateway.ask(token, "board", "total units") for token in two_tokens)
    assert (first.json()["cached"]["hit"], second.json()["cached"]["hit"]) == (False, True)
    assert first.json()["answer"] == second.json()["answer"]
    assert stack.fabric.asked == [(GATEWAY_OBJECT_ID, SHARED.tool_name)]
    assert first.headers["ratelimit"].startswith(f'"minute";r={BURST - 1};t=')
    assert second.headers["ratelimit"].startswith(f'"minute";r={BURST};t=')


def test_an_agent_that_is_asked_as_people_shares_nothing(gateway: Gateway, two_tokens: list[str], stack: Stack) -> None:
    """Each has their own rows, asked for by themselves; a timer asks it nothing, and never as anybody."""
    stack.fabric.asked.clear()
    gateway.warm()
    assert SALES_AGENT.tool_name not in {tool for _, tool in stack.fabric.asked}
    stack.fabric.asked.clear()
    replies = [gateway.ask(token, "mine", QUESTIONS[0]) for token in two_tokens]
    assert [reply.json()["cached"]["hit"] for reply in replies] == [False, False]
    assert len({reply.json()["answer"]["text"] for reply in replies}) == 2
    assert len({object_id for object_id, _ in stack.fabric.asked} - {GATEWAY_OBJECT_ID}) == 2


def test_what_people_are_asked_for_by_their_own_names_cannot_be_shared(stack: Stack, tmp_path: Path) -> None:
    """They would be given each other's rows: the gateway does not start with such settings."""
    agents = {"mine": {"url": stack.urls["fabric"] + SALES_AGENT.path, "shared": True}}
    log = tmp_path / "log"
    with log.open("wb") as output:
        host = Host(free_port(), stack.environment | {"DATA_AGENTS": json.dumps(agents)}, output)
        try:
            reply = httpx.get(f"{host.url}/api/health/ready", trust_env=False)
        finally:
            host.stop()
    assert (reply.status_code, reply.json()["code"]) == (503, "not_ready")
    assert "DATA_AGENTS[mine] is shared but not asked as the app" in log.read_text(encoding="utf-8")
