"""What the emulated Fabric holds: its data agents, and what tests want to know and plan."""

import hashlib
import re
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass

from local.fabric.tasks import Tasks
from local.faults import Faults
from local.people import ALICE, BOB, SALES_AGENT_ID, WORKSPACE_ID
from local.sales import Sales


@dataclass(frozen=True)
class Agent:
    """A data agent: who may ask it, and how it answers."""

    name: str
    description: str
    object_id: str
    workspace_id: str = WORKSPACE_ID
    readers: frozenset[str] = frozenset()
    """Object ids of the people or service principals with whom it is shared."""
    app_region: str | None = None
    """The region that service principals see; None: the agent is for people only."""
    published: bool = True
    streams: bool = False
    """Answers as an event stream to a client that takes one."""
    tasks: bool = False
    """Thinks in the background over a question that asks for it."""

    @property
    def tool_name(self) -> str:
        """The name of the agent's one tool."""
        return "DataAgent_" + re.sub(r"[^A-Za-z0-9]", "_", self.name)

    @property
    def path(self) -> str:
        """Where the agent is asked."""
        return f"/v1/mcp/workspaces/{self.workspace_id}/dataagents/{self.object_id}/agent"


SALES_AGENT = Agent(
    name="Sales Agent",
    description="Answers questions about sales, units and orders of 2026 by month, product and region.",
    object_id=SALES_AGENT_ID,
    readers=frozenset({ALICE.object_id, BOB.object_id}),
)


class Fabric:
    """The emulator's agents, planned faults and memory; a test may read and change them at any time."""

    def __init__(self, *agents: Agent, sales: Sales | None = None, now: Callable[[], float] = time.time) -> None:
        """Fabric with these agents; with none named, the sales agent. `now` says how old its tasks are."""
        self.agents = {agent.object_id: agent for agent in agents or (SALES_AGENT,)}
        """The data agents by object id."""
        self.sales = sales or Sales()
        self.faults = Faults()
        """What the next requests of a JSON-RPC method meet."""
        self.faults_at: defaultdict[str, Faults] = defaultdict(Faults)
        """The same for one agent alone, by its object id, and behind those for all."""
        self.asked: list[tuple[str, str]] = []
        """Object id and tool of every question that reached an agent; never its text."""
        self._times_asked: Counter[bytes] = Counter()
        self.tasks = Tasks(now)
        """The questions that agents think over in the background."""
        self.task_failures: deque[str] = deque()
        """What the next tasks fail with, one each: the message of a JSON-RPC error."""

    def take_in(self, object_id: str, tool: str, question: str) -> None:
        """Remembers a question that has reached an agent: who asked which tool, and a hash of the text."""
        self.asked.append((object_id, tool))
        self._times_asked[_hash(question)] += 1

    def times_asked(self, question: str) -> int:
        """How often a question has reached an agent, whoever asked it."""
        return self._times_asked[_hash(question)]

    @property
    def calls(self) -> Counter[str]:
        """Requests at the front door by JSON-RPC method; `""` counts those that name none."""
        return self.faults.calls


def _hash(question: str) -> bytes:
    return hashlib.sha256(question.encode()).digest()
