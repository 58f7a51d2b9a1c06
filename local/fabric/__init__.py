"""An emulator of the MCP endpoint of Microsoft Fabric's data agents, over a small set of sales.

The front door answers as Fabric's does: a token first, then the agent, then the right to use it. Behind it the
official MCP SDK speaks the protocol, so that a client meets an implementation which is not ours. Every caller sees
the rows of one region. See https://learn.microsoft.com/fabric/data-science/data-agent-mcp-server.
"""

from local.fabric.agents import SALES_AGENT, Agent, Fabric
from local.fabric.app import build

__all__ = ["SALES_AGENT", "Agent", "Fabric", "build"]
