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
from tests.local.fabric.callers import (
    DRAFT_AGENT,
    HEADERS,
    INITIALIZE,
    STREAMING_AGENT,
    STREAMING_TASK_AGENT,
    TASK_AGENT,
    Thinking,
    question,
    task_question,
)
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
BEGINNING = call(3, "tools/call", task_question("What are the top 3 products by sales?", ttl=300_000))

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
    "initialize.tasks": (INITIALIZING, TASK_AGENT),
    "tools-list.tasks": (LISTING, TASK_AGENT),
    "tools-call.task.json": (BEGINNING, TASK_AGENT),
    "tools-call.task.sse": (BEGINNING, STREAMING_TASK_AGENT),
    "tasks-get.unknown": (call(4, "tasks/get", {"taskId": "resp_never/was"}), TASK_AGENT),
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
    assert unmarked(said) == unmarked(sample.read_bytes())


def unmarked(answer: bytes) -> bytes:
    """An answer without what no two have in common: when it was given, which task it is about, and the task's times."""
    undated = re.sub(rb"\r\ndate: [^\r]*", b"", answer)
    return re.sub(rb'("(?:taskId|createdAt|lastUpdatedAt)":")[^"]*', rb"\1", undated)


class Asking:
    """One question as a task, and what is said about it."""

    def __init__(self, url: str) -> None:
        self._url = url
        begun = exchange(url, TASK_AGENT, BEGINNING)
        self._id = json.loads(begun.partition(b"\r\n\r\n")[2])["result"]["task"]["taskId"]

    def compare(self, name: str) -> None:
        """Holds what is said about the task to a request of the method that `name` begins with against its sample."""
        method = name.partition(".")[0].replace("-", "/")
        compare(name, exchange(self._url, TASK_AGENT, call(4, method, {"taskId": self._id})))


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


def test_the_samples_of_a_task_are_what_the_emulator_says(running: Running, thinking: Thinking) -> None:
    """A task while it is worked on, and once it is done."""
    with thinking.held():
        task = Asking(running.url)
        task.compare("tasks-get.working")
    for name in ("tasks-result.json", "tasks-get.completed", "tasks-cancel.too-late"):
        task.compare(name)


def test_the_samples_of_a_failed_task_are_what_the_emulator_says(running: Running, fabric: Fabric) -> None:
    """A task that came to nothing has an error in the place of its answer."""
    fabric.task_failures.append("The run died.")
    task = Asking(running.url)
    for name in ("tasks-result.failed", "tasks-get.failed"):
        task.compare(name)


def test_the_samples_of_a_task_given_up_are_what_the_emulator_says(running: Running, thinking: Thinking) -> None:
    """A task that was cancelled before it came to an end."""
    with thinking.held():
        task = Asking(running.url)
        for name in ("tasks-cancel.json", "tasks-result.cancelled"):
            task.compare(name)


def test_the_tokenless_sample_is_what_the_emulator_says(running: Running) -> None:
    """The front door's own answer, in the form of Fabric's REST API."""
    compare("token-missing", exchange(running.url, SALES_AGENT, INITIALIZING, token=None))
