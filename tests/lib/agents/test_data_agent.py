"""Asking: what is sent when, what is sent again and what never, and that nothing outlives its deadline."""

import asyncio
import gzip
import json
import logging
import threading
import traceback
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from lib.agents.data_agent import DISCOVERY_TTL, WIDTH, DataAgent
from lib.agents.discovery import Discovery
from lib.agents.failures import FabricTokenRejected, ToolUnknown, Unreached
from lib.agents.guard import CAPACITY_SECONDS
from lib.agents.mcp import Session, Tool
from lib.agents.notices import Notice
from lib.agents.wire import MAX_BODY
from lib.errors import (
    AgentAccessDenied,
    AgentFailed,
    AgentNotPublished,
    AgentPaused,
    AgentUnavailable,
    CapacityExceeded,
    ConsentRequired,
    DeadlineExceeded,
    GatewayError,
    RateLimited,
    StepUpRequired,
)
from lib.traffic.circuit import LEAST_OUTCOMES
from lib.traffic.deadline import Deadline
from lib.traffic.retries import BUDGET_MOST
from tests.clock import Clock
from tests.lib.agents.recorded import Wire, answer, in_events, in_json, refusal, sample
from tests.lib.agents.upstream import (
    ADDRESS,
    URL,
    Planned,
    Tokens,
    Told,
    Upstream,
    in_session,
    itself,
    one_tool,
    said,
    soon,
)

HANDSHAKE = ["initialize", "notifications/initialized", "tools/list"]


def unknown_tool(call_id: str) -> Wire:
    """The reply to a call of a tool that is gone."""
    return in_json(refusal(call_id, -32602, "Unknown tool: DataAgent_Sales"))


async def test_the_first_question_discovers_and_the_next_does_not() -> None:
    """Handshake and tool are asked for once; each question is one more message."""
    upstream = Upstream()
    agent = upstream.agent()
    assert (await agent.ask("How much?", Tokens(), soon(), itself)).text == "Asked: How much?"
    assert (await agent.ask("And now?", Tokens(), soon(), itself)).text == "Asked: And now?"
    assert upstream.methods == [*HANDSHAKE, "tools/call", "tools/call"]


async def test_every_message_goes_to_the_address_with_the_callers_token() -> None:
    """Each is a POST to the one address, under a fresh id; the protocol is named once it is agreed."""
    upstream = Upstream()
    await upstream.agent().ask("How much?", Tokens(), soon(), itself)
    assert {(request.method, str(request.url)) for request in upstream.requests} == {("POST", URL)}
    assert {request.headers["authorization"] for request in upstream.requests} == {"Bearer token-1"}
    ids = [request.headers["x-ms-client-request-id"] for request in upstream.requests]
    assert len(set(ids)) == len(ids)
    assert [message.get("id", ids[1]) for message in upstream.messages] == ids
    assert [request.headers.get("mcp-protocol-version") for request in upstream.requests] == [None, *["2025-06-18"] * 3]


async def test_discovery_is_made_anew_after_ten_minutes() -> None:
    """What was discovered is used until its time is over, and not longer."""
    upstream, clock = Upstream(), Clock()
    agent = upstream.agent(clock)
    await agent.ask("1", Tokens(), soon(), itself)
    clock.now += 599
    await agent.ask("2", Tokens(), soon(), itself)
    clock.now += 1
    await agent.ask("3", Tokens(), soon(), itself)
    assert upstream.methods == [*HANDSHAKE, "tools/call", "tools/call", *HANDSHAKE, "tools/call"]


async def test_concurrent_first_questions_discover_once() -> None:
    """Whoever comes while somebody discovers waits for what is found."""
    upstream = Upstream()
    agent = upstream.agent()
    answers = await asyncio.gather(*(agent.ask(f"{number}", Tokens(), soon(), itself) for number in range(5)))
    assert [answer.text for answer in answers] == [f"Asked: {number}" for number in range(5)]
    assert sorted(upstream.methods) == sorted([*HANDSHAKE, *["tools/call"] * 5])


async def test_one_callers_failure_to_discover_is_not_anothers() -> None:
    """Discovery runs under the caller's own token: whom Fabric refuses is refused alone."""
    upstream = Upstream()
    upstream.plan("initialize", (403, {}, b""))
    agent = upstream.agent()
    denied, answered = await asyncio.gather(
        agent.ask("1", Tokens(), soon(), itself), agent.ask("2", Tokens(), soon(), itself), return_exceptions=True
    )
    assert isinstance(denied, AgentAccessDenied)
    assert not isinstance(answered, BaseException)


async def test_a_session_is_the_callers_own() -> None:
    """Where the agent opens a session, nothing of it is shared with the next caller."""
    upstream = Upstream()
    upstream.plan("initialize", in_session(1), in_session(2))
    agent = upstream.agent()
    await agent.ask("1", Tokens(), soon(), itself)
    await agent.ask("2", Tokens(), soon(), itself)
    sessions = [request.headers.get("mcp-session-id") for request in upstream.requests]
    assert sessions == [None, "s-1", "s-1", "s-1", None, "s-2", "s-2", "s-2"]


@pytest.mark.parametrize(
    "gone",
    [
        unknown_tool,
        lambda call_id: in_json(refusal(call_id, -32602, "Invalid params")),
        (404, {}, b""),
        in_json({"errorCode": "EntityNotFound"}, 404),
    ],
    ids=["unknown-tool", "invalid-params", "not-found", "entity-not-found"],
)
async def test_an_agent_that_changed_is_discovered_and_asked_again(gone: Planned) -> None:
    """A reply that proves the question went nowhere makes it go to the tool that is there now."""
    upstream = Upstream()
    agent = upstream.agent()
    await agent.ask("1", Tokens(), soon(), itself)
    upstream.plan("tools/call", gone)
    upstream.plan("tools/list", one_tool("DataAgent_Renamed"))
    assert (await agent.ask("2", Tokens(), soon(), itself)).text == "Asked: 2"
    assert upstream.methods[4:] == ["tools/call", *HANDSHAKE, "tools/call"]
    assert upstream.messages[-1]["params"]["name"] == "DataAgent_Renamed"


async def test_an_agent_that_keeps_changing_fails() -> None:
    """Once more is all: then the failure is the caller's to see."""
    upstream = Upstream()
    upstream.plan("tools/call", unknown_tool, unknown_tool)
    with pytest.raises(ToolUnknown):
        await upstream.agent().ask("1", Tokens(), soon(), itself)
    assert upstream.methods.count("tools/call") == 2


async def test_an_outdated_refusal_does_not_undo_a_newer_discovery() -> None:
    """Of two questions that met the old tool, the second uses what the first has discovered since."""
    upstream = Upstream()
    agent = upstream.agent()
    await agent.ask("0", Tokens(), soon(), itself)
    upstream.plan("tools/call", unknown_tool, unknown_tool)
    upstream.pause.clear()
    async with asyncio.TaskGroup() as callers:
        callers.create_task(agent.ask("1", Tokens(), soon(), itself))
        callers.create_task(agent.ask("2", Tokens(), soon(), itself))
        await upstream.sent("tools/call", 3)
        upstream.pause.set()
    assert upstream.methods.count("initialize") == 2
    assert upstream.methods.count("tools/call") == 5


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (httpx.ReadTimeout(""), DeadlineExceeded),
        (httpx.WriteTimeout(""), DeadlineExceeded),
        (httpx.ReadError(""), AgentUnavailable),
        (httpx.WriteError(""), AgentUnavailable),
        (httpx.RemoteProtocolError(""), AgentUnavailable),
        ((500, {}, b""), AgentUnavailable),
        ((502, {"retry-after": "1"}, b""), AgentUnavailable),
        ((503, {}, b""), AgentUnavailable),
        ((504, {}, b""), DeadlineExceeded),
        ((429, {}, b""), CapacityExceeded),
        (in_json({"errorCode": "CapacityLimitExceeded"}, 429, retry_after="1"), CapacityExceeded),
        ((503, {"retry-after": "11"}, b""), AgentUnavailable),
        ((403, {}, b""), AgentAccessDenied),
        ((200, {"content-type": "text/html"}, b"<html>"), AgentFailed),
        (sample("tools-call.challenge"), StepUpRequired),
        (lambda call_id: in_json(answer(call_id, said('{"error": "x"}'))), AgentFailed),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
async def test_a_question_that_may_have_arrived_is_not_sent_again(reply: Planned, expected: type[GatewayError]) -> None:
    """After the question was sent, doubt is a failure: asking again would cost and record it twice."""
    upstream, clock = Upstream(), Clock()
    upstream.plan("tools/call", reply)
    with pytest.raises(expected):
        await upstream.agent(clock).ask("1", Tokens(), soon(), itself)
    assert upstream.methods == [*HANDSHAKE, "tools/call"]
    assert clock.slept == []


@pytest.mark.parametrize(
    "reply",
    [
        httpx.ConnectError(""),
        httpx.ConnectTimeout(""),
        httpx.PoolTimeout(""),
        (429, {"retry-after": "2"}, b""),
        (503, {"retry-after": "2"}, b""),
    ],
    ids=["connect", "connect-timeout", "pool", "429", "503"],
)
async def test_a_question_that_went_nowhere_is_sent_once_more(reply: Planned) -> None:
    """Never sent, or turned away with a time to come back: once more, after that time."""
    upstream, clock = Upstream(), Clock()
    upstream.plan("tools/call", reply)
    assert (await upstream.agent(clock).ask("1", Tokens(), soon(), itself)).text == "Asked: 1"
    assert len(clock.slept) == 1
    assert isinstance(reply, Exception) or clock.slept == [2]
    upstream.plan("tools/call", reply, reply)
    with pytest.raises((Unreached, CapacityExceeded)):
        await upstream.agent(clock).ask("2", Tokens(), soon(), itself)


@pytest.mark.parametrize("method", HANDSHAKE)
@pytest.mark.parametrize(
    "fault", [httpx.ReadError(""), httpx.ConnectError(""), (500, {}, b"")], ids=["read", "connect", "500"]
)
async def test_a_step_of_discovery_is_tried_three_times(method: str, fault: Planned) -> None:
    """Discovery has no effect, so that each step of it may be repeated."""
    upstream = Upstream()
    upstream.plan(method, fault, fault)
    assert (await upstream.agent().ask("1", Tokens(), soon(), itself)).text == "Asked: 1"
    assert upstream.methods.count(method) == 3
    upstream.plan(method, fault, fault, fault)
    with pytest.raises(AgentUnavailable):
        await upstream.agent().ask("2", Tokens(), soon(), itself)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ((403, {}, b""), AgentAccessDenied),
        ((404, {}, b""), AgentUnavailable),
        (sample("tools-call.challenge"), StepUpRequired),
        (lambda call_id: in_json(answer(call_id, {"tools": []})), AgentNotPublished),
        (lambda call_id: in_json(refusal(call_id, -32603, "Stage configuration not found.")), AgentNotPublished),
    ],
    ids=["denied", "not-found", "challenge", "no-tool", "no-stage"],
)
async def test_a_refusal_to_be_discovered_is_final_and_not_kept(reply: Planned, expected: type[GatewayError]) -> None:
    """What Fabric refuses for a reason is not tried again, and the next question finds out for itself."""
    upstream, clock = Upstream(), Clock()
    agent = upstream.agent(clock)
    upstream.plan("tools/list", reply)
    with pytest.raises(expected):
        await agent.ask("1", Tokens(), soon(), itself)
    assert (upstream.methods, clock.slept) == (HANDSHAKE, [])
    assert (await agent.ask("2", Tokens(), soon(), itself)).text == "Asked: 2"


@pytest.mark.parametrize("method", [*HANDSHAKE, "tools/call"])
async def test_a_rejected_token_is_replaced_once(method: str) -> None:
    """The source of tokens hears which one was rejected, and the new one is tried where the old one failed."""
    upstream, tokens = Upstream(), Tokens()
    upstream.plan(method, sample("token-missing"))
    assert (await upstream.agent().ask("1", tokens, soon(), itself)).text == "Asked: 1"
    assert tokens.rejected == [None, "token-1"]
    assert upstream.requests[-1].headers["authorization"] == "Bearer token-2"


async def test_a_second_rejected_token_is_a_failure() -> None:
    """A new token that is no better is a matter for those who operate the gateway."""
    upstream, tokens = Upstream(), Tokens()
    upstream.plan("tools/call", sample("token-missing"), sample("token-missing"))
    with pytest.raises(FabricTokenRejected) as rejected:
        await upstream.agent().ask("1", tokens, soon(), itself)
    assert (rejected.value.status, rejected.value.code) == (503, "agent_unavailable")
    assert tokens.rejected == [None, "token-1"]


@pytest.mark.parametrize(
    ("fault", "expected"), [(ConsentRequired(), ConsentRequired), (TimeoutError(), DeadlineExceeded)]
)
async def test_where_no_token_is_to_be_had_nothing_is_sent(fault: Exception, expected: type[GatewayError]) -> None:
    """Why there is no token is for the source of tokens to say."""

    async def none(*, rejected: str | None = None) -> str:
        assert rejected is None
        raise fault

    upstream = Upstream()
    with pytest.raises(expected):
        await upstream.agent().ask("1", none, soon(), itself)
    assert upstream.requests == []


async def test_a_token_that_cannot_be_sent_is_not_told() -> None:
    """A library's error would quote the header; neither its text nor its traceback gets out."""

    async def broken(*, rejected: str | None = None) -> str:
        assert rejected is None
        return "secr\u00e9t"

    with pytest.raises(AgentUnavailable) as failed:
        await Upstream().agent().ask("1", broken, soon(), itself)
    assert "secr" not in "".join(traceback.format_exception(failed.value))


async def test_redirects_are_not_followed() -> None:
    """A token sent to where a reply points would be a token given away."""
    upstream = Upstream()
    upstream.plan("tools/call", (307, {"location": "https://evil.example/"}, b""))
    with pytest.raises(AgentUnavailable):
        await upstream.agent().ask("1", Tokens(), soon(), itself)
    assert {str(request.url) for request in upstream.requests} == {URL}
    assert upstream.methods.count("tools/call") == 1


async def test_no_question_begins_past_its_deadline() -> None:
    """Without time left nothing is sent, not even for a token."""
    upstream, tokens = Upstream(), Tokens()
    with pytest.raises(DeadlineExceeded):
        await upstream.agent().ask("1", tokens, Deadline.after(-1), itself)
    assert (upstream.requests, tokens.rejected) == ([], [])


async def test_nobody_waits_past_the_deadline() -> None:
    """An agent that never answers holds neither its caller nor those who wait for the same discovery."""
    upstream = Upstream()
    upstream.pause.clear()
    agent = upstream.agent()
    asked = [agent.ask(f"{number}", Tokens(), soon(0.05), itself) for number in range(3)]
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [DeadlineExceeded] * 3
    upstream.pause.set()
    assert (await agent.ask("1", Tokens(), soon(), itself)).text == "Asked: 1"


async def test_connecting_gets_three_seconds_discovery_fifteen_and_the_answer_what_is_left() -> None:
    """Each hop is bounded by its own limit and by the deadline."""
    upstream, clock = Upstream(), Clock()
    await upstream.agent(clock).ask("1", Tokens(), Deadline.after(100, clock), itself)
    await upstream.agent(clock).ask("1", Tokens(), Deadline.after(2, clock), itself)
    timeouts = [request.extensions["timeout"] for request in upstream.requests]
    assert [(timeout["connect"], timeout["pool"]) for timeout in timeouts] == [(3, 3)] * 4 + [(2, 2)] * 4
    assert [timeout["read"] for timeout in timeouts] == [15, 15, 15, 100, 2, 2, 2, 2]


async def test_a_stream_that_stays_open_is_left_once_the_answer_is_there() -> None:
    """A server may keep its stream open for whatever it wants to say later."""
    upstream = Upstream()

    async def endless(request: httpx.Request) -> httpx.Response:
        response = await upstream(request)
        message = json.loads(request.content)
        if message["method"] != "tools/call":
            return response
        _, headers, body = in_events(answer(message["id"], said("42")))

        async def parts() -> AsyncIterator[bytes]:
            yield body
            await asyncio.Event().wait()

        return httpx.Response(200, headers=headers, content=parts())

    agent = DataAgent(ADDRESS, httpx.MockTransport(endless))
    assert (await agent.ask("1", Tokens(), soon(), itself)).text == "42"


async def test_a_body_without_end_is_not_read_to_its_end() -> None:
    """Reading stops at 4 MiB, however much more there would be."""
    upstream, sent = Upstream(), 0

    async def parts() -> AsyncIterator[bytes]:
        nonlocal sent
        while True:
            sent += 2**20
            yield bytes(2**20)

    async def flood(request: httpx.Request) -> httpx.Response:
        if json.loads(request.content)["method"] == "tools/call":
            return httpx.Response(200, headers={"content-type": "application/json"}, content=parts())
        return await upstream(request)

    with pytest.raises(AgentFailed):
        await DataAgent(ADDRESS, httpx.MockTransport(flood)).ask("1", Tokens(), soon(), itself)
    assert sent == MAX_BODY + 2**20


async def test_a_compressed_answer_is_read() -> None:
    """The reply may be in gzip, which is all that is asked for."""

    def packed(call_id: str) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = in_json(answer(call_id, said("42")), content_encoding="gzip")
        return status, headers, gzip.compress(body)

    upstream = Upstream()
    upstream.plan("tools/call", packed)
    assert (await upstream.agent().ask("1", Tokens(), soon(), itself)).text == "42"
    assert {request.headers["accept-encoding"] for request in upstream.requests} == {"gzip"}


async def test_a_ping_asks_for_a_refusal() -> None:
    """Without a token Fabric's front door says 401: that shows it is open."""
    upstream = Upstream()
    upstream.plan("initialize", sample("token-missing"))
    await upstream.agent().ping()
    assert upstream.methods == ["initialize"]
    assert "authorization" not in upstream.requests[0].headers


@pytest.mark.parametrize(
    "reply",
    [in_session(1), (403, {}, b""), (500, {}, b""), httpx.ConnectError(""), httpx.ReadTimeout("")],
    ids=["200", "403", "500", "unreachable", "silent"],
)
async def test_anything_but_that_refusal_is_a_closed_door(reply: Planned) -> None:
    """A failure, and an answer to a stranger, too."""
    upstream = Upstream()
    upstream.plan("initialize", reply)
    with pytest.raises(GatewayError):
        await upstream.agent().ping()


async def test_a_ping_that_hangs_is_a_closed_door(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ping gives up by itself."""
    monkeypatch.setattr("lib.agents.data_agent.PING_SECONDS", 0.02)
    upstream = Upstream()
    upstream.pause.clear()
    with pytest.raises(DeadlineExceeded):
        await upstream.agent().ping()


async def test_no_log_holds_a_question_an_answer_or_a_token(caplog: pytest.LogCaptureFixture) -> None:
    """Logs have codes and counts, whatever happens."""
    upstream = Upstream()
    upstream.plan("initialize", (500, {}, b"private"))
    upstream.plan("tools/call", (429, {"retry-after": "1"}, b"private"))
    with caplog.at_level(logging.DEBUG, "lib"):
        await upstream.agent().ask("private", Tokens(), soon(), itself)
    assert caplog.records
    told = " ".join(str(vars(record)) for record in caplog.records)
    assert "private" not in told
    assert "token-1" not in told


class Till:
    """Counts what is charged, and refuses from the call after the last that may go."""

    def __init__(self, most: int = 100) -> None:
        self.charged = 0
        self._most = most

    async def __call__(self) -> None:
        """One call."""
        if self.charged == self._most:
            raise RateLimited("app", retry_after=1)
        self.charged += 1


def charged_agent(upstream: Upstream, till: Till) -> DataAgent:
    """An agent whose calls are charged."""
    clock = Clock()
    return DataAgent(ADDRESS, upstream.transport(), charge=till, now=clock, sleep=clock.sleep)


async def test_each_call_is_charged_and_its_repeat_again() -> None:
    """Discovery takes three, the question two: it was turned away once."""
    upstream, till = Upstream(), Till()
    upstream.plan("tools/call", (429, {"retry-after": "1"}, b""))
    agent = charged_agent(upstream, till)
    await agent.ask("1", Tokens(), soon(), itself)
    assert till.charged == len(upstream.methods) == 5
    await agent.ask("2", Tokens(), soon(), itself)
    assert till.charged == len(upstream.methods) == 6


async def test_a_call_that_is_refused_here_is_not_made() -> None:
    """Neither in the middle of a discovery, nor instead of the question; the next one goes on from there."""
    for most in range(4):
        upstream, till = Upstream(), Till(most)
        agent = charged_agent(upstream, till)
        with pytest.raises(RateLimited):
            await agent.ask("1", Tokens(), soon(), itself)
        assert upstream.methods == [*HANDSHAKE, "tools/call"][:most]
        till.charged = -10
        assert (await agent.ask("1", Tokens(), soon(), itself)).text == "Asked: 1"


async def test_a_refusal_here_is_nobody_elses() -> None:
    """Whoever waits for the same discovery goes on with it."""
    refusals, go_on = [RateLimited("app", retry_after=1)], asyncio.Event()

    async def charge() -> None:
        await go_on.wait()
        if refusals:
            raise refusals.pop()

    agent = DataAgent(ADDRESS, Upstream().transport(), charge=charge)
    asking = [asyncio.create_task(agent.ask(f"{number}", Tokens(), soon(), itself)) for number in range(2)]
    for _ in range(20):  # both get as far as they can
        await asyncio.sleep(0)
    go_on.set()
    refused, answered = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(refused, RateLimited)
    assert not isinstance(answered, BaseException)
    assert answered.text == "Asked: 1"


async def test_a_ping_is_not_charged() -> None:
    """It brings no token, so Fabric does not count it against anybody."""
    upstream, till = Upstream(), Till(0)
    upstream.plan("initialize", sample("token-missing"))
    await charged_agent(upstream, till).ping()
    assert till.charged == 0


async def test_one_who_may_not_be_called_now_is_told_so_before_anything_is_done_for_it() -> None:
    """`ready` refuses what a question would meet: no token, no message."""
    upstream, clock, tokens = Upstream(), Clock(), Tokens()
    agent = upstream.agent(clock)
    await agent.ready("alice")
    assert agent.state == "closed"
    upstream.plan("tools/call", in_json({"errorCode": "CapacityLimitExceeded"}, 429, retry_after="60"))
    with pytest.raises(CapacityExceeded):
        await agent.ask("1", tokens, soon(), itself, "alice")
    assert agent.state == "cooling_down"
    sent, asked = len(upstream.requests), len(tokens.rejected)
    for caller in ("alice", "bob"):
        with pytest.raises(CapacityExceeded) as refused:
            await agent.ready(caller)
        assert refused.value.retry_after == 60
        with pytest.raises(CapacityExceeded):
            await agent.ask("1", tokens, soon(), itself, caller)
    assert (len(upstream.requests), len(tokens.rejected)) == (sent, asked + 2)
    clock.advance(60)
    await agent.ready("bob")
    assert (await agent.ask("1", tokens, soon(), itself, "bob")).text == "Asked: 1"


async def test_a_caller_whose_own_quota_is_used_up_waits_alone() -> None:
    """What Fabric says to one identity it says to no other."""
    upstream = Upstream()
    agent = upstream.agent()
    upstream.plan("tools/call", in_json({"errorCode": "RequestBlocked"}, 429, retry_after="60"))
    with pytest.raises(CapacityExceeded):
        await agent.ask("1", Tokens(), soon(), itself, "alice")
    with pytest.raises(CapacityExceeded):
        await agent.ready("alice")
    await agent.ready("bob")
    assert (await agent.ask("1", Tokens(), soon(), itself, "bob")).text == "Asked: 1"


async def test_what_an_answer_says_of_capacity_holds_nobody_back() -> None:
    """It fails that question alone: whoever asks could have had it said."""
    upstream, told = Upstream(), Told()
    agent = upstream.agent(notices=told)
    upstream.plan("tools/call", lambda call_id: in_json(answer(call_id, said('{"error": "CapacityLimitExceeded"}'))))
    with pytest.raises(CapacityExceeded):
        await agent.ask("1", Tokens(), soon(), itself)
    await agent.ready()
    assert told.cooldowns == []


async def test_when_the_agent_may_be_called_again_is_told_to_the_other_instances() -> None:
    """With the failure that said so; nothing is told while all is well, nor what one caller was told alone."""
    upstream, told = Upstream(), Told()
    agent = upstream.agent(notices=told)
    await agent.ask("1", Tokens(), soon(), itself)
    upstream.plan(
        "tools/call",
        in_json({"errorCode": "RequestBlocked"}, 429, retry_after="60"),
        in_json({"errorCode": "CapacityLimitExceeded"}, 400),
    )
    for caller in ("alice", "bob"):
        with pytest.raises(CapacityExceeded):
            await agent.ask("1", Tokens(), soon(), itself, caller)
    assert told.cooldowns == [CAPACITY_SECONDS]


async def test_what_other_instances_tell_counts_here() -> None:
    """Nobody calls before the time that was told, and what was discovered elsewhere is not discovered again."""
    upstream, clock = Upstream(), Clock()
    found = Discovery(Session("2025-06-18"), Tool("DataAgent_Elsewhere", "userQuestion", "hash"))
    told = Told(Notice(20, found, 100))
    agent = upstream.agent(clock, notices=told)
    with pytest.raises(CapacityExceeded) as refused:
        await agent.ready("alice")
    assert refused.value.retry_after == 20
    told.notice = Notice(0, found, 80)
    clock.advance(20)
    await agent.ready("alice")
    await agent.ask("1", Tokens(), soon(), itself, "alice")
    assert upstream.methods == ["tools/call"]
    assert upstream.messages[0]["params"]["name"] == "DataAgent_Elsewhere"
    assert (told.reads, told.cooldowns, told.discoveries) == (2, [], [])


async def test_what_was_discovered_here_is_told_to_the_other_instances() -> None:
    """Once for each discovery; a session is the caller's own and is told to nobody."""
    upstream, told = Upstream(), Told()
    agent = upstream.agent(notices=told)
    await asyncio.gather(*(agent.ask("1", Tokens(), soon(), itself) for _ in range(3)))
    ((found, seconds),) = told.discoveries
    assert (found.tool.name, found.session.protocol, seconds) == ("DataAgent_Sales", "2025-06-18", DISCOVERY_TTL)
    told.discoveries.clear()
    upstream.plan("initialize", in_session(1))
    await upstream.agent(notices=told).ask("1", Tokens(), soon(), itself)
    assert told.discoveries == []


async def test_an_agent_can_be_discovered_ahead_of_the_first_question() -> None:
    """The question is then one message; what is known already is not found out again."""
    upstream, told, tokens = Upstream(), Told(), Tokens()
    agent = upstream.agent(notices=told)
    await agent.discover(tokens, soon())
    await agent.discover(tokens, soon())
    assert (upstream.methods, len(told.discoveries)) == (HANDSHAKE, 1)
    await agent.ask("1", tokens, soon(), itself)
    assert upstream.methods == [*HANDSHAKE, "tools/call"]


async def test_a_discovery_ahead_meets_what_a_question_would() -> None:
    """A refusal by Fabric, one from here, and no token; only the first is the agent's."""
    upstream, told, tokens = Upstream(), Told(), Tokens()
    agent = upstream.agent(notices=told)

    async def none(*, rejected: str | None = None) -> str:
        assert rejected is None
        raise TimeoutError

    for _ in range(2 * LEAST_OUTCOMES):
        with pytest.raises(DeadlineExceeded):
            await agent.discover(none, soon())
    assert (agent.state, agent._guard._bulkhead.width) == ("closed", WIDTH)
    upstream.plan("initialize", in_json({"errorCode": "CapacityLimitExceeded"}, 429, retry_after="60"))
    with pytest.raises(CapacityExceeded):
        await agent.discover(tokens, soon())
    assert told.cooldowns == [60]
    with pytest.raises(CapacityExceeded):
        await agent.discover(tokens, soon())
    assert upstream.methods == ["initialize"]


async def test_an_agent_that_fails_again_and_again_is_left_alone() -> None:
    """Five failures in a row: the next question is refused without being sent."""
    upstream = Upstream()
    agent = upstream.agent()
    upstream.plan("tools/call", *[(500, {}, b"")] * LEAST_OUTCOMES)
    for _ in range(LEAST_OUTCOMES):
        with pytest.raises(AgentUnavailable):
            await agent.ask("1", Tokens(), soon(), itself)
    sent = len(upstream.requests)
    with pytest.raises(AgentPaused):
        await agent.ready()
    with pytest.raises(AgentPaused):
        await agent.ask("1", Tokens(), soon(), itself)
    assert (agent.state, len(upstream.requests)) == ("open", sent)


async def test_a_discovery_that_drags_on_counts_against_the_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that is silent from the first message on is left alone as well."""
    monkeypatch.setattr("lib.agents.discovery.SECONDS", 0.01)
    upstream, clock = Upstream(), Clock()
    upstream.pause.clear()
    agent = upstream.agent(clock)
    for _ in range(LEAST_OUTCOMES):
        clock.advance(0.1)
        with pytest.raises(AgentUnavailable):
            await agent.ask("1", Tokens(), soon(), itself)
    assert agent.state == "open"


async def test_no_more_than_its_width_are_under_way_at_once() -> None:
    """The next waits for its turn; a call that was not answered in time makes it narrower."""
    upstream, clock = Upstream(), Clock()
    agent = upstream.agent(clock, width=2)
    await agent.discover(Tokens(), soon())
    upstream.pause.clear()
    asking = [asyncio.create_task(agent.ask(f"{number}", Tokens(), soon(), itself)) for number in range(3)]
    await asyncio.wait_for(upstream.sent("tools/call", 2), 5)
    for _ in range(20):  # all of them get as far as they can
        await asyncio.sleep(0)
    assert upstream.methods.count("tools/call") == 2
    upstream.pause.set()
    assert len(await asyncio.gather(*asking)) == 3


async def test_retries_are_a_small_part_of_all_calls() -> None:
    """A peer that turns everybody away is not asked twice by everybody."""
    upstream, clock = Upstream(), Clock()
    agent = upstream.agent(clock)
    await agent.discover(Tokens(), soon())
    upstream.plan("tools/call", *[httpx.ConnectError("")] * 100)
    for number in range(30):
        with pytest.raises((Unreached, AgentPaused)):
            await agent.ask("1", Tokens(), soon(), itself)
        agent._guard._circuit._outcomes.clear()  # it is about the retries alone
        clock.advance(-sum(clock.slept))
        clock.slept.clear()
        assert upstream.methods.count("tools/call") <= number + 1 + BUDGET_MOST + (number + 5) / 10
    assert upstream.methods.count("tools/call") >= 30 + BUDGET_MOST


async def test_the_form_of_an_answer_is_made_where_the_answer_is_read() -> None:
    """In the threads for that: neither holds up the loop."""
    with ThreadPoolExecutor(1, thread_name_prefix="reading") as readers:
        agent = Upstream().agent(readers=readers)
        thread, text = await agent.ask(
            "1", Tokens(), soon(), lambda answer: (threading.current_thread().name, answer.text)
        )
    assert thread.startswith("reading")
    assert text == "Asked: 1"
