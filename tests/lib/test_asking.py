"""Rules for the way of a question through all parts: at once, by the queue or by the agent's own task."""

import asyncio
import json
from dataclasses import replace

import httpx
import pytest
from starlette.responses import Response

from lib.agents.question import Question, Turn
from lib.answers.encoding import decode
from lib.answers.given import Given
from lib.answers.operation import PICK_UP_SECONDS, SEND_AGAIN_SECONDS, Operation
from lib.answers.operations import ANSWER_SECONDS
from lib.asking import CANCEL_ATTEMPTS, Asking, Inquiry
from lib.errors import (
    AgentAccessDenied,
    AgentFailed,
    AgentUnavailable,
    AgentUnknown,
    CapacityExceeded,
    ConsentRequired,
    NotFound,
    OperationCancelled,
    OperationExpired,
    StateUnavailable,
    StepUpRequired,
    TooManyInFlight,
)
from lib.gateway import Gateway
from lib.identity.principal import Principal
from lib.traffic.deadline import Deadline
from tests.clock import Clock
from tests.lib.agents.recorded import recorded, sample
from tests.lib.agents.upstream import Upstream
from tests.lib.identity.authority import refused
from tests.lib.storage.front import Front
from tests.lib.whole import AGENTS, Whole, by_token, signed_in

pytestmark = pytest.mark.stack

FORBIDDEN = Response(status_code=403)
TASK = recorded("tools-call.task.json")
CHALLENGE = sample("tools-call.challenge")


@pytest.fixture
def gateway(whole: Whole) -> Gateway:
    """An instance."""
    return whole.instance()


@pytest.fixture
def alice(clock: Clock) -> Principal:
    """Somebody new with an access token."""
    return by_token(clock)


def inquiry(
    gateway: Gateway, who: Principal, agent: str = "sales", text: str = "total sales", **more: object
) -> Inquiry:
    """What somebody wants to know."""
    return Inquiry(who, gateway.settings.agents[agent], Question(text), **more)  # type: ignore[arg-type]


async def accepted(gateway: Gateway, who: Principal, agent: str = "sales", **more: object) -> Operation:
    """An operation that has begun."""
    operation = await gateway.ask(inquiry(gateway, who, agent, **more), None)  # type: ignore[arg-type]
    assert isinstance(operation, Operation)
    return operation


async def run(whole: Whole, gateway: Gateway) -> None:
    """Delivers what is in the queue."""
    for message in await whole.messages():
        await gateway.run_message(json.dumps(message).encode())


async def text_of(gateway: Gateway, who: Principal, operation: Operation) -> str:
    """The answer of an operation, as it is now."""
    return text(await gateway.answer(who, await gateway.operation(who, operation.id)))


def text(given: Given | Operation) -> str:
    """What was answered."""
    assert isinstance(given, Given)
    return decode(given.json).text


def begun_task(whole: Whole) -> Upstream:
    """The agent that thinks by itself, about to make a task."""
    whole.upstreams["thinker"].plan("tools/call", TASK)
    return whole.upstreams["thinker"]


# At once


async def test_a_question_is_asked_in_the_askers_name_and_its_answer_noted(
    whole: Whole, gateway: Gateway, alice: Principal
) -> None:
    """With what was said before as a transcript; what is noted is what was asked, and the answer's text."""
    begun = await gateway.conversations.begin(alice, "sales")
    said = (Turn("user", "by month"), Turn("assistant", "100 each"))
    asked = inquiry(gateway, alice, conversation=begun.id)
    given = await gateway.ask(replace(asked, question=Question("and by year", history=said)), Deadline.after(60))
    assert "by month" in text(given)
    (request,) = [each for each in whole.upstreams["sales"].requests if b"tools/call" in each.content]
    assert request.headers["authorization"].startswith("Bearer assertion")
    found = await gateway.conversations.find(alice, begun.id)
    assert [turn.role for turn in found.turns] == ["user", "assistant"]
    assert found.turns[0].content == "and by year"


async def test_an_answer_that_cannot_be_noted_is_given_all_the_same(gateway: Gateway, alice: Principal) -> None:
    """The conversation was deleted meanwhile."""
    given = await gateway.ask(inquiry(gateway, alice, conversation="0f" * 16), Deadline.after(60))
    assert text(given) == "Asked: total sales"


async def test_a_session_that_has_to_step_up_is_told_where(whole: Whole, gateway: Gateway) -> None:
    """While it waits; who brought a token is told the claims, and nobody where the app is asked for."""
    _, session = await signed_in(gateway)
    for agent, who, has_url in (("sales", session, True), ("sales", by_token(whole.clock), False)):
        whole.upstreams[agent].plan("tools/call", CHALLENGE)
        with pytest.raises(StepUpRequired) as refusal:
            await gateway.ask(inquiry(gateway, who, agent), Deadline.after(60))
        assert bool(refusal.value.login_url) == has_url
    whole.upstreams["company"].plan("tools/call", CHALLENGE)
    with pytest.raises(StepUpRequired) as refusal:
        await gateway.ask(inquiry(gateway, session, "company"), Deadline.after(60))
    assert not refusal.value.login_url


# By the queue


async def test_a_question_waits_in_the_queue_with_a_token_that_lasts(
    whole: Whole, gateway: Gateway, alice: Principal
) -> None:
    """Any instance runs it, once, and its asker finds the answer; the place is taken for as long as it goes on."""
    operation = await accepted(gateway, alice)
    assert operation.state == "accepted"
    assert await whole.taken(gateway, alice) == [operation.id]
    elsewhere = whole.instance()
    await run(whole, elsewhere)
    assert await text_of(gateway, alice, operation) == "Asked: total sales"
    assert await whole.taken(gateway, alice) == []
    (request,) = [each for each in whole.upstreams["sales"].requests if b"tools/call" in each.content]
    assert request.headers["authorization"].startswith("Bearer assertion")


async def test_a_token_that_would_not_last_is_got_anew_for_the_queue(
    whole: Whole, gateway: Gateway, alice: Principal
) -> None:
    """The one at hand is good for a question now, and not for one in a quarter of an hour."""
    await gateway.ask(inquiry(gateway, alice), Deadline.after(60))
    whole.clock.advance(3000)
    assert len(whole.entra.requests) == 1
    await accepted(gateway, alice, text="another")
    assert len(whole.entra.requests) == 2


async def test_an_agent_of_the_apps_waits_without_anybodys_token(whole: Whole, gateway: Gateway, clock: Clock) -> None:
    """The runner has the gateway's own; an app may ask so too."""
    robot = by_token(clock, kind="app", grant=None)
    operation = await accepted(gateway, robot, "company")
    work = await gateway.operations.work(operation)
    assert work.token == ""
    await run(whole, gateway)
    assert await text_of(gateway, robot, operation) == "Asked: total sales"


async def test_a_known_answer_is_given_at_once_and_noted(whole: Whole, gateway: Gateway, alice: Principal) -> None:
    """Nobody has to wait for what is there: from memory, or from another instance."""
    await gateway.ask(inquiry(gateway, alice), Deadline.after(60))
    begun = await gateway.conversations.begin(alice, "sales")
    for each in (gateway, whole.instance()):
        assert text(await each.ask(inquiry(each, alice, conversation=begun.id), None)) == "Asked: total sales"
    assert len((await gateway.conversations.find(alice, begun.id)).turns) == 4
    assert await whole.messages() == []
    assert isinstance(await gateway.ask(inquiry(gateway, alice, anew=True), None), Operation)


async def test_while_the_agent_is_left_alone_an_earlier_answer_is_given_and_noted(
    whole: Whole, gateway: Gateway, alice: Principal, clock: Clock
) -> None:
    """With its age; and nothing is let through. Without one the refusal tells how much is left."""
    await gateway.ask(inquiry(gateway, alice), Deadline.after(60))
    begun = await gateway.conversations.begin(alice, "sales")
    clock.advance(1000)
    gateway.data_agents["sales"]._guard.cooldown.hold(60)
    given = await gateway.ask(inquiry(gateway, alice, conversation=begun.id), None)
    assert isinstance(given, Given)
    assert (text(given), given.stale) == ("Asked: total sales", True)
    assert len((await gateway.conversations.find(alice, begun.id)).turns) == 2
    with pytest.raises(CapacityExceeded) as refusal:
        await gateway.ask(inquiry(gateway, alice, text="another"), None)
    assert dict(refusal.value.headers)["RateLimit"]
    assert await whole.messages() == []
    assert await whole.taken(gateway, alice) == []


async def test_operations_take_places_like_questions(whole: Whole, alice: Principal) -> None:
    """Who has as many under way as they may begins none, and is told so."""
    gateway = whole.instance(LIMIT_IN_FLIGHT="1")
    operation = await accepted(gateway, alice)
    with pytest.raises(TooManyInFlight) as refusal:
        await accepted(gateway, alice, text="another")
    assert dict(refusal.value.headers)["RateLimit"]
    await gateway.cancel(alice, operation.id)
    await accepted(gateway, alice, text="another")


async def test_what_shows_before_the_agent_has_the_question_is_told_at_once(
    whole: Whole, gateway: Gateway, alice: Principal
) -> None:
    """No token, no storage, no queue: the place is free, and nothing goes on."""
    whole.refusal = refused("invalid_grant", 65001)
    with pytest.raises(ConsentRequired):
        await gateway.ask(inquiry(gateway, alice), None)
    whole.refusal = None
    await gateway.ask(inquiry(gateway, alice, text="so that all is known"), Deadline.after(60))
    whole.queues.planned.append(FORBIDDEN)
    with pytest.raises(StateUnavailable):
        await gateway.ask(inquiry(gateway, alice), None)
    assert await whole.taken(gateway, alice) == []
    assert await whole.messages() == []


# By the agent's own task


async def test_an_agent_with_tasks_goes_on_by_itself(whole: Whole, gateway: Gateway, alice: Principal) -> None:
    """The first question finds that out; its asker fetches the answer anywhere, in their own name."""
    agent = gateway.data_agents["thinker"]
    assert not await agent.is_known_to_grant_tasks()
    upstream = begun_task(whole)
    operation = await accepted(gateway, alice, "thinker")
    assert operation.state == "running"
    assert await agent.is_known_to_grant_tasks()
    assert await whole.messages() == []
    upstream.plan("tasks/get", recorded("tasks-get.completed"))
    upstream.plan("tasks/result", recorded("tasks-result.json"))
    whole.clock.advance(1)
    assert await text_of(whole.instance(), alice, operation)
    assert upstream.methods.count("tools/call") == 1
    assert await whole.taken(gateway, alice) == []


async def test_an_agent_that_refuses_a_task_is_told_of_and_the_place_is_free(
    whole: Whole, gateway: Gateway, alice: Principal
) -> None:
    """As it would be without."""
    whole.upstreams["thinker"].plan("tools/call", (403, {}, b""))
    with pytest.raises(AgentAccessDenied):
        await gateway.ask(inquiry(gateway, alice, "thinker"), None)
    assert await whole.taken(gateway, alice) == []


async def test_a_session_is_told_where_to_step_up_for_a_task(whole: Whole, gateway: Gateway) -> None:
    """Whether it is begun, looked at or given up."""
    _, session = await signed_in(gateway)
    upstream = whole.upstreams["thinker"]
    upstream.plan("tools/call", CHALLENGE, TASK)
    with pytest.raises(StepUpRequired) as begun:
        await gateway.ask(inquiry(gateway, session, "thinker"), None)
    operation = await accepted(gateway, session, "thinker")
    upstream.plan("tasks/get", CHALLENGE)
    upstream.plan("tasks/cancel", CHALLENGE)
    whole.clock.advance(1)
    with pytest.raises(StepUpRequired) as looked_at:
        await gateway.operation(session, operation.id)
    with pytest.raises(StepUpRequired) as given_up:
        await gateway.cancel(session, operation.id)
    assert all(refusal.value.login_url for refusal in (begun, looked_at, given_up))


# How it stands


@pytest.mark.parametrize("wanted", ["", "x", "0f" * 15, "0F" * 16, "0f" * 16, "0f" * 16 + "-answer", "é" * 32])
async def test_an_operation_that_is_not_ones_own_is_not_found(gateway: Gateway, alice: Principal, wanted: str) -> None:
    """Whatever its id looks like; nobody can tell another's from one that never was."""
    with pytest.raises(NotFound):
        await gateway.operation(alice, wanted)


async def test_somebody_elses_operation_is_not_found(gateway: Gateway, alice: Principal, clock: Clock) -> None:
    """Neither to look at nor to give up."""
    operation, bob = await accepted(gateway, alice), by_token(clock)
    for call in (gateway.operation, gateway.cancel):
        with pytest.raises(NotFound):
            await call(bob, operation.id)
    assert (await gateway.operation(alice, operation.id)).state == "accepted"


async def test_whoever_looks_sends_again_what_was_not_picked_up_until_it_has_expired(
    whole: Whole, gateway: Gateway, alice: Principal, clock: Clock
) -> None:
    """Then a message is too late, and the asker may ask again."""
    operation = await accepted(gateway, alice)
    assert len(await whole.messages()) == 1
    clock.advance(SEND_AGAIN_SECONDS)
    await gateway.operation(alice, operation.id)
    (message,) = await whole.messages()
    assert message["operation"] == operation.id
    clock.advance(PICK_UP_SECONDS)
    assert (await gateway.operation(alice, operation.id)).state == "expired"
    await gateway.run_message(json.dumps(message).encode())
    assert whole.upstreams["sales"].methods == ["initialize", "notifications/initialized", "tools/list"]
    with pytest.raises(OperationExpired):
        await gateway.answer(alice, await gateway.operation(alice, operation.id))


async def test_an_operation_with_an_agent_that_is_configured_no_more_says_so(
    whole: Whole, gateway: Gateway, alice: Principal
) -> None:
    """It can be neither looked after nor told of."""
    begun_task(whole)
    operation = await accepted(gateway, alice, "thinker")
    later = whole.instance(DATA_AGENTS=json.dumps({"sales": AGENTS["sales"]}))
    with pytest.raises(AgentUnknown) as refusal:
        await later.operation(alice, operation.id)
    assert refusal.value.members == {"agents": ["sales"]}


# Waiting


async def test_who_waits_is_told_as_soon_as_it_is_so(whole: Whole, gateway: Gateway, alice: Principal) -> None:
    """Of another instance's run as well."""
    operation = await accepted(gateway, alice)
    waiting = asyncio.create_task(gateway.wait(alice, operation, 60, lambda now: now.is_final))
    await run(whole, whole.instance())
    assert (await waiting).state == "done"


async def test_who_waits_in_vain_is_told_how_it_stands_when_their_time_is_over(
    gateway: Gateway, alice: Principal
) -> None:
    """And at once where they do not want to wait."""
    operation = await accepted(gateway, alice)
    assert await gateway.wait(alice, operation, 0.01, lambda now: now.is_final) == operation
    assert await gateway.wait(alice, operation, 0, lambda now: now.is_final) is operation
    assert await gateway.wait(alice, operation, 60, lambda now: now.state == "accepted") is operation


async def test_a_failure_of_storage_while_somebody_waits_is_waited_out(
    whole: Whole, gateway: Gateway, alice: Principal, front: Front
) -> None:
    """The next look may fare better."""
    operation = await accepted(gateway, alice)
    await run(whole, gateway)
    front.planned.extend([FORBIDDEN] * 3)
    assert (await gateway.wait(alice, operation, 60, lambda now: now.is_final)).state == "done"


# Giving up


async def test_a_question_that_waits_is_given_up_with_its_place(
    whole: Whole, gateway: Gateway, alice: Principal
) -> None:
    """Its message comes too late; giving it up again changes nothing."""
    operation = await accepted(gateway, alice)
    for _ in range(2):
        assert (await gateway.cancel(alice, operation.id)).state == "cancelled"
    assert await whole.taken(gateway, alice) == []
    await run(whole, gateway)
    assert "tools/call" not in whole.upstreams["sales"].methods
    with pytest.raises(OperationCancelled):
        await gateway.answer(alice, await gateway.operation(alice, operation.id))


async def test_a_question_that_is_being_asked_is_given_up_and_its_place_ends_with_the_call(
    whole: Whole, gateway: Gateway, alice: Principal
) -> None:
    """Fabric is still at work."""
    operation, upstream = await accepted(gateway, alice), whole.upstreams["sales"]
    upstream.pause.clear()
    running = asyncio.create_task(run(whole, gateway))
    await upstream.sent("tools/call", 1)
    assert (await gateway.cancel(alice, operation.id)).state == "cancelled"
    assert await whole.taken(gateway, alice) == [operation.id]
    upstream.pause.set()
    await running
    assert (await gateway.operation(alice, operation.id)).state == "cancelled"
    assert await whole.taken(gateway, alice) == []


async def test_a_task_is_given_up_at_the_agent(whole: Whole, gateway: Gateway, alice: Principal) -> None:
    """In the asker's name, on any instance."""
    upstream = begun_task(whole)
    operation = await accepted(gateway, alice, "thinker")
    upstream.plan("tasks/cancel", recorded("tasks-cancel.json"))
    assert (await whole.instance().cancel(alice, operation.id)).state == "cancelled"
    assert await whole.taken(gateway, alice) == []


async def test_what_has_ended_is_not_given_up(whole: Whole, gateway: Gateway, alice: Principal) -> None:
    """Its answer stays."""
    operation = await accepted(gateway, alice)
    await run(whole, gateway)
    assert (await gateway.cancel(alice, operation.id)).state == "done"
    assert await text_of(gateway, alice, operation) == "Asked: total sales"


async def test_who_gives_up_what_changes_meanwhile_looks_again(
    gateway: Gateway, alice: Principal, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where everybody else is always faster that is told."""
    operation, look, looks = await accepted(gateway, alice), Asking.operation, 0

    async def look_late(self: Asking, principal: Principal, operation_id: str) -> Operation:
        nonlocal looks
        looks += 1
        found = await look(self, principal, operation_id)
        await gateway.operations.move(found, "accepted", sent=float(looks))
        return found

    monkeypatch.setattr(Asking, "operation", look_late)
    with pytest.raises(StateUnavailable):
        await gateway.cancel(alice, operation.id)
    assert looks == CANCEL_ATTEMPTS
    monkeypatch.undo()
    assert (await gateway.cancel(alice, operation.id)).state == "cancelled"


# What came of it


async def test_an_answer_is_told_with_what_is_left_of_the_limits(
    whole: Whole, gateway: Gateway, alice: Principal
) -> None:
    """As it is now."""
    operation = await accepted(gateway, alice)
    await run(whole, gateway)
    given = await gateway.answer(alice, await gateway.operation(alice, operation.id))
    assert dict(given.limits)["RateLimit"]


async def test_an_answer_is_kept_for_an_hour(whole: Whole, gateway: Gateway, alice: Principal, clock: Clock) -> None:
    """Then the asker is told to ask again."""
    operation = await accepted(gateway, alice)
    await run(whole, gateway)
    clock.advance(ANSWER_SECONDS + 1)
    found = await gateway.operation(alice, operation.id)
    assert found.state == "done"
    with pytest.raises(OperationExpired):
        await gateway.answer(alice, found)


async def test_a_failure_is_told_as_it_was(whole: Whole, gateway: Gateway, alice: Principal) -> None:
    """Each time."""
    operation = await accepted(gateway, alice)
    whole.upstreams["sales"].plan("tools/call", (200, {"content-type": "text/html"}, b"<html>"))
    await run(whole, gateway)
    for _ in range(2):
        with pytest.raises(AgentFailed):
            await gateway.answer(alice, await gateway.operation(alice, operation.id))


@pytest.mark.parametrize("by", ["token", "session", "app"])
async def test_a_challenge_that_a_runner_has_met_is_handed_to_the_asker(
    whole: Whole, gateway: Gateway, by: str
) -> None:
    """Who brought a token is told the claims, a session where to sign in; nobody can for the app."""
    _, session = await signed_in(gateway)
    who, agent = (by_token(whole.clock), "sales") if by == "token" else (session, "company" if by == "app" else "sales")
    operation = await accepted(gateway, who, agent)
    whole.upstreams[agent].plan("tools/call", CHALLENGE)
    await run(whole, gateway)
    with pytest.raises(StepUpRequired) as refusal:
        await gateway.answer(who, await gateway.operation(who, operation.id))
    assert "access_token" in refusal.value.claims
    assert bool(refusal.value.login_url) == (by == "session")


async def test_an_agent_that_is_away_while_nothing_is_kept_is_told(
    whole: Whole, gateway: Gateway, alice: Principal
) -> None:
    """A failure to find out whether there are tasks is one of the question."""
    whole.upstreams["sales"].plan("initialize", *[httpx.ConnectError("")] * 3)
    with pytest.raises(AgentUnavailable):
        await gateway.ask(inquiry(gateway, alice), None)
    assert await whole.taken(gateway, alice) == []
