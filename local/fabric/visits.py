"""Who was let in to which agent, as the MCP server finds it behind the front door."""

from dataclasses import dataclass
from typing import Any, cast

from mcp import MCPError
from mcp.server import ServerRequestContext
from mcp_types import INTERNAL_ERROR
from starlette.requests import Request

from local.fabric.agents import Agent

type Context = ServerRequestContext[Any, Request]


@dataclass(frozen=True)
class Visit:
    """A caller who was let in to an agent, and the region whose rows they see."""

    agent: Agent
    object_id: str
    region: str


def visit_of(ctx: Context) -> Visit:
    """Who asks which agent."""
    # The transport leaves the HTTP request here; the SDK's other transports, which we do not use, have none.
    visit: Visit = cast("Request", ctx.request).state.visit
    return visit


def published_visit_of(ctx: Context) -> Visit:
    """Who asks which agent; raises MCPError where there is only a draft of it."""
    visit = visit_of(ctx)
    if not visit.agent.published:
        raise MCPError(INTERNAL_ERROR, "Stage configuration not found.")
    return visit
