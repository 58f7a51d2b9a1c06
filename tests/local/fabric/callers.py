"""Who calls the emulated Fabric in these tests, which agents it has, and what a client says to it."""

import asyncio
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import httpx

from local.fabric import SALES_AGENT, Agent
from local.people import ALICE, BOB, GATEWAY_OBJECT_ID
from tests.clock import Clock

AUDIENCE = "https://api.fabric.microsoft.com"
DELEGATED = {"aud": AUDIENCE, "scp": "DataAgent.Execute.All Item.Read.All"}
CLAIMS: dict[str, dict[str, Any]] = {
    "alice": DELEGATED | {"oid": ALICE.object_id},
    "bob": DELEGATED | {"oid": BOB.object_id},
    "app": {"aud": AUDIENCE, "oid": GATEWAY_OBJECT_ID, "idtyp": "app"},
    "stranger": DELEGATED | {"oid": "57a6e000-0000-4000-8000-000000000001"},
    "for power bi": DELEGATED | {"aud": "https://analysis.windows.net/powerbi/api", "oid": ALICE.object_id},
    "for graph": DELEGATED | {"aud": "https://graph.microsoft.com", "oid": ALICE.object_id},
    "without a scope": {"aud": AUDIENCE, "oid": ALICE.object_id, "scp": "Item.Read.All"},
}
"""What the verified claims of each token are; any other token is a bad one."""

STREAMING_AGENT = replace(SALES_AGENT, object_id="3d9e4f50-6172-4c83-ad94-be05cf16d009", streams=True)
SHARED_AGENT = Agent(
    name="Téam sales 2026",
    description="Sales of the team.",
    object_id="4eaf5061-7283-4d94-be05-cf16d027e010",
    readers=frozenset({GATEWAY_OBJECT_ID, ALICE.object_id}),
    app_region="East",
)
DRAFT_AGENT = replace(SALES_AGENT, object_id="5fb06172-8394-4ea5-8f16-d027e138f011", published=False)
ALICES_AGENT = replace(
    SALES_AGENT, object_id="60c17283-94a5-4fb6-9027-e138f249a012", readers=frozenset({ALICE.object_id})
)
TASK_AGENT = replace(SALES_AGENT, object_id="71d28394-a5b6-4a07-8138-f249a35ab013", tasks=True)
STREAMING_TASK_AGENT = replace(TASK_AGENT, object_id="82e394a5-b6c7-4b18-9249-a35ab46bc014", streams=True)
DRAFT_TASK_AGENT = replace(TASK_AGENT, object_id="93f4a5b6-c7d8-4c29-a35a-b46bc57cd015", published=False)
SHARED_TASK_AGENT = replace(SHARED_AGENT, object_id="a405b6c7-d8e9-4d3a-b46b-c57cd68de016", tasks=True)

REQUEST_ID = "0d7c1f52-3b68-4e9a-a1c4-5f2e8d90b013"
THINKING_SECONDS = 2.5
HEADERS = {"Content-Type": "application/json", "Accept": "application/json, text/event-stream"}
"""What a request brings besides its token."""
INITIALIZE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}


def claims_of(token: str) -> Mapping[str, Any]:
    """Verifies a token: those above are good."""
    try:
        return CLAIMS[token]
    except KeyError:
        raise ValueError("a bad token") from None


def question(text: str, agent: Agent = SALES_AGENT) -> dict[str, Any]:
    """The params of a `tools/call` that asks an agent."""
    return {"name": agent.tool_name, "arguments": {"userQuestion": text}}


def task_question(text: str, agent: Agent = TASK_AGENT, ttl: int = 60_000) -> dict[str, Any]:
    """The params of a `tools/call` that asks an agent for a task."""
    return question(text, agent) | {"task": {"ttl": ttl}}


class Thinking:
    """How the agents pass their time: on the clock and at once, unless a test holds them up."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._free = threading.Event()
        self._free.set()

    async def sleep(self, seconds: float) -> None:
        """Passes the time, and waits until nobody holds it up."""
        await self._clock.sleep(seconds)
        await asyncio.to_thread(self._free.wait)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Meanwhile no agent comes to an end with its thinking."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()


@dataclass(frozen=True)
class Caller:
    """A client that speaks plain HTTP to the emulator."""

    http: httpx.AsyncClient

    async def post(self, content: bytes, headers: Mapping[str, str] = MappingProxyType({})) -> httpx.Response:
        """The sales agent's answer to any bytes."""
        return await self.http.post(SALES_AGENT.path, content=content, headers={**HEADERS, **headers})

    async def call(
        self,
        method: str,
        params: Mapping[str, Any] | None = None,
        *,
        agent: Agent = SALES_AGENT,
        token: str = "alice",
        headers: Mapping[str, str] = MappingProxyType({}),
    ) -> httpx.Response:
        """An agent's answer to one JSON-RPC request."""
        message = {"jsonrpc": "2.0", "id": "u1", "method": method, "params": params or {}}
        known = HEADERS | {"Authorization": f"Bearer {token}"}
        return await self.http.post(agent.path, json=message, headers={**known, **headers})
