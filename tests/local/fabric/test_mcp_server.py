"""The MCP server of the data agents: met by the official client, and by bare HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp_types import Implementation, TextContent

from local.fabric import SALES_AGENT, Agent, Fabric
from local.people import ALICE, BOB
from local.sales import Sales
from tests.clock import Clock
from tests.local.fabric.callers import (
    DRAFT_AGENT,
    INITIALIZE,
    STREAMING_AGENT,
    THINKING_SECONDS,
    Caller,
    question,
)

pytestmark = pytest.mark.stack

BOTH = pytest.mark.parametrize("agent", [SALES_AGENT, STREAMING_AGENT], ids=["whole", "streamed"])
TOTAL = "total sales"


@asynccontextmanager
async def official_client(
    caller: Caller, agent: Agent, token: str = "alice", mode: str = "auto"
) -> AsyncIterator[Client]:
    """The client of the MCP SDK, connected to an agent."""
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx2.AsyncClient(headers=headers, trust_env=False) as http:
        transport = streamable_http_client(f"{caller.http.base_url}".rstrip("/") + agent.path, http_client=http)
        async with Client(transport, mode=mode) as client:
            yield client


def event(body: str) -> dict[str, Any]:
    """The JSON-RPC message of the one event in a stream."""
    (data,) = (line.removeprefix("data: ") for line in body.splitlines() if line.startswith("data: "))
    message: dict[str, Any] = json.loads(data)
    return message


@BOTH
@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_official_client_asks_a_question(caller: Caller, fabric: Fabric, agent: Agent, mode: str) -> None:
    """The SDK's own client negotiates, finds the one tool, and gets the answer."""
    async with official_client(caller, agent, mode=mode) as client:
        assert client.protocol_version == "2025-06-18"
        assert client.server_info == Implementation(name="DataAgent MCP Server", version="1.0.0")
        (tool,) = (await client.list_tools()).tools
        result = await client.call_tool(tool.name, {"userQuestion": TOTAL})
    assert result.content == [TextContent(text=Sales().answer(TOTAL, ALICE.region))]
    assert fabric.asked == [(ALICE.object_id, tool.name)]


@BOTH
async def test_the_tool_takes_one_question(caller: Caller, agent: Agent) -> None:
    """The description is the one given when the agent was published; the tool changes nothing."""
    async with official_client(caller, agent) as client:
        (tool,) = (await client.list_tools()).tools
    assert tool.name == "DataAgent_Sales_Agent"
    assert tool.description == agent.description
    assert tool.annotations is not None
    assert tool.annotations.read_only_hint
    assert tool.input_schema == {
        "type": "object",
        "properties": {"userQuestion": {"type": "string"}},
        "required": ["userQuestion"],
    }


@pytest.mark.parametrize("asked_for", ["2024-11-05", "2025-06-18", "2025-11-25", "2026-07-28", "any"])
async def test_one_protocol_version_is_spoken(caller: Caller, asked_for: str) -> None:
    """Whatever a client asks for, in the message or in the header, Fabric answers with its own version."""
    response = await caller.call(
        "initialize", INITIALIZE | {"protocolVersion": asked_for}, headers={"MCP-Protocol-Version": asked_for}
    )
    assert response.json()["result"] == {
        "protocolVersion": "2025-06-18",
        "capabilities": {"tools": {"listChanged": False}},
        "serverInfo": {"name": "DataAgent MCP Server", "version": "1.0.0"},
    }


async def test_there_is_no_session(caller: Caller) -> None:
    """Nothing ties requests together, so any instance may answer any of them."""
    response = await caller.call("initialize", INITIALIZE)
    assert response.status_code == 200
    assert "mcp-session-id" not in response.headers


async def test_a_notification_is_accepted_without_a_body(caller: Caller) -> None:
    """There is nothing to say to one."""
    response = await caller.post(
        b'{"jsonrpc":"2.0","method":"notifications/initialized"}', {"Authorization": "Bearer alice"}
    )
    assert (response.status_code, response.content) == (202, b"")


async def test_a_question_needs_no_initialize(caller: Caller) -> None:
    """A client that knows the tool may ask at once; the result also names the agent and where to find it."""
    response = await caller.call("tools/call", question(TOTAL))
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {
        "jsonrpc": "2.0",
        "id": "u1",
        "result": {
            "content": [{"type": "text", "text": Sales().answer(TOTAL, ALICE.region)}],
            "isError": False,
            "structuredContent": {
                "artifactName": "Sales Agent",
                "deepLinkUrl": f"https://app.fabric.microsoft.com/groups/{SALES_AGENT.workspace_id}"
                f"/dataagents/{SALES_AGENT.object_id}",
            },
        },
    }


async def test_a_streamed_answer_is_the_same_answer(caller: Caller) -> None:
    """Only the frame differs: one event of one stream."""
    whole, streamed = [
        await caller.call("tools/call", question(TOTAL), agent=agent) for agent in (SALES_AGENT, STREAMING_AGENT)
    ]
    assert streamed.headers["content-type"].startswith("text/event-stream")
    assert event(streamed.text)["result"]["content"] == whole.json()["result"]["content"]


async def test_who_takes_no_stream_gets_none(caller: Caller) -> None:
    """A client that accepts JSON alone is answered in JSON."""
    response = await caller.call("tools/list", agent=STREAMING_AGENT, headers={"Accept": "application/json"})
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize("method", ["tools/list", "tools/call"])
async def test_a_draft_cannot_be_asked(caller: Caller, fabric: Fabric, method: str) -> None:
    """An agent that was never published has nothing to run."""
    response = await caller.call(method, question(TOTAL), agent=DRAFT_AGENT)
    assert response.json()["error"]["message"] == "Stage configuration not found."
    assert fabric.asked == []


@pytest.mark.parametrize(
    ("params", "code"),
    [
        pytest.param({"name": "DataAgent_Other", "arguments": {"userQuestion": TOTAL}}, -32602, id="another tool"),
        pytest.param({"name": "DataAgent_Sales_Agent", "arguments": {"query": TOTAL}}, -32602, id="another argument"),
        pytest.param({"name": "DataAgent_Sales_Agent", "arguments": {"userQuestion": 7}}, -32602, id="a number"),
        pytest.param({"name": "DataAgent_Sales_Agent"}, -32602, id="no arguments"),
    ],
)
async def test_a_wrong_call_is_an_error(caller: Caller, fabric: Fabric, params: dict[str, Any], code: int) -> None:
    """A call must name the agent's tool and bring a question."""
    response = await caller.call("tools/call", params)
    assert response.json()["error"]["code"] == code
    assert fabric.asked == []


async def test_an_unknown_method_is_an_error(caller: Caller) -> None:
    """The server has tools and nothing else."""
    assert (await caller.call("resources/list")).json()["error"]["code"] == -32601


async def test_a_body_that_is_no_json_is_a_bad_request(caller: Caller) -> None:
    """The official server finds the fault, behind the front door."""
    response = await caller.post(b"{", {"Authorization": "Bearer alice"})
    assert response.status_code == 400
    assert response.json()["error"]["code"] == -32700


async def test_the_official_client_reads_an_error(caller: Caller) -> None:
    """JSON-RPC errors arrive as such."""
    async with official_client(caller, SALES_AGENT) as client:
        with pytest.raises(MCPError, match="Unknown tool"):
            await client.call_tool("DataAgent_Other", {"userQuestion": TOTAL})


async def test_everybody_sees_their_own_region(caller: Caller) -> None:
    """Questions asked at the same time do not mix their callers up."""
    people = {"alice": ALICE, "bob": BOB}
    tokens = ["alice", "bob"] * 10
    responses = await asyncio.gather(*(caller.call("tools/call", question(TOTAL), token=token) for token in tokens))
    texts = [response.json()["result"]["content"][0]["text"] for response in responses]
    assert texts == [Sales().answer(TOTAL, people[token].region) for token in tokens]


async def test_an_agent_takes_its_time_over_a_question(caller: Caller, clock: Clock) -> None:
    """Only questions take long: to list the tools costs nothing."""
    await caller.call("tools/list")
    assert clock.slept == []
    await caller.call("tools/call", question(TOTAL))
    assert clock.slept == [THINKING_SECONDS]
