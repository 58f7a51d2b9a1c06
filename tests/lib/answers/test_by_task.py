"""Rules for the task way of an operation, with real parts on a real Azurite and recorded replies of an agent."""

import asyncio
from collections.abc import Callable

import httpx
import pytest
from starlette.responses import Response

from lib.agents.data_agent import DataAgent
from lib.answers.by_task import (
    BEGIN_SECONDS,
    FIRST_LEASE_SECONDS,
    LONGEST_LEASE_SECONDS,
    TASK_SECONDS,
    ByTask,
)
from lib.answers.cache import Kept
from lib.answers.encoding import decode
from lib.answers.failures_kept import from_json
from lib.answers.operation import Operation
from lib.answers.operations import FINISH_PAUSES, Operations
from lib.answers.questions import Questions
from lib.answers.work import Work
from lib.errors import (
    AgentAccessDenied,
    AgentUnavailable,
    GatewayError,
    IdentityProviderUnavailable,
    OperationExpired,
    OutcomeUnknown,
    RateLimited,
    ReauthRequired,
    StateUnavailable,
    StepUpRequired,
)
from lib.storage.rows import Conflict
from tests.clock import Clock
from tests.lib.agents.recorded import Wire, answer, in_json, recorded, refused, sample
from tests.lib.agents.upstream import ADDRESS, Planned, Tokens, Upstream
from tests.lib.answers.conftest import Places, lose_key
from tests.lib.answers.works import Notes, body, work
from tests.lib.conftest import RunningVault
from tests.lib.storage.front import Front

pytestmark = pytest.mark.stack

FORBIDDEN = Response(status_code=403)
WORKING, COMPLETED = recorded("tasks-get.working"), recorded("tasks-get.completed")


class NoToken:
    """Somebody who cannot get a token."""

    def __init__(self, fault: GatewayError) -> None:
        self.fault = fault

    async def __call__(self, *, rejected: str | None = None) -> str:
        """Fails."""
        assert rejected is None
        raise self.fault


@pytest.fixture
def upstream() -> Upstream:
    """An agent with tasks, which makes one of every question."""
    made = Upstream()
    made.plan("initialize", *[recorded("initialize.tasks")] * 3)
    made.plan("tools/list", *[recorded("tools-list.tasks")] * 3)
    return made


@pytest.fixture
def agent(upstream: Upstream, clock: Clock) -> DataAgent:
    """The way to it."""
    return upstream.agent(clock)


@pytest.fixture
def by_task(kept: Operations, way: Questions, places: Places, clock: Clock) -> ByTask:
    """An instance."""
    return ByTask(kept, way, places.limiter, now=clock)


type Begin = Callable[..., "asyncio.Future[Operation]"]


@pytest.fixture
def begun(by_task: ByTask, kept: Operations, places: Places, upstream: Upstream, agent: DataAgent) -> Begin:
    """Begins a task, with a place of its own."""

    async def begin(wanted: Work | None = None) -> Operation:
        wanted, operation_id = wanted or work(), kept.new_id()
        upstream.plan("tools/call", recorded("tools-call.task.json"))
        await places.take(wanted.wanted.payer, operation_id)
        return await by_task.begin(operation_id, wanted, agent, Tokens())

    return lambda wanted=None: asyncio.ensure_future(begin(wanted))


async def now_of(kept: Operations, operation: Operation) -> Operation:
    """How it stands."""
    now = await kept.read(operation.partition, operation.id)
    assert now is not None
    return now


async def problem_of(kept: Operations, operation: Operation) -> GatewayError:
    """What it has failed with."""
    now = await now_of(kept, operation)
    assert now.state == "failed"
    return from_json(now.failed_with)


def cancelled(call_id: str) -> Wire:
    """A task that the agent has given up by itself."""
    return in_json(answer(call_id, {"taskId": "t", "status": "cancelled"}))


# Begun


async def test_a_question_becomes_a_task_that_anybody_of_the_askers_may_look_after(
    begun: Begin, kept: Operations, places: Places, clock: Clock
) -> None:
    """When the agent wishes; neither question nor token is kept, and the place stays taken."""
    wanted = work("total sales", conversation="c" * 32)
    operation = await begun(wanted)
    assert operation == await now_of(kept, operation)
    assert (operation.state, operation.look_at) == ("running", clock.now + 1)
    assert operation.task.startswith("resp_")
    assert operation.deadline == clock.now + TASK_SECONDS
    assert await kept.work(operation) == wanted.for_looking()
    assert await places.taken(operation.partition) == [operation.id]


async def test_an_agent_without_a_wish_is_looked_at_after_five_seconds(
    by_task: ByTask, kept: Operations, upstream: Upstream, agent: DataAgent, clock: Clock
) -> None:
    """It may have none."""
    upstream.plan(
        "tools/call", lambda call_id: in_json(answer(call_id, {"task": {"taskId": "t", "status": "working"}}))
    )
    operation = await by_task.begin(kept.new_id(), work(), agent, Tokens())
    assert (operation.task, operation.look_at) == ("t", clock.now + FIRST_LEASE_SECONDS)


async def test_an_agent_that_answers_at_once_has_done(
    by_task: ByTask, kept: Operations, way: Questions, places: Places, agent: DataAgent, notes: Notes, clock: Clock
) -> None:
    """The answer is kept where it may be, and noted; the place is free."""
    wanted, operation_id = work("total sales", conversation="c" * 32, fresh_seconds=300), kept.new_id()
    await places.take(wanted.wanted.payer, operation_id)
    operation = await by_task.begin(operation_id, wanted, agent, Tokens())
    assert operation.state == "done"
    answered = await kept.answer(operation)
    assert answered is not None
    assert decode(answered.json).text == "Asked: total sales"
    assert len(notes.noted) == 1
    assert way._cache.get(wanted.wanted.key, at_most=1, valid_after=clock.now) is not None
    assert await places.taken(operation.partition) == []


async def test_what_the_agent_refuses_has_failed_and_is_raised(
    by_task: ByTask, kept: Operations, way: Questions, upstream: Upstream, agent: DataAgent, clock: Clock
) -> None:
    """Who has lost the agent is given nothing of it any more."""
    wanted, operation_id = work(fresh_seconds=300), kept.new_id()
    way._cache.put(wanted.wanted.key, Kept(body("old"), clock.now - 60))
    upstream.plan("tools/call", (403, {}, b""))
    with pytest.raises(AgentAccessDenied):
        await by_task.begin(operation_id, wanted, agent, Tokens())
    operation = await kept.read(wanted.wanted.payer, operation_id)
    assert operation is not None
    assert isinstance(await problem_of(kept, operation), AgentAccessDenied)
    assert way._cache.get(wanted.wanted.key, at_most=3600, valid_after=0) is None


async def test_a_failure_is_raised_though_it_cannot_be_written_down(
    by_task: ByTask, kept: Operations, upstream: Upstream, agent: DataAgent, front: Front, clock: Clock
) -> None:
    """Nobody but the caller knows of the operation, who does not wait for storage either."""
    upstream.plan("tools/call", (500, {}, b""))
    front.planned.extend([front.pass_on, FORBIDDEN])
    with pytest.raises(AgentUnavailable):
        await by_task.begin(kept.new_id(), work(), agent, Tokens())
    assert clock.slept == []


async def test_nothing_is_asked_that_cannot_be_written_down(
    by_task: ByTask, kept: Operations, upstream: Upstream, agent: DataAgent, front: Front
) -> None:
    """The row comes first."""
    front.planned.append(FORBIDDEN)
    with pytest.raises(StateUnavailable):
        await by_task.begin(kept.new_id(), work(), agent, Tokens())
    assert upstream.methods == []


@pytest.mark.parametrize("at_once", [False, True], ids=["a task", "an answer"])
async def test_what_the_agent_has_taken_and_nobody_could_keep_has_an_unknown_outcome(
    by_task: ByTask,
    kept: Operations,
    upstream: Upstream,
    agent: DataAgent,
    front: Front,
    clock: Clock,
    *,
    at_once: bool,
) -> None:
    """It is not told as a failure after which nothing was asked."""
    upstream.plan("tools/call", *([] if at_once else [recorded("tools-call.task.json")]))
    front.planned.extend([front.pass_on, *[FORBIDDEN] * (len(FINISH_PAUSES) + 1)])
    with pytest.raises(OutcomeUnknown):
        await by_task.begin(kept.new_id(), work(), agent, Tokens())
    assert clock.slept == list(FINISH_PAUSES)
    assert sum(FINISH_PAUSES) < BEGIN_SECONDS


# Looked after


async def test_nobody_looks_before_it_is_time(begun: Begin, by_task: ByTask, agent: DataAgent, front: Front) -> None:
    """Neither here nor at the agent."""
    operation = await begun()
    front.methods.clear()
    assert await by_task.look(operation, agent, Tokens()) is operation
    assert front.methods == []


@pytest.mark.parametrize(
    ("age", "lease"), [(1, 5), (30, 5), (36, 6), (60, 10), (90, 15), (300, LONGEST_LEASE_SECONDS), (599, 15)]
)
async def test_a_task_is_looked_at_less_and_less_often(
    begun: Begin,
    by_task: ByTask,
    kept: Operations,
    upstream: Upstream,
    agent: DataAgent,
    clock: Clock,
    age: int,
    lease: int,
) -> None:
    """Every five seconds at first, every fifteen in the end."""
    operation = await begun()
    upstream.plan("tasks/get", WORKING)
    clock.advance(age)
    looked = await by_task.look(operation, agent, Tokens())
    assert looked.state == "running"
    assert looked.look_at == clock.now + lease
    assert looked == await now_of(kept, operation)
    assert await by_task.look(looked, agent, Tokens()) is looked


async def test_of_many_readers_one_looks(
    begun: Begin, by_task: ByTask, upstream: Upstream, agent: DataAgent, clock: Clock
) -> None:
    """The others are told what is known."""
    operation = await begun()
    upstream.plan("tasks/get", *[WORKING] * 5)
    clock.advance(5)
    looked = await asyncio.gather(*(by_task.look(operation, agent, Tokens()) for _ in range(5)))
    assert upstream.methods.count("tasks/get") == 1
    assert {(each.state, each.look_at) for each in looked} == {("running", clock.now + FIRST_LEASE_SECONDS)}


async def test_an_answer_is_fetched_by_another_instance(
    begun: Begin, kept: Operations, way: Questions, places: Places, upstream: Upstream, notes: Notes, clock: Clock
) -> None:
    """Under the token of whoever comes; it is kept and noted as if it had been asked here, and the place is free."""
    wanted = work(conversation="c" * 32, question="How?", fresh_seconds=300)
    operation = await begun(wanted)
    asked_at = clock.now
    upstream.plan("tasks/get", COMPLETED)
    upstream.plan("tasks/result", recorded("tasks-result.json"))
    clock.advance(40)
    elsewhere = ByTask(kept, way, places.limiter, now=clock)
    done = await elsewhere.look(operation, upstream.agent(clock), Tokens())
    assert done == await now_of(kept, operation)
    answered = await kept.answer(done)
    assert answered is not None
    assert decode(answered.json).tables
    assert answered.kept.asked_at == asked_at
    assert [(conversation, question) for conversation, question, _ in notes.noted] == [("c" * 32, "How?")]
    assert way._cache.get(wanted.wanted.key, at_most=300, valid_after=0) is not None
    assert await places.taken(operation.partition) == []
    assert upstream.methods.count("tools/call") == 1


@pytest.mark.parametrize(
    ("status", "result", "code"),
    [
        (recorded("tasks-get.failed"), recorded("tasks-result.failed"), "agent_failed"),
        (recorded("tasks-get.failed"), refused(-32603, "CapacityNotActive"), "capacity_exceeded"),
        (recorded("tasks-get.failed"), (503, {}, b""), "agent_unavailable"),
        (cancelled, None, "operation_cancelled"),
        ((403, {}, b""), None, "agent_access_denied"),
        (refused(-32603, "Stage configuration not found."), None, "agent_not_published"),
        ((200, {"content-type": "text/html"}, b"<html>"), None, "agent_failed"),
    ],
    ids=["failed", "out of capacity", "failed and away", "cancelled", "denied", "unpublished", "nonsense"],
)
async def test_a_task_that_has_no_answer_for_good_has_failed(
    begun: Begin,
    by_task: ByTask,
    kept: Operations,
    places: Places,
    upstream: Upstream,
    agent: DataAgent,
    clock: Clock,
    status: Planned,
    result: Planned | None,
    code: str,
) -> None:
    """By the problem that asking would have had; the place is free."""
    operation = await begun()
    upstream.plan("tasks/get", status)
    upstream.plan("tasks/result", *([result] if result else []))
    clock.advance(5)
    looked = await by_task.look(operation, agent, Tokens())
    assert (await problem_of(kept, looked)).code == code
    assert await places.taken(operation.partition) == []


async def test_who_has_lost_the_agent_is_given_nothing_of_it(
    begun: Begin, by_task: ByTask, way: Questions, upstream: Upstream, agent: DataAgent, clock: Clock
) -> None:
    """Nor of what it has answered before."""
    wanted = work(fresh_seconds=300)
    operation = await begun(wanted)
    way._cache.put(wanted.wanted.key, Kept(body("old"), clock.now - 60))
    upstream.plan("tasks/get", (403, {}, b""))
    clock.advance(5)
    await by_task.look(operation, agent, Tokens())
    assert way._cache.get(wanted.wanted.key, at_most=3600, valid_after=0) is None


async def test_a_task_that_the_agent_does_not_know_has_expired(
    begun: Begin, by_task: ByTask, kept: Operations, places: Places, upstream: Upstream, agent: DataAgent, clock: Clock
) -> None:
    """It has let it go; the place is free."""
    operation = await begun()
    upstream.plan("tasks/get", recorded("tasks-get.unknown"))
    clock.advance(5)
    expired = await by_task.look(operation, agent, Tokens())
    assert (expired.state, expired.row.values["sealed"]) == ("expired", b"")
    assert expired == await now_of(kept, operation)
    assert await places.taken(operation.partition) == []


@pytest.mark.parametrize(
    "reply",
    [
        (500, {}, b""),
        (503, {"retry-after": "3"}, b""),
        (429, {"retry-after": "3"}, b""),
        (430, {}, b""),
        (504, {}, b""),
        httpx.ReadTimeout(""),
        httpx.ConnectError(""),
    ],
    ids=str,
)
async def test_while_the_agent_is_away_nothing_changes(
    begun: Begin, by_task: ByTask, kept: Operations, upstream: Upstream, agent: DataAgent, clock: Clock, reply: Planned
) -> None:
    """The next look, at its time, may bring the answer."""
    operation = await begun()
    upstream.plan("tasks/get", reply)
    clock.advance(5)
    looked = await by_task.look(operation, agent, Tokens())
    assert (looked.state, looked.look_at) == ("running", clock.now + FIRST_LEASE_SECONDS)
    assert looked == await now_of(kept, operation)
    upstream.plan("tasks/get", COMPLETED)
    upstream.plan("tasks/result", recorded("tasks-result.json"))
    clock.advance(60)
    assert (await by_task.look(looked, agent, Tokens())).state == "done"


async def test_an_agent_that_is_left_alone_is_not_called(
    begun: Begin, by_task: ByTask, upstream: Upstream, agent: DataAgent, clock: Clock
) -> None:
    """It said when to come back."""
    operation = await begun()
    clock.advance(5)
    agent._guard.cooldown.hold(60)
    assert (await by_task.look(operation, agent, Tokens())).state == "running"
    assert "tasks/get" not in upstream.methods


async def test_while_entra_is_away_or_the_apps_calls_are_used_up_nothing_changes(
    begun: Begin, by_task: ByTask, upstream: Upstream, agent: DataAgent, clock: Clock
) -> None:
    """That says nothing of the task."""
    operation = await begun()
    clock.advance(5)
    operation = await by_task.look(operation, agent, NoToken(IdentityProviderUnavailable()))
    assert operation.state == "running"

    async def used_up() -> None:
        raise RateLimited("app", retry_after=9)

    charged = DataAgent(ADDRESS, upstream.transport(), charge=used_up, now=clock, sleep=clock.sleep)
    clock.advance(5)
    assert (await by_task.look(operation, charged, Tokens())).state == "running"
    assert "tasks/get" not in upstream.methods


async def test_a_reader_is_told_what_is_wrong_with_their_own_sign_in(
    begun: Begin, by_task: ByTask, kept: Operations, upstream: Upstream, agent: DataAgent, clock: Clock
) -> None:
    """The task goes on: once they have mended it, they find it as it was."""
    operation = await begun()
    clock.advance(5)
    upstream.plan("tasks/get", sample("tools-call.challenge"))
    with pytest.raises(StepUpRequired):
        await by_task.look(operation, agent, Tokens())
    clock.advance(5)
    with pytest.raises(ReauthRequired):
        await by_task.look(await now_of(kept, operation), agent, NoToken(ReauthRequired()))
    assert (await now_of(kept, operation)).state == "running"


async def test_a_task_whose_key_is_gone_cannot_be_looked_after(
    begun: Begin, by_task: ByTask, agent: DataAgent, vault: RunningVault, clock: Clock
) -> None:
    """The reader is told to ask again."""
    operation = await begun()
    lose_key(vault, clock)
    clock.advance(3600)
    with pytest.raises(OperationExpired):
        await by_task.look(operation, agent, Tokens())


async def test_an_answer_that_cannot_be_kept_now_is_fetched_again(
    begun: Begin, by_task: ByTask, kept: Operations, upstream: Upstream, agent: DataAgent, front: Front, clock: Clock
) -> None:
    """The agent has it for as long as it was asked to."""
    operation = await begun()
    upstream.plan("tasks/get", COMPLETED, COMPLETED)
    upstream.plan("tasks/result", *[recorded("tasks-result.json")] * 2)
    clock.advance(5)
    front.planned.extend([front.pass_on, *[FORBIDDEN] * (len(FINISH_PAUSES) + 1)])
    with pytest.raises(StateUnavailable):
        await by_task.look(operation, agent, Tokens())
    clock.advance(15)
    assert (await by_task.look(await now_of(kept, operation), agent, Tokens())).state == "done"


@pytest.mark.parametrize(
    "status", [COMPLETED, recorded("tasks-get.unknown"), cancelled], ids=["answered", "gone", "given up"]
)
async def test_a_question_that_was_given_up_while_it_was_looked_at_stays_given_up(
    begun: Begin,
    by_task: ByTask,
    kept: Operations,
    upstream: Upstream,
    agent: DataAgent,
    notes: Notes,
    clock: Clock,
    status: Planned,
) -> None:
    """Whatever the look finds is too late, and no failure of the reader's."""
    operation = await begun(work(conversation="c" * 32))
    upstream.plan("tasks/get", status)
    upstream.plan("tasks/result", recorded("tasks-result.json"))
    upstream.pause.clear()
    clock.advance(5)
    looking = asyncio.create_task(by_task.look(operation, agent, Tokens()))
    await upstream.sent("tasks/get", 1)
    given_up = await kept.move(await now_of(kept, operation), "cancelling")
    upstream.pause.set()
    assert await looking == await now_of(kept, operation) == given_up
    assert notes.noted == []


# Given up


async def test_a_task_is_given_up_at_the_agent_too(
    begun: Begin, by_task: ByTask, kept: Operations, places: Places, upstream: Upstream, agent: DataAgent
) -> None:
    """It has ended when the reply comes: nothing is sealed any more, and the place is free."""
    operation = await begun()
    upstream.plan("tasks/cancel", recorded("tasks-cancel.json"))
    ended = await by_task.cancel(operation, agent, Tokens())
    assert (ended.state, ended.row.values["sealed"]) == ("cancelled", b"")
    assert ended == await now_of(kept, operation)
    assert upstream.messages[-1]["params"] == {"taskId": operation.task}
    assert await places.taken(operation.partition) == []


@pytest.mark.parametrize(
    "reply",
    [recorded("tasks-cancel.too-late"), (404, {}, b""), (403, {}, b""), refused(-32603, "Internal error")],
    ids=["too late", "gone", "denied", "failed"],
)
async def test_what_cannot_be_given_up_any_more_is_cancelled_here(
    begun: Begin, by_task: ByTask, upstream: Upstream, agent: DataAgent, reply: Planned
) -> None:
    """There is nothing left to tell the agent, or nobody who may."""
    operation = await begun()
    upstream.plan("tasks/cancel", reply)
    assert (await by_task.cancel(operation, agent, Tokens())).state == "cancelled"


async def test_while_the_agent_is_away_a_task_is_about_to_be_given_up(
    begun: Begin, by_task: ByTask, kept: Operations, places: Places, upstream: Upstream, agent: DataAgent, clock: Clock
) -> None:
    """Whoever looks tells it again, at the usual times, until it has heard; nobody fetches an answer any more."""
    operation = await begun()
    upstream.plan("tasks/cancel", httpx.ReadTimeout(""), (503, {}, b""), recorded("tasks-cancel.json"))
    cancelling = await by_task.cancel(operation, agent, Tokens())
    assert (cancelling.state, cancelling.look_at) == ("cancelling", clock.now + FIRST_LEASE_SECONDS)
    assert await by_task.look(cancelling, agent, Tokens()) is cancelling
    clock.advance(FIRST_LEASE_SECONDS)
    still = await by_task.look(cancelling, agent, Tokens())
    assert (still.state, still.look_at) == ("cancelling", clock.now + FIRST_LEASE_SECONDS)
    assert await places.taken(operation.partition) == [operation.id]
    clock.advance(FIRST_LEASE_SECONDS)
    assert (await by_task.look(still, agent, Tokens())).state == "cancelled"
    assert (await now_of(kept, operation)).state == "cancelled"
    assert await places.taken(operation.partition) == []
    assert "tasks/get" not in upstream.methods


async def test_a_cancellation_can_be_asked_for_again(
    begun: Begin, by_task: ByTask, upstream: Upstream, agent: DataAgent
) -> None:
    """At once, whenever the next look would be."""
    operation = await begun()
    upstream.plan("tasks/cancel", httpx.ReadTimeout(""), recorded("tasks-cancel.json"))
    cancelling = await by_task.cancel(operation, agent, Tokens())
    assert (await by_task.cancel(cancelling, agent, Tokens())).state == "cancelled"


async def test_who_gives_up_learns_that_somebody_was_faster(
    begun: Begin, by_task: ByTask, kept: Operations, upstream: Upstream, agent: DataAgent
) -> None:
    """They have to look how it stands now; the agent hears nothing of it."""
    operation = await begun()
    await kept.end(operation, "failed", AgentUnavailable())
    with pytest.raises(Conflict):
        await by_task.cancel(operation, agent, Tokens())
    assert "tasks/cancel" not in upstream.methods


async def test_two_who_tell_the_agent_at_once_end_it_once(
    begun: Begin, by_task: ByTask, kept: Operations, upstream: Upstream, agent: DataAgent, clock: Clock
) -> None:
    """One of them by looking: it is told how it stands."""
    operation = await begun()
    upstream.plan("tasks/cancel", httpx.ReadTimeout(""), *[recorded("tasks-cancel.json")] * 2)
    cancelling = await by_task.cancel(operation, agent, Tokens())
    clock.advance(FIRST_LEASE_SECONDS)
    upstream.pause.clear()
    looking = asyncio.create_task(by_task.look(cancelling, agent, Tokens()))
    await upstream.sent("tasks/cancel", 2)
    ended = await kept.end(await now_of(kept, operation), "cancelled")
    upstream.pause.set()
    assert await looking == ended


async def test_who_may_not_give_it_up_is_told_why(
    begun: Begin, by_task: ByTask, kept: Operations, agent: DataAgent
) -> None:
    """Their own sign-in has to be mended first; it stays about to be given up."""
    operation = await begun()
    with pytest.raises(ReauthRequired):
        await by_task.cancel(operation, agent, NoToken(ReauthRequired()))
    assert (await now_of(kept, operation)).state == "cancelling"
