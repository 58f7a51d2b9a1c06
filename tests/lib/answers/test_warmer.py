"""The warmer on a real Azurite, with agents at the far end of a transport: what it asks, and what it leaves alone."""

import ast
import asyncio
import json
import logging
import secrets
import uuid
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
from starlette.responses import Response

from lib.agent_settings import AgentSettings
from lib.agents.answer import Answer
from lib.agents.data_agent import DISCOVERY_TTL, DataAgent
from lib.agents.question import Question
from lib.answers import warmer as module
from lib.answers.board import Board
from lib.answers.cache import AnswerCache
from lib.answers.encoding import encode
from lib.answers.given import Given
from lib.answers.questions import Agent, Questions
from lib.answers.stored import PLACE_DIGITS, StoredAnswers
from lib.answers.wanted import Wanted, of_gateway, wanted
from lib.answers.warmer import (
    BUDGET_SECONDS,
    LASTING_SECONDS,
    LEASE_SECONDS,
    PAUSE_SECONDS,
    PERIOD_SECONDS,
    QUESTION_SECONDS,
    TIMER,
    Warmer,
)
from lib.errors import AgentAccessDenied, IdentityProviderUnavailable, RateLimited
from lib.identity.principal import Principal
from lib.identity.revocation import Revocations
from lib.limits.limiter import Limiter
from lib.limits.safe_share import SafeShare
from lib.limits.usage import Limits, Usage
from lib.storage import leases
from lib.storage.azure_sdk import CALL_SECONDS
from lib.storage.key_vault import KeyVault
from lib.storage.leases import Leases
from lib.storage.row_keys import RowKeys
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.standings import ROW, Standings
from lib.storage.standings import TABLE as PRINCIPALS
from lib.storage.tables import Tables
from lib.telemetry.logs import JsonFormatter
from lib.traffic.circuit import LEAST_OUTCOMES
from lib.traffic.deadline import Deadline
from lib.traffic.gcra import Meter, Rate
from tests.clock import Clock
from tests.lib.agents.recorded import Wire, answer, in_json, sample
from tests.lib.agents.upstream import ADDRESS, Tokens, Upstream, said, soon
from tests.lib.storage.front import Front

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

pytestmark = pytest.mark.stack

HANDSHAKE = ["initialize", "notifications/initialized", "tools/list"]
STRANGER = sample("token-missing")
HOUR = 3600
LIMITS = Limits(per_minute=60, burst=5, per_day=100, in_flight=2)
FAILED = "The Data Agent run failed before producing a result."


class Instance:
    """One instance of the gateway: its own memory, the state that all share, and agents at the end of a transport."""

    def __init__(
        self,
        tables: Tables,
        vault: KeyVault,
        clock: Clock,
        agents: dict[AgentSettings, Upstream],
        identity: tuple[str, str],
    ) -> None:
        self.keys, self.clock, self.identity = RowKeys(vault), clock, identity
        standings = Standings(tables, clock=clock)
        self.revocations = Revocations(standings, self.keys, now=clock)
        stored = StoredAnswers(tables, Sealer(KeyRing(vault, now=clock)), HOUR)
        self.questions = Questions(
            AnswerCache(HOUR, now=clock),
            stored,
            Meter(Rate(1000, 100), now=clock),
            Limiter(standings, SafeShare(LIMITS, 40), LIMITS, now=clock),
            self.revocations,
            stale_seconds=HOUR,
            now=clock,
        )
        self.charges = 0
        self.affordable = 1000
        self.agents = {one.name: self._agent(one.name, upstream, tables) for one, upstream in agents.items()}
        self.token = Tokens()
        self.warmer = Warmer(
            Leases(tables, now=clock),
            {one.name: one for one in agents},
            self.agents,
            self.questions,
            self.keys,
            token=self.token,
            identity=identity,
            clock=clock,
        )

    def _agent(self, name: str, upstream: Upstream, tables: Tables) -> DataAgent:
        clock = self.clock
        board = Board(tables, name, ADDRESS.url, now=clock, clock=clock)
        return DataAgent(
            ADDRESS, upstream.transport(), name=name, notices=board, charge=self._charge, now=clock, sleep=clock.sleep
        )

    async def _charge(self) -> None:
        self.charges += 1
        if self.charges > self.affordable:
            raise RateLimited("app", retry_after=1)

    async def of(self, agent: AgentSettings, question: str) -> Wanted:
        """What the gateway itself wants to know."""
        return await of_gateway(self.keys, agent, Question(question), self.identity)

    async def is_warm(self, agent: AgentSettings, index: int = 0) -> bool:
        """Whether a configured question's answer is there for all instances."""
        return await self.questions.is_fresh(await self.of(agent, agent.questions[index]))

    async def ask(self, who: Principal, agent: AgentSettings, question: str) -> Given:
        """A person's own question."""
        want = await wanted(self.keys, who, agent, Question(question), self.identity)
        peer = self.agents[agent.name]
        fetch = partial(peer.ask, question, Tokens(), soon(), encode, want.caller)
        with self.questions.telling_limits(want):
            return await self.questions.known(want) or await self.questions.ask(
                want, Deadline.after(60), Agent(partial(peer.ready, want.caller), fetch)
            )


type Start = Callable[..., Instance]


@pytest.fixture
async def start(key_vault_client: KeyVault, tables: Tables, clock: Clock) -> Start:
    """Starts one more instance of this test's gateway; the lease of the test before is forgotten."""
    await tables.delete(leases.TABLE, TIMER, leases.ROW)
    identity = str(uuid.uuid4()), str(uuid.uuid4())

    def instance(agents: dict[AgentSettings, Upstream], of: Tables = tables) -> Instance:
        return Instance(of, key_vault_client, clock, agents, identity)

    return instance


@pytest.fixture
def upstream() -> Upstream:
    """The agent."""
    return Upstream()


def shared(*questions: str, cache_seconds: int = HOUR) -> AgentSettings:
    """A shared agent of this test alone, with these questions."""
    return AgentSettings(_name(), ADDRESS, "", "app", cache_seconds, shared=True, questions=questions)


def personal() -> AgentSettings:
    """An agent of this test that is asked as each person."""
    return AgentSettings(_name(), ADDRESS)


def _name() -> str:
    return f"agent-{secrets.token_hex(8)}"


def person() -> Principal:
    """Somebody who was never seen before."""
    return Principal(str(uuid.uuid4()), str(uuid.uuid4()), "user", "bearer", 0.0)


def saying(text: str) -> Callable[[str], Wire]:
    """A reply to a question."""
    return lambda call_id: in_json(answer(call_id, said(text)))


def after(clock: Clock, seconds: float) -> Callable[[str], Wire]:
    """An answer that has taken so long."""

    def reply(call_id: str) -> Wire:
        clock.advance(seconds)
        return in_json(answer(call_id, said("42")))

    return reply


def asked(upstream: Upstream) -> list[str]:
    """The questions that have come, in order."""
    calls = [message["params"] for message in upstream.messages if message["method"] == "tools/call"]
    return [call["arguments"]["userQuestion"] for call in calls]


async def told(instance: Instance, caplog: pytest.LogCaptureFixture) -> dict[str, Any]:
    """What the one line of a run says that is not 0."""
    caplog.clear()
    with caplog.at_level(logging.INFO, module.__name__):
        await instance.warmer.run()
    (line,) = (record for record in caplog.records if record.message == "agents were warmed")
    facts = json.loads(JsonFormatter().format(line))
    return {
        name: value for name, value in facts.items() if value and name not in {"level", "logger", "message", "event"}
    }


async def test_the_first_question_of_any_instance_finds_its_agent_discovered(start: Start, upstream: Upstream) -> None:
    """The handshake is told on the board, so that a question is one message."""
    agent = shared()
    warm, serving = start({agent: upstream}), start({agent: upstream})
    await warm.warmer.run()
    assert upstream.methods == HANDSHAKE
    await serving.ask(person(), agent, "How much")
    assert upstream.methods == [*HANDSHAKE, "tools/call"]


async def test_a_discovery_that_outlives_the_next_run_is_not_made_anew(
    start: Start, upstream: Upstream, clock: Clock
) -> None:
    """Nor by an instance that has only read of it; the one before stays where the new one fails."""
    agent = shared()
    first, second = start({agent: upstream}), start({agent: upstream})
    await first.warmer.run()
    clock.advance(DISCOVERY_TTL - LASTING_SECONDS)
    for instance in (first, second):
        await instance.warmer.run()
    assert upstream.methods == HANDSHAKE
    clock.advance(1)
    upstream.plan("initialize", (403, {}, b""))
    await first.warmer.run()
    assert upstream.methods == [*HANDSHAKE, "initialize"]
    await first.ask(person(), agent, "How much")
    assert upstream.methods[4:] == ["tools/call"]
    await second.warmer.run()
    assert upstream.methods[5:] == HANDSHAKE


async def test_an_agent_that_is_asked_as_people_is_probed_as_nobody(
    start: Start, upstream: Upstream, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Without any token, and once in five minutes however many probe: what came of it stands on the board."""
    agent = personal()
    upstream.plan("initialize", STRANGER, httpx.ConnectError(""), STRANGER)
    here, there = start({agent: upstream}), start({agent: upstream})
    for expected in ({"warmed": 1}, {"away": 1}, {"warmed": 1}):
        assert await told(here, caplog) == expected
        assert await told(there, caplog) == expected
        clock.advance(PERIOD_SECONDS)
    assert upstream.methods == ["initialize"] * 3
    assert ["authorization" in request.headers for request in upstream.requests] == [False] * 3
    assert here.token.rejected == there.token.rejected == []


async def test_a_configured_question_is_answered_before_anybody_asks(
    start: Start, upstream: Upstream, tables: Tables
) -> None:
    """On every instance, to everybody alike, whatever their white space; only the gateway pays, for its calls."""
    agent = shared("total sales by month", "How  many orders")
    warm, serving = start({agent: upstream}), start({agent: upstream})
    await warm.warmer.run()
    assert asked(upstream) == ["total sales by month", "How  many orders"]
    assert {request.headers["authorization"] for request in upstream.requests} == {
        "Bearer token-1",
        "Bearer token-2",
        "Bearer token-3",
    }
    assert warm.charges == len(upstream.messages) == 5
    for who in (person(), person()):
        for question in ("total sales by month", " total  sales\nby month ", "How many orders"):
            given = await serving.ask(who, agent, question)
            assert (given.how, given.stale) == ("kept", False)
        row = await tables.read(PRINCIPALS, await serving.keys.partition(who.tenant_id, who.object_id), ROW)
        assert row is None or Usage.read(row.values) == Usage()
    assert len(asked(upstream)) == 2
    assert (await serving.ask(person(), agent, "Total sales by month")).how == "fetched", "letters count"


async def test_an_answer_is_renewed_before_it_is_too_old_and_not_sooner(
    start: Start, upstream: Upstream, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """It would not last until the run after; until the new one is there the old one is given."""
    agent = shared("total sales")
    warm, serving = start({agent: upstream}), start({agent: upstream})
    assert await told(warm, caplog) == {"warmed": 1, "asked": 1}
    clock.advance(HOUR - LASTING_SECONDS - 1)
    assert await told(warm, caplog) == {"warmed": 1, "fresh": 1}
    clock.advance(1)
    upstream.plan("tools/call", saying("43"))
    upstream.pause.clear()
    run = asyncio.create_task(warm.warmer.run())
    async with asyncio.timeout(30):
        await upstream.sent("tools/call", 2)
    assert (await start({agent: upstream}).ask(person(), agent, "total sales")).age == HOUR - LASTING_SECONDS
    upstream.pause.set()
    await run
    assert b"43" in (await serving.ask(person(), agent, "total sales")).json


async def test_what_lasts_for_less_than_two_runs_is_asked_in_each(
    start: Start, upstream: Upstream, clock: Clock
) -> None:
    """Five minutes end before the next run has its answer."""
    agent = shared("total sales", cache_seconds=300)
    instance = start({agent: upstream})
    for runs in (1, 2, 3):
        await instance.warmer.run()
        assert len(asked(upstream)) == runs
        clock.advance(PERIOD_SECONDS)


@pytest.mark.parametrize("scope", ["gateway", "tenant"])
async def test_an_answer_that_nobody_is_given_any_more_is_renewed(
    start: Start, upstream: Upstream, clock: Clock, scope: str
) -> None:
    """After a revocation what was asked before does not count, however young it is."""
    agent = shared("total sales")
    instance = start({agent: upstream})
    await instance.warmer.run()
    clock.advance(60)
    tenant_id, object_id = instance.identity
    await instance.revocations.revoke(*((tenant_id, object_id) if scope == "gateway" else (tenant_id,)))
    clock.advance(60)
    await instance.warmer.run()
    assert len(asked(upstream)) == 2
    assert (await start({agent: upstream}).ask(person(), agent, "total sales")).how == "kept"


async def test_an_answer_from_a_time_that_has_not_come_is_renewed(
    start: Start, upstream: Upstream, clock: Clock
) -> None:
    """A clock that was wrong once would leave it there for ever, given to nobody."""
    agent = shared("total sales")
    instance = start({agent: upstream})
    clock.advance(10 * 365 * 86_400)
    await instance.questions.keep(await instance.of(agent, "total sales"), encode(Answer("42", "42")), clock.now)
    clock.advance(-10 * 365 * 86_400)
    await start({agent: upstream}).warmer.run()
    assert asked(upstream) == ["total sales"]


async def test_no_two_questions_take_each_others_place(start: Start, upstream: Upstream, clock: Clock) -> None:
    """Of an owner's 256 places two of twenty questions would often have the same, and be asked at every run."""
    agent = shared()
    keys, places = start({agent: upstream}), dict[str, str]()
    for number in range(257):
        question = f"total sales of store {number}"
        place = (await keys.of(agent, question)).key.question[:PLACE_DIGITS]
        if place in places:
            break
        places[place] = question
    agent = replace(agent, questions=tuple(one.replace(" ", "  ") for one in (places[place], question)))
    instance = start({agent: upstream})
    for _ in range(2):
        await instance.warmer.run()
        clock.advance(PERIOD_SECONDS)
    assert asked(upstream) == list(agent.questions)
    assert [await instance.is_warm(agent, index) for index in (0, 1)] == [True, True]


async def test_time_ends_a_run_and_the_next_begins_with_another_question(
    start: Start, upstream: Upstream, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """No question is begun that may not end, the run says so, and the last one has its turn as well."""
    clock.now -= clock.now % (3 * PERIOD_SECONDS)
    agent, other = shared("first", "second", cache_seconds=300), shared("third", cache_seconds=300)
    instance = start({agent: upstream, other: upstream})
    runs = []
    for began in range(3):
        upstream.plan("tools/call", after(clock, BUDGET_SECONDS - 1), after(clock, 2))
        assert await told(instance, caplog) == {
            "warmed": 2,
            "asked": 2,
            "left": 1,
            "budget_ended": True,
            "seconds": BUDGET_SECONDS + 1,
        }
        runs.append(asked(upstream)[2 * began :])
        clock.advance(PERIOD_SECONDS - BUDGET_SECONDS - 1)
    assert runs == [["first", "second"], ["second", "third"], ["third", "first"]]


async def test_a_question_has_a_time_of_its_own(start: Start, upstream: Upstream, clock: Clock) -> None:
    """The last one is not cut off by the end of the time in which questions are begun."""
    agent = shared("first", "second")
    clock.now -= clock.now % (2 * PERIOD_SECONDS)
    upstream.plan("tools/call", after(clock, BUDGET_SECONDS - 1), after(clock, QUESTION_SECONDS - 1))
    instance = start({agent: upstream})
    await instance.warmer.run()
    assert [await instance.is_warm(agent, index) for index in (0, 1)] == [True, True]


async def test_an_agent_that_fails_does_not_stop_the_others(
    start: Start, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither one that cannot be discovered, nor one that fails at its first question: its others are spared."""
    gone, down, well = shared("gone"), shared("down", "down too"), shared("well")
    absent, failing = Upstream(), Upstream()
    absent.plan("initialize", (404, {}, b""))
    failing.plan("tools/call", (500, {}, b""), (500, {}, b""))
    instance = start({gone: absent, down: failing, well: upstream})
    assert await told(instance, caplog) == {"warmed": 2, "away": 1, "asked": 1, "failed": 1, "spared": 1}
    assert (asked(absent), len(asked(failing)), asked(upstream)) == ([], 1, ["well"])
    away = {vars(line)["agent"] for line in caplog.records if line.message == "an agent is not warmed"}
    assert away == {gone.name, down.name}


async def test_an_agent_that_is_cooling_down_is_not_called_at_all(
    start: Start, upstream: Upstream, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever was told to wait tells it on the board, which a run reads again, however quiet it was since the last."""
    ours, theirs, front_door = shared("total sales"), personal(), Upstream()
    agents = {ours: upstream, theirs: front_door}
    serving, warm = start(agents), start(agents)
    front_door.plan("initialize", STRANGER, STRANGER)
    assert (await told(warm, caplog))["warmed"] == 2
    clock.advance(PERIOD_SECONDS)
    for agent in agents:
        await serving.agents[agent.name]._notices.tell_cooldown(60)
    calls = len(upstream.messages)
    assert await told(warm, caplog) == {"away": 2}
    assert (len(upstream.messages), front_door.methods) == (calls, ["initialize"])
    clock.advance(PERIOD_SECONDS)
    assert (await told(warm, caplog))["warmed"] == 2


async def test_an_agent_that_begins_to_cool_down_during_a_run_is_asked_nothing_more(
    start: Start, upstream: Upstream, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whichever instance was told so, while a question was under way here."""
    agent = shared("first", "second", "third")
    serving, warm = start({agent: upstream}), start({agent: upstream})
    clock.now -= clock.now % (3 * PERIOD_SECONDS)
    await warm.agents[agent.name].discover(Tokens(), soon(), good_for=LASTING_SECONDS)
    upstream.pause.clear()
    run = asyncio.create_task(told(warm, caplog))
    async with asyncio.timeout(30):
        await upstream.sent("tools/call", 1)
    await serving.agents[agent.name]._notices.tell_cooldown(300)
    clock.advance(60)
    upstream.pause.set()
    assert await run == {"warmed": 1, "asked": 1, "failed": 1, "spared": 1, "seconds": 60}
    assert asked(upstream) == ["first"]


async def test_an_agent_whose_circuit_is_open_is_not_called_at_all(
    start: Start, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """It has failed too often lately, here."""
    agent = shared("total sales")
    instance = start({agent: upstream})
    upstream.plan("initialize", *[(500, {}, b"")] * 3 * LEAST_OUTCOMES)
    while instance.agents[agent.name].state == "closed":
        await instance.warmer.run()
    calls = len(upstream.messages)
    assert await told(instance, caplog) == {"away": 1}
    assert len(upstream.messages) == calls


async def test_a_question_that_asks_back_is_left_alone_for_an_hour(
    start: Start, upstream: Upstream, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Its answer is not kept, so that it would be paid for at each run; the log names its place, never its text."""
    agent = shared("total sales", "how much of it")
    clock.now -= clock.now % (2 * PERIOD_SECONDS)
    upstream.plan("tools/call", saying("42"), saying("Of what, please?"))
    instance = start({agent: upstream})
    assert await told(instance, caplog) == {"warmed": 1, "asked": 2}
    (line,) = (record for record in caplog.records if record.levelname == "WARNING" and record.name == module.__name__)
    assert (vars(line)["agent"], vars(line)["number"], vars(line)["code"]) == (agent.name, 2, "not_kept")
    assert "how much" not in " ".join(str(vars(record)) for record in caplog.records)
    clock.advance(PAUSE_SECONDS - 1)
    assert (await told(instance, caplog))["paused"] == 1
    clock.advance(1)
    assert (await told(instance, caplog))["asked"] == 1
    assert asked(upstream).count("how much of it") == 2


@pytest.mark.parametrize(
    ("reply", "other"), [(saying(FAILED), "asked"), (lambda _: (500, {}, b""), "spared")], ids=["no-answer", "outage"]
)
async def test_a_question_that_was_worked_on_in_vain_is_left_alone_for_an_hour(
    start: Start,
    upstream: Upstream,
    clock: Clock,
    caplog: pytest.LogCaptureFixture,
    reply: Callable[[str], Wire],
    other: str,
) -> None:
    """It was paid for; one without an answer says nothing of the agent's other questions."""
    agent = shared("never", "always")
    clock.now -= clock.now % (2 * PERIOD_SECONDS)
    upstream.plan("tools/call", reply)
    instance = start({agent: upstream})
    assert await told(instance, caplog) == {"warmed": 1, "failed": 1, other: 1}
    clock.advance(2 * PERIOD_SECONDS)
    assert (await told(instance, caplog))["paused"] == 1
    assert asked(upstream) == ["never", "always"]
    clock.advance(PAUSE_SECONDS)
    await instance.warmer.run()
    assert asked(upstream).count("never") == 2


async def test_a_question_that_nobody_has_worked_on_is_asked_in_the_next_run(
    start: Start, upstream: Upstream, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Past the gateway's own limit of calls, too, which people share: it is theirs first."""
    agent = shared("first", "second", "third")
    instance = start({agent: upstream})
    instance.affordable = 4
    assert await told(instance, caplog) == {"warmed": 1, "asked": 1, "failed": 1, "spared": 1}
    instance.affordable = 1000
    clock.advance(PERIOD_SECONDS)
    assert await told(instance, caplog) == {"warmed": 1, "fresh": 1, "asked": 2}


async def test_where_the_gateway_has_no_token_nothing_is_called(
    start: Start, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """Entra is away; agents for people are probed all the same."""
    theirs = Upstream()
    theirs.plan("initialize", STRANGER)
    instance = start({shared("total sales"): upstream, personal(): theirs})

    async def none(*, rejected: str | None = None) -> str:
        assert rejected is None
        raise IdentityProviderUnavailable

    instance.warmer._token = none
    assert await told(instance, caplog) == {"warmed": 1, "away": 1}
    assert (upstream.methods, theirs.methods) == ([], ["initialize"])


async def test_where_the_gateway_has_lost_the_agent_nobody_is_given_its_answers(
    start: Start, upstream: Upstream, clock: Clock
) -> None:
    """A 403 drops what is kept of it, for all instances."""
    agent = shared("total sales", "orders")
    instance = start({agent: upstream})
    await instance.warmer.run()
    clock.advance(HOUR - LASTING_SECONDS)
    upstream.plan("tools/call", *[(403, {}, b"")] * 2)
    await instance.warmer.run()
    assert [await instance.is_warm(agent, index) for index in (0, 1)] == [False, False]
    with pytest.raises(AgentAccessDenied):
        await start({agent: upstream}).ask(person(), agent, "orders")


async def test_of_two_warmers_at_once_one_works(
    start: Start, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    """The other one does nothing, and says so; afterwards it may."""
    agent = shared("total sales")
    first, second = start({agent: upstream}), start({agent: upstream})
    upstream.pause.clear()
    with caplog.at_level(logging.INFO, "lib"):
        run = asyncio.create_task(first.warmer.run())
        async with asyncio.timeout(30):
            await upstream.sent("initialize", 1)
        await second.warmer.run()
        lines = [record.message for record in caplog.records]
        assert (lines.count("another run has the lease"), lines.count("agents were warmed")) == (1, 0)
        upstream.pause.set()
        await run
    assert upstream.methods == [*HANDSHAKE, "tools/call"]
    assert await told(second, caplog) == {"warmed": 1, "fresh": 1}
    assert upstream.methods == [*HANDSHAKE, "tools/call"]


async def test_while_storage_is_away_nothing_is_asked(
    start: Start, upstream: Upstream, fronted: Tables, front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    """Nobody could be told of it, and two might ask at once; the log says that there was no lease."""
    front.planned.extend([Response(status_code=403)] * leases.ATTEMPTS)
    instance = start({shared("total sales"): upstream}, fronted)
    await instance.warmer.run()
    assert upstream.methods == []
    assert "a lease could not be had" in [record.message for record in caplog.records]


async def test_an_answer_that_could_not_be_stored_is_not_taken_for_warm(
    start: Start, upstream: Upstream, fronted: Tables, front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    """In this instance's memory alone it is of no use to anybody."""
    agent = shared("total sales")
    instance = start({agent: upstream}, fronted)

    async def keeping_none(scope: "Scope", receive: "Receive", send: "Send") -> None:
        is_kept = scope["method"] == "POST" and scope["path"].endswith("/answers")
        await (Response(status_code=403) if is_kept else front.pass_on)(scope, receive, send)

    front.planned.extend([keeping_none] * 100)
    assert await told(instance, caplog) == {"warmed": 1, "asked": 1}
    front.planned.clear()
    assert "not_kept" in [vars(record).get("code") for record in caplog.records]
    assert not await start({agent: upstream}).is_warm(agent)


async def test_without_agents_or_questions_a_run_is_short(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    """It says that there was nothing to do."""
    assert await told(start({}), caplog) == {}


def test_a_run_is_over_before_its_lease_and_its_lease_before_the_next_run() -> None:
    """Were the last question begun late and slow, and what is read and written around it as slow as it may be."""
    around_a_question = 6 * CALL_SECONDS
    assert BUDGET_SECONDS + QUESTION_SECONDS + around_a_question < LEASE_SECONDS < PERIOD_SECONDS


def test_the_timer_runs_as_often_as_the_warmer_thinks() -> None:
    """What lasts until the next run goes by that."""
    source = (Path(__file__).parents[3] / "function_app.py").read_text(encoding="utf-8")
    (timer,) = (node for node in ast.walk(ast.parse(source)) if getattr(node, "name", "") == "warm")
    assert f'schedule="30 */{PERIOD_SECONDS // 60} * * * *"' in ast.unparse(timer).replace("'", '"')
