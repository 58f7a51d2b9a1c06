"""The recorded answers in tests/samples/mcp: what the emulator says today, byte for byte."""

import json
import re
import socket
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.fabric import SALES_AGENT, Agent, Fabric
from local.fabric import faults as fault
from tests.local.fabric.callers import DRAFT_AGENT, HEADERS, INITIALIZE, STREAMING_AGENT, question
from tests.local.fabric.conftest import Running

pytestmark = pytest.mark.stack

SAMPLES = Path(__file__).parents[2] / "samples" / "mcp"
INITIALIZED = {"jsonrpc": "2.0", "method": "notifications/initialized"}


def call(number: int, method: str, params: dict[str, Any]) -> dict[str, Any]:
    """A JSON-RPC request."""
    return {"jsonrpc": "2.0", "id": f"u{number}", "method": method, "params": params}


INITIALIZING = call(1, "initialize", INITIALIZE)
LISTING = call(2, "tools/list", {})
ASKING = call(3, "tools/call", question("What are the top 3 products by sales?"))
UNCLEAR = call(3, "tools/call", question("How are we doing?"))

EXCHANGES = {
    "initialize.json": (INITIALIZING, SALES_AGENT),
    "initialize.sse": (INITIALIZING, STREAMING_AGENT),
    "initialized": (INITIALIZED, SALES_AGENT),
    "tools-list.json": (LISTING, SALES_AGENT),
    "tools-list.sse": (LISTING, STREAMING_AGENT),
    "tools-list.draft": (LISTING, DRAFT_AGENT),
    "tools-call.json": (ASKING, SALES_AGENT),
    "tools-call.sse": (ASKING, STREAMING_AGENT),
    "tools-call.unclear": (UNCLEAR, SALES_AGENT),
}
"""What was asked of which agent, by the name of the file that has the answer."""

FAULTS = {
    "tools-call.chatter": fault.chatter(),
    "tools-call.run-failed": fault.run_failed(),
    "tools-call.source-failed": fault.source_failed(),
    "tools-call.challenge": fault.challenge('{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}'),
}
"""What became of the same question, by the name of the file that has the answer."""


def exchange(url: str, agent: Agent, message: dict[str, Any], token: str | None = "alice") -> bytes:
    """Every byte that answers a request. It speaks HTTP/1.0, so that no body comes in chunks."""
    body = json.dumps(message).encode()
    headers = HEADERS | {"Content-Length": str(len(body))} | ({"Authorization": f"Bearer {token}"} if token else {})
    lines = [f"POST {agent.path} HTTP/1.0", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    with socket.create_connection((urlsplit(url).hostname, urlsplit(url).port), timeout=10) as connection:
        connection.sendall("\r\n".join(lines).encode() + body)
        return b"".join(iter(lambda: connection.recv(65536), b""))


def compare(name: str, said: bytes) -> None:
    """Holds an answer against its sample; a sample that is missing is recorded."""
    sample = SAMPLES / f"{name}.http"
    if not sample.exists():
        sample.write_bytes(said)
        pytest.fail(f"{sample.name} was recorded anew: read it, and run the test again")
    assert undated(said) == undated(sample.read_bytes())


def undated(answer: bytes) -> bytes:
    """An answer without the time at which it was given."""
    return re.sub(rb"\r\ndate: [^\r]*", b"", answer)


@pytest.mark.parametrize("name", EXCHANGES)
def test_a_sample_is_what_the_emulator_says(running: Running, name: str) -> None:
    """The gateway's MCP client is tested against real bytes of the official server."""
    message, agent = EXCHANGES[name]
    compare(name, exchange(running.url, agent, message))


@pytest.mark.parametrize("name", FAULTS)
def test_a_faulty_sample_is_what_the_emulator_says(running: Running, fabric: Fabric, name: str) -> None:
    """And against the failures that come between."""
    fabric.faults.plan("tools/call", FAULTS[name])
    compare(name, exchange(running.url, SALES_AGENT, ASKING))


def test_the_tokenless_sample_is_what_the_emulator_says(running: Running) -> None:
    """The front door's own answer, in the form of Fabric's REST API."""
    compare("token-missing", exchange(running.url, SALES_AGENT, INITIALIZING, token=None))
