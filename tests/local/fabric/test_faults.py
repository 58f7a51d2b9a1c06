"""Planned faults: each does what it says to one request, and leaves the next one alone."""

import base64
import json
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from local.fabric import SALES_AGENT, Agent, Fabric
from local.fabric import faults as fault
from local.faults import drop, hang
from tests.clock import Clock
from tests.local.fabric.callers import STREAMING_AGENT, Caller, question

pytestmark = pytest.mark.stack

BOTH = pytest.mark.parametrize("agent", [SALES_AGENT, STREAMING_AGENT], ids=["whole", "streamed"])


async def ask(caller: Caller, agent: Agent = SALES_AGENT) -> httpx.Response:
    """The answer to one question."""
    return await caller.call("tools/call", question("total sales"), agent=agent)


def result(response: httpx.Response) -> dict[str, Any]:
    """The result in a JSON-RPC answer."""
    found: dict[str, Any] = response.json()["result"]
    return found


async def drain(response: httpx.Response, into: bytearray) -> None:
    """Reads a body as far as it comes."""
    async for chunk in response.aiter_raw():
        into.extend(chunk)


async def test_a_fault_meets_one_request_of_its_method(caller: Caller, fabric: Fabric) -> None:
    """Other methods pass, and so does the next request; the faulty one is counted like any other."""
    fabric.faults.plan("tools/call", Response("busy", 429, {"Retry-After": "7"}))
    assert (await caller.call("tools/list")).status_code == 200
    response = await ask(caller)
    assert (response.status_code, response.headers["retry-after"], response.text) == (429, "7", "busy")
    assert (await ask(caller)).status_code == 200
    assert fabric.calls == {"tools/list": 1, "tools/call": 2}
    assert len(fabric.asked) == 1


async def test_a_fault_of_one_agent_meets_no_other(caller: Caller, fabric: Fabric) -> None:
    """Each agent's requests are counted by themselves; a fault for all goes first, and is met before the agent."""
    faults = fabric.faults_at[STREAMING_AGENT.object_id]
    faults.plan("tools/call", Response(status_code=500))
    fabric.faults.plan("tools/call", Response(status_code=503))
    statuses = [(await ask(caller, agent)).status_code for agent in (STREAMING_AGENT, SALES_AGENT, STREAMING_AGENT)]
    assert statuses == [503, 200, 500]
    assert faults.calls == {"tools/call": 1}
    assert fabric.calls == {"tools/call": 3}
    assert (await ask(caller, STREAMING_AGENT)).status_code == 200


async def test_a_claims_challenge_can_be_decoded(caller: Caller, fabric: Fabric) -> None:
    """The header carries the claims as Entra's clients expect them."""
    claims = '{"access_token":{"nbf":{"essential":true,"value":"1604106651"}}}'
    fabric.faults.plan("tools/list", fault.challenge(claims))
    response = await caller.call("tools/list")
    demand = response.headers["www-authenticate"]
    assert response.status_code == 401
    assert 'error="insufficient_claims"' in demand
    assert base64.b64decode(demand.partition('claims="')[2].rstrip('"')).decode() == claims


async def test_a_late_answer_is_the_usual_one(caller: Caller, fabric: Fabric) -> None:
    """It comes after the time that was planned."""
    clock = Clock()
    fabric.faults.plan("tools/call", fault.late(9, clock.sleep))
    late, usual = await ask(caller), await ask(caller)
    assert result(late) == result(usual)
    assert clock.slept == [9]


async def test_a_hanging_request_ends_with_the_patience_of_the_client(caller: Caller, fabric: Fabric) -> None:
    """Nothing comes back, and the emulator serves the next request."""
    fabric.faults.plan("tools/call", hang)
    caller.http.timeout = httpx.Timeout(5, read=0.05)
    with pytest.raises(httpx.ReadTimeout):
        await ask(caller)
    caller.http.timeout = httpx.Timeout(5)
    assert (await ask(caller)).status_code == 200


async def test_a_dropped_connection_brings_nothing(caller: Caller, fabric: Fabric) -> None:
    """The shared fault works here as it does at every emulator."""
    fabric.faults.plan("tools/call", drop)
    with pytest.raises(httpx.TransportError):
        await ask(caller)


@BOTH
@pytest.mark.parametrize("after_bytes", [0, 40])
async def test_a_cut_answer_brings_some_bytes(caller: Caller, fabric: Fabric, agent: Agent, after_bytes: int) -> None:
    """The head and the first bytes arrive; then the connection is lost."""
    fabric.faults.plan("tools/call", fault.cut(after_bytes))
    message = {"jsonrpc": "2.0", "id": "u1", "method": "tools/call", "params": question("total sales")}
    request = caller.http.build_request("POST", agent.path, json=message, headers={"Authorization": "Bearer alice"})
    response = await caller.http.send(request, stream=True)
    assert response.status_code == 200
    arrived = bytearray()
    with pytest.raises(httpx.TransportError):
        await drain(response, arrived)
    assert arrived == b'{"jsonrpc":"2.0","id":"u1","result":{"content"'[:after_bytes]


@BOTH
async def test_an_agent_can_be_made_to_say_anything(caller: Caller, fabric: Fabric, agent: Agent) -> None:
    """The frame of the answer stays what it was."""
    fabric.faults.plan("tools/call", fault.say("Out of order.", is_error=True))
    failed, usual = result(await ask(caller, agent)), await ask(caller)
    assert failed["content"] == [{"type": "text", "text": "Out of order."}]
    assert failed["isError"] is True
    assert failed.keys() == result(usual).keys()


async def test_failures_come_in_disguise(caller: Caller, fabric: Fabric) -> None:
    """Fabric calls both of these a success."""
    fabric.faults.plan("tools/call", fault.run_failed(), fault.source_failed())
    run, source = [result(await ask(caller)) for _ in range(2)]
    assert run["isError"] is source["isError"] is False
    assert run["content"][0]["text"] == "The Data Agent run failed before producing a result."
    assert "RAID" in json.loads(source["content"][0]["text"])["error"]


async def test_a_refusal_has_the_id_of_the_request(caller: Caller, fabric: Fabric) -> None:
    """A JSON-RPC error answers the request it belongs to."""
    fabric.faults.plan("tools/call", fault.refuse(-32603, "CapacityNotActive"))
    expected = {"jsonrpc": "2.0", "id": "u1", "error": {"code": -32603, "message": "CapacityNotActive"}}
    assert (await ask(caller)).json() == expected


async def test_an_answer_can_be_for_somebody_else(caller: Caller, fabric: Fabric) -> None:
    """All is well with it but its id."""
    fabric.faults.plan("tools/call", fault.misaddress())
    wrong, usual = (await ask(caller)).json(), (await ask(caller)).json()
    assert wrong["id"] != "u1"
    assert wrong["result"] == usual["result"]


@BOTH
async def test_a_chattering_stream_ends_with_the_answer(caller: Caller, fabric: Fabric, agent: Agent) -> None:
    """A notification and an answer to somebody else come first."""
    fabric.faults.plan("tools/call", fault.chatter())
    chatty, usual = await ask(caller, agent), await ask(caller)
    assert chatty.headers["content-type"].startswith("text/event-stream")
    events = [line.removeprefix("data: ") for line in chatty.text.splitlines() if line.startswith("data: ")]
    notice, other, answer = map(json.loads, events)
    assert "id" not in notice
    assert other["id"] != "u1"
    assert other["result"]["content"] != answer["result"]["content"] == result(usual)["content"]
    assert answer["id"] == "u1"


async def test_a_fault_does_not_let_anybody_in(caller: Caller, fabric: Fabric) -> None:
    """What changes the usual answer first has to get it."""
    fabric.faults.plan("tools/call", fault.late(0))
    assert (await caller.call("tools/call", question("total sales"), token="nobody")).status_code == 401
