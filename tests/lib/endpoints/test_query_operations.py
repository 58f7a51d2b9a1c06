"""`POST /query`: how a caller waits, what a key and a conversation do, and what is refused."""

import asyncio
import json
from dataclasses import replace

import pytest
from starlette.responses import Response as Refusal

from lib.gateway import Gateway
from tests.lib.agents.recorded import recorded, sample
from tests.lib.agents.upstream import Upstream
from tests.lib.endpoints.caller import Caller, caller, header, read
from tests.lib.storage.front import Front
from tests.lib.whole import Whole

pytestmark = pytest.mark.stack

FORBIDDEN = Refusal(status_code=403)
ASYNC = {"prefer": "respond-async"}
KEY = {"idempotency-key": "8e03978e"}


async def run(whole: Whole, gateway: Gateway) -> None:
    """Delivers what is in the queue."""
    for message in await whole.messages():
        await gateway.run_message(json.dumps(message).encode())


def questions_to(upstream: Upstream) -> int:
    """How often the agent was asked."""
    return upstream.methods.count("tools/call")


# Waiting


async def test_who_prefers_nothing_has_the_answer(asker: Caller) -> None:
    """Asked while they wait."""
    reply = await asker.ask()
    assert read(reply)["answer"]["text"] == "Asked: total sales"
    assert (header(reply, "Preference-Applied"), header(reply, "Location")) == (None, None)


async def test_who_does_not_want_to_wait_has_an_operation(whole: Whole, instance: Gateway, asker: Caller) -> None:
    """At once, and the answer later."""
    reply = await asker.ask(headers=ASYNC)
    operation = read(reply, 202)
    assert operation["status"] == "accepted"
    assert header(reply, "Preference-Applied") == "respond-async"
    assert questions_to(whole.upstreams["sales"]) == 0
    await run(whole, instance)
    assert read(await asker.look(operation["id"]))["answer"]["text"] == "Asked: total sales"


async def test_who_wants_to_wait_so_long_has_the_answer_if_it_comes_by_then(
    whole: Whole, instance: Gateway, asker: Caller
) -> None:
    """Under the operation's id; else the operation."""
    waiting = asyncio.create_task(asker.ask(headers={"prefer": "wait=60"}))
    async with asyncio.timeout(20):
        while not questions_to(whole.upstreams["sales"]):
            await run(whole, instance)
    reply = await waiting
    answer = read(reply)
    assert header(reply, "Preference-Applied") == "wait=60"
    assert read(await asker.look(answer["id"]))["answer"] == answer["answer"]
    assert answer["timing"]["total_ms"] >= 0
    late = await asker.ask("another", headers={"prefer": "respond-async, wait=0"})
    assert (late.status, header(late, "Preference-Applied")) == (202, "respond-async, wait=0")


async def test_a_failure_that_comes_while_the_caller_waits_is_their_reply(
    whole: Whole, instance: Gateway, asker: Caller
) -> None:
    """As it would be without an operation."""
    whole.upstreams["sales"].plan("tools/call", (403, {}, b""))
    waiting = asyncio.create_task(asker.ask(headers={"prefer": "wait=60"}))
    async with asyncio.timeout(20):
        while not questions_to(whole.upstreams["sales"]):
            await run(whole, instance)
    assert read(await waiting, 403)["code"] == "agent_access_denied"


async def test_a_known_answer_needs_no_operation(asker: Caller) -> None:
    """Whatever is preferred."""
    await asker.ask()
    reply = await asker.ask(headers=ASYNC)
    assert read(reply)["cached"]["hit"]


async def test_an_agent_with_tasks_is_waited_for_until_the_deadline(
    whole: Whole, instance: Gateway, asker: Caller
) -> None:
    """Its answer if it comes by then, else the operation, which goes on; by an agent known to have tasks."""
    upstream = whole.upstreams["thinker"]
    upstream.plan("tools/call", *[recorded("tools-call.task.json")] * 3)
    first = read(await asker.ask("one", agent="thinker", headers=ASYNC), 202)
    assert first["status"] == "running"
    instance.settings = replace(instance.settings, query_deadline_seconds=1)
    late = await asker.ask("two", agent="thinker")
    assert read(late, 202)["status"] == "running"
    assert header(late, "Preference-Applied") is None
    assert header(late, "Location") == f"/api/query/{read(late, 202)['id']}"
    instance.settings = replace(instance.settings, query_deadline_seconds=60)
    upstream.plan("tasks/get", recorded("tasks-get.completed"))
    upstream.plan("tasks/result", recorded("tasks-result.json"))
    waiting = asyncio.create_task(asker.ask("three", agent="thinker"))
    await upstream.sent("tools/call", 3)
    async with asyncio.timeout(20):
        while "tasks/result" not in upstream.methods:
            whole.clock.advance(0.1)
            await asyncio.sleep(0.001)
    assert read(await waiting)["answer"]["tables"]


async def test_who_cannot_wait_on_learns_where_their_question_is(whole: Whole, asker: Caller) -> None:
    """Their sign-in has to be mended: the look at the operation says so, and its id is not lost."""
    upstream = whole.upstreams["thinker"]
    upstream.plan("tools/call", recorded("tools-call.task.json"))
    upstream.plan("tasks/get", sample("tools-call.challenge"))
    begun = asyncio.create_task(asker.ask(agent="thinker", headers={"prefer": "wait=60"}))
    await upstream.sent("tools/call", 1)
    async with asyncio.timeout(20):
        while not begun.done():
            whole.clock.advance(0.1)
            await asyncio.sleep(0.001)
    reply = await begun
    assert read(reply, 202)["status"] == "running"
    assert header(reply, "Location")


# The same request twice


async def test_a_request_with_a_key_counts_once(whole: Whole, asker: Caller) -> None:
    """The reply is the first one's, but for its id and its times."""
    first, again = [read(await asker.ask("no-cache", headers=KEY | {"cache-control": "no-cache"})) for _ in range(2)]
    assert questions_to(whole.upstreams["sales"]) == 1
    assert again["answer"] == first["answer"]
    assert again["cached"] == first["cached"] == {"hit": False, "age": 0, "stale": False}
    whole.clock.advance(60)
    later = read(await asker.ask("no-cache", headers=KEY))
    assert later["cached"] == {"hit": False, "age": 60, "stale": False}


async def test_a_kept_answer_stays_one_under_a_key(asker: Caller) -> None:
    """What the first reply told of it."""
    await asker.ask()
    for _ in range(2):
        reply = await asker.ask(headers=KEY)
        assert read(reply)["cached"] == {"hit": True, "age": 0, "stale": False}
        assert header(reply, "Cache-Status") == "fabric-gateway; hit; ttl=300"
        assert header(reply, "RateLimit")


async def test_a_key_leads_to_the_operation_that_came_first(whole: Whole, instance: Gateway, asker: Caller) -> None:
    """However it stands by then."""
    first = read(await asker.ask(headers=KEY | ASYNC), 202)
    assert read(await asker.ask(headers=KEY | ASYNC), 202)["id"] == first["id"]
    await run(whole, instance)
    assert await whole.messages() == []
    answer = read(await asker.ask(headers=KEY))
    assert (answer["id"], answer["answer"]["text"]) == (first["id"], "Asked: total sales")


async def test_a_key_is_for_one_content_agent_and_strength_of_sign_in(asker: Caller) -> None:
    """Another body is refused, and so is another agent."""
    read(await asker.ask(headers=KEY))
    for reply in (await asker.ask("another", headers=KEY), await asker.ask(agent="company", headers=KEY)):
        assert read(reply, 422)["code"] == "idempotency_conflict"


async def test_a_failure_is_told_again_and_what_was_not_asked_frees_the_key(whole: Whole, asker: Caller) -> None:
    """An answer that is none was paid for; a refusal was not."""
    whole.upstreams["sales"].plan("tools/call", (200, {"content-type": "text/html"}, b"<html>"))
    for _ in range(2):
        assert read(await asker.ask(headers=KEY), 502)["code"] == "agent_failed"
    assert questions_to(whole.upstreams["sales"]) == 1
    other = {"idempotency-key": "other"}
    whole.upstreams["sales"].plan("tools/call", (403, {}, b""))
    assert read(await asker.ask(headers=other), 403)["code"] == "agent_access_denied"
    assert read(await asker.ask(headers=other))["answer"]


@pytest.mark.parametrize("key", ["", '""', "a b", "x" * 256])
async def test_a_key_that_is_none_is_refused(asker: Caller, key: str) -> None:
    """Nothing is asked."""
    assert read(await asker.ask(headers={"idempotency-key": key}), 400)["code"] == "invalid_request"


# Conversations


async def test_a_conversation_is_begun_and_gone_on_with(whole: Whole, asker: Caller) -> None:
    """The follow-up reaches the agent behind what was said before."""
    first = read(await asker.ask("by month", conversation_id="new"))
    second = read(await asker.ask("and by year", conversation_id=first["conversation_id"]))
    assert second["conversation_id"] == first["conversation_id"]
    asked = whole.upstreams["sales"].messages[-1]["params"]["arguments"]["userQuestion"]
    assert '1. user: "by month"' in asked
    assert asked.endswith("New question:\nand by year")
    found = await asker.gateway.conversations.find(asker.principal, first["conversation_id"])
    assert [turn.content for turn in found.turns][::2] == ["by month", "and by year"]


async def test_an_operation_is_noted_before_its_answer_is_seen(whole: Whole, instance: Gateway, asker: Caller) -> None:
    """So that a follow-up may come at once."""
    operation = read(await asker.ask("by month", headers=ASYNC, conversation_id="new"), 202)
    assert operation["conversation_id"]
    await run(whole, instance)
    assert read(await asker.look(operation["id"]))["conversation_id"] == operation["conversation_id"]
    found = await instance.conversations.find(asker.principal, operation["conversation_id"])
    assert found.turns[0].content == "by month"


async def test_a_key_holds_on_to_its_conversation(asker: Caller) -> None:
    """A repetition begins no other one, and is noted once."""
    first, again = [read(await asker.ask(headers=KEY, conversation_id="new")) for _ in range(2)]
    assert first["conversation_id"] == again["conversation_id"]
    (listed,) = await asker.gateway.conversations.listed(asker.principal)
    assert listed.turn_count == 2


async def test_a_conversation_that_failed_to_begin_is_gone(
    whole: Whole, instance: Gateway, asker: Caller, front: Front
) -> None:
    """Nobody knows its id; one that goes on stays, whatever fails, and a failure to delete is no matter."""
    begun = read(await asker.ask(conversation_id="new"))["conversation_id"]
    upstream = whole.upstreams["sales"]
    upstream.plan("tools/call", *[(403, {}, b"")] * 3)
    for conversation_id in ("new", begun):
        read(await asker.ask("another", conversation_id=conversation_id), 403)
    assert [one.id for one in await instance.conversations.listed(asker.principal)] == [begun]
    upstream.pause.clear()
    failing = asyncio.create_task(asker.ask("another", conversation_id="new"))
    await upstream.sent("tools/call", 4)
    front.planned.extend([FORBIDDEN] * 40)
    upstream.pause.set()
    assert read(await failing, 403)["code"] == "agent_access_denied"
    front.planned.clear()


async def test_another_agents_or_persons_conversation_cannot_be_gone_on_with(instance: Gateway, asker: Caller) -> None:
    """An unknown one neither."""
    begun = read(await asker.ask(conversation_id="new"))["conversation_id"]
    refusal = read(await asker.ask(agent="company", conversation_id=begun), 400)
    assert refusal["errors"] == [{"field": "conversation_id", "reason": "is of a conversation with another agent"}]
    for who, wanted in ((await caller(instance), begun), (asker, "0f" * 16), (asker, "x")):
        assert read(await who.ask(conversation_id=wanted), 404)["code"] == "not_found"


# What is asked
