"""A data agent at the far end of an `httpx` transport: it answers as it should until it is told otherwise."""

import asyncio
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

from lib.agents.addresses import AgentAddress, parse_address
from lib.agents.answer import Answer
from lib.agents.data_agent import DataAgent
from lib.agents.discovery import Discovery
from lib.agents.notices import Notice
from lib.traffic.deadline import Deadline
from tests.clock import Clock
from tests.lib.agents.recorded import Wire, answer, in_json

WORKSPACE = "5bc0a5f1-6f0e-4b52-9d9c-1f8a3a1d7e20"
AGENT = "c2c9a1de-7f04-4a3f-8b7d-2d6c0c5b9a11"
URL = f"https://api.fabric.microsoft.com/v1/mcp/workspaces/{WORKSPACE}/dataagents/{AGENT}/agent"
ADDRESS: AgentAddress = parse_address(URL, loopback_allowed=False)

type Planned = Wire | Exception | Callable[[str], Wire]
"""A reply, a failure of the transport, or a reply that needs the id of its call."""


class Tokens:
    """Tokens of one caller: the first, and another each time one was rejected."""

    def __init__(self) -> None:
        self.rejected: list[str | None] = []

    async def __call__(self, *, rejected: str | None = None) -> str:
        """The next token."""
        self.rejected.append(rejected)
        return f"token-{len(self.rejected)}"


class Told:
    """The board of instances: what stands there, what was told, and how often it was read."""

    def __init__(self, notice: Notice | None = None) -> None:
        self.notice = notice or Notice()
        self.reads = 0
        self.cooldowns: list[float] = []
        self.discoveries: list[tuple[Discovery, float]] = []
        self.health: list[bool] = []

    async def read(self, *, at_once: bool = False) -> Notice:  # noqa: ARG002  # it stands there
        """What stands there."""
        self.reads += 1
        return self.notice

    async def tell_cooldown(self, seconds: float) -> None:
        """Keeps it."""
        self.cooldowns.append(seconds)

    async def tell_discovery(self, found: Discovery, seconds: float) -> None:
        """Keeps it."""
        self.discoveries.append((found, seconds))

    async def tell_health(self, *, answers: bool) -> None:
        """Keeps it."""
        self.health.append(answers)


def in_session(number: int) -> Planned:
    """The reply to `initialize` of an agent that opens a session."""
    agreed = {"protocolVersion": "2025-06-18"}
    return lambda call_id: in_json(answer(call_id, agreed), mcp_session_id=f"s-{number}")


def one_tool(name: str) -> Planned:
    """The reply to `tools/list` of an agent whose tool has this name."""
    return lambda call_id: in_json(answer(call_id, tools(name)))


def tools(name: str = "DataAgent_Sales") -> dict[str, Any]:
    """The one tool, under this name."""
    schema = {"type": "object", "properties": {"userQuestion": {"type": "string"}}, "required": ["userQuestion"]}
    return {"tools": [{"name": name, "description": "Sales", "inputSchema": schema}]}


def said(text: str) -> dict[str, Any]:
    """What the tool returns."""
    return {"content": [{"type": "text", "text": text}], "isError": False}


class Upstream:
    """The agent: what it was sent, the replies planned for the next messages by method, and a `pause` before them."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.messages: list[dict[str, Any]] = []
        self.planned: defaultdict[str, deque[Planned]] = defaultdict(deque)
        self.pause = asyncio.Event()
        self.pause.set()
        self._arrival = asyncio.Condition()

    def plan(self, method: str, *replies: Planned) -> None:
        """The next messages of `method` meet these replies, one each."""
        self.planned[method].extend(replies)

    @property
    def methods(self) -> list[str]:
        """The methods of the messages so far."""
        return [message["method"] for message in self.messages]

    async def sent(self, method: str, count: int) -> None:
        """Waits until that many messages of `method` have come."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: self.methods.count(method) >= count)

    def transport(self) -> httpx.MockTransport:
        """A transport whose every request comes here."""
        return httpx.MockTransport(self)

    def agent(self, clock: Clock | None = None, **more: Any) -> DataAgent:
        """The way to this agent."""
        clock = clock or Clock()
        return DataAgent(ADDRESS, self.transport(), now=clock, sleep=clock.sleep, **more)

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """One reply."""
        message = json.loads(request.content)
        planned = self.planned[message["method"]]
        reply = planned.popleft() if planned else self._usual(message)
        async with self._arrival:
            self.requests.append(request)
            self.messages.append(message)
            self._arrival.notify_all()
        await self.pause.wait()
        if isinstance(reply, Exception):
            raise reply
        status, headers, body = reply(message.get("id", "")) if callable(reply) else reply
        return httpx.Response(status, headers=headers, content=in_parts(body))

    def _usual(self, message: dict[str, Any]) -> Wire:
        match message["method"]:
            case "initialize":
                return in_json(answer(message["id"], {"protocolVersion": "2025-06-18"}))
            case "tools/list":
                return in_json(answer(message["id"], tools()))
            case "tools/call":
                return in_json(answer(message["id"], said(f"Asked: {message['params']['arguments']['userQuestion']}")))
            case _:
                return 202, {}, b""


async def in_parts(body: bytes) -> AsyncIterator[bytes]:
    """The body as a network brings it."""
    for start in range(0, len(body), 64):
        yield body[start : start + 64]


def soon(seconds: float = 60) -> Deadline:
    """A deadline on the real clock."""
    return Deadline.after(seconds)


def itself(answer: Answer) -> Answer:
    """The form of an answer that the tests want: the answer."""
    return answer
