"""Questions as tasks: what we send, what recorded and made-up replies mean, and that no reply breaks the reader."""

import contextlib
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.agents import mcp, tasks
from lib.agents.failures import (
    AddressUnknown,
    CapacityPaused,
    FabricTokenRejected,
    ServerFault,
    TaskUnknown,
    ToolUnknown,
)
from lib.agents.mcp import Block, Reply, Session, Tool, ToolResult
from lib.agents.tasks import Task
from lib.errors import AgentAccessDenied, AgentFailed, GatewayError
from tests.lib.agents.recorded import Wire, answer, in_events, in_json, read, refusal, sample
from tests.lib.agents.test_mcp import BODIES as OTHER_BODIES
from tests.lib.agents.test_mcp import JSON

TOOL = Tool("DataAgent_Sales_Agent", "userQuestion", "0" * 64, tasks=True)
SESSION = Session("2025-06-18", tasks=True)
CONTENT = {"content": [{"type": "text", "text": "42"}], "isError": False}
TASK_ID = "resp_opaque/not-a-guid"
WORKING = {"taskId": TASK_ID, "status": "working"}

AFTERWARDS: dict[str, Callable[[Reply], object]] = {
    "tasks/get": tasks.task_from,
    "tasks/result": tasks.result_from,
    "tasks/cancel": tasks.cancelled,
}
"""The readers of the replies to a method that names a task."""


def described(**changes: Any) -> dict[str, Any]:
    """A task as Fabric describes it."""
    return {**WORKING, "ttl": 300_000, "pollInterval": 5_000, **changes}


# What we send


def test_a_question_as_a_task_always_says_how_long_it_is_kept() -> None:
    """Without a time Fabric answers when it is done, and makes no task of it."""
    call = tasks.call_tool_as_task(SESSION, TOOL, "How much?", 300_000, "c1")
    assert json.loads(call.body) == {
        "jsonrpc": "2.0",
        "id": "c1",
        "method": "tools/call",
        "params": {
            "name": "DataAgent_Sales_Agent",
            "arguments": {"userQuestion": "How much?"},
            "task": {"ttl": 300_000},
        },
    }
    assert call.headers == mcp.call_tool(SESSION, TOOL, "How much?", "c1").headers


@pytest.mark.parametrize(
    ("build", "method"),
    [
        (tasks.get_task, "tasks/get"),
        (tasks.task_result, "tasks/result"),
        (tasks.cancel_task, "tasks/cancel"),
    ],
)
def test_a_task_is_named_as_the_agent_named_it(build: Callable[[Session, str, str], mcp.Call], method: str) -> None:
    """Its id goes back as it came, under whatever session and protocol were agreed on."""
    call = build(Session("2025-11-25", "s-1"), TASK_ID, "c2")
    assert json.loads(call.body) == {"jsonrpc": "2.0", "id": "c2", "method": method, "params": {"taskId": TASK_ID}}
    assert call.headers["MCP-Protocol-Version"] == "2025-11-25"
    assert call.headers["Mcp-Session-Id"] == "s-1"


def test_neither_question_nor_task_shows_in_a_repr() -> None:
    """Who knows the id of a task and has its asker's token can read the answer."""
    task = tasks.outcome_from(read(in_json(answer("u3", {"task": described(taskId="secret")}))))
    asked = tasks.call_tool_as_task(SESSION, TOOL, "secret", 1, "c1")
    assert "secret" not in f"{task!r} {asked!r} {tasks.get_task(SESSION, 'secret', 'c2')!r}"


# What comes back, recorded


def test_a_recorded_agent_with_tasks() -> None:
    """Its server says so, and its tool."""
    assert mcp.session_from(read(sample("initialize.tasks"), "u1")) == SESSION
    tool, other = (mcp.tool_from(read(sample(name), "u2")) for name in ("tools-list.tasks", "tools-list.json"))
    assert tool == replace(other, tasks=True) != other


@pytest.mark.parametrize("name", ["tools-call.task.json", "tools-call.task.sse"])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_recorded_task(name: str, size: int) -> None:
    """Whole or as an event stream, in any portions, the question has become a task."""
    task = tasks.outcome_from(read(sample(name), "u3", size))
    assert isinstance(task, Task)
    assert (task.status, task.poll_seconds) == ("working", 1.0)
    assert task.id.startswith("resp_")


@pytest.mark.parametrize("name", ["tools-call.json", "tools-call.sse"])
def test_a_recorded_answer_instead_of_a_task(name: str) -> None:
    """An agent that makes no task of a question has its answer."""
    assert tasks.outcome_from(read(sample(name))) == mcp.result_from(read(sample(name)))


@pytest.mark.parametrize("status", ["working", "completed", "failed"])
def test_a_recorded_look_at_a_task(status: str) -> None:
    """It says how it stands, and when to look again."""
    task = tasks.task_from(read(sample(f"tasks-get.{status}"), "u4"))
    assert (task.status, task.poll_seconds) == (status, 1.0)


def test_a_recorded_answer_of_a_task() -> None:
    """It is the answer that the question would have had at once."""
    assert tasks.result_from(read(sample("tasks-result.json"), "u4")) == mcp.result_from(
        read(sample("tools-call.json"))
    )


@pytest.mark.parametrize("name", ["tasks-result.failed", "tasks-result.cancelled"])
def test_a_recorded_task_without_an_answer(name: str) -> None:
    """What came to nothing has failed, and the task is not unknown for it."""
    with pytest.raises(AgentFailed) as failed:
        tasks.result_from(read(sample(name), "u4"))
    assert type(failed.value) is AgentFailed


def test_a_recorded_task_that_was_given_up() -> None:
    """It has ended when the reply comes."""
    tasks.cancelled(read(sample("tasks-cancel.json"), "u4"))


@pytest.mark.parametrize("name", ["tasks-get.unknown", "tasks-cancel.too-late"])
def test_a_recorded_task_that_is_not_there(name: str) -> None:
    """A task that was never this caller's, and one that has ended and cannot be given up, have the same code."""
    with pytest.raises(TaskUnknown):
        AFTERWARDS[name.partition(".")[0].replace("-", "/")](read(sample(name), "u4"))


# What comes back, made up


@pytest.mark.parametrize(
    "result",
    [
        {"task": described()},
        {"task": described(resultType="task")},
        {"task": described(ttl=None, pollInterval=5_000, pollIntervalMs=9_000)},
        {"task": {**WORKING, "ttlMs": 300_000, "pollIntervalMs": 5_000}, "resultType": "task"},
        {"task": {**WORKING, "pollInterval": None, "pollIntervalMs": 5_000}},
        {**WORKING, "ttlMs": 300_000, "pollIntervalMs": 5_000, "resultType": "task"},
        {"task": None, **described(), "resultType": "task"},
        {"task": described(), **CONTENT},
    ],
    ids=["canonical", "typed", "both names", "legacy", "one name empty", "extension", "empty task", "with content"],
)
@pytest.mark.parametrize("frame", [in_json, in_events], ids=["whole", "stream"])
def test_a_task_comes_in_several_forms(result: dict[str, Any], frame: Callable[[Any], Wire]) -> None:
    """Names of two versions of the protocol are read, within a reply or as the reply."""
    assert tasks.outcome_from(read(frame(answer("u3", result)))) == Task(TASK_ID, "working", 5.0)


@pytest.mark.parametrize(
    "result", [CONTENT, {**CONTENT, "resultType": "complete"}, {**CONTENT, "task": None}], ids=["2025", "2026", "null"]
)
def test_an_answer_may_come_at_once(result: dict[str, Any]) -> None:
    """No server has to make a task of a question, whatever it was asked for."""
    assert tasks.outcome_from(read(in_json(answer("u3", result)))) == ToolResult((Block("text", "42"),))


def test_a_question_that_is_refused_is_refused_as_ever() -> None:
    """Before there is a task, an unknown tool is an unknown tool."""
    with pytest.raises(ToolUnknown):
        tasks.outcome_from(read(in_json(refusal("u3", -32602, "Unknown tool"))))
    with pytest.raises(AddressUnknown):
        tasks.outcome_from(read((404, {}, b"")))


@pytest.mark.parametrize("result", [described(), {"task": described()}], ids=["flat", "within"])
@pytest.mark.parametrize("status", ["working", "input_required", "completed", "failed", "cancelled"])
def test_how_it_stands_is_one_of_five(result: dict[str, Any], status: Any) -> None:
    """The five of the protocol, whether the reply is the task or holds it."""
    result = json.loads(json.dumps(result).replace("working", status))
    assert tasks.task_from(read(in_json(answer("u3", result)))) == Task(TASK_ID, status, 5.0)


@pytest.mark.parametrize(
    ("wish", "poll_seconds"),
    [
        (None, None),
        ("5000", None),
        (True, None),
        ([], None),
        (-1, 0.5),
        (0, 0.5),
        (500, 0.5),
        (1_500, 1.5),
        (2_500.5, 2.5005),
        (30_000, 30.0),
        (30_001, 30.0),
        (10**400, 30.0),
        (1e300, 30.0),
    ],
)
def test_a_wish_when_to_ask_again_is_kept_within_bounds(wish: object, poll_seconds: float | None) -> None:
    """No agent can make us ask without a pause, or not before the answer is gone."""
    result = {"task": described(pollInterval=wish)}
    assert tasks.outcome_from(read(in_json(answer("u3", result)))) == Task(TASK_ID, "working", poll_seconds)


@pytest.mark.parametrize(
    "task",
    [
        {},
        [],
        "task",
        7,
        True,
        described(taskId=None),
        described(taskId=7),
        described(taskId=""),
        described(taskId="x" * 513),
        described(taskId="caf\u00e9"),
        described(taskId="a\nb"),
        described(taskId="a\n"),
        described(status=None),
        described(status="submitted"),
        described(status="Working"),
        described(status=["working"]),
        {"status": "working"},
        {"taskId": TASK_ID},
    ],
)
def test_a_task_that_is_none_fails(task: object) -> None:
    """An id that cannot be kept and sent, or a status that nobody knows, is not guessed at."""
    wire = in_json(answer("u3", {"task": task}))
    for meaning in (tasks.outcome_from, tasks.task_from):
        with pytest.raises(AgentFailed):
            meaning(read(wire))


def test_any_printable_id_is_kept() -> None:
    """It means nothing here, so it may be anything that can be sent back as it came."""
    task_id = "".join(map(chr, range(32, 127))) + "x" * (512 - 95)
    task = tasks.task_from(read(in_json(answer("u3", described(taskId=task_id)))))
    assert task.id == task_id


def test_the_answer_is_read_as_any_other() -> None:
    """`tasks/result` brings what `tools/call` would have brought."""
    related = {"_meta": {"io.modelcontextprotocol/related-task": {"taskId": TASK_ID}}}
    reply = read(in_json(answer("u3", CONTENT | related)))
    assert tasks.result_from(reply) == mcp.result_from(reply) == ToolResult((Block("text", "42"),))


@pytest.mark.parametrize("result", [described(status="cancelled"), {}, {"resultType": "complete"}])
def test_giving_up_needs_no_more_than_a_result(result: dict[str, Any]) -> None:
    """One version of the protocol describes the task, the next says nothing."""
    tasks.cancelled(read(in_json(answer("u3", result))))


@pytest.mark.parametrize("method", AFTERWARDS)
@pytest.mark.parametrize(
    "wire",
    [
        in_json(refusal("u3", -32602, "Failed to retrieve task: Task not found")),
        in_json(refusal("u3", -32602, "Failed to retrieve task: Task has expired"), 400),
        in_json(refusal(None, -32602, "Invalid params"), 400),
        in_json(refusal("u3", -32601, "Method not found")),
        in_json(refusal("u3", -32602, "Unknown tool: DataAgent_Old")),
        in_json({"errorCode": "EntityNotFound"}, 404),
        (404, {}, b""),
    ],
)
def test_a_task_that_is_not_there_is_an_error_of_its_own(method: str, wire: Wire) -> None:
    """Whoever reads it must not ask the question again, as they may for a tool that was renamed."""
    with pytest.raises(TaskUnknown) as unknown:
        AFTERWARDS[method](read(wire))
    assert not isinstance(unknown.value, ToolUnknown | AddressUnknown)
    assert unknown.value.code == "agent_failed"


@pytest.mark.parametrize("method", AFTERWARDS)
@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        ((401, {}, b""), FabricTokenRejected),
        ((403, {}, b""), AgentAccessDenied),
        ((500, {}, b""), ServerFault),
        ((200, {}, b""), AgentFailed),
        (in_json(answer("u3", [])), AgentFailed),
        (in_json(answer("u4", {})), AgentFailed),
        (in_json(refusal("u3", -32603, "The run died")), AgentFailed),
        (in_json(refusal("u3", -32603, "CapacityNotActive")), CapacityPaused),
    ],
)
def test_other_failures_are_what_they_are_everywhere(method: str, wire: Wire, expected: type[GatewayError]) -> None:
    """A failed task brings the error of its question, and a token may run out between two looks."""
    with pytest.raises(GatewayError) as failed:
        AFTERWARDS[method](read(wire))
    assert type(failed.value) is expected


TASKS = st.fixed_dictionaries(
    {},
    optional={
        "taskId": st.text(max_size=600) | JSON,
        "status": st.sampled_from(["working", "completed", "gone"]) | JSON,
        "pollInterval": st.integers() | st.floats() | JSON,
        "pollIntervalMs": JSON,
        "resultType": st.sampled_from(["task", "complete"]) | JSON,
        "content": JSON,
    },
)
TASK_BODIES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "id": st.sampled_from(["u3", "u4", None])},
    optional={
        "result": st.fixed_dictionaries({"task": TASKS | JSON}) | TASKS,
        "error": st.fixed_dictionaries({"code": st.sampled_from([-32602, -32601]) | JSON, "message": JSON}),
    },
).map(lambda value: json.dumps(value).encode())


@given(
    status=st.sampled_from([200, 202, 204, 302, 400, 401, 404, 429, 500]),
    media_type=st.sampled_from(["application/json", "text/event-stream", "text/html", ""]),
    bodies=st.lists(TASK_BODIES | OTHER_BODIES, max_size=3),
    size=st.integers(1, 50),
)
def test_no_reply_breaks_the_reader(status: int, media_type: str, bodies: list[bytes], size: int) -> None:
    """Any bytes under any status are a value or one of our errors, nothing else."""
    frame = b"data: %s\n\n" if media_type == "text/event-stream" else b"%s"
    wire = (status, {"content-type": media_type}, b"".join(frame % body for body in bodies))
    for meaning in (tasks.outcome_from, *AFTERWARDS.values()):
        with contextlib.suppress(GatewayError):
            meaning(read(wire, size=size))
