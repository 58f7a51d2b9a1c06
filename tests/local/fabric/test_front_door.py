"""Fabric's front door: a token, then the agent, then the right to use it."""

import logging

import pytest

from local.fabric import SALES_AGENT, Agent, Fabric
from local.people import ALICE
from tests.local.fabric.callers import (
    ALICES_AGENT,
    REQUEST_ID,
    SHARED_AGENT,
    STREAMING_AGENT,
    Caller,
    question,
)

pytestmark = pytest.mark.stack

MISSING = {
    "requestId": REQUEST_ID,
    "errorCode": "TokenIsMissing",
    "message": "Access token is required",
    "isRetriable": False,
}


@pytest.mark.parametrize(
    "headers",
    [{}, {"Authorization": ""}, {"Authorization": "Bearer"}, {"Authorization": "Basic YTpi"}],
    ids=["none", "empty", "blank", "another scheme"],
)
async def test_a_request_without_a_token_is_told_so(caller: Caller, headers: dict[str, str]) -> None:
    """The tokenless answer shows that the front door is up."""
    response = await caller.post(b"", headers)
    assert response.status_code == 401
    assert response.json() == MISSING
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("token", ["unheard of", "for graph"])
async def test_a_token_that_is_not_for_fabric_is_invalid(caller: Caller, token: str) -> None:
    """A bad signature and a wrong audience look the same from outside."""
    response = await caller.call("tools/list", token=token)
    assert response.status_code == 401
    assert response.json()["errorCode"] == "InvalidToken"


@pytest.mark.parametrize("token", ["alice", "for power bi"])
async def test_both_names_of_fabric_are_audiences(caller: Caller, token: str) -> None:
    """A token for Fabric and one for Power BI open the same door."""
    assert (await caller.call("tools/list", token=token)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        SALES_AGENT.path.replace(SALES_AGENT.object_id, "0" * 36),
        SALES_AGENT.path.replace(SALES_AGENT.workspace_id, "0" * 36),
        SALES_AGENT.path + "/",
        SALES_AGENT.path.replace("dataagents", "aiskills"),
        "/",
    ],
    ids=["no such agent", "no such workspace", "a slash too many", "no such kind", "the root"],
)
async def test_what_is_not_there_is_not_found(caller: Caller, path: str) -> None:
    """A wrong id and a wrong route get the same answer."""
    response = await caller.http.post(path, json={}, headers={"Authorization": "Bearer alice"})
    assert response.status_code == 404
    assert response.json()["errorCode"] == response.headers["x-ms-public-api-error-code"] == "EntityNotFound"


async def test_ids_may_be_written_in_capitals(caller: Caller) -> None:
    """A GUID is no text: its letters have no case."""
    path = SALES_AGENT.path.replace(SALES_AGENT.object_id, SALES_AGENT.object_id.upper())
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
    assert (await caller.http.post(path, json=message, headers={"Authorization": "Bearer alice"})).status_code == 200


@pytest.mark.parametrize("method", ["GET", "DELETE", "PUT"])
async def test_only_post_is_served(caller: Caller, method: str) -> None:
    """There is no session to listen to or to end."""
    response = await caller.http.request(method, SALES_AGENT.path, headers={"Authorization": "Bearer alice"})
    assert response.status_code == 405


@pytest.mark.parametrize(
    ("token", "agent", "error_code"),
    [
        pytest.param("bob", ALICES_AGENT, "InsufficientPrivileges", id="not shared with this person"),
        pytest.param("stranger", SALES_AGENT, "InsufficientPrivileges", id="nobody known"),
        pytest.param("app", SALES_AGENT, "InsufficientPrivileges", id="an app at an agent for people"),
        pytest.param("without a scope", SALES_AGENT, "InsufficientScopes", id="no permission to run agents"),
    ],
)
async def test_a_caller_without_the_right_is_forbidden(
    caller: Caller, fabric: Fabric, token: str, agent: Agent, error_code: str
) -> None:
    """Known is not the same as allowed; and nothing reaches the agent."""
    response = await caller.call("tools/call", question("total sales"), agent=agent, token=token)
    assert response.status_code == 403
    assert response.json()["errorCode"] == error_code
    assert fabric.asked == []


async def test_an_agent_for_apps_shows_an_app_its_region(caller: Caller, fabric: Fabric) -> None:
    """A service principal has no region of its own: the agent says what it sees."""
    response = await caller.call(
        "tools/call", question("sales by region", SHARED_AGENT), agent=SHARED_AGENT, token="app"
    )
    assert "| East |" in response.json()["result"]["content"][0]["text"]
    assert "| North |" not in response.text
    assert fabric.asked[0][1] == "DataAgent_T_am_sales_2026"


@pytest.mark.parametrize("token", ["alice", "nobody"])
@pytest.mark.parametrize("agent", [SALES_AGENT, STREAMING_AGENT], ids=["whole", "streamed"])
async def test_every_answer_carries_a_request_id(caller: Caller, token: str, agent: Agent) -> None:
    """Support asks for this id, whatever the outcome was."""
    response = await caller.call("tools/list", agent=agent, token=token)
    assert response.headers["x-ms-request-id"] == response.headers["requestid"] == REQUEST_ID


async def test_requests_are_counted_by_method(caller: Caller, fabric: Fabric) -> None:
    """Refused ones too: what the front door counts is what a client sent."""
    for token in ("alice", "nobody"):
        await caller.call("tools/list", token=token)
    for body in (b"", b"[]", b'"text"', b"{}", b"\xff"):
        await caller.post(body)
    assert fabric.calls == {"tools/list": 2, "": 5}


async def test_a_question_leaves_its_trace_but_not_its_text(
    caller: Caller, fabric: Fabric, caplog: pytest.LogCaptureFixture
) -> None:
    """Who asked which tool is remembered; the words are in no log, whatever its level."""
    caplog.set_level(logging.DEBUG)
    await caller.call("tools/call", question("total sales of the canary"))
    assert fabric.asked == [(ALICE.object_id, SALES_AGENT.tool_name)]
    assert "canary" not in caplog.text
