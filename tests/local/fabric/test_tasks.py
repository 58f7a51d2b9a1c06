"""Questions as tasks: answered at once with a task, thought over in the background, kept for their asker."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from mcp_types import CallToolResult, CreateTaskResult, GetTaskResult, TextContent

from local.fabric import SALES_AGENT, Agent, Fabric
from local.fabric import faults as fault
from local.fabric.tasks import Tasks
from local.people import ALICE, BOB
from local.sales import Sales
from tests.clock import Clock
from tests.local.fabric.callers import (
    DRAFT_TASK_AGENT,
    INITIALIZE,
    SHARED_TASK_AGENT,
    STREAMING_TASK_AGENT,
    TASK_AGENT,
    THINKING_SECONDS,
    Caller,
    Thinking,
    question,
    task_question,
)

pytestmark = pytest.mark.stack

TOTAL = "total sales"
BOTH = pytest.mark.parametrize("agent", [TASK_AGENT, STREAMING_TASK_AGENT], ids=["whole", "streamed"])
AFTERWARDS = pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
CAPABILITY: dict[str, Any] = {"requests": {"tools": {"call": {}}}, "cancel": {}}
UNKNOWN = {"code": -32602, "message": "Failed to retrieve task: Task not found"}


def message(response: httpx.Response) -> dict[str, Any]:
    """The JSON-RPC message of a response, whole or as the one event of a stream."""
    text = response.text
    if response.headers["content-type"].startswith("text/event-stream"):
        (text,) = (line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: "))
    found: dict[str, Any] = json.loads(text)
    return found


def result(response: httpx.Response) -> dict[str, Any]:
    """The result in a response."""
    found: dict[str, Any] = message(response)["result"]
    return found


def error(response: httpx.Response) -> dict[str, Any]:
    """The JSON-RPC error in a response."""
    found: dict[str, Any] = message(response)["error"]
    return found


async def begin(caller: Caller, agent: Agent = TASK_AGENT, *, token: str = "alice", ttl: int = 60_000) -> str:
    """The id of a new task."""
    response = await caller.call("tools/call", task_question(TOTAL, agent, ttl), agent=agent, token=token)
    task_id: str = result(response)["task"]["taskId"]
    return task_id


async def about(
    caller: Caller, method: str, task_id: str, *, agent: Agent = TASK_AGENT, token: str = "alice"
) -> httpx.Response:
    """What Fabric says to one request about a task."""
    return await caller.call(method, {"taskId": task_id}, agent=agent, token=token)


# What an agent lets know


@BOTH
async def test_an_agent_with_tasks_says_so(caller: Caller, agent: Agent) -> None:
    """The server has the capability and its tool the support, under the protocol that Fabric speaks."""
    known = {"capabilities": {"tasks": CAPABILITY}}
    opened = result(await caller.call("initialize", INITIALIZE | known, agent=agent))
    assert opened["protocolVersion"] == "2025-06-18"
    assert opened["capabilities"] == {"tools": {"listChanged": False}, "tasks": CAPABILITY}
    (tool,) = result(await caller.call("tools/list", agent=agent))["tools"]
    assert tool["execution"] == {"taskSupport": "optional"}


async def test_an_agent_without_tasks_knows_nothing_of_them(caller: Caller) -> None:
    """The sales agent of the local stack is one: it says nothing of tasks, and answers as ever."""
    assert "tasks" not in result(await caller.call("initialize", INITIALIZE))["capabilities"]
    assert "execution" not in result(await caller.call("tools/list"))["tools"][0]
    inline = result(await caller.call("tools/call", task_question(TOTAL, SALES_AGENT)))
    assert inline["content"] == [{"type": "text", "text": Sales().answer(TOTAL, ALICE.region)}]


@AFTERWARDS
async def test_an_agent_without_tasks_has_no_methods_for_them(caller: Caller, method: str) -> None:
    """They are as unknown as any other."""
    assert error(await about(caller, method, "any", agent=SALES_AGENT))["code"] == -32601


# How a task goes


@BOTH
async def test_a_question_with_a_time_becomes_a_task(
    caller: Caller, fabric: Fabric, thinking: Thinking, agent: Agent, clock: Clock
) -> None:
    """The agent answers at once, and has not begun to answer the question."""
    with thinking.held():
        response = await caller.call("tools/call", task_question(TOTAL, agent), agent=agent)
    task = CreateTaskResult.model_validate(result(response)).task
    assert (task.status, task.ttl, task.poll_interval) == ("working", 60_000, 1000)
    assert task.created_at == task.last_updated_at
    assert "/" in task.task_id
    assert fabric.asked == [(ALICE.object_id, agent.tool_name)]
    await about(caller, "tasks/result", task.task_id, agent=agent)
    assert clock.slept == [THINKING_SECONDS]
    assert len(fabric.asked) == 1


@pytest.mark.parametrize("task", [None, {}, {"ttl": None}], ids=["none", "no time", "an empty time"])
async def test_a_question_without_a_time_is_answered_inline(caller: Caller, task: dict[str, Any] | None) -> None:
    """Fabric makes no task of it, whatever else it says of tasks."""
    inline = result(await caller.call("tools/call", question(TOTAL, TASK_AGENT) | {"task": task}, agent=TASK_AGENT))
    assert inline["content"] == [{"type": "text", "text": Sales().answer(TOTAL, ALICE.region)}]


@BOTH
async def test_a_task_works_until_it_is_completed(caller: Caller, thinking: Thinking, agent: Agent) -> None:
    """It can be looked at meanwhile; afterwards its last change is when it was done."""
    with thinking.held():
        task_id = await begin(caller, agent)
        working = result(await about(caller, "tasks/get", task_id, agent=agent))
    await about(caller, "tasks/result", task_id, agent=agent)
    completed = result(await about(caller, "tasks/get", task_id, agent=agent))
    assert (working["status"], completed["status"]) == ("working", "completed")
    assert working["lastUpdatedAt"] == working["createdAt"] == completed["createdAt"]
    assert GetTaskResult.model_validate(completed).task_id == task_id


@BOTH
async def test_the_answer_of_a_task_is_that_of_the_question(caller: Caller, agent: Agent) -> None:
    """It names the task it belongs to, and can be read again."""
    task_id = await begin(caller, agent)
    answers = [result(await about(caller, "tasks/result", task_id, agent=agent)) for _ in range(2)]
    inline = result(await caller.call("tools/call", question(TOTAL, agent), agent=agent))
    assert answers[0] == answers[1]
    assert answers[0]["content"] == inline["content"]
    assert answers[0]["structuredContent"] == inline["structuredContent"]
    assert answers[0]["_meta"] == {"io.modelcontextprotocol/related-task": {"taskId": task_id}}


async def test_who_asks_for_the_answer_waits_for_it(caller: Caller, fabric: Fabric, thinking: Thinking) -> None:
    """The protocol has `tasks/result` block, and looks at the task go on meanwhile."""
    with thinking.held():
        task_id = await begin(caller)
        waiting = asyncio.create_task(about(caller, "tasks/result", task_id))
        while not fabric.calls["tasks/result"]:  # noqa: ASYNC110  # the emulator runs in a thread of its own
            await asyncio.sleep(0)
        assert result(await about(caller, "tasks/get", task_id))["status"] == "working"
        assert not waiting.done()
    assert result(await waiting)["content"]


async def test_who_stops_waiting_takes_nothing_along(caller: Caller, fabric: Fabric, thinking: Thinking) -> None:
    """The connection is not the task's."""
    with thinking.held():
        task_id = await begin(caller)
        caller.http.timeout = httpx.Timeout(5, read=0.05)
        with pytest.raises(httpx.ReadTimeout):
            await about(caller, "tasks/result", task_id)
        caller.http.timeout = httpx.Timeout(5)
        assert result(await about(caller, "tasks/get", task_id))["status"] == "working"
    assert result(await about(caller, "tasks/result", task_id))["content"]
    assert len(fabric.asked) == 1


async def test_a_planned_failure_fails_one_task(caller: Caller, fabric: Fabric, thinking: Thinking) -> None:
    """It thinks as long as any, and ends with the error that its question would have ended with."""
    fabric.task_failures.append("CapacityNotActive")
    with thinking.held():
        failing, other = await begin(caller), await begin(caller)
        assert result(await about(caller, "tasks/get", failing))["status"] == "working"
    assert error(await about(caller, "tasks/result", failing)) == {"code": -32603, "message": "CapacityNotActive"}
    assert result(await about(caller, "tasks/get", failing))["status"] == "failed"
    assert result(await about(caller, "tasks/result", other))["content"]
    assert len(fabric.asked) == 2


async def test_a_task_can_be_given_up(caller: Caller, thinking: Thinking) -> None:
    """It has ended when the reply comes, ends every wait for it, and never has an answer."""
    with thinking.held():
        task_id = await begin(caller)
        waiting = asyncio.create_task(about(caller, "tasks/result", task_id))
        cancelled = result(await about(caller, "tasks/cancel", task_id))
        assert (cancelled["status"], cancelled["taskId"]) == ("cancelled", task_id)
        assert error(await waiting)["code"] == -32603
    assert result(await about(caller, "tasks/get", task_id))["status"] == "cancelled"
    assert error(await about(caller, "tasks/result", task_id))["code"] == -32603


async def test_what_has_ended_cannot_be_given_up(caller: Caller) -> None:
    """The protocol has the code of an unknown task for it, with other words."""
    task_id = await begin(caller)
    await about(caller, "tasks/result", task_id)
    refused = error(await about(caller, "tasks/cancel", task_id))
    assert refused["code"] == UNKNOWN["code"]
    assert "already in terminal status 'completed'" in refused["message"]


# Whose it is, and for how long


@AFTERWARDS
async def test_a_task_is_its_askers_alone(caller: Caller, method: str) -> None:
    """Somebody else's task, one at another agent and one that never was look the same."""
    task_id = await begin(caller)
    assert error(await about(caller, method, task_id, token="bob")) == UNKNOWN
    assert error(await about(caller, method, task_id, agent=STREAMING_TASK_AGENT)) == UNKNOWN
    assert error(await about(caller, method, "resp_never/was")) == UNKNOWN
    assert "error" not in message(await about(caller, "tasks/get", task_id))


async def test_everybody_gets_the_answer_to_their_own_rows(caller: Caller) -> None:
    """The background knows who asked."""
    tasks = {token: await begin(caller, token=token) for token in ("alice", "bob")}
    texts = {
        token: result(await about(caller, "tasks/result", task_id, token=token))["content"][0]["text"]
        for token, task_id in tasks.items()
    }
    assert texts == {"alice": Sales().answer(TOTAL, ALICE.region), "bob": Sales().answer(TOTAL, BOB.region)}


async def test_an_app_has_tasks_too(caller: Caller) -> None:
    """A service principal is as much a principal as a person."""
    task_id = await begin(caller, SHARED_TASK_AGENT, token="app")
    response = await about(caller, "tasks/result", task_id, agent=SHARED_TASK_AGENT, token="app")
    assert result(response)["content"][0]["text"] == Sales().answer(TOTAL, "East")
    assert error(await about(caller, "tasks/get", task_id, agent=SHARED_TASK_AGENT)) == UNKNOWN


@AFTERWARDS
async def test_a_task_is_kept_for_its_time(caller: Caller, clock: Clock, method: str) -> None:
    """Afterwards it is as if it had never been, and so is its answer."""
    task_id = await begin(caller, ttl=90_000)
    await about(caller, "tasks/result", task_id)
    clock.advance(80)
    assert result(await about(caller, "tasks/get", task_id))["status"] == "completed"
    clock.advance(10)
    assert error(await about(caller, method, task_id)) == UNKNOWN


async def test_a_time_that_passes_ends_the_thinking(caller: Caller, clock: Clock, thinking: Thinking) -> None:
    """A task that nobody can ask for any more costs nothing, and who waited for it waits no longer."""
    with thinking.held():
        task_id, other = await begin(caller, ttl=10_000), await begin(caller)
        waiting = asyncio.create_task(about(caller, "tasks/result", task_id))
        assert result(await about(caller, "tasks/get", task_id))["status"] == "working"
        clock.advance(10)
        assert result(await about(caller, "tasks/get", other))["status"] == "working"
        assert "error" in message(await waiting)


# What goes wrong


@pytest.mark.parametrize(
    "params",
    [
        pytest.param({"name": "DataAgent_Other", "arguments": {"userQuestion": TOTAL}}, id="another tool"),
        pytest.param({"name": TASK_AGENT.tool_name, "arguments": {"query": TOTAL}}, id="another argument"),
        pytest.param(question(TOTAL, TASK_AGENT) | {"task": {"ttl": "long"}}, id="no time"),
        pytest.param(question(TOTAL, TASK_AGENT) | {"task": "yes"}, id="no object"),
        pytest.param({}, id="nothing"),
    ],
)
async def test_a_wrong_call_makes_no_task(caller: Caller, fabric: Fabric, params: dict[str, Any]) -> None:
    """It is refused before anything is thought over."""
    response = await caller.call("tools/call", {"task": {"ttl": 60_000}} | params, agent=TASK_AGENT)
    assert error(response)["code"] == -32602
    assert fabric.asked == []


@AFTERWARDS
@pytest.mark.parametrize("params", [{}, {"taskId": 7}, {"taskId": None}])
async def test_a_task_has_to_be_named(caller: Caller, method: str, params: dict[str, Any]) -> None:
    """What is no id is no task."""
    assert error(await caller.call(method, params, agent=TASK_AGENT))["code"] == -32602


@pytest.mark.parametrize("method", ["tools/list", "tools/call", "tasks/get"])
async def test_a_draft_has_no_tasks(caller: Caller, fabric: Fabric, method: str) -> None:
    """An agent that was never published has nothing to run."""
    params = task_question(TOTAL, DRAFT_TASK_AGENT) | {"taskId": "any"}
    response = await caller.call(method, params, agent=DRAFT_TASK_AGENT)
    assert error(response)["message"] == "Stage configuration not found."
    assert fabric.asked == []


async def test_faults_meet_the_methods_of_tasks(caller: Caller, fabric: Fabric) -> None:
    """Each is planned and counted under its own name."""
    task_id = await begin(caller)
    fabric.faults.plan("tasks/get", fault.refuse(-32603, "Internal error"))
    fabric.faults.plan("tasks/result", fault.run_failed())
    assert error(await about(caller, "tasks/get", task_id))["message"] == "Internal error"
    died = result(await about(caller, "tasks/result", task_id))
    assert died["content"][0]["text"] == "The Data Agent run failed before producing a result."
    assert result(await about(caller, "tasks/get", task_id))["status"] == "completed"
    assert fabric.calls == {"tools/call": 1, "tasks/get": 2, "tasks/result": 1}


@AFTERWARDS
async def test_a_task_is_behind_the_front_door(caller: Caller, method: str) -> None:
    """Its id alone opens nothing."""
    task_id = await begin(caller)
    assert (await about(caller, method, task_id, token="nobody")).status_code == 401
    assert (await about(caller, method, task_id, token="stranger")).status_code == 403


async def test_whatever_is_thought_over_ends_with_the_server() -> None:
    """Nothing is left running behind, and what was completed stays so."""

    async def forever() -> CallToolResult:
        await asyncio.Event().wait()
        raise AssertionError

    async def at_once() -> CallToolResult:
        return CallToolResult(content=[TextContent(text="42")])

    tasks = Tasks(Clock())
    runs = [tasks.begin(("alice", "agent"), 60_000, work) for work in (forever(), at_once())]
    await tasks.outcome(runs[1])
    await tasks.close()
    assert [run.status for run in runs] == ["cancelled", "completed"]
