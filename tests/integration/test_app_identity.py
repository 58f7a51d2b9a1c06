"""Agents that are asked under the app's own identity, and callers that are apps."""

import json
from collections.abc import Iterator

import httpx
import pytest

from local.fabric import Agent
from local.people import GATEWAY_OBJECT_ID
from local.stack import Host, Stack, free_port
from tests.integration.browser import Browser, app_token

COMPANY = Agent(
    name="Company Agent",
    description="Answers for everybody alike.",
    object_id="3d9e4f50-6172-4c83-8d94-acf5bf16d009",
    readers=frozenset({GATEWAY_OBJECT_ID}),
    app_region="East",
)


@pytest.fixture(scope="module")
def gateway_url(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A gateway with two agents: one for people, one that is asked as the app."""
    stack.fabric.agents[COMPANY.object_id] = COMPANY
    agents = json.loads(stack.environment["DATA_AGENTS"])
    agents["company"] = {"url": stack.urls["fabric"] + COMPANY.path, "identity": "app"}
    environment = stack.environment | {"DATA_AGENTS": json.dumps(agents)}
    with (tmp_path_factory.mktemp("host") / "log").open("wb") as log:
        host = Host(free_port(), environment, log)
        try:
            yield host.url
        finally:
            host.stop()
            del stack.fabric.agents[COMPANY.object_id]


def ask(url: str, token: str, agent: str | None) -> httpx.Response:
    """One question."""
    body = {"question": "total sales"} | ({"agent": agent} if agent else {})
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.post(f"{url}/api/query", json=body, headers=headers, timeout=60, trust_env=False)


@pytest.mark.parametrize("caller", ["alice", "bob", "app"])
def test_everybody_gets_the_answer_that_the_app_gets(
    gateway_url: str, browser: Browser, stack: Stack, caller: str
) -> None:
    """The agent is asked with the gateway's own token, whoever wants to know."""
    stack.fabric.asked.clear()
    token = app_token(stack) if caller == "app" else browser.token(caller)
    reply = ask(gateway_url, token, "company")
    assert reply.status_code == 200, reply.text
    assert stack.fabric.asked == [(GATEWAY_OBJECT_ID, COMPANY.tool_name)]
    (row,) = reply.json()["answer"]["tables"][0]["rows"]
    assert f"| {' | '.join(row)} |" in stack.fabric.sales.answer("total sales", "East")


def test_an_app_may_not_ask_an_agent_for_people(gateway_url: str, stack: Stack) -> None:
    """There is nobody whose rows it could see."""
    reply = ask(gateway_url, app_token(stack), "sales")
    assert (reply.status_code, reply.json()["code"]) == (403, "user_required")


def test_an_app_needs_the_role(gateway_url: str, stack: Stack) -> None:
    """Any app of the tenant can get a token for the gateway; the role is what an administrator gives."""
    reply = ask(gateway_url, app_token(stack, "Something.Else"), "company")
    assert (reply.status_code, reply.json()["code"]) == (403, "insufficient_scope")
    assert 'scope="Query.All"' in reply.headers["www-authenticate"]


def test_each_caller_is_offered_what_they_may_ask(gateway_url: str, browser: Browser, stack: Stack) -> None:
    """People see both agents, an app the one for apps; and with two, a person has to name one."""

    def names(token: str) -> list[str]:
        headers = {"Authorization": f"Bearer {token}"}
        reply = httpx.get(f"{gateway_url}/api/agents", headers=headers, trust_env=False)
        return [agent["name"] for agent in reply.json()["agents"]]

    assert names(browser.token("alice")) == ["sales", "company"]
    assert names(app_token(stack)) == ["company"]
    unnamed = ask(gateway_url, browser.token("alice"), None)
    assert (unnamed.status_code, unnamed.json()["agents"]) == (400, ["sales", "company"])
    assert ask(gateway_url, app_token(stack), None).status_code == 200
