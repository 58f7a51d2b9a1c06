"""Questions as tasks in the MCP server: the SDK has the messages, and does not serve them.

Fabric speaks this part of MCP 2025-11-25 under 2025-06-18. The SDK takes out of its messages what their version does
not have, so what makes tasks known is put in behind it.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from mcp import MCPError
from mcp.server import Server
from mcp.server.context import CallNext, HandlerResult
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    CallToolRequestParams,
    CallToolResult,
    CancelTaskRequestParams,
    CancelTaskResult,
    CreateTaskResult,
    ErrorData,
    GetTaskPayloadRequestParams,
    GetTaskRequestParams,
    GetTaskResult,
    RelatedTaskMetadata,
    ServerTasksCapability,
    ServerTasksRequestsCapability,
    Task,
    TasksCallCapability,
    TasksCancelCapability,
    TasksToolsCapability,
    ToolExecution,
)
from pydantic import BaseModel

from local.fabric.agents import Fabric
from local.fabric.tasks import Owner, Run
from local.fabric.visits import Context, Visit, published_visit_of, visit_of

RELATED_TASK = "io.modelcontextprotocol/related-task"

_CAPABILITY = ServerTasksCapability(
    cancel=TasksCancelCapability(),
    requests=ServerTasksRequestsCapability(tools=TasksToolsCapability(call=TasksCallCapability())),
)

type Answer = Callable[[], Coroutine[Any, Any, CallToolResult]]
"""Thinks over a question that was taken in."""
type Ask = Callable[[Visit, CallToolRequestParams], Answer]
"""Takes a question in, or raises MCPError."""


@dataclass(frozen=True)
class TaskServer:
    """The tasks of those agents that have any; the others are served as if there were none."""

    fabric: Fabric
    ask: Ask

    def join(self, server: Server[Any]) -> None:
        """Serves tasks from `server`."""
        server.middleware.append(self._extend)
        server.add_request_handler("tasks/get", GetTaskRequestParams, self._get)
        server.add_request_handler("tasks/result", GetTaskPayloadRequestParams, self._result)
        server.add_request_handler("tasks/cancel", CancelTaskRequestParams, self._cancel)

    async def _extend(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Makes tasks of questions that ask for it with a time, and makes them known; Fabric answers others inline."""
        if not visit_of(ctx).agent.tasks:
            return await call_next(ctx)
        if ctx.method == "tools/call":
            params = CallToolRequestParams.model_validate(ctx.params or {}, by_name=False)
            if params.task and params.task.ttl is not None:
                return self._begin(published_visit_of(ctx), params, params.task.ttl)
        result = await call_next(ctx)
        if ctx.method == "initialize" and isinstance(result, dict):
            result["capabilities"]["tasks"] = _on_the_wire(_CAPABILITY)
        if ctx.method == "tools/list" and isinstance(result, dict):
            result["tools"][0]["execution"] = _on_the_wire(ToolExecution(task_support="optional"))
        return result

    def _begin(self, visit: Visit, params: CallToolRequestParams, ttl_ms: int) -> CreateTaskResult:
        answer = self.ask(visit, params)
        failures = self.fabric.task_failures
        work = _in_vain(answer, failures.popleft()) if failures else answer()
        return CreateTaskResult(task=Task(**self.fabric.tasks.begin(_owner(visit), ttl_ms, work).fields))

    async def _get(self, ctx: Context, params: GetTaskRequestParams) -> GetTaskResult:
        return GetTaskResult(**self._run(ctx, params.task_id).fields)

    async def _result(self, ctx: Context, params: GetTaskPayloadRequestParams) -> CallToolResult | ErrorData:
        run = self._run(ctx, params.task_id)
        outcome = await self.fabric.tasks.outcome(run)
        if isinstance(outcome, CallToolResult):
            return outcome.model_copy(
                update={"meta": {RELATED_TASK: _on_the_wire(RelatedTaskMetadata(task_id=run.id))}}
            )
        return outcome or ErrorData(code=INTERNAL_ERROR, message="The task was cancelled")

    async def _cancel(self, ctx: Context, params: CancelTaskRequestParams) -> CancelTaskResult:
        run = self._run(ctx, params.task_id)
        if run.status != "working":
            raise MCPError(INVALID_PARAMS, f"Cannot cancel task: already in terminal status '{run.status}'")
        await self.fabric.tasks.cancel(run)
        return CancelTaskResult(**run.fields)

    def _run(self, ctx: Context, task_id: str) -> Run:
        visit = published_visit_of(ctx)
        if not visit.agent.tasks:
            raise MCPError(METHOD_NOT_FOUND, "Method not found", ctx.method)
        run = self.fabric.tasks.find(_owner(visit), task_id)
        if run is None:
            raise MCPError(INVALID_PARAMS, "Failed to retrieve task: Task not found")
        return run


async def _in_vain(answer: Answer, failure: str) -> ErrorData:
    await answer()
    return ErrorData(code=INTERNAL_ERROR, message=failure)


def _owner(visit: Visit) -> Owner:
    return visit.object_id, visit.agent.object_id


def _on_the_wire(value: BaseModel) -> dict[str, Any]:
    return value.model_dump(by_alias=True, mode="json", exclude_none=True)
