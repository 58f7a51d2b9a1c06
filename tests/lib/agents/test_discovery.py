"""Rules for what has to be known of an agent before it can be asked: found once, kept for a while, shared."""

import asyncio
import logging
from functools import partial

import httpx
import pytest

from lib.agents.connection import Connection
from lib.agents.discovery import Discoveries, Discovery
from lib.agents.failures import ServerFault
from lib.agents.mcp import Session, Tool
from lib.errors import AgentAccessDenied, AgentUnavailable, DeadlineExceeded, GatewayError
from lib.traffic.retries import retry
from tests.clock import Clock
from tests.lib.agents.recorded import sample
from tests.lib.agents.upstream import ADDRESS, Planned, Upstream, in_session, one_tool, soon

HANDSHAKE = ["initialize", "notifications/initialized", "tools/list"]
TTL = 600
ELSEWHERE = Discovery(Session("2025-06-18"), Tool("DataAgent_Elsewhere", "userQuestion", "hash"))


@pytest.fixture
async def upstream() -> Upstream:
    """The agent."""
    return Upstream()


@pytest.fixture
def discoveries(upstream: Upstream, clock: Clock) -> Discoveries:
    """What is known of it: nothing yet."""
    connection = Connection(ADDRESS, upstream.transport())
    return Discoveries(connection, partial(retry, sleep=clock.sleep), ttl=TTL, now=clock)


async def found(discoveries: Discoveries) -> tuple[str, bool]:
    """The tool that is found, and whether it was found just now."""
    discovery, is_new = await discoveries.find("token", soon())
    return discovery.tool.name, is_new


async def waiting() -> None:
    """Lets all get as far as they can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_what_was_found_is_kept_for_its_time(discoveries: Discoveries, upstream: Upstream, clock: Clock) -> None:
    """And then found anew."""
    assert discoveries.known is None
    assert await found(discoveries) == ("DataAgent_Sales", True)
    clock.advance(TTL - 1)
    assert await found(discoveries) == ("DataAgent_Sales", False)
    clock.advance(1)
    assert discoveries.known is None
    assert await found(discoveries) == ("DataAgent_Sales", True)
    assert upstream.methods == HANDSHAKE * 2


async def test_what_was_found_elsewhere_serves_as_long_as_it_is_good(
    discoveries: Discoveries, upstream: Upstream, clock: Clock
) -> None:
    """No call is made for it; what is good no more is not taken."""
    discoveries.adopt(ELSEWHERE, 0)
    assert discoveries.known is None
    discoveries.adopt(ELSEWHERE, 60)
    assert await found(discoveries) == ("DataAgent_Elsewhere", False)
    clock.advance(60)
    assert await found(discoveries) == ("DataAgent_Sales", True)
    assert upstream.methods == HANDSHAKE


async def test_what_was_found_here_goes_before_what_was_found_elsewhere(discoveries: Discoveries) -> None:
    """Nobody's notice takes its place."""
    await found(discoveries)
    discoveries.adopt(ELSEWHERE, 60)
    assert await found(discoveries) == ("DataAgent_Sales", False)


async def test_a_wrong_clock_elsewhere_keeps_nothing_alive(discoveries: Discoveries) -> None:
    """Nothing is good for longer than it would be here."""
    discoveries.adopt(ELSEWHERE, TTL + 1)
    assert discoveries.known is None
    discoveries.adopt(ELSEWHERE, TTL)
    assert discoveries.known is ELSEWHERE


async def test_what_is_no_longer_so_is_forgotten_and_what_is_newer_is_not(discoveries: Discoveries) -> None:
    """A late refusal is about what was known then."""
    discoveries.adopt(ELSEWHERE, 60)
    discoveries.forget(ELSEWHERE)
    assert await found(discoveries) == ("DataAgent_Sales", True)
    discoveries.forget(ELSEWHERE)
    assert await found(discoveries) == ("DataAgent_Sales", False)


async def test_who_waits_for_a_discovery_shares_it(discoveries: Discoveries, upstream: Upstream) -> None:
    """One for all who ask at once; one of them has found it."""
    upstream.pause.clear()
    asked = [asyncio.create_task(found(discoveries)) for _ in range(5)]
    await waiting()
    upstream.pause.set()
    assert sorted(await asyncio.gather(*asked)) == [("DataAgent_Sales", False)] * 4 + [("DataAgent_Sales", True)]
    assert upstream.methods == HANDSHAKE


@pytest.mark.parametrize(
    "fault", [httpx.ReadTimeout(""), httpx.ConnectError(""), httpx.ReadError("")], ids=["silent", "unreached", "broken"]
)
async def test_a_discovery_that_fails_is_not_waited_for_once_more_by_each(
    discoveries: Discoveries, upstream: Upstream, clock: Clock, fault: Exception
) -> None:
    """Twelve who wait for the same one learn together that it failed; who comes later tries anew."""
    upstream.plan("initialize", *[fault] * 3)
    outcomes = await asyncio.gather(*(found(discoveries) for _ in range(12)), return_exceptions=True)
    assert all(isinstance(outcome, GatewayError) for outcome in outcomes)
    tried = 1 if isinstance(fault, httpx.ReadTimeout) else 3
    assert upstream.methods == ["initialize"] * tried
    clock.advance(0.001)
    upstream.planned.clear()
    assert await found(discoveries) == ("DataAgent_Sales", True)


async def test_what_one_caller_is_refused_is_not_anothers(discoveries: Discoveries, upstream: Upstream) -> None:
    """The next one tries under a token of their own."""
    upstream.plan("initialize", (403, {}, b""))
    denied, other = await asyncio.gather(found(discoveries), found(discoveries), return_exceptions=True)
    assert isinstance(denied, AgentAccessDenied)
    assert other == ("DataAgent_Sales", True)


@pytest.mark.parametrize("first", [None, in_session(1)], ids=["stateless", "sessions"])
async def test_a_discovery_that_drags_on_is_given_up_and_is_the_agents_failure(
    discoveries: Discoveries, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, first: Planned | None
) -> None:
    """However slowly each of its steps moves on, all of them together have a time of their own."""
    if first:
        upstream.plan("initialize", first)
        await found(discoveries)
    monkeypatch.setattr("lib.agents.discovery.SECONDS", 0.02)
    upstream.pause.clear()
    with pytest.raises(ServerFault):
        await discoveries.find("token", soon())


async def test_no_discovery_begins_past_the_deadline(discoveries: Discoveries, upstream: Upstream) -> None:
    """Nothing is sent."""
    with pytest.raises(DeadlineExceeded):
        await discoveries.find("token", soon(-1))
    assert upstream.methods == []


async def test_an_agent_that_opens_sessions_opens_one_for_each(discoveries: Discoveries, upstream: Upstream) -> None:
    """Once that is known nobody waits for anybody, until it opens none: then what is found is shared again."""
    upstream.plan("initialize", *(in_session(number) for number in range(4)))
    await discoveries.find("token", soon())
    upstream.pause.clear()
    asked = [asyncio.create_task(discoveries.find("token", soon())) for _ in range(3)]
    await asyncio.wait_for(upstream.sent("initialize", 4), 5)
    upstream.pause.set()
    sessions = {discovery.session.id for discovery, is_new in await asyncio.gather(*asked) if is_new}
    assert sessions == {"s-1", "s-2", "s-3"}
    assert discoveries.known is None
    assert await found(discoveries) == ("DataAgent_Sales", True)
    assert await found(discoveries) == ("DataAgent_Sales", False)


async def test_a_rejected_token_is_its_bearers(discoveries: Discoveries, upstream: Upstream) -> None:
    """It does not count as a discovery that was waited for in vain."""
    upstream.plan("initialize", sample("token-missing"))
    refused, other = await asyncio.gather(found(discoveries), found(discoveries), return_exceptions=True)
    assert isinstance(refused, AgentUnavailable)
    assert other == ("DataAgent_Sales", True)


async def test_a_tool_that_changes_is_told(
    discoveries: Discoveries, upstream: Upstream, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The tool is pinned: another one under the same address is worth a warning, the same one is not."""
    with caplog.at_level(logging.INFO, "lib.agents.discovery"):
        for name in ("DataAgent_Sales", "DataAgent_Sales", "DataAgent_Other"):
            upstream.plan("tools/list", one_tool(name))
            await found(discoveries)
            clock.advance(TTL)
    assert [record.levelname for record in caplog.records] == ["INFO", "INFO", "WARNING"]
    assert [vars(record)["tool_changed"] for record in caplog.records] == [False, False, True]
