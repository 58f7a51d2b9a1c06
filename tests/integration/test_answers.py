"""Kept answers, end to end: for every instance, while the agent is away, and for nobody who must not have them."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx
import pytest
from azure.data.tables import TableServiceClient
from starlette.responses import JSONResponse, Response

from local.fabric import Agent
from local.people import GATEWAY_OBJECT_ID
from local.stack import Host, Stack, free_port
from tests.integration.browser import Browser
from tests.integration.people import newcomers

QUESTION = "What are the total sales by month?"
COMPANY = Agent(
    name="Shared Agent",
    description="Answers for everybody alike.",
    object_id="3d9e4f50-6172-4c83-8d94-acf5bf16d0bb",
    readers=frozenset({GATEWAY_OBJECT_ID}),
    app_region="East",
)
SETTINGS = {
    "LIMIT_PER_MINUTE": "6000",
    "LIMIT_BURST": "1000",
    "LIMIT_PER_DAY": "1000000",
    "LIMIT_IN_FLIGHT": "100",
    "APP_CALLS_PER_MINUTE": "6000",
}

type NewPerson = Callable[[], str]


class Gateways:
    """Two instances, and more where they are wanted; and clients of them."""

    def __init__(self, start: Callable[[], Host]) -> None:
        self._start = start
        self._hosts = [start(), start()]
        self._http = httpx.Client(trust_env=False, timeout=60)

    def one_more(self) -> int:
        """The number of another instance."""
        self._hosts.append(self._start())
        return len(self._hosts) - 1

    def call(self, instance: int, method: str, path: str, token: str, **more: object) -> httpx.Response:
        """One request to one of them."""
        headers = {"Authorization": f"Bearer {token}", **more.pop("headers", {})}  # type: ignore[dict-item]
        url = f"{self._hosts[instance].url}/api{path}"
        return self._http.request(method, url, headers=headers, **more)  # type: ignore[arg-type]

    def ask(
        self, instance: int, token: str, agent: str = "sales", *, headers: dict[str, str] | None = None
    ) -> tuple[dict[str, object], str]:
        """What is said of the answer: in the reply, and in its `Cache-Status`."""
        body = {"question": QUESTION, "agent": agent}
        reply = self.call(instance, "POST", "/query", token, json=body, headers=headers or {})
        assert reply.status_code == 200, reply.text
        assert reply.json()["answer"]["tables"]
        told: dict[str, object] = reply.json()["cached"]
        return told, reply.headers["cache-status"].removeprefix("fabric-gateway; ")

    def close(self) -> None:
        """Ends them."""
        self._http.close()
        for host in self._hosts:
            host.stop()


@pytest.fixture(scope="module")
def gateways(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateways]:
    """Two instances with an agent for people whose answers are soon stale, and one whose answers are shared."""
    stack.fabric.agents[COMPANY.object_id] = COMPANY
    agents = json.loads(stack.environment["DATA_AGENTS"])
    agents["passing"] = agents["sales"] | {"cache_seconds": 1}
    agents["company"] = {"url": stack.urls["fabric"] + COMPANY.path, "identity": "app", "shared": True}
    environment = stack.environment | SETTINGS | {"DATA_AGENTS": json.dumps(agents)}
    with (tmp_path_factory.mktemp("hosts") / "log").open("wb") as log:
        running = Gateways(lambda: Host(free_port(), environment, log))
        yield running
        running.close()
    del stack.fabric.agents[COMPANY.object_id]


@pytest.fixture
def new_token(stack: Stack, browser: Browser) -> Iterator[NewPerson]:
    """Makes an access token of somebody with whom the agents are shared, and who was never seen before."""
    with ExitStack() as made:

        def new() -> str:
            (person,) = made.enter_context(newcomers(stack, 1))
            return browser.token(person.key)

        yield new


def calls(stack: Stack) -> int:
    """How many questions have reached Fabric."""
    return stack.fabric.calls["tools/call"]


def kept_rows(stack: Stack) -> set[tuple[str, str]]:
    """The answers that are kept for all instances."""
    with TableServiceClient.from_connection_string(stack.azurite.connection_string) as service:
        rows = service.get_table_client("answers").list_entities(select=["PartitionKey", "RowKey"])
        return {(row["PartitionKey"], row["RowKey"]) for row in rows}


def test_an_answer_is_kept_for_every_instance_and_not_given_to_who_wants_it_anew(
    gateways: Gateways, new_token: NewPerson, stack: Stack
) -> None:
    """One question; the reply tells what became of it, in the words of RFC 9211."""
    carol, before = new_token(), calls(stack)
    told, status = gateways.ask(0, carol)
    assert (told["hit"], told["stale"], status) == (False, False, "fwd=miss")
    for instance in (0, 1, 1):
        told, status = gateways.ask(instance, carol)
        assert (told["hit"], told["stale"]) == (True, False)
        assert 0 < int(status.removeprefix("hit; ttl=")) <= 300
    assert calls(stack) == before + 1
    assert gateways.ask(1, carol, headers={"Cache-Control": "no-cache"})[0]["hit"] is False
    assert calls(stack) == before + 2
    assert gateways.ask(0, new_token())[0]["hit"] is False


def test_while_the_agent_is_away_ones_last_answer_is_given_and_says_so(
    gateways: Gateways, new_token: NewPerson, stack: Stack
) -> None:
    """Not where it says that one may not ask: then it is gone, and is not given later either."""
    carol = new_token()
    gateways.ask(0, carol, "passing")
    told: dict[str, object] = {}
    while not told.get("stale"):
        stack.fabric.faults.plan("tools/call", Response(status_code=500))
        told, status = gateways.ask(1, carol, "passing")
    assert told["hit"] is True
    assert status.startswith(("hit; ttl=0", "hit; ttl=-"))
    stack.fabric.faults.clear()
    stack.fabric.faults.plan("tools/call", JSONResponse({"errorCode": "InsufficientPrivileges"}, 403))
    body = {"question": QUESTION, "agent": "passing"}
    refused = gateways.call(1, "POST", "/query", carol, json=body)
    assert (refused.status_code, refused.json()["code"]) == (403, "agent_access_denied")
    stack.fabric.faults.plan("tools/call", Response(status_code=500))
    refused = gateways.call(1, "POST", "/query", carol, json=body)
    assert (refused.status_code, refused.json()["code"]) == (503, "agent_unavailable")


def test_where_answers_are_shared_one_question_serves_everybody(
    gateways: Gateways, new_token: NewPerson, stack: Stack
) -> None:
    """On every instance; an agent that is asked as each person shares none."""
    carol, dave = new_token(), new_token()
    gateways.ask(0, carol, "company", headers={"Cache-Control": "no-cache"})
    before = calls(stack)
    assert gateways.ask(1, dave, "company", headers={})[0]["hit"] is True
    assert gateways.ask(0, dave, "company")[0]["hit"] is True
    assert calls(stack) == before
    gateways.ask(0, carol)
    assert gateways.ask(0, dave)[0]["hit"] is False


def test_whoever_ends_all_that_is_theirs_leaves_no_answer_behind(
    gateways: Gateways, new_token: NewPerson, stack: Stack
) -> None:
    """Their rows are gone, and nobody else's."""
    dave = new_token()
    gateways.ask(0, dave)
    before = kept_rows(stack)
    carol = new_token()
    gateways.ask(0, carol)
    assert len(kept_rows(stack)) == len(before) + 1
    assert gateways.call(1, "DELETE", "/sessions", carol).status_code == 204
    assert kept_rows(stack) == before
    assert gateways.call(1, "POST", "/query", carol, json={"question": QUESTION, "agent": "sales"}).status_code == 401
    assert gateways.ask(1, dave)[0]["hit"] is True


def test_an_agent_that_is_exhausted_is_left_alone_by_every_instance(
    gateways: Gateways, new_token: NewPerson, stack: Stack
) -> None:
    """The one that met it tells the others when to come back: a new one reads it before it asks anything."""
    carol, question = new_token(), {"question": "And by region?", "agent": "company"}
    exhausted = JSONResponse({"errorCode": "CapacityLimitExceeded"}, 429, headers={"Retry-After": "60"})
    stack.fabric.faults.plan("tools/call", exhausted)
    assert gateways.call(0, "POST", "/query", carol, json=question).status_code == 503
    before = stack.fabric.calls.total()
    for instance in (0, gateways.one_more()):
        refused = gateways.call(instance, "POST", "/query", carol, json=question)
        assert (refused.status_code, refused.json()["code"]) == (503, "capacity_exceeded")
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert stack.fabric.calls.total() == before
