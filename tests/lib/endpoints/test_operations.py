"""The endpoints of operations: how they stand, what came of them, and both as events."""

import asyncio
import json
import re

import pytest
from starlette.responses import Response as Refusal

from lib.endpoints.operations import AWAY_MS, END, RECONNECT_MS
from lib.gateway import Gateway
from lib.web.response import Response
from tests.lib.agents.recorded import recorded, sample
from tests.lib.endpoints.caller import Caller, caller, header, read
from tests.lib.storage.front import Front
from tests.lib.whole import Whole

pytestmark = pytest.mark.stack

FORBIDDEN = Refusal(status_code=403)
ASYNC = {"prefer": "respond-async"}
CHALLENGE = sample("tools-call.challenge")


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply with events waits for as long as a test likes."""
    monkeypatch.setattr("lib.endpoints.operations.EVENT_SECONDS", 0.05)


async def begun(asker: Caller, **body: str) -> str:
    """The id of an operation."""
    reply = await asker.ask(headers=ASYNC, **body)
    operation_id: str = read(reply, 202)["id"]
    assert header(reply, "Location") == f"/api/query/{operation_id}"
    return operation_id


async def run(whole: Whole, gateway: Gateway) -> None:
    """Delivers what is in the queue."""
    for message in await whole.messages():
        await gateway.run_message(json.dumps(message).encode())


def event(reply: Response) -> tuple[str, str, dict[str, object]]:
    """Id, name and data of the one event in a reply, as the standard has them read."""
    assert reply.status == 200, reply.body
    assert header(reply, "Content-Type") == "text/event-stream; charset=utf-8"
    block, rest = reply.body.decode().split("\n\n")
    assert rest == ""
    fields = dict(line.split(": ", 1) for line in block.split("\n"))
    assert fields["retry"] == str(RECONNECT_MS)
    return fields["id"], fields["event"], json.loads(fields["data"])


async def test_an_operation_is_told_as_under_way_and_then_as_its_answer(
    whole: Whole, instance: Gateway, asker: Caller
) -> None:
    """By the same id, as `POST /query` would have answered."""
    operation_id = await begun(asker)
    under_way = await asker.look(operation_id)
    status = read(under_way, 202)
    assert re.fullmatch(r"2027-01-15T08:00:0\d\+00:00", status.pop("created_at"))
    assert status == {"id": operation_id, "status": "accepted", "agent": "sales", "conversation_id": None}
    assert header(under_way, "Retry-After") == "2"
    await run(whole, instance)
    for _ in range(2):
        reply = await asker.look(operation_id)
        answer = read(reply)
        assert (answer["id"], answer["agent"], answer["conversation_id"]) == (operation_id, "sales", None)
        assert answer["answer"]["text"] == "Asked: total sales"
        assert answer["cached"] == {"hit": False, "age": 0, "stale": False}
        assert header(reply, "Cache-Status") == "fabric-gateway; fwd=miss"
        assert header(reply, "RateLimit")


async def test_who_looks_may_wait(whole: Whole, instance: Gateway, asker: Caller) -> None:
    """For the end, or for so many seconds; and is told what was followed."""
    operation_id = await begun(asker)
    in_vain = await asker.look(operation_id, prefer="wait=0")
    assert (in_vain.status, header(in_vain, "Preference-Applied")) == (202, "wait=0")
    waiting = asyncio.create_task(asker.look(operation_id, prefer="wait=60"))
    await run(whole, instance)
    reply = await waiting
    assert (reply.status, header(reply, "Preference-Applied")) == (200, "wait=60")


async def test_an_answer_has_the_form_that_is_asked_for(whole: Whole, instance: Gateway, asker: Caller) -> None:
    """As a table, where it has one."""
    whole.upstreams["sales"].plan("tools/call", recorded("tools-call.json"))
    operation_id = await begun(asker)
    await run(whole, instance)
    reply = await asker.look(operation_id, accept="text/csv")
    assert (reply.status, header(reply, "Content-Type")) == (200, "text/csv; charset=utf-8")
    assert (await asker.look(operation_id, accept="image/png")).status == 406


async def test_what_came_to_nothing_is_a_problem_that_names_the_operation(
    whole: Whole, instance: Gateway, asker: Caller
) -> None:
    """Failed, given up, or expired: by the problem's own status and code."""
    failed, given_up, expired = [await begun(asker, question=f"{number}") for number in range(3)]
    await asker.give_up(given_up)
    whole.upstreams["sales"].plan("tools/call", (403, {}, b""))
    messages = {message["operation"]: message for message in await whole.messages()}
    await instance.run_message(json.dumps(messages[failed]).encode())
    whole.clock.advance(120)
    for operation_id, status, code, state in (
        (failed, 403, "agent_access_denied", "failed"),
        (given_up, 410, "operation_cancelled", "cancelled"),
        (expired, 410, "operation_expired", "expired"),
    ):
        problem = read(await asker.look(operation_id), status)
        assert (problem["code"], problem["operation"]["status"]) == (code, state)
        assert problem["operation"]["id"] == operation_id


async def test_an_operation_is_its_owners_alone(instance: Gateway, asker: Caller) -> None:
    """For everybody else there is none, in the same words as for one that never was."""
    operation_id, other = await begun(asker), await caller(instance)
    for call in (other.look, other.give_up, other.listen):
        theirs, none = read(await call(operation_id), 404), read(await call("0f" * 16), 404)
        assert theirs == none
        assert theirs["code"] == "not_found"
    read(await asker.look(operation_id), 202)


async def test_an_operation_is_given_up_by_its_owner(asker: Caller) -> None:
    """Once and for all."""
    operation_id = await begun(asker)
    for _ in range(2):
        assert read(await asker.give_up(operation_id))["status"] == "cancelled"


async def test_who_is_not_signed_in_learns_nothing(instance: Gateway, asker: Caller) -> None:
    """Not even that a source has come to its end."""
    operation_id = await begun(asker)
    stranger = Caller(instance, "x", asker.principal)
    for reply in (await stranger.look(operation_id), await stranger.give_up(operation_id), await stranger.listen("x")):
        assert reply.status == 401
    assert (await stranger.listen(operation_id, END)).status == 401


async def test_a_source_is_told_each_state_and_the_answer_at_last(
    whole: Whole, instance: Gateway, asker: Caller
) -> None:
    """It comes back with the id of the last event, and waits for another state; after the last it is told to end."""
    operation_id = await begun(asker)
    event_id, name, data = event(await asker.listen(operation_id))
    assert (event_id, name, data["status"]) == ("accepted", "progress", "accepted")
    waiting = asyncio.create_task(asker.listen(operation_id, "accepted"))
    await run(whole, instance)
    seen = [event(await waiting)]
    while seen[-1][0] != END:
        seen.append(event(await asker.listen(operation_id, seen[-1][0])))
    event_id, name, data = seen[-1]
    assert (name, data["id"]) == ("answer", operation_id)
    looked = read(await asker.look(operation_id))
    assert data == looked
    ended = await asker.listen(operation_id, END)
    assert (ended.status, ended.body) == (204, b"")


async def test_a_source_that_hears_nothing_new_is_told_the_same_again(asker: Caller) -> None:
    """Before a proxy would cut it off."""
    operation_id = await begun(asker)
    assert event(await asker.listen(operation_id, "accepted"))[0] == "accepted"
    assert event(await asker.listen(operation_id, "whatever it likes"))[0] == "accepted"


async def test_a_source_is_told_a_failure_as_an_event(whole: Whole, instance: Gateway, asker: Caller) -> None:
    """With status 200, for it shows nothing of any other; the problem is that of the reply to a look."""
    operation_id = await begun(asker)
    whole.upstreams["sales"].plan("tools/call", (403, {}, b""))
    await run(whole, instance)
    event_id, name, data = event(await asker.listen(operation_id, "accepted"))
    assert (event_id, name) == (END, "problem")
    assert data == read(await asker.look(operation_id), 403)


async def test_a_source_is_told_where_to_sign_in_more_strongly(whole: Whole, instance: Gateway, asker: Caller) -> None:
    """Whoever has met the challenge, the runner or this very look: a 401 would end the source without a word."""
    operation_id = await begun(asker)
    whole.upstreams["sales"].plan("tools/call", CHALLENGE)
    await run(whole, instance)
    whole.upstreams["thinker"].plan("tools/call", recorded("tools-call.task.json"))
    task_id = await begun(asker, agent="thinker")
    whole.upstreams["thinker"].plan("tasks/get", CHALLENGE)
    whole.clock.advance(1)
    for each in (operation_id, task_id):
        event_id, name, data = event(await asker.listen(each))
        assert (event_id, name, data["code"]) == (END, "problem", "step_up_required")
        assert "/api/login?step_up=" in str(data["login_url"])


async def test_while_storage_is_away_a_source_is_told_to_come_back(asker: Caller, front: Front) -> None:
    """Without an event, and a little later than usual."""
    operation_id = await begun(asker)
    front.planned.extend([front.pass_on, FORBIDDEN])  # the session is found, the operation is not
    reply = await asker.listen(operation_id)
    assert (reply.status, reply.body) == (200, b"retry: %d\n\n" % AWAY_MS)
