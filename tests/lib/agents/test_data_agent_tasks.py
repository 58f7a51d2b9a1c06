"""Questions as tasks over the network: begun once, looked at, answered, given up, by recorded replies of an agent."""

import httpx
import pytest

from lib.agents.answer import Answer
from lib.agents.data_agent import DataAgent
from lib.agents.discovery import Discovery
from lib.agents.failures import FabricTokenRejected, TaskFailed, TaskUnknown
from lib.agents.mcp import Session, Tool
from lib.agents.notices import NoNotices, Notice
from lib.agents.tasks import Task
from lib.errors import (
    AgentAccessDenied,
    AgentFailed,
    AgentPaused,
    AgentUnavailable,
    CapacityExceeded,
    DeadlineExceeded,
    GatewayError,
    OperationCancelled,
    ReauthRequired,
    StepUpRequired,
    UpstreamError,
)
from lib.traffic.deadline import Deadline
from tests.clock import Clock
from tests.lib.agents.recorded import answer, in_json, recorded, refused, sample
from tests.lib.agents.upstream import ADDRESS, Planned, Tokens, Upstream, said, soon

HANDSHAKE = ["initialize", "notifications/initialized", "tools/list"]
TASK_ID = "resp_opaque/not-a-guid"
SECONDS = 600


def itself(answer: Answer) -> Answer:
    """An answer as it is."""
    return answer


@pytest.fixture
def upstream() -> Upstream:
    """An agent with tasks."""
    made = Upstream()
    made.plan("initialize", *[recorded("initialize.tasks")] * 3)
    made.plan("tools/list", *[recorded("tools-list.tasks")] * 3)
    return made


@pytest.fixture
def agent(upstream: Upstream, clock: Clock) -> DataAgent:
    """The way to it."""
    return upstream.agent(clock)


@pytest.fixture
def clock() -> Clock:
    """The agent's clock."""
    return Clock()


async def look(agent: DataAgent, deadline: Deadline | None = None, tokens: Tokens | None = None) -> Task | Answer:
    """One look at the task."""
    return await agent.look(TASK_ID, tokens or Tokens(), deadline or soon(), itself)


# Whether there are tasks at all


async def test_whether_an_agent_grants_tasks_is_found_out_once(upstream: Upstream, agent: DataAgent) -> None:
    """By its handshake; what is known already is not asked for."""
    assert not await agent.is_known_to_grant_tasks()
    assert upstream.methods == []
    for _ in range(2):
        assert await agent.grants_tasks(Tokens(), soon())
        assert await agent.is_known_to_grant_tasks()
    assert upstream.methods == HANDSHAKE


@pytest.mark.parametrize("without", ["initialize", "tools/list"])
async def test_tasks_take_both_the_server_and_its_tool(without: str) -> None:
    """A server that knows tasks may have a tool that does not, and the other way round."""
    upstream = Upstream()
    names = {"initialize": "initialize.tasks", "tools/list": "tools-list.tasks"}
    for method, name in names.items():
        upstream.plan(method, recorded(name.replace(".tasks", ".json") if method == without else name))
    agent = upstream.agent()
    assert not await agent.grants_tasks(Tokens(), soon())
    assert not await agent.is_known_to_grant_tasks()


async def test_what_another_instance_has_found_out_counts(upstream: Upstream, clock: Clock) -> None:
    """Without a call from here, for as long as it is good."""

    class Told(NoNotices):
        async def read(self, *, at_once: bool = False) -> Notice:  # noqa: ARG002  # it stands there
            tool = Tool("DataAgent_Sales", "userQuestion", "0" * 64, tasks=True)
            return Notice(discovery=Discovery(Session("2025-06-18", tasks=True), tool), discovery_seconds=60)

    agent = DataAgent(ADDRESS, upstream.transport(), notices=Told(), now=clock, sleep=clock.sleep)
    assert await agent.is_known_to_grant_tasks()
    assert await agent.grants_tasks(Tokens(), soon())
    assert upstream.methods == []


async def test_who_may_not_find_out_is_told_why(upstream: Upstream, agent: DataAgent) -> None:
    """Under their own token."""
    upstream.planned["initialize"].clear()
    upstream.plan("initialize", (403, {}, b""))
    with pytest.raises(AgentAccessDenied):
        await agent.grants_tasks(Tokens(), soon())


# A question becomes a task


@pytest.mark.parametrize("name", ["tools-call.task.json", "tools-call.task.sse"])
async def test_a_question_becomes_a_task_for_a_time(upstream: Upstream, agent: DataAgent, name: str) -> None:
    """It is asked once, and says how long its outcome is to be kept."""
    upstream.plan("tools/call", recorded(name))
    task = await agent.begin("How much?", Tokens(), soon(), SECONDS, itself)
    assert isinstance(task, Task)
    assert (task.status, task.poll_seconds) == ("working", 1.0)
    assert upstream.methods == [*HANDSHAKE, "tools/call"]
    assert upstream.messages[-1]["params"]["task"] == {"ttl": 600_000}
    assert upstream.messages[-1]["params"]["arguments"] == {"userQuestion": "How much?"}


async def test_an_agent_may_answer_at_once(agent: DataAgent) -> None:
    """No agent has to make a task."""
    answered = await agent.begin("How much?", Tokens(), soon(), SECONDS, itself)
    assert isinstance(answered, Answer)
    assert answered.text == "Asked: How much?"


@pytest.mark.parametrize(
    "turned_away",
    [(429, {"retry-after": "1"}, b""), (503, {"retry-after": "1"}, b""), httpx.ConnectError("")],
    ids=["429", "503", "unreachable"],
)
async def test_a_question_that_was_turned_away_is_sent_again(
    upstream: Upstream, agent: DataAgent, turned_away: Planned
) -> None:
    """It was not processed; one more time is all."""
    upstream.plan("tools/call", turned_away, recorded("tools-call.task.json"))
    assert isinstance(await agent.begin("1", Tokens(), soon(), SECONDS, itself), Task)
    assert upstream.methods.count("tools/call") == 2


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (httpx.ReadTimeout(""), DeadlineExceeded),
        (httpx.ReadError(""), AgentUnavailable),
        ((500, {}, b""), AgentUnavailable),
        (refused(-32603, "Internal error"), AgentFailed),
        (sample("tools-call.challenge"), StepUpRequired),
        (lambda call_id: in_json(answer(call_id, said('{"error": "x"}'))), AgentFailed),
    ],
    ids=["silent", "broken", "500", "internal", "challenge", "disguised"],
)
async def test_a_question_that_may_have_arrived_is_not_sent_again(
    upstream: Upstream, agent: DataAgent, reply: Planned, expected: type[GatewayError]
) -> None:
    """There may be a task that nobody knows of; another one would cost as much again."""
    upstream.plan("tools/call", reply)
    with pytest.raises(expected):
        await agent.begin("1", Tokens(), soon(), SECONDS, itself)
    assert upstream.methods.count("tools/call") == 1


async def test_a_tool_that_is_gone_is_looked_for_and_asked(upstream: Upstream, agent: DataAgent) -> None:
    """The agent was published anew: nothing was processed."""
    upstream.plan("tools/call", refused(-32602, "Unknown tool: x"), recorded("tools-call.task.json"))
    assert isinstance(await agent.begin("1", Tokens(), soon(), SECONDS, itself), Task)
    assert upstream.methods == [*HANDSHAKE, "tools/call", *HANDSHAKE, "tools/call"]


# How it stands


async def test_a_look_costs_one_call_while_the_agent_thinks(upstream: Upstream, agent: DataAgent) -> None:
    """On any instance, once it knows the agent; the task is named as the agent named it."""
    upstream.plan("tasks/get", recorded("tasks-get.working"), recorded("tasks-get.working"))
    for _ in range(2):
        task = await look(agent)
        assert isinstance(task, Task)
        assert (task.status, task.poll_seconds) == ("working", 1.0)
    assert upstream.methods == [*HANDSHAKE, "tasks/get", "tasks/get"]
    assert upstream.messages[-1]["params"] == {"taskId": TASK_ID}


async def test_a_task_that_waits_for_input_is_still_under_way(upstream: Upstream, agent: DataAgent) -> None:
    """Nobody here can give any: its time will end it."""
    waiting = {"taskId": TASK_ID, "status": "input_required"}
    upstream.plan("tasks/get", lambda call_id: in_json(answer(call_id, waiting)))
    task = await look(agent)
    assert isinstance(task, Task)
    assert task.status == "input_required"


async def test_a_completed_task_has_its_answer(upstream: Upstream, agent: DataAgent) -> None:
    """Fetched in the same look, and read as any other."""
    upstream.plan("tasks/get", recorded("tasks-get.completed"))
    upstream.plan("tasks/result", recorded("tasks-result.json"))
    answered = await look(agent)
    assert isinstance(answered, Answer)
    assert answered.tables
    assert upstream.methods == [*HANDSHAKE, "tasks/get", "tasks/result"]
    assert upstream.messages[-1]["params"] == {"taskId": TASK_ID}


async def test_a_task_that_the_agent_has_given_up_is_cancelled(upstream: Upstream, agent: DataAgent) -> None:
    """It has no answer to be fetched."""
    cancelled = {"taskId": TASK_ID, "status": "cancelled"}
    upstream.plan("tasks/get", lambda call_id: in_json(answer(call_id, cancelled)))
    with pytest.raises(OperationCancelled):
        await look(agent)
    assert "tasks/result" not in upstream.methods


@pytest.mark.parametrize(
    ("result", "expected"),
    [
        (recorded("tasks-result.failed"), AgentFailed),
        (recorded("tasks-result.cancelled"), AgentFailed),
        (refused(-32603, "CapacityNotActive"), CapacityExceeded),
        ((503, {}, b""), AgentUnavailable),
        (httpx.ReadTimeout(""), DeadlineExceeded),
        (lambda call_id: in_json(answer(call_id, {**said("It broke."), "isError": True})), AgentFailed),
    ],
    ids=["failed", "cancelled", "capacity", "503", "silent", "tool-error"],
)
async def test_a_failed_task_has_failed_whatever_its_result_looks_like(
    upstream: Upstream, agent: DataAgent, result: Planned, expected: type[UpstreamError]
) -> None:
    """An exhausted capacity, which passes, has ended this task all the same."""
    upstream.plan("tasks/get", recorded("tasks-get.failed"))
    upstream.plan("tasks/result", result)
    with pytest.raises(TaskFailed) as failed:
        await look(agent)
    assert isinstance(failed.value.fault, expected)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"error": "CapacityLimitExceeded"}', CapacityExceeded),
        ("The Data Agent run failed before producing a result.", AgentFailed),
        ("", AgentFailed),
    ],
)
async def test_an_answer_that_is_none_is_no_better_the_next_time(
    upstream: Upstream, agent: DataAgent, text: str, expected: type[UpstreamError]
) -> None:
    """The task is completed, and its result tells of a failure."""
    upstream.plan("tasks/get", recorded("tasks-get.completed"))
    upstream.plan("tasks/result", lambda call_id: in_json(answer(call_id, said(text))))
    with pytest.raises(TaskFailed) as failed:
        await look(agent)
    assert isinstance(failed.value.fault, expected)


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result"])
@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ((503, {"retry-after": "3"}, b""), AgentUnavailable),
        (refused(-32603, "CapacityNotActive"), CapacityExceeded),
        (httpx.ReadTimeout(""), DeadlineExceeded),
        (httpx.ReadError(""), AgentUnavailable),
    ],
    ids=["503", "capacity", "silent", "broken"],
)
async def test_an_agent_that_is_away_says_nothing_of_a_task_at_work_or_completed(
    upstream: Upstream, agent: DataAgent, method: str, reply: Planned, expected: type[GatewayError]
) -> None:
    """The same look may bring the answer later."""
    upstream.plan("tasks/get", *([] if method == "tasks/get" else [recorded("tasks-get.completed")]))
    upstream.plan(method, reply)
    with pytest.raises(expected):
        await look(agent)


@pytest.mark.parametrize("method", ["tasks/get", "tasks/result", "tasks/cancel"])
@pytest.mark.parametrize(
    "unknown", [recorded("tasks-get.unknown"), (404, {}, b"")], ids=["recorded", "nothing at the address"]
)
async def test_a_task_that_is_not_there_is_unknown(
    upstream: Upstream, agent: DataAgent, method: str, unknown: Planned
) -> None:
    """Never this caller's, or gone: the agent is not discovered anew for it."""
    upstream.plan("tasks/get", *([] if method == "tasks/get" else [recorded("tasks-get.completed")]))
    upstream.plan(method, unknown)
    with pytest.raises(TaskUnknown):
        await (agent.cancel(TASK_ID, Tokens(), soon()) if method == "tasks/cancel" else look(agent))
    assert upstream.methods.count("initialize") == 1


# Given up


async def test_a_task_is_given_up_by_one_call(upstream: Upstream, agent: DataAgent) -> None:
    """On any instance."""
    upstream.plan("tasks/cancel", recorded("tasks-cancel.json"))
    await agent.cancel(TASK_ID, Tokens(), soon())
    assert upstream.methods == [*HANDSHAKE, "tasks/cancel"]
    assert upstream.messages[-1]["params"] == {"taskId": TASK_ID}


async def test_a_task_that_has_ended_cannot_be_given_up(upstream: Upstream, agent: DataAgent) -> None:
    """The agent has the code of an unknown one for that."""
    upstream.plan("tasks/cancel", recorded("tasks-cancel.too-late"))
    with pytest.raises(TaskUnknown):
        await agent.cancel(TASK_ID, Tokens(), soon())


# What stands around each call


@pytest.mark.parametrize("method", ["tools/call", "tasks/get", "tasks/result", "tasks/cancel"])
async def test_a_rejected_token_is_replaced_once(upstream: Upstream, agent: DataAgent, method: str) -> None:
    """A task belongs to the asker and not to a token: another one of theirs is as good."""
    replies = {
        "tools/call": "tools-call.task.json",
        "tasks/get": "tasks-get.completed",
        "tasks/result": "tasks-result.json",
        "tasks/cancel": "tasks-cancel.json",
    }
    for each, name in replies.items():
        upstream.plan(each, *([sample("token-missing")] if each == method else []), recorded(name))
    tokens = Tokens()
    if method == "tools/call":
        await agent.begin("1", tokens, soon(), SECONDS, itself)
    elif method == "tasks/cancel":
        await agent.cancel(TASK_ID, tokens, soon())
    else:
        assert isinstance(await look(agent, tokens=tokens), Answer)
    assert [rejected for rejected in tokens.rejected if rejected] == [tokens_before_the_last(tokens)]


def tokens_before_the_last(tokens: Tokens) -> str:
    """The one that was rejected: the last that was handed out before another was asked for."""
    place = next(place for place, rejected in enumerate(tokens.rejected) if rejected)
    return f"token-{place}"


async def test_a_second_rejected_token_says_nothing_of_the_task(upstream: Upstream, agent: DataAgent) -> None:
    """It is a matter for those who operate the gateway."""
    upstream.plan("tasks/get", sample("token-missing"), sample("token-missing"))
    with pytest.raises(FabricTokenRejected):
        await look(agent)


async def test_where_no_token_is_to_be_had_nothing_is_sent(upstream: Upstream, agent: DataAgent) -> None:
    """The reader learns why."""

    async def none(*, rejected: str | None = None) -> str:
        assert rejected is None
        raise ReauthRequired

    with pytest.raises(ReauthRequired):
        await agent.look(TASK_ID, none, soon(), itself)
    with pytest.raises(ReauthRequired):
        await agent.cancel(TASK_ID, none, soon())
    assert upstream.requests == []


async def test_every_call_about_a_task_is_within_its_deadline(upstream: Upstream, agent: DataAgent) -> None:
    """Without time left nothing is sent; an agent that is silent is left."""
    with pytest.raises(DeadlineExceeded):
        await look(agent, Deadline.after(-1))
    assert upstream.requests == []
    upstream.pause.clear()
    for call in (
        look(agent, soon(0.02)),
        agent.cancel(TASK_ID, Tokens(), soon(0.02)),
        agent.begin("1", Tokens(), soon(0.02), SECONDS, itself),
        agent.grants_tasks(Tokens(), soon(0.02)),
    ):
        with pytest.raises(DeadlineExceeded):
            await call


async def test_who_only_looks_is_held_back_like_who_asks(upstream: Upstream, agent: DataAgent) -> None:
    """An agent that fails is left alone, by everybody."""
    upstream.plan("tasks/get", *[(500, {}, b"")] * 40)
    met = set()
    for _ in range(40):
        with pytest.raises(UpstreamError) as failed:
            await look(agent)
        met.add(type(failed.value))
    assert AgentPaused in met
    assert upstream.methods.count("tasks/get") < 40


async def test_neither_task_nor_token_shows_in_what_goes_wrong(
    upstream: Upstream, agent: DataAgent, caplog: pytest.LogCaptureFixture
) -> None:
    """Not in logs, and not in errors."""
    upstream.plan("tasks/get", recorded("tasks-get.failed"))
    upstream.plan("tasks/result", refused(-32603, "private"))
    with caplog.at_level("DEBUG", "lib"), pytest.raises(TaskFailed) as failed:
        await look(agent)
    told = " ".join(str(vars(record)) for record in caplog.records) + repr(failed.value) + repr(failed.value.fault)
    assert caplog.records
    assert not any(word in told for word in (TASK_ID, "token-1", "private"))
