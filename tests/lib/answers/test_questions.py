"""Rules for the way of a question, on a real Azurite behind a front that counts."""

import asyncio
import uuid

import pytest

from lib.agents.answer import Answer
from lib.agents.failures import AddressUnknown
from lib.answers.cache import AnswerCache
from lib.answers.questions import Questions
from lib.errors import (
    AgentAccessDenied,
    AgentFailed,
    CapacityExceeded,
    ConsentRequired,
    DeadlineExceeded,
    GatewayError,
    IdentityProviderUnavailable,
    RateLimited,
    ReauthRequired,
    StepUpRequired,
)
from lib.identity.principal import Principal
from lib.identity.revocation import Revocations
from lib.limits.limiter import Limiter
from lib.limits.safe_share import SafeShare
from lib.limits.usage import Limits, Usage
from lib.storage.key_vault import KeyVault
from lib.storage.row_keys import RowKeys
from lib.storage.standings import ROW, TABLE, Standings
from lib.storage.tables import Tables
from lib.traffic.deadline import Deadline
from lib.traffic.gcra import Meter, Rate
from tests.clock import Clock
from tests.lib.storage.front import Front

pytestmark = pytest.mark.stack

LIMITS = Limits(per_minute=60, burst=3, per_day=100, in_flight=2)


class Agent:
    """Answers with a number, once it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.fault: Exception | None = None

    async def __call__(self) -> Answer:
        """The next answer, or the planned failure."""
        self.asked += 1
        number = self.asked
        await self.go_on.wait()
        if self.fault:
            raise self.fault
        return Answer(f"answer {number}", f"Answer {number}.")


@pytest.fixture
def agent() -> Agent:
    """An agent that was not asked yet."""
    return Agent()


@pytest.fixture
def keys(key_vault_client: KeyVault) -> RowKeys:
    """What rows are named by."""
    return RowKeys(key_vault_client)


@pytest.fixture
def standings(fronted: Tables, clock: Clock) -> Standings:
    """The rows of everybody."""
    return Standings(fronted, clock=clock)


@pytest.fixture
def revocations(keys: RowKeys, standings: Standings, clock: Clock) -> Revocations:
    """From when on answers count."""
    return Revocations(standings, keys, now=clock)


@pytest.fixture
def questions(keys: RowKeys, standings: Standings, revocations: Revocations, clock: Clock) -> Questions:
    """The way of a question, with two kept answers at once."""
    return built(Meter(Rate(1000, 2), now=clock), keys, standings, revocations, clock)


def built(repeats: Meter, keys: RowKeys, standings: Standings, revocations: Revocations, clock: Clock) -> Questions:
    """The way of a question with so many repeats."""
    limiter = Limiter(standings, SafeShare(LIMITS, 40), LIMITS, now=clock)
    return Questions(AnswerCache(300, now=clock), repeats, limiter, revocations, keys, now=clock)


def person(**more: object) -> Principal:
    """Somebody who was never seen before."""
    described = {"kind": "user", "signed_in": "bearer", "expires_at": 0.0} | more
    return Principal(str(uuid.uuid4()), str(uuid.uuid4()), **described)  # type: ignore[arg-type]


async def ask(questions: Questions, who: Principal, agent: Agent, text: str = "How much?", name: str = "sales") -> str:
    """The text of the answer."""
    given = await questions.ask(who, name, text, Deadline.after(60), agent)
    return given.answer.text


async def usage_of(tables: Tables, keys: RowKeys, who: Principal) -> Usage:
    """What the row says."""
    row = await tables.read(TABLE, await keys.partition(who.tenant_id, who.object_id), ROW)
    assert row is not None
    return Usage.read(row.values)


async def settled(agent: Agent, asked: int = 1) -> None:
    """Waits until the agent was asked so often."""
    async with asyncio.timeout(5):
        while agent.asked < asked:  # noqa: ASYNC110  # the agent is ours, and real I/O lies before it
            await asyncio.sleep(0.001)


async def test_two_hundred_who_ask_the_same_cost_one_question(
    keys: RowKeys, standings: Standings, revocations: Revocations, agent: Agent, tables: Tables, clock: Clock
) -> None:
    """One call, one charge, two hundred answers; whoever comes too late for the call is given what it brought."""
    who, questions = person(), built(Meter(Rate(1000, 200), now=clock), keys, standings, revocations, clock)
    agent.go_on.clear()
    asking = [asyncio.create_task(ask(questions, who, agent)) for _ in range(200)]
    await settled(agent)
    agent.go_on.set()
    assert set(await asyncio.gather(*asking)) == {"Answer 1."}
    assert agent.asked == 1
    usage = await usage_of(tables, keys, who)
    assert (usage.asked, usage.slots) == (1, ())


async def test_a_kept_answer_costs_no_call_of_any_kind(
    questions: Questions, agent: Agent, front: Front, clock: Clock
) -> None:
    """It is told how old it is, and limited in this process alone."""
    who = person()
    await ask(questions, who, agent, "How  much?")
    front.methods.clear()
    clock.advance(7)
    for _ in range(2):
        given = await questions.ask(who, "sales", "How much?", Deadline.after(60), agent)
        assert (given.answer.text, given.age) == ("Answer 1.", 7)
        assert dict(given.limits)["RateLimit"].startswith('"minute";r=3')
    with pytest.raises(RateLimited) as refusal:
        await ask(questions, who, agent)
    assert refusal.value.members == {"violated-policies": ["repeats"]}
    assert refusal.value.headers
    assert front.methods == []
    assert agent.asked == 1


async def test_an_answer_is_given_again_to_the_same_person_agent_question_and_strength_alone(
    questions: Questions, agent: Agent
) -> None:
    """Everything else is another question."""
    who = person()
    stronger = Principal(
        who.tenant_id, who.object_id, kind="user", signed_in="bearer", expires_at=0, acrs=frozenset({"c1"})
    )
    assert await ask(questions, who, agent) == "Answer 1."
    assert await ask(questions, person(), agent) == "Answer 2."
    assert await ask(questions, who, agent, name="stock") == "Answer 3."
    assert await ask(questions, stronger, agent) == "Answer 4."
    assert await ask(questions, who, agent) == "Answer 1."


async def test_an_answer_from_before_a_revocation_is_not_given(
    questions: Questions, revocations: Revocations, agent: Agent, clock: Clock
) -> None:
    """Whoever signs in again asks again."""
    who = person()
    await ask(questions, who, agent)
    clock.advance(1)
    await revocations.revoke(who.tenant_id, who.object_id)
    assert await ask(questions, who, agent) == "Answer 2."


@pytest.mark.parametrize(
    "lost",
    [AgentAccessDenied(), AddressUnknown(), StepUpRequired("{}"), ReauthRequired()],
    ids=["no-access", "no-agent", "too-weak", "signed-out"],
)
async def test_who_has_lost_the_agent_is_given_nothing_of_it(
    questions: Questions, agent: Agent, clock: Clock, lost: GatewayError
) -> None:
    """A 401, 403 or 404 drops what is kept of that agent, and of no other."""
    who = person()
    await ask(questions, who, agent)
    await ask(questions, who, agent, name="stock")
    agent.fault = lost
    with pytest.raises(type(lost)):
        await ask(questions, who, agent, "And now?")
    agent.fault = None
    clock.advance(1)
    assert await ask(questions, who, agent) == "Answer 4."
    assert await ask(questions, who, agent, name="stock") == "Answer 2."


async def test_a_failure_reaches_all_who_wait_and_is_not_kept(questions: Questions, agent: Agent) -> None:
    """The next one asks anew; the reply tells how much is left."""
    who = person()
    agent.fault = AgentFailed()
    agent.go_on.clear()
    asking = [asyncio.create_task(ask(questions, who, agent)) for _ in range(3)]
    await settled(agent)
    agent.go_on.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [AgentFailed] * 3
    assert dict(outcomes[0].headers)["RateLimit"].startswith('"minute";r=2')  # type: ignore[union-attr]
    agent.fault = None
    assert await ask(questions, who, agent) == "Answer 2."


@pytest.mark.parametrize(
    ("fault", "tells"),
    [
        (CapacityExceeded(), True),
        (DeadlineExceeded(), True),
        (IdentityProviderUnavailable(), True),
        (RateLimited("app", retry_after=1), True),
        (StepUpRequired("{}"), False),
        (ConsentRequired(), False),
        (AgentAccessDenied(), False),
    ],
    ids=lambda value: getattr(value, "code", None),
)
async def test_a_failure_tells_how_much_is_left_except_to_those_who_may_not_ask(
    questions: Questions, agent: Agent, fault: GatewayError, tells: bool
) -> None:
    """No 401 and no 403 does."""
    agent.fault = fault
    with pytest.raises(type(fault)) as refusal:
        await ask(questions, person(), agent)
    assert [name for name, _ in refusal.value.headers] == (["RateLimit", "RateLimit-Policy"] if tells else [])


async def test_a_refusal_tells_how_much_is_left_and_asks_nobody(questions: Questions, agent: Agent) -> None:
    """Past the burst."""
    who = person()
    for number in range(3):
        await ask(questions, who, agent, f"{number}?")
    with pytest.raises(RateLimited) as refusal:
        await ask(questions, who, agent, "One more?")
    assert dict(refusal.value.headers)["RateLimit"].startswith('"minute";r=0;t=')
    assert agent.asked == 3


async def test_whoever_waits_gets_the_answer_though_the_one_who_asked_first_has_left(
    questions: Questions, agent: Agent, tables: Tables, keys: RowKeys
) -> None:
    """The call belongs to nobody."""
    who = person()
    agent.go_on.clear()
    leader = asyncio.create_task(ask(questions, who, agent))
    await settled(agent)
    followers = [asyncio.create_task(ask(questions, who, agent)) for _ in range(3)]
    for _ in range(20):  # all of them get as far as they can
        await asyncio.sleep(0)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    assert not any(follower.done() for follower in followers)
    agent.go_on.set()
    assert await asyncio.gather(*followers) == ["Answer 1."] * 3
    assert (await usage_of(tables, keys, who)).asked == 1


async def test_other_words_are_another_question(questions: Questions, agent: Agent) -> None:
    """White space does not count, everything else does: case as well."""
    who = person()
    assert await ask(questions, who, agent, "total sales") == "Answer 1."
    assert await ask(questions, who, agent, "  total\n sales ") == "Answer 1."
    assert await ask(questions, who, agent, "Total sales") == "Answer 2."


async def test_the_place_ends_with_the_call_and_not_with_the_client(
    questions: Questions, agent: Agent, tables: Tables, keys: RowKeys
) -> None:
    """All who waited have left; Fabric is still at work."""
    who = person()
    agent.go_on.clear()
    asking = [asyncio.create_task(ask(questions, who, agent)) for _ in range(2)]
    await settled(agent)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    assert len((await usage_of(tables, keys, who)).slots) == 1
    agent.go_on.set()
    assert await ask(questions, who, agent) == "Answer 1."
    assert (await usage_of(tables, keys, who)).slots == ()
