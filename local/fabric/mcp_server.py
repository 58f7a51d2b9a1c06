"""The MCP server of the emulated data agents, built with the official SDK.

One server serves every agent: the front door leaves in the request's state who asks which of them.
"""

from collections.abc import Awaitable, Callable
from typing import Any, cast

from mcp import MCPError
from mcp.server import Server, ServerRequestContext
from mcp.server.context import CallNext, HandlerResult
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from starlette.requests import Request

from local.fabric.agents import Agent, Fabric, Visit

PROTOCOL_VERSION = "2025-06-18"
"""The one version that Fabric speaks, whichever a client asks for."""

type Context = ServerRequestContext[Any, Request]


def build(fabric: Fabric, think: Callable[[], Awaitable[object]]) -> Server[Any]:
    """The server; `think` passes the time that an agent takes over a question."""

    async def list_tools(ctx: Context, _params: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_tool(_visit(ctx).agent)])

    async def call_tool(ctx: Context, params: CallToolRequestParams) -> CallToolResult:
        visit = _visit(ctx)
        if params.name != visit.agent.tool_name:
            raise MCPError(INVALID_PARAMS, "Unknown tool")
        question = (params.arguments or {}).get("userQuestion")
        if not isinstance(question, str):
            raise MCPError(INVALID_PARAMS, "The argument userQuestion must be a string")
        fabric.asked.append((visit.object_id, params.name))
        await think()
        return _result(visit.agent, fabric.sales.answer(question, visit.region))

    server = Server[Any]("DataAgent MCP Server", version="1.0.0", on_list_tools=list_tools, on_call_tool=call_tool)
    server.middleware.append(_one_version)
    return server


async def _one_version(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    result = await call_next(ctx)
    if ctx.method == "initialize" and isinstance(result, dict):
        return result | {"protocolVersion": PROTOCOL_VERSION}
    return result


def _visit(ctx: Context) -> Visit:
    """Who asks which agent; raises MCPError where there is only a draft of it."""
    # The transport leaves the HTTP request here; the SDK's other transports, which we do not use, have none.
    visit: Visit = cast("Request", ctx.request).state.visit
    if not visit.agent.published:
        raise MCPError(INTERNAL_ERROR, "Stage configuration not found.")
    return visit


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
