"""What somebody could put before a data agent: this gateway, its predecessor's shape, and two gateways for MCP.

All ask the same canned agent. The gateway reaches it over TLS, since it speaks nothing else; the others in plain text.
They are in front of it as their manuals have it, with nothing in between that the gateway does besides: no sign-in at
Entra, no exchange of tokens, no shared limits.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

import httpx

from bench.agent import TOOL, path
from bench.environments import Environment, Installation
from bench.load import Target, request
from bench.running import DELAYS, Running, program
from bench.stage import Agent
from local.stack import free_port

KEY = "sk-bench"
MCP = {"content-type": "application/json", "accept": "application/json, text/event-stream"}

_PROXY = """
import sys
from fastmcp.server import create_proxy
create_proxy(sys.argv[1]).run(transport="http", host="127.0.0.1", port=int(sys.argv[2]), stateless_http=True,
                              json_response=True, show_banner=False, log_level="ERROR")
"""
_OLDER = Environment("older", ("fastapi==0.165.0", "slowapi==0.1.10", "uvicorn==0.54.0", "httpx==0.28.1"))
_FASTMCP = Environment("fastmcp", ("fastmcp==4.2.3",))
_LITELLM = Environment("litellm", ("litellm[proxy]==1.106.12",))


@dataclass(frozen=True)
class Contender:
    """One of them: how it is run, and where it has to be installed first."""

    name: str
    how: str
    run: Callable[[Agent], AbstractContextManager[Running]]
    installation: Installation
    target: str = ""


def others() -> list[Contender]:
    """All but the gateway; their environments are begun."""
    return [
        Contender(
            "older shape",
            "FastAPI 0.165, slowapi, cookie session in a dict, one pooled client (`bench/older.py`)",
            _older,
            _OLDER.begin(),
            "≥ 10 × at 32",
        ),
        Contender("FastMCP", "FastMCP 4.2.3's proxy, stateless, JSON replies", _fastmcp, _FASTMCP.begin()),
        Contender(
            "LiteLLM",
            "LiteLLM 1.106.12's MCP gateway, with a master key and no database",
            _litellm,
            _LITELLM.begin(),
            "≥ 30 × at 32",
        ),
    ]


@contextmanager
def _older(agent: Agent) -> Iterator[Running]:
    port, where = free_port(), agent.plain + path(0).replace(f"{0:012}", "{:012}")
    command = [_OLDER.program("python"), "bench/older.py", where, str(port)]
    with program(command, port) as (process_id, seconds):
        http = httpx.post(f"http://127.0.0.1:{port}/login", trust_env=False)
        headers = {"content-type": "application/json", "cookie": f"session_id={http.cookies['session_id']}"}

        def target(delay: int) -> Target:
            return Target(port, lambda _, question: request("/query", headers, {"question": question, "after": delay}))

        yield Running({delay: target(delay) for delay in DELAYS}, [process_id], seconds)


@contextmanager
def _fastmcp(agent: Agent) -> Iterator[Running]:
    """A process for each delay, since a proxy of several servers asks all of them each time."""
    with ExitStack() as running:
        targets, processes, longest = {}, [], 0.0
        for delay in DELAYS:
            port = free_port()
            command = [_FASTMCP.program("python"), "-c", _PROXY, agent.plain + path(delay), str(port)]
            process_id, seconds = running.enter_context(program(command, port))
            processes.append(process_id)
            longest = max(longest, seconds)
            targets[delay] = Target(port, lambda _, question: request("/mcp", MCP, _call(TOOL, question)))
        yield Running(targets, processes, longest)


@contextmanager
def _litellm(agent: Agent) -> Iterator[Running]:
    servers = {f"after_{delay}": {"url": agent.plain + path(delay), "transport": "http"} for delay in DELAYS}
    config = {"model_list": [], "general_settings": {"master_key": KEY}, "mcp_servers": servers}
    port, file = free_port(), _LITELLM.folder / "config.yaml"
    file.write_text(json.dumps(config), encoding="utf-8")  # JSON is YAML
    command = [_LITELLM.program("litellm"), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)]
    alone = {"LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_MODE": "PRODUCTION", "LITELLM_LOG": "ERROR"}
    with program([*command, "--telemetry", "False"], port, **alone) as (process_id, seconds):

        def target(delay: int) -> Target:
            headers = MCP | {"x-litellm-api-key": f"Bearer {KEY}", "x-mcp-servers": f"after_{delay}"}
            return Target(port, lambda _, question: request("/mcp/", headers, _call(f"after_{delay}-{TOOL}", question)))

        yield Running({delay: target(delay) for delay in DELAYS}, [process_id], seconds)


def _call(tool: str, question: str) -> dict[str, object]:
    arguments = {"name": tool, "arguments": {"userQuestion": question}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": arguments}
