"""Questions as tasks: the agent answers at once with a task, thinks by itself, and is asked for the outcome later.

A task belongs to the person or app that asked, not to a session of the protocol: any instance may come back for it
with their token. Fabric has the tasks of https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/tasks
under an older protocol, and some names of the extension that replaces them (SEP-2663): both are read. As in
`lib.agents.mcp`, there is no I/O here, and whatever a peer sends raises an error of `lib.errors` and nothing else.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args

from lib.agents import mcp
from lib.agents.failures import AddressUnknown, TaskUnknown, ToolUnknown
from lib.errors import AgentFailed

MIN_POLL_MS = 500
MAX_POLL_MS = 30_000

Status = Literal["working", "input_required", "completed", "failed", "cancelled"]

_ID = re.compile(r"[ -~]{1,512}")


@dataclass(frozen=True)
class Task:
    """How it stands with a question. `id` is the agent's and means nothing here; `poll_seconds` is its wish."""

    id: str = field(repr=False)
    status: Status
    poll_seconds: float | None


def call_tool_as_task(session: mcp.Session, tool: mcp.Tool, question: str, ttl_ms: int, call_id: str) -> mcp.Call:
    """Asks the agent, which shall keep the outcome for `ttl_ms`; without a time Fabric answers when it is done."""
    return mcp.request(session, "tools/call", {**tool.params(question), "task": {"ttl": ttl_ms}}, call_id)


def get_task(session: mcp.Session, task_id: str, call_id: str) -> mcp.Call:
    """Asks how it stands."""
    return mcp.request(session, "tasks/get", {"taskId": task_id}, call_id)


def task_result(session: mcp.Session, task_id: str, call_id: str) -> mcp.Call:
    """Asks for the answer; one that is not there yet keeps the reply waiting."""
    return mcp.request(session, "tasks/result", {"taskId": task_id}, call_id)


def cancel_task(session: mcp.Session, task_id: str, call_id: str) -> mcp.Call:
    """Asks to give the question up."""
    return mcp.request(session, "tasks/cancel", {"taskId": task_id}, call_id)


def outcome_from(reply: mcp.Reply) -> Task | mcp.ToolResult:
    """The task, from the reply to `tools/call`; or the answer, since no agent has to make a task of a question."""
    result = mcp.response(reply)
    task = result.get("task")
    if task is None and result.get("resultType") == "task":
        task = result
    return mcp.result_from(reply) if task is None else _task(task)


def task_from(reply: mcp.Reply) -> Task:
    """How it stands, from the reply to `tasks/get`."""
    with _known():
        result = mcp.response(reply)
    return _task(result.get("task", result))


def result_from(reply: mcp.Reply) -> mcp.ToolResult:
    """The answer, from the reply to `tasks/result`; where the question failed, its error is raised."""
    with _known():
        return mcp.result_from(reply)


def cancelled(reply: mcp.Reply) -> None:
    """Raises unless the question was given up; what else the reply to `tasks/cancel` holds does not matter.

    A task that has ended is refused with the code of an unknown one: `TaskUnknown` means either.
    """
    with _known():
        mcp.response(reply)


@contextmanager
def _known() -> Iterator[None]:
    """What would mean an unknown tool or address in reply to a question means an unknown task here."""
    try:
        yield
    except (ToolUnknown, AddressUnknown) as fault:
        raise TaskUnknown from fault


def _task(value: Any) -> Task:
    if not isinstance(value, dict):
        raise AgentFailed
    task_id, status = value.get("taskId"), value.get("status")
    if not isinstance(task_id, str) or not _ID.fullmatch(task_id) or status not in get_args(Status):
        raise AgentFailed
    return Task(task_id, cast("Status", status), _poll_seconds(value))


def _poll_seconds(task: Mapping[str, Any]) -> float | None:
    """When the agent wishes to be asked again, within bounds; a wish that is no number is none."""
    for wish in (task.get("pollInterval"), task.get("pollIntervalMs")):
        if isinstance(wish, int | float) and not isinstance(wish, bool):
            return min(max(wish, MIN_POLL_MS), MAX_POLL_MS) / 1000
    return None
