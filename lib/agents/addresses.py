"""Where a data agent is: its MCP endpoint, from any of the addresses that people configure.

The endpoint is `https://{host}/v1/mcp/workspaces/{workspace id}/dataagents/{agent id}/agent`
(https://learn.microsoft.com/fabric/data-science/data-agent-mcp-server). Older addresses name the same two ids: those of
the Assistants API that Fabric retired on 2026-08-26, those of the capacity's own host, and the page in the portal.
A Fabric token goes to the address that comes out of here and nowhere else, so the host must be one of Fabric's.
"""

import re
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from lib.hosts import is_loopback

API_HOSTS = frozenset(
    {
        "api.fabric.microsoft.com",
        "msitapi.fabric.microsoft.com",
        "dailyapi.fabric.microsoft.com",
        "dxtapi.fabric.microsoft.com",
        "highapi.fabric.microsoft.us",
    }
)
PORTAL_HOSTS = frozenset({"app.fabric.microsoft.com", "app.powerbi.com"})

_CAPACITY_HOST = re.compile(r"([a-z0-9-]{1,63}\.)+pbidedicated\.windows\.net")
_LOOPBACK = re.compile(r"(?P<host>[a-z0-9.]+|\[::1\])(:[1-9][0-9]{0,4})?")
_GUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
_ITEM = re.compile(
    rf"(?:/.*)?/(?:workspaces|groups)/(?P<workspace>{_GUID})/(?:dataagents|aiskills|artifacts)/(?P<agent>{_GUID})(?:/.*)?"
)
_NIL = "00000000-0000-0000-0000-000000000000"


class UnknownAddress(ValueError):
    """The text is no data agent's address. The message says what is expected and never repeats the text."""


@dataclass(frozen=True)
class AgentAddress:
    """One agent's MCP endpoint; `translated` where what was configured is an older form or a page of the portal."""

    url: str
    workspace_id: str
    agent_id: str
    translated: bool


def parse_address(url: str, *, loopback_allowed: bool) -> AgentAddress:
    """The agent that `url` names; capitals, the query and a trailing slash do not matter.

    `loopback_allowed` lets in `https://localhost:port` and its like: an emulator. Raises `UnknownAddress`.
    """
    parts = _split(url)
    item = _ITEM.fullmatch(parts.path)
    if item is None or _NIL in item.groups():
        raise UnknownAddress("must name a workspace and an agent by their ids: …/workspaces/{id}/dataagents/{id}/agent")
    workspace, agent = item["workspace"], item["agent"]
    host = _endpoint_host(parts.netloc, workspace, loopback_allowed=loopback_allowed)
    path = f"/v1/mcp/workspaces/{workspace}/dataagents/{agent}/agent"
    translated = (parts.netloc, parts.path.rstrip("/")) != (host, path)
    return AgentAddress(f"https://{host}{path}", workspace, agent, translated)


def _split(url: str) -> SplitResult:
    """The parts of `url` in lower case; only printable ASCII, so that no letter can look like another."""
    try:
        parts = urlsplit(url.lower())
        readable = url.isascii() and url.isprintable() and parts.port != 0
    except ValueError:
        readable = False
    if not readable or parts.scheme != "https":
        raise UnknownAddress("must be an address that starts with https://")
    return parts


def _endpoint_host(netloc: str, workspace: str, *, loopback_allowed: bool) -> str:
    """The host to call, with its port where it is loopback. An exact match leaves no room for a user or a port."""
    private_link = f"{workspace.replace('-', '')}.z{workspace[:2]}.w.api.fabric.microsoft.com"
    if netloc in API_HOSTS or netloc == private_link:
        return netloc
    if netloc in PORTAL_HOSTS or _CAPACITY_HOST.fullmatch(netloc):
        return "api.fabric.microsoft.com"
    loopback = _LOOPBACK.fullmatch(netloc)
    if loopback_allowed and loopback and is_loopback(loopback["host"].strip("[]")):
        return netloc
    raise UnknownAddress("must be on a host of Microsoft Fabric, as api.fabric.microsoft.com is, without user or port")
