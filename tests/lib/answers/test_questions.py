"""Rules for the way of a question, on a real Azurite behind a front that counts and can fail."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import pytest
from starlette.responses import Response

from lib.agent_settings import AgentSettings
from lib.agents.addresses import AgentAddress
from lib.agents.failures import AddressUnknown, FabricTokenRejected, ServerFault, Throttled, Unreached
from lib.agents.question import Question, Turn
from lib.answers import stored as stored_module
from lib.answers.cache import AnswerCache, Kept
from lib.answers.encoding import Encoded
from lib.answers.given import Given
from lib.answers.questions import Agent, Questions
from lib.answers.stored import StoredAnswers
from lib.answers.wanted import wanted
from lib.errors import (
    AgentAccessDenied,
    AgentBusy,
    AgentFailed,
    AgentNotPublished,
    AgentPaused,
    AgentUnavailable,
    CapacityExceeded,
    ConsentRequired,
    DeadlineExceeded,
    GatewayError,
    IdentityProviderUnavailable,
    RateLimited,
    ReauthRequired,
    StateUnavailable,
    StepUpRequired,
    TooManyInFlight,
)
from lib.identity.principal import Assertion, Principal
from lib.identity.revocation import Revocations
from lib.limits.limiter import Limiter
from lib.limits.safe_share import SafeShare
from lib.limits.usage import Limits, Usage
from lib.storage.key_vault import KeyVault
from lib.storage.row_keys import RowKeys
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.standings import ROW, TABLE, Standings
from lib.storage.tables import Tables
from lib.traffic.deadline import Deadline
from lib.traffic.gcra import Meter, Rate
from tests.clock import Clock
from tests.lib.storage.front import Front

pytestmark = pytest.mark.stack

LIMITS = Limits(per_minute=60, burst=3, per_day=100, in_flight=2)
STALE = 3600
REFUSED = Response(status_code=403)
SALES = AgentSettings("sales", AgentAddress("https://api.fabric.microsoft.com/x", "w", "a", translated=False))
STOCK = replace(SALES, name="stock")
KEEPS_NONE = replace(SALES, name="secret", cache_seconds=0)
COMPANY = replace(SALES, name="company", identity="app", shared=True)
ALONE = replace(COMPANY, name="alone", shared=False)
GATEWAY = (str(uuid.uuid4()), str(uuid.uuid4()))


class Peer:
    """An agent that answers with a number, once it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.looked_at = 0
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.fault: Exception | None = None
        self.away: Exception | None = None
        self.is_clarifying = False

    async def ready(self) -> None:
        """Passes, or raises why it is not to be asked now."""
        self.looked_at += 1
        if self.away:
            raise self.away

    async def fetch(self) -> Encoded:
        """The next answer, or the planned failure."""
        self.asked += 1
        number, fault = self.asked, self.fault
        await self.go_on.wait()
        if fault:
            raise fault
        return Encoded(b"answer %d" % number, self.is_clarifying)


@dataclass(frozen=True)
class Instance:
    """One instance of the gateway, as far as questions go."""

    questions: Questions
    revocations: Revocations
    keys: RowKeys

    async def give(
        self,
        who: Principal,
        peer: Peer,
        text: str = "How much?",
        agent: AgentSettings = SALES,
        *,
        anew: bool = False,
        history: tuple[Turn, ...] = (),
    ) -> Given:
        """What is given for a question."""
        question = Question(text, history=history)
        want = await wanted(self.keys, who, agent, question, GATEWAY, anew=anew)
        with self.questions.telling_limits(want):
            return await self.questions.known(want) or await self.questions.ask(
                want, Deadline.after(60), Agent(peer.ready, peer.fetch)
            )

    async def ask(self, who: Principal, peer: Peer, text: str = "How much?", agent: AgentSettings = SALES) -> str:
        """The answer itself."""
        return (await self.give(who, peer, text, agent)).json.decode()

    async def known(self, who: Principal, text: str = "How much?", agent: AgentSettings = SALES) -> Given | None:
        """What is given without asking."""
        return await self.questions.known(await wanted(self.keys, who, agent, Question(text), GATEWAY))


type Start = Callable[..., Instance]


@pytest.fixture
def peer() -> Peer:
    """An agent that was not asked yet."""
    return Peer()


@pytest.fixture
def keys(key_vault_client: KeyVault) -> RowKeys:
    """What rows are named by."""
    return RowKeys(key_vault_client)


@pytest.fixture
async def start(keys: RowKeys, key_vault_client: KeyVault, fronted: Tables, front: Front, clock: Clock) -> Start:
    """Starts one more instance, with a memory of its own over the same tables, which are there."""

    def instance(repeats: int = 1000, stale_seconds: int = STALE, limits: Limits = LIMITS) -> Instance:
        standings = Standings(fronted, clock=clock)
        limiter = Limiter(standings, SafeShare(limits, 40), limits, now=clock, uniform=lambda low, _: low)
        revocations = Revocations(standings, keys, now=clock)
        longest = max(300, stale_seconds)
        questions = Questions(
            AnswerCache(longest, now=clock),
            StoredAnswers(fronted, Sealer(KeyRing(key_vault_client, now=clock)), longest),
            Meter(Rate(1000, repeats), now=clock),
            limiter,
            revocations,
            stale_seconds=stale_seconds,
            now=clock,
        )
        return Instance(questions, revocations, keys)

    await instance().ask(person(), Peer())
    front.methods.clear()
    return instance


@pytest.fixture
def here(start: Start) -> Instance:
    """The instance that is asked."""
    return start()


@pytest.fixture
async def nothing_shared(here: Instance, keys: RowKeys) -> None:
    """The gateway's own partition is the same for all tests of this run: nothing is kept there."""
    await here.questions.forget(await keys.partition(*GATEWAY))


def person(**more: object) -> Principal:
    """Somebody who was never seen before."""
    described = {"kind": "user", "signed_in": "bearer", "expires_at": 0.0} | more
    return Principal(str(uuid.uuid4()), str(uuid.uuid4()), **described)  # type: ignore[arg-type]


def signed_in(who: Principal, token: str) -> Principal:
    """The same person by another token."""
    return replace(who, grant=Assertion(token, 0, 0))


async def usage_of(tables: Tables, keys: RowKeys, who: Principal) -> Usage:
    """What the row says."""
    row = await tables.read(TABLE, await keys.partition(who.tenant_id, who.object_id), ROW)
    return Usage.read(row.values if row else {})


async def stored_of(tables: Tables, keys: RowKeys, who: Principal) -> list[str]:
    """The agents whose answers to this person are kept for all instances."""
    partition = await keys.partition(who.tenant_id, who.object_id)
    return sorted([row.values["agent"] async for row in tables.rows(stored_module.TABLE, partition, only=("agent",))])


async def until(condition: Callable[[], bool]) -> None:
    """Waits until it is so."""
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # the agent is ours, and real I/O lies before it
            await asyncio.sleep(0.001)


async def as_far_as_they_can() -> None:
    """Lets all who ask get to where they wait; the rows are known, so that nothing lies before it."""
    for _ in range(50):
        await asyncio.sleep(0)


async def test_two_hundred_who_ask_the_same_cost_one_question(
    start: Start, peer: Peer, tables: Tables, keys: RowKeys
) -> None:
    """One call, one charge, two hundred answers."""
    here, who = start(repeats=200), person()
    peer.go_on.clear()
    asking = [asyncio.create_task(here.give(who, peer)) for _ in range(200)]
    await until(lambda: peer.asked > 0)
    peer.go_on.set()
    given = await asyncio.gather(*asking)
    assert {each.json for each in given} == {b"answer 1"}
    assert sorted(each.how for each in given) == ["fetched"] + ["joined"] * 199
    assert peer.asked == 1
    usage = await usage_of(tables, keys, who)
    assert (usage.asked, usage.slots) == (1, ())


async def test_nobody_waits_for_an_answer_that_they_will_not_be_given(start: Start, peer: Peer) -> None:
    """Of two thousand who ask the same, those past what an instance takes from one person are refused at once."""
    here, who = start(repeats=200), person()
    await here.ask(who, peer, "Known?")
    peer.go_on.clear()
    asking = [asyncio.create_task(here.give(who, peer)) for _ in range(2000)]
    await until(lambda: sum(task.done() for task in asking) == 2000 - 199)
    refused = [task.exception() for task in asking if task.done()]
    assert all(isinstance(fault, RateLimited) for fault in refused)
    peer.go_on.set()
    await asyncio.gather(*asking, return_exceptions=True)
    assert peer.asked == 2


async def test_a_kept_answer_costs_no_call_of_any_kind(start: Start, peer: Peer, front: Front, clock: Clock) -> None:
    """It is told how old it is, and limited in this process alone."""
    here, who = start(repeats=3), person()
    await here.ask(who, peer, "How  much?")
    front.methods.clear()
    clock.advance(1)
    for _ in range(3):
        given = await here.give(who, peer)
        assert (given.json, given.how, given.age, given.fresh_for, given.stale) == (b"answer 1", "kept", 1, 299, False)
        assert dict(given.limits)["RateLimit"].startswith('"minute";r=3')
    with pytest.raises(RateLimited) as refusal:
        await here.ask(who, peer)
    assert refusal.value.members == {"violated-policies": ["repeats"]}
    assert refusal.value.headers
    assert front.methods == []
    assert (peer.asked, peer.looked_at) == (1, 1)


async def test_an_answer_is_kept_for_every_instance(
    start: Start, here: Instance, peer: Peer, front: Front, clock: Clock, tables: Tables
) -> None:
    """Another one looks for it once, and gives it uncharged from then on; its age is counted from the question."""
    who, there = person(), start()
    await here.ask(who, peer)
    clock.advance(10)
    assert await there.known(who) is None
    front.methods.clear()
    for methods in (["GET"], []):
        given = await there.give(who, peer)
        assert (given.json, given.how, given.age, given.fresh_for) == (b"answer 1", "kept", 10, 290)
        assert front.methods == methods
        front.methods.clear()
    known = await there.known(who)
    assert known
    assert replace(known, limits=()) == replace(given, limits=())
    assert peer.asked == 1
    assert (await usage_of(tables, here.keys, who)).asked == 1


async def test_an_answer_is_fresh_for_as_long_as_its_agent_says(
    start: Start, here: Instance, peer: Peer, clock: Clock
) -> None:
    """On this instance and on the others; the next one takes its place."""
    who, there, quick = person(), start(), replace(SALES, cache_seconds=60)
    await here.ask(who, peer, agent=quick)
    clock.advance(59)
    assert await here.ask(who, peer, agent=quick) == "answer 1"
    assert await there.ask(who, peer, agent=quick) == "answer 1"
    clock.advance(1)
    assert await there.ask(who, peer, agent=quick) == "answer 2"
    assert (await here.give(who, peer, agent=quick)).how == "kept"
    assert peer.asked == 2


async def test_an_answer_is_given_again_to_the_same_person_agent_question_and_strength_alone(
    here: Instance, peer: Peer
) -> None:
    """Everything else is another question."""
    who = person()
    assert await here.ask(who, peer) == "answer 1"
    assert await here.ask(person(), peer) == "answer 2"
    assert await here.ask(who, peer, agent=STOCK) == "answer 3"
    assert await here.ask(replace(who, acrs=frozenset({"c1"})), peer) == "answer 4"
    assert await here.ask(who, peer) == "answer 1"


async def test_a_question_within_a_conversation_is_asked_each_time(
    here: Instance, peer: Peer, clock: Clock, tables: Tables, keys: RowKeys
) -> None:
    """Its answer is neither kept nor taken for that to the same words alone."""
    who, before = person(), (Turn("user", "By product?"),)
    assert (await here.give(who, peer, history=before)).json == b"answer 1"
    assert (await here.give(who, peer, history=before)).json == b"answer 2"
    assert await stored_of(tables, keys, who) == []
    assert (await here.give(who, peer)).json == b"answer 3"
    clock.advance(2)
    assert (await here.give(who, peer, history=before)).json == b"answer 4"


async def test_two_conversations_do_not_share_a_call(start: Start, peer: Peer) -> None:
    """The same words mean something else in each."""
    here, who = start(limits=replace(LIMITS, in_flight=3)), person()
    peer.go_on.clear()
    histories = ((), (Turn("user", "By product?"),), (Turn("user", "By month?"),))
    asking = [asyncio.create_task(here.give(who, peer, history=history)) for history in histories]
    await until(lambda: peer.asked == 3)
    peer.go_on.set()
    assert len({given.json for given in await asyncio.gather(*asking)}) == 3


async def test_where_an_agents_answers_are_not_kept_nothing_is_looked_for(
    here: Instance, peer: Peer, front: Front, clock: Clock, tables: Tables
) -> None:
    """Nor written, nor given when the agent is away; whoever asks the same at once still shares the call."""
    who = person()
    peer.go_on.clear()
    asking = [asyncio.create_task(here.ask(who, peer, agent=KEEPS_NONE)) for _ in range(3)]
    await until(lambda: peer.asked > 0)
    peer.go_on.set()
    assert await asyncio.gather(*asking) == ["answer 1"] * 3
    front.methods.clear()
    given = await here.give(who, peer, agent=KEEPS_NONE)
    assert (given.json, given.how, given.stale) == (b"answer 2", "fetched", False)
    assert front.methods == ["PATCH"] * 2
    assert await stored_of(tables, here.keys, who) == []
    clock.advance(1)
    peer.fault = AgentUnavailable()
    with pytest.raises(AgentUnavailable):
        await here.ask(who, peer, agent=KEEPS_NONE)


async def test_a_question_back_is_not_kept(here: Instance, peer: Peer, tables: Tables, keys: RowKeys) -> None:
    """It is no answer."""
    who = person()
    peer.is_clarifying = True
    assert await here.ask(who, peer) == "answer 1"
    assert await stored_of(tables, keys, who) == []
    assert await here.ask(who, peer) == "answer 2"


async def test_who_wants_an_answer_anew_is_asked_for_and_the_others_have_it_then(
    start: Start, here: Instance, peer: Peer, clock: Clock, tables: Tables, keys: RowKeys
) -> None:
    """It is charged, and takes the earlier one's place on every instance."""
    who, there = person(), start()
    await here.ask(who, peer)
    clock.advance(1)
    assert (await here.give(who, peer, anew=True)).json == b"answer 2"
    assert (await here.give(who, peer)).json == b"answer 2"
    assert (await there.give(who, peer)).json == b"answer 2"
    assert (await usage_of(tables, keys, who)).asked == peer.asked == 2


async def test_who_wants_an_answer_anew_joins_no_question_of_before(here: Instance, peer: Peer) -> None:
    """But those who want the same."""
    who = person()
    await here.ask(who, peer, "Known?")
    peer.go_on.clear()
    asking = [asyncio.create_task(here.give(who, peer, anew=anew)) for anew in (False, True, True)]
    await until(lambda: peer.asked == 3)
    await as_far_as_they_can()
    peer.go_on.set()
    given = await asyncio.gather(*asking)
    assert peer.asked == 3
    assert given[0].json != given[1].json == given[2].json


async def test_an_answer_from_before_a_revocation_is_not_given(
    start: Start, here: Instance, peer: Peer, clock: Clock
) -> None:
    """Whoever signs in again asks again, here and elsewhere, though it lies there still."""
    who = person()
    await here.ask(who, peer)
    clock.advance(1)
    await here.revocations.revoke(who.tenant_id, who.object_id)
    assert await start().ask(who, peer) == "answer 2"
    assert await start().ask(who, peer) == "answer 2"
    assert await here.ask(who, peer) == "answer 2"


async def test_what_is_asked_before_a_revocation_is_not_given_after_it(
    start: Start, here: Instance, peer: Peer, clock: Clock
) -> None:
    """Who asks while a question of before is under way does not join it; nor is its answer kept for them."""
    who = person()
    await here.ask(who, peer, "Known?")
    peer.go_on.clear()
    before = asyncio.create_task(here.ask(who, peer))
    await until(lambda: peer.asked == 2)
    clock.advance(1)
    await here.revocations.revoke(who.tenant_id, who.object_id)
    clock.advance(1)
    after = asyncio.create_task(here.ask(who, peer))
    await until(lambda: peer.asked == 3)
    peer.go_on.set()
    assert await before == "answer 2"
    assert await after == "answer 3"
    assert await here.ask(who, peer) == "answer 3"
    assert await start().ask(who, peer) != "answer 2"


async def test_what_is_forgotten_is_forgotten_everywhere(
    start: Start, here: Instance, peer: Peer, tables: Tables, keys: RowKeys
) -> None:
    """Of that owner."""
    who, other = person(), person()
    await here.ask(who, peer)
    await here.ask(other, peer)
    await here.questions.forget(await keys.partition(who.tenant_id, who.object_id))
    assert await stored_of(tables, keys, who) == []
    assert await stored_of(tables, keys, other) == ["sales"]
    assert await here.known(who) is None
    assert await start().ask(who, peer) == "answer 3"


LOST = [AgentAccessDenied(), AddressUnknown(), FabricTokenRejected(), StepUpRequired("{}"), ReauthRequired()]


@pytest.mark.parametrize("lost", LOST, ids=["no-access", "no-agent", "no-token", "too-weak", "signed-out"])
async def test_who_has_lost_the_agent_is_given_nothing_of_it(
    start: Start, here: Instance, peer: Peer, clock: Clock, lost: GatewayError, tables: Tables
) -> None:
    """A 401, 403 or 404 drops what is kept of that agent, in memory and in rows, and of no other."""
    who = person()
    await here.ask(who, peer)
    await here.ask(who, peer, agent=STOCK)
    peer.fault = lost
    with pytest.raises(type(lost)):
        await here.ask(who, peer, "And now?")
    assert await here.known(who) is None
    assert await stored_of(tables, here.keys, who) == ["stock"]
    peer.fault, peer.away = None, AgentPaused()
    clock.advance(2)
    with pytest.raises(AgentPaused):
        await start().ask(who, peer)
    peer.away = None
    clock.advance(2)
    assert await here.ask(who, peer) == "answer 4"
    assert await here.ask(who, peer, agent=STOCK) == "answer 2"


PASSING = [
    DeadlineExceeded(),
    AgentUnavailable(),
    ServerFault(),
    Unreached(),
    AgentBusy(),
    CapacityExceeded(),
    Throttled(),
    AgentPaused(),
]
FINAL = [
    *LOST,
    AgentFailed(),
    AgentNotPublished(),
    ConsentRequired(),
    IdentityProviderUnavailable(),
    StateUnavailable(),
    RateLimited("app", retry_after=1),
    TooManyInFlight("in-flight", retry_after=1),
    ValueError(),
]


@pytest.mark.parametrize("fault", PASSING, ids=lambda fault: type(fault).__name__)
async def test_while_the_agent_is_away_ones_last_answer_is_given(
    start: Start, here: Instance, peer: Peer, clock: Clock, fault: GatewayError
) -> None:
    """With its age, on any instance; whether it fails, or is not even asked."""
    who, there = person(), start()
    await here.ask(who, peer)
    clock.advance(301)
    peer.fault = fault
    for instance in (here, there):
        given = await instance.give(who, peer)
        assert (given.json, given.how, given.age, given.fresh_for, given.stale) == (b"answer 1", "kept", 301, -1, True)
        assert given.limits
    peer.fault, peer.away, asked = None, fault, peer.asked
    assert (await start().give(who, peer)).stale
    assert peer.asked == asked
    peer.away = None
    given = await here.give(who, peer)
    assert (given.how, given.stale) == ("fetched", False)


@pytest.mark.parametrize("fault", FINAL, ids=lambda fault: type(fault).__name__)
async def test_no_other_failure_is_made_good_by_an_older_answer(
    here: Instance, peer: Peer, clock: Clock, fault: Exception
) -> None:
    """Who may not ask, what was asked and not answered, and what is not the agent's."""
    who = person()
    await here.ask(who, peer)
    clock.advance(301)
    peer.fault = fault
    with pytest.raises(type(fault)):
        await here.ask(who, peer)


async def test_while_an_agent_is_known_to_be_away_nothing_is_charged(
    here: Instance, peer: Peer, clock: Clock, tables: Tables, keys: RowKeys, front: Front
) -> None:
    """One look for a kept answer, and one whether they may still have it."""
    who = person()
    await here.ask(who, peer)
    clock.advance(301)
    peer.away = AgentPaused()
    await here.ask(who, peer)
    front.methods.clear()
    assert (await here.give(who, peer)).stale
    assert front.methods == ["GET"] * 2
    with pytest.raises(AgentPaused) as refusal:
        await here.ask(who, peer, "Something else?")
    assert refusal.value.headers
    assert ((await usage_of(tables, keys, who)).asked, peer.asked) == (1, 1)


async def test_older_answers_are_bounded_like_all_that_cost_no_question(start: Start, peer: Peer, clock: Clock) -> None:
    """Somebody who asks on and on while the agent is away is refused in memory."""
    here, who = start(repeats=4), person()
    await here.ask(who, peer)
    clock.advance(301)
    peer.away = AgentPaused()
    for _ in range(4):
        assert (await here.give(who, peer)).stale
    with pytest.raises(RateLimited) as refusal:
        await here.ask(who, peer)
    assert refusal.value.members == {"violated-policies": ["repeats"]}


async def test_an_answer_that_was_wanted_anew_is_not_an_older_one(here: Instance, peer: Peer, clock: Clock) -> None:
    """Whoever says so would rather have none."""
    who = person()
    await here.ask(who, peer)
    clock.advance(301)
    peer.fault = AgentUnavailable()
    with pytest.raises(AgentUnavailable):
        await here.give(who, peer, anew=True)
    assert (await here.give(who, peer)).stale


@pytest.mark.parametrize(("seconds", "age"), [(STALE, STALE), (600, 600), (0, 301)], ids=["an-hour", "less", "never"])
async def test_an_answer_can_be_too_old(start: Start, peer: Peer, clock: Clock, seconds: int, age: int) -> None:
    """Then the agent's failure is told."""
    here, who = start(stale_seconds=seconds), person()
    await here.ask(who, peer)
    peer.fault = AgentUnavailable()
    clock.advance(age - 1)
    if seconds:
        assert (await here.give(who, peer)).stale
    clock.advance(1)
    for instance in (here, start(stale_seconds=seconds)):
        with pytest.raises(AgentUnavailable):
            await instance.ask(who, peer)


async def test_an_older_answer_is_given_only_to_who_may_certainly_have_it(
    here: Instance, peer: Peer, clock: Clock, front: Front
) -> None:
    """Where their row cannot be read again, nobody knows."""
    who = person()
    await here.ask(who, peer)
    clock.advance(301)
    peer.away = AgentPaused()
    await here.ask(who, peer)
    front.planned.extend([front.pass_on, REFUSED])
    with pytest.raises(AgentPaused):
        await here.ask(who, peer)
    assert (await here.give(who, peer)).stale


async def test_an_older_answer_from_before_a_revocation_elsewhere_is_not_given(
    start: Start, here: Instance, peer: Peer, clock: Clock
) -> None:
    """Even one of which this instance would learn half a minute later."""
    who, elsewhere = person(), start()
    await here.ask(who, peer)
    clock.advance(301)
    peer.away = AgentPaused()
    assert (await here.give(who, peer)).stale
    await elsewhere.revocations.revoke(who.tenant_id, who.object_id)
    with pytest.raises(AgentPaused):
        await here.ask(who, peer)


async def test_a_failure_of_storage_costs_a_kept_answer_and_no_more(
    start: Start, here: Instance, peer: Peer, front: Front, tables: Tables, keys: RowKeys
) -> None:
    """What cannot be looked for is asked, what cannot be kept is kept in memory alone."""
    who = person()
    await here.ask(who, peer, "Known?")
    there = start()
    await there.ask(who, peer, "Known?")
    front.planned.extend([REFUSED, front.pass_on, front.pass_on, REFUSED])
    assert await there.ask(who, peer) == "answer 2"
    assert await there.ask(who, peer) == "answer 2"
    assert await stored_of(tables, keys, who) == ["sales"]


async def test_a_failure_reaches_all_who_wait_and_is_not_kept(here: Instance, peer: Peer) -> None:
    """The next one asks anew; the reply tells how much is left."""
    who = person()
    await here.ask(who, peer, "Known?")
    peer.fault = AgentFailed()
    peer.go_on.clear()
    asking = [asyncio.create_task(here.ask(who, peer)) for _ in range(3)]
    await until(lambda: peer.asked == 2)
    peer.go_on.set()
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [AgentFailed] * 3
    assert dict(outcomes[0].headers)["RateLimit"].startswith('"minute";r=1')  # type: ignore[union-attr]
    peer.fault = None
    assert await here.ask(who, peer) == "answer 3"


@pytest.mark.parametrize(
    "refusal",
    [ReauthRequired(), StepUpRequired("{}"), ConsentRequired(), AgentAccessDenied()],
    ids=lambda fault: type(fault).__name__,
)
async def test_what_one_grant_is_refused_another_is_not(here: Instance, peer: Peer, refusal: GatewayError) -> None:
    """A person with two sign-ins, one of which is no longer good: those by the good one share the next call."""
    who = person()
    bad, good = signed_in(who, "bad"), signed_in(who, "good")
    await here.ask(who, peer, "Known?")
    peer.go_on.clear()
    peer.fault = refusal
    leader = asyncio.create_task(here.ask(bad, peer))
    await until(lambda: peer.asked == 2)
    alike = asyncio.create_task(here.ask(bad, peer))
    others = [asyncio.create_task(here.ask(good, peer)) for _ in range(3)]
    await as_far_as_they_can()
    peer.fault = None
    peer.go_on.set()
    for refused in await asyncio.gather(leader, alike, return_exceptions=True):
        assert refused is refusal
    assert await asyncio.gather(*others) == ["answer 3"] * 3
    assert peer.asked == 3


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
    here: Instance, peer: Peer, fault: GatewayError, tells: bool
) -> None:
    """No 401 and no 403 does."""
    peer.fault = fault
    with pytest.raises(type(fault)) as refusal:
        await here.ask(person(), peer)
    assert [name for name, _ in refusal.value.headers] == (["RateLimit", "RateLimit-Policy"] if tells else [])


async def test_a_refusal_tells_how_much_is_left_and_asks_nobody(here: Instance, peer: Peer, front: Front) -> None:
    """Past the burst; it costs no call of any kind."""
    who = person()
    for number in range(3):
        await here.ask(who, peer, f"{number}?")
    front.methods.clear()
    with pytest.raises(RateLimited) as refusal:
        await here.ask(who, peer, "One more?")
    assert dict(refusal.value.headers)["RateLimit"].startswith('"minute";r=0;t=')
    assert peer.asked == 3
    assert front.methods == []


async def test_who_has_as_many_under_way_as_is_allowed_is_refused_by_the_row(here: Instance, peer: Peer) -> None:
    """Of three different questions at once the third; no rate has refused it before."""
    who = person()
    peer.go_on.clear()
    asking = [asyncio.create_task(here.ask(who, peer, f"{number}?")) for number in range(2)]
    await until(lambda: peer.asked == 2)
    with pytest.raises(TooManyInFlight) as refusal:
        await here.ask(who, peer, "One more?")
    assert refusal.value.members == {"violated-policies": ["in-flight"]}
    peer.go_on.set()
    await asyncio.gather(*asking)
    assert peer.asked == 2


async def test_whoever_waits_gets_the_answer_though_the_one_who_asked_first_has_left(
    here: Instance, peer: Peer, tables: Tables, keys: RowKeys
) -> None:
    """The call belongs to nobody."""
    who = person()
    await here.ask(who, peer, "Known?")
    peer.go_on.clear()
    leader = asyncio.create_task(here.ask(who, peer))
    await until(lambda: peer.asked == 2)
    followers = [asyncio.create_task(here.ask(who, peer)) for _ in range(3)]
    await as_far_as_they_can()
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    assert not any(follower.done() for follower in followers)
    peer.go_on.set()
    assert await asyncio.gather(*followers) == ["answer 2"] * 3
    assert (await usage_of(tables, keys, who)).asked == 2


async def test_the_place_ends_with_the_call_and_not_with_the_client(
    here: Instance, peer: Peer, tables: Tables, keys: RowKeys
) -> None:
    """All who waited have left; Fabric is still at work, and what it says is kept."""
    who = person()
    peer.go_on.clear()
    asking = [asyncio.create_task(here.ask(who, peer)) for _ in range(2)]
    await until(lambda: peer.asked == 1)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    assert len((await usage_of(tables, keys, who)).slots) == 1
    peer.go_on.set()
    assert await here.ask(who, peer) == "answer 1"
    assert (await usage_of(tables, keys, who)).slots == ()


@pytest.mark.usefixtures("nothing_shared")
async def test_where_an_agents_answers_are_shared_one_persons_is_anothers(
    start: Start, here: Instance, peer: Peer, tables: Tables, keys: RowKeys
) -> None:
    """On every instance; whoever asked first has paid for it."""
    alice, bob, carol = person(), person(), person()
    assert await here.ask(alice, peer, agent=COMPANY) == "answer 1"
    assert (await here.give(bob, peer, agent=COMPANY)).how == "kept"
    assert await start().ask(carol, peer, agent=COMPANY) == "answer 1"
    assert [(await usage_of(tables, keys, who)).asked for who in (alice, bob, carol)] == [1, 0, 0]
    gateway = replace(alice, tenant_id=GATEWAY[0], object_id=GATEWAY[1])
    assert await stored_of(tables, keys, gateway) == ["company"]


@pytest.mark.parametrize("agent", [SALES, ALONE], ids=["asked-as-the-person", "asked-as-the-app"])
async def test_any_other_answer_is_its_askers_own(here: Instance, peer: Peer, agent: AgentSettings) -> None:
    """Kept or under way."""
    alice, bob = person(), person()
    assert await here.ask(alice, peer, agent=agent) == "answer 1"
    assert await here.ask(bob, peer, agent=agent) == "answer 2"
    peer.go_on.clear()
    asking = [asyncio.create_task(here.ask(who, peer, "And now?", agent)) for who in (alice, bob)]
    await until(lambda: peer.asked == 4)
    peer.go_on.set()
    assert len(set(await asyncio.gather(*asking))) == 2


@pytest.mark.usefixtures("nothing_shared")
async def test_people_who_ask_a_shared_agent_the_same_at_once_share_a_call(
    here: Instance, peer: Peer, tables: Tables, keys: RowKeys
) -> None:
    """It is charged to who led."""
    people = [person() for _ in range(5)]
    peer.go_on.clear()
    asking = [asyncio.create_task(here.give(who, peer, agent=COMPANY)) for who in people]
    await until(lambda: peer.asked > 0)
    peer.go_on.set()
    given = await asyncio.gather(*asking)
    assert {each.json for each in given} == {b"answer 1"}
    charged = [(await usage_of(tables, keys, who)).asked for who in people]
    assert charged == [int(each.how == "fetched") for each in given]
    assert sum(charged) == peer.asked == 1


@pytest.mark.usefixtures("nothing_shared")
@pytest.mark.parametrize(("many", "calls"), [(1, 1), (2, 3)])
async def test_whose_limit_is_used_up_takes_no_shared_answer_from_anybody(
    here: Instance, peer: Peer, tables: Tables, many: int, calls: int
) -> None:
    """Who led is refused; the others ask without them, once for all, and each alone where that was refused again."""
    greedy, others = [person() for _ in range(many)], [person() for _ in range(3)]
    for who in greedy:
        for number in range(3):
            await here.give(who, peer, f"{number}?", COMPANY, anew=True)
    for who in others:
        await here.known(who)
    asking = [asyncio.create_task(here.ask(who, peer, agent=COMPANY)) for who in (*greedy, *others, greedy[0])]
    outcomes = await asyncio.gather(*asking, return_exceptions=True)
    answers = outcomes[many:-1]
    for refused in (*outcomes[:many], outcomes[-1]):
        assert isinstance(refused, RateLimited)
        assert refused.members == {"violated-policies": ["minute"]}
    assert len(set(answers)) == peer.asked - 3 * many == calls
    assert sum([(await usage_of(tables, here.keys, who)).asked for who in others]) == calls


@pytest.mark.usefixtures("nothing_shared")
async def test_what_the_gateway_itself_is_refused_everybody_is(here: Instance, peer: Peer) -> None:
    """By Fabric, or since it has called often enough: nobody tries it once more by themselves."""
    for fault in (AgentAccessDenied(), RateLimited("app", retry_after=1)):
        peer.asked, peer.fault = 0, fault
        peer.go_on.clear()
        people = [person(grant=Assertion(str(number), 0, 0)) for number in range(5)]
        asking = [asyncio.create_task(here.ask(who, peer, agent=COMPANY)) for who in people]
        await until(lambda: peer.asked > 0)
        for who in people:
            await here.known(who)
        await as_far_as_they_can()
        peer.go_on.set()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(outcome) for outcome in outcomes} == {type(fault)}
        assert peer.asked == 1


def test_an_answer_shows_in_no_log() -> None:
    """Nor does what holds it."""
    assert "North" not in repr(Given(Kept(b"North sold 5.", 0), "kept", 1, 299))


def given_kinds() -> Iterator[tuple[Given, bool]]:
    """Answers, and whether they are stale."""
    yield Given(Kept(b"", 0), "kept", 1, 299), False
    yield Given(Kept(b"", 0), "kept", 300, 0), True
    yield Given(Kept(b"", 0), "fetched", 0, 0), False
    yield Given(Kept(b"", 0), "joined", 400, -100), False


def test_an_answer_is_stale_only_where_it_was_kept_for_too_long() -> None:
    """One that took its time, or is not kept at all, is not."""
    assert all(given.stale == stale for given, stale in given_kinds())
