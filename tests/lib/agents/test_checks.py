"""Whether an agent can be asked, and what is found out in advance: by calls, by probes, and by what others tell."""

import asyncio

import httpx
import pytest

from lib import readiness
from lib.agents import data_agent
from lib.agents.data_agent import DISCOVERY_TTL, DataAgent
from lib.agents.discovery import Discovery
from lib.agents.notices import NoNotices, Notice
from lib.errors import (
    AgentAccessDenied,
    AgentFailed,
    AgentPaused,
    AgentUnavailable,
    CapacityExceeded,
    DeadlineExceeded,
    GatewayError,
    RateLimited,
)
from lib.readiness import Readiness
from lib.traffic.circuit import LEAST_OUTCOMES
from tests.clock import Clock
from tests.lib.agents.recorded import Wire, answer, in_json, sample
from tests.lib.agents.upstream import ADDRESS, Planned, Tokens, Upstream, said, soon

HANDSHAKE = ["initialize", "notifications/initialized", "tools/list"]
STRANGER = sample("token-missing")
FAILED = "The Data Agent run failed before producing a result."
BLOCKED = in_json({"errorCode": "RequestBlocked"}, 429, retry_after="60")


class Told:
    """A board that one test reads: what stands there, and what of health and discoveries was told."""

    def __init__(self) -> None:
        self.notice = Notice()
        self.reads: list[bool] = []
        self.health: list[bool] = []
        self.cooldowns: list[float] = []
        self.discoveries: list[tuple[Discovery, float]] = []

    async def read(self, *, at_once: bool = False) -> Notice:
        self.reads.append(at_once)
        return self.notice

    async def tell_cooldown(self, seconds: float) -> None:
        self.cooldowns.append(seconds)

    async def tell_discovery(self, found: Discovery, seconds: float) -> None:
        self.discoveries.append((found, seconds))

    async def tell_health(self, *, answers: bool) -> None:
        self.health.append(answers)


@pytest.fixture
def upstream() -> Upstream:
    """The agent."""
    return Upstream()


@pytest.fixture
def told() -> Told:
    """The board."""
    return Told()


@pytest.fixture
def agent(upstream: Upstream, told: Told, clock: Clock) -> DataAgent:
    """The way to the agent."""
    return DataAgent(ADDRESS, upstream.transport(), notices=told, now=clock, sleep=clock.sleep)


async def ask(agent: DataAgent, caller: str = "") -> str:
    """One question."""
    return await agent.ask("How much", Tokens(), soon(), lambda answer: answer.text, caller)


def one_session(call_id: str) -> Wire:
    """The reply to `initialize` of an agent that opens a session."""
    return in_json(answer(call_id, {"protocolVersion": "2025-06-18"}), mcp_session_id="s-1")


async def test_an_agent_of_which_nothing_is_known_is_probed_without_a_token(
    agent: DataAgent, upstream: Upstream, told: Told
) -> None:
    """The others are told that its door is open, so that they need not knock."""
    upstream.plan("initialize", STRANGER)
    await agent.check()
    assert (upstream.methods, told.health) == (["initialize"], [True])
    assert "authorization" not in upstream.requests[0].headers


@pytest.mark.parametrize(
    "reply",
    [(500, {}, b""), (403, {}, b""), httpx.ConnectError(""), httpx.ReadTimeout(""), one_session],
    ids=["500", "403", "unreachable", "silent", "lets-strangers-in"],
)
async def test_a_probe_that_fails_is_told_too(agent: DataAgent, upstream: Upstream, told: Told, reply: Planned) -> None:
    """With whatever but the one refusal that shows an open door."""
    upstream.plan("initialize", reply)
    with pytest.raises(GatewayError):
        await agent.check()
    assert told.health == [False]


@pytest.mark.parametrize("answers", [True, False])
async def test_what_a_call_has_shown_lately_anywhere_needs_no_probe(
    agent: DataAgent, upstream: Upstream, told: Told, answers: bool
) -> None:
    """A real outcome says more, and the board need not be read at once for it."""
    told.notice = Notice(answers=answers)
    if answers:
        await agent.check()
    else:
        with pytest.raises(AgentUnavailable):
            await agent.check()
    assert (upstream.methods, told.health) == ([], [])
    assert not any(told.reads)


async def test_an_agent_that_is_left_alone_fails_a_check_without_a_probe(
    agent: DataAgent, upstream: Upstream, told: Told
) -> None:
    """Since another instance was told to wait, or since its circuit is open here."""
    told.notice = Notice(cooldown_seconds=20, answers=True)
    with pytest.raises(CapacityExceeded):
        await agent.check()
    assert upstream.methods == []


async def test_an_agent_whose_circuit_is_open_fails_a_check_without_a_probe(
    agent: DataAgent, upstream: Upstream
) -> None:
    """It has failed too often lately, here."""
    upstream.plan("tools/call", *[(500, {}, b"")] * LEAST_OUTCOMES)
    for _ in range(LEAST_OUTCOMES):
        with pytest.raises(AgentUnavailable):
            await ask(agent)
    upstream.messages.clear()
    with pytest.raises(AgentPaused):
        await agent.check()
    assert upstream.methods == []


@pytest.mark.parametrize(
    ("reply", "fault", "expected"),
    [
        (None, None, [True]),
        ((500, {}, b""), AgentUnavailable, [False]),
        (httpx.ReadTimeout(""), DeadlineExceeded, [False]),
        (in_json({"errorCode": "CapacityLimitExceeded"}, 429), CapacityExceeded, [False]),
        (BLOCKED, CapacityExceeded, []),
        ((403, {}, b""), AgentAccessDenied, []),
        (lambda call_id: in_json(answer(call_id, said(FAILED))), None, [True]),
    ],
    ids=["answer", "500", "silent", "no-capacity", "own-quota", "no-access", "answer-that-is-none"],
)
async def test_each_call_tells_what_it_shows_of_the_agent(
    agent: DataAgent,
    upstream: Upstream,
    told: Told,
    reply: Planned | None,
    fault: type[GatewayError] | None,
    expected: list[bool],
) -> None:
    """An answer, or an outage; what one caller may not do, or not as often, is nobody else's matter."""
    if reply is not None:
        upstream.plan("tools/call", reply)
    try:
        await ask(agent)
    except GatewayError as met:
        assert isinstance(met, fault or AgentFailed)
    else:
        assert fault is None
    assert told.health == expected


async def test_what_the_gateway_refuses_by_itself_shows_nothing_of_the_agent(
    upstream: Upstream, told: Told, clock: Clock
) -> None:
    """A caller who has to wait, a call that cannot be paid for, and one without a token."""

    async def unaffordable() -> None:
        raise RateLimited("app", retry_after=1)

    async def no_token(*, rejected: str | None = None) -> str:
        assert rejected is None
        raise TimeoutError

    agent = DataAgent(ADDRESS, upstream.transport(), notices=told, now=clock, sleep=clock.sleep)
    upstream.plan("tools/call", BLOCKED)
    for _ in range(2):
        with pytest.raises(CapacityExceeded):
            await ask(agent, "alice")
    assert upstream.methods.count("tools/call") == 1
    with pytest.raises(DeadlineExceeded):
        await agent.discover(no_token, soon(), good_for=2 * DISCOVERY_TTL)
    poor = DataAgent(ADDRESS, upstream.transport(), notices=told, charge=unaffordable, now=clock)
    with pytest.raises(RateLimited):
        await ask(poor)
    assert told.health == []
    assert await ask(agent, "bob") == "Asked: How much"
    assert told.health == [True]


async def test_what_is_known_for_long_enough_is_not_found_out_again(
    agent: DataAgent, upstream: Upstream, told: Told, clock: Clock
) -> None:
    """Found out here or told by others; else it is, and the others are told of it."""
    tokens = Tokens()
    await agent.discover(tokens, soon(), good_for=360)
    assert upstream.methods == HANDSHAKE
    clock.advance(DISCOVERY_TTL - 360)
    await agent.discover(tokens, soon(), good_for=360)
    assert upstream.methods == HANDSHAKE
    clock.advance(1)
    await agent.discover(tokens, soon(), good_for=360)
    assert upstream.methods == 2 * HANDSHAKE
    assert [seconds for _, seconds in told.discoveries] == [DISCOVERY_TTL] * 2
    elsewhere = Upstream()
    told.notice = Notice(0, told.discoveries[0][0], 360)
    other = DataAgent(ADDRESS, elsewhere.transport(), notices=told, now=clock)
    await other.discover(tokens, soon(), good_for=360)
    assert elsewhere.methods == []
    await other.discover(tokens, soon(), good_for=361)
    assert elsewhere.methods == HANDSHAKE


async def test_a_renewal_that_fails_leaves_what_is_known(agent: DataAgent, upstream: Upstream, clock: Clock) -> None:
    """Questions go on by it; they are not held up by the renewal either."""
    await agent.discover(Tokens(), soon(), good_for=1)
    upstream.plan("tools/list", (403, {}, b""))
    with pytest.raises(AgentAccessDenied):
        await agent.discover(Tokens(), soon(), good_for=DISCOVERY_TTL + 1)
    assert await ask(agent) == "Asked: How much"
    assert upstream.methods == [*HANDSHAKE, *HANDSHAKE, "tools/call"]
    clock.advance(DISCOVERY_TTL)
    assert await ask(agent) == "Asked: How much"
    assert upstream.methods[7:] == [*HANDSHAKE, "tools/call"]


async def test_a_question_does_not_wait_for_a_renewal(agent: DataAgent, upstream: Upstream) -> None:
    """What is known is good until the new one is there."""
    await agent.discover(Tokens(), soon(), good_for=1)
    upstream.pause.clear()
    renewal = asyncio.create_task(agent.discover(Tokens(), soon(), good_for=DISCOVERY_TTL + 1))
    async with asyncio.timeout(30):
        await upstream.sent("initialize", 2)
        question = asyncio.create_task(ask(agent))
        await upstream.sent("tools/call", 1)
        upstream.pause.set()
        assert await question == "Asked: How much"
        await renewal


async def test_a_session_is_told_to_nobody_and_opened_at_each_renewal(
    agent: DataAgent, upstream: Upstream, told: Told
) -> None:
    """There is nothing to be known for long."""
    upstream.plan("initialize", one_session, one_session)
    for _ in range(2):
        await agent.discover(Tokens(), soon(), good_for=1)
    assert upstream.methods == 2 * HANDSHAKE
    assert told.discoveries == []


async def test_an_agent_that_is_left_alone_is_not_discovered(agent: DataAgent, upstream: Upstream, told: Told) -> None:
    """Neither while it cools down, nor for a caller who has to wait."""
    told.notice = Notice(cooldown_seconds=20)
    tokens = Tokens()
    with pytest.raises(CapacityExceeded):
        await agent.discover(tokens, soon(), good_for=1)
    assert (upstream.methods, tokens.rejected) == ([], [])


async def test_the_board_of_an_instance_that_is_alone_says_nothing() -> None:
    """And is told nothing."""
    board = NoNotices()
    await board.tell_health(answers=False)
    assert await board.read() == Notice()


async def test_readiness_waits_for_what_a_probe_tells(
    agent: DataAgent, upstream: Upstream, told: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an agent that is silent the others would never learn, and each of them would knock again and again."""
    assert data_agent.PING_SECONDS < readiness.PING_SECONDS
    monkeypatch.setattr(data_agent, "PING_SECONDS", 0.02)
    upstream.pause.clear()
    report = await Readiness({}, {"sales": agent.check}, ping_seconds=1).report()
    assert (report.agents, told.health) == ({"sales": False}, [False])
