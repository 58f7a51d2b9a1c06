"""The MCP server of the emulated data agents, built with the official SDK.

One server serves every agent: the front door leaves in the request's state who asks which of them.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from mcp import MCPError
from mcp.server import Server
from mcp.server.context import CallNext, HandlerResult
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)

from local.fabric.agents import Agent, Fabric
from local.fabric.task_server import Answer, TaskServer
from local.fabric.visits import Context, Visit, published_visit_of

PROTOCOL_VERSION = "2025-06-18"
"""The one version that Fabric speaks, whichever a client asks for."""


def build(fabric: Fabric, think: Callable[[], Awaitable[object]]) -> Server[Any]:
    """The server; `think` passes the time that an agent takes over a question."""

    async def list_tools(ctx: Context, _params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_tool(published_visit_of(ctx).agent)])

    async def call_tool(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        answer = ask(published_visit_of(ctx), params)
        return await answer()

    def ask(visit: Visit, params: CallToolRequestParams) -> Answer:
        if params.name != visit.agent.tool_name:
            raise MCPError(INVALID_PARAMS, "Unknown tool")
        question = (params.arguments or {}).get("userQuestion")
        if not isinstance(question, str):
            raise MCPError(INVALID_PARAMS, "The argument userQuestion must be a string")
        fabric.take_in(visit.object_id, params.name, question)

        async def answer() -> CallToolResult:
            await think()
            return _result(visit.agent, fabric.sales.answer(question, visit.region))

        return answer

    server = Server[Any]("DataAgent MCP Server", version="1.0.0", on_list_tools=list_tools, on_call_tool=call_tool)
    server.middleware.append(_one_version)
    TaskServer(fabric, ask).join(server)
    return server


async def _one_version(ctx: Context, call_next: CallNext) -> HandlerResult:
    result = await call_next(ctx)
    if ctx.method == "initialize" and isinstance(result, dict):
        return result | {"protocolVersion": PROTOCOL_VERSION}
    return result


def _tool(agent: Agent) -> Tool:
    properties = {"userQuestion": {"type": "string"}}
    return Tool(
        name=agent.tool_name,
        description=agent.description,
        input_schema={"type": "object", "properties": properties, "required": ["userQuestion"]},
        annotations=ToolAnnotations(read_only_hint=True),
    )


def _result(agent: Agent, text: str) -> CallToolResult:
    link = f"https://app.fabric.microsoft.com/groups/{agent.workspace_id}/dataagents/{agent.object_id}"
    return CallToolResult(
        content=[TextContent(text=text)],
        structured_content={"artifactName": agent.name, "deepLinkUrl": link},
    )
