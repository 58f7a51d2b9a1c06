"""The questions that the emulated data agents think over in the background.

A task belongs to whoever asked, at the agent they asked, and outlives every connection:
https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/tasks.
"""

import asyncio
import uuid
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from mcp_types import CallToolResult, ErrorData, TaskStatus

POLL_MS = 1000
"""How long the agents ask to be left alone between two looks at a task."""

type Owner = tuple[str, str]
"""Object id of the caller, and that of the agent."""
type Outcome = CallToolResult | ErrorData
"""What a question comes to: a result, or the error that its call ends with."""


@dataclass
class Run:
    """One question in the background: whose it is, and how it stands."""

    id: str
    owner: Owner
    ttl_ms: int
    created: float
    updated: float
    work: asyncio.Task[Outcome]

    @property
    def expires(self) -> float:
        """When it is forgotten, whatever has become of it."""
        return self.created + self.ttl_ms / 1000

    @property
    def status(self) -> TaskStatus:
        """How it stands."""
        if not self.work.done():
            return "working"
        if self.work.cancelled():
            return "cancelled"
        return "failed" if isinstance(self.work.result(), ErrorData) else "completed"

    @property
    def fields(self) -> dict[str, Any]:
        """The task as the protocol describes it."""
        return {
            "task_id": self.id,
            "status": self.status,
            "created_at": _timestamp(self.created),
            "last_updated_at": _timestamp(self.updated),
            "ttl": self.ttl_ms,
            "poll_interval": POLL_MS,
        }


class Tasks:
    """Every task whose time has not passed. Ids are no GUIDs and hold a slash: a client may not take them apart."""

    def __init__(
        self, now: Callable[[], float], new_id: Callable[[], str] = lambda: f"resp_{uuid.uuid4().hex}/task"
    ) -> None:
        self._now = now
        self._new_id = new_id
        self._runs: dict[str, Run] = {}

    def begin(self, owner: Owner, ttl_ms: int, work: Coroutine[Any, Any, Outcome]) -> Run:
        """A new task, at work from now on."""
        now = self._now()
        run = Run(self._new_id(), owner, ttl_ms, now, now, asyncio.create_task(work))
        run.work.add_done_callback(lambda _: self._end(run))
        self._runs[run.id] = run
        return run

    def find(self, owner: Owner, task_id: str) -> Run | None:
        """A task of this owner; nobody else's can be told from one that never was."""
        for old in [run for run in self._runs.values() if run.expires <= self._now()]:
            old.work.cancel()
            del self._runs[old.id]
        found = self._runs.get(task_id)
        return found if found is not None and found.owner == owner else None

    async def outcome(self, run: Run) -> Outcome | None:
        """What the question came to, once it has; None where it was given up."""
        await asyncio.wait([run.work])
        return None if run.work.cancelled() else run.work.result()

    async def cancel(self, run: Run) -> None:
        """Gives the question up; it has ended when this returns."""
        run.work.cancel()
        await asyncio.wait([run.work])

    async def close(self) -> None:
        """Gives up all that is still being thought over."""
        for run in self._runs.values():
            await self.cancel(run)

    def _end(self, run: Run) -> None:
        run.updated = self._now()


def _timestamp(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
