"""The way of a question in virtual time: whatever is asked, fails and is revoked in whatever order, over instances."""

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING, cast

from hypothesis import given, settings
from hypothesis import strategies as st

from bench.account import Account, AccountTables, Weather
from bench.virtual_time import run
from lib.agent_settings import AgentSettings
from lib.agents.addresses import AgentAddress
from lib.agents.question import Question
from lib.answers.cache import AnswerCache
from lib.answers.encoding import Encoded
from lib.answers.given import Given
from lib.answers.questions import Agent, Questions
from lib.answers.stored import StoredAnswers
from lib.answers.wanted import wanted
from lib.errors import AgentUnavailable, GatewayError
from lib.identity.principal import Assertion, Principal
from lib.identity.revocation import FRESH_SECONDS, Revocations
from lib.limits.limiter import Limiter
from lib.limits.safe_share import SafeShare
from lib.limits.usage import Limits, Usage
from lib.storage.rows import Row
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.server_clock import ServerClock
from lib.storage.standings import ROW, Standings
from lib.traffic.deadline import Deadline
from lib.traffic.gcra import Meter, Rate

if TYPE_CHECKING:
    from lib.storage.key_vault import KeyVault
    from lib.storage.row_keys import RowKeys
    from lib.storage.tables import Tables

BEGINS = 1_800_000_000.0
FRESH, STALE = 90, 300
CALLS_SECONDS = 10.0
"""More than all storage calls of one question take."""
LIMITS = Limits(per_minute=6000, burst=1000, in_flight=1000)
GATEWAY = ("tenant", "gateway")
ADDRESS = AgentAddress("https://api.fabric.microsoft.com/x", "w", "a", translated=False)
OWN = AgentSettings("own", ADDRESS, cache_seconds=FRESH)
SHARED = AgentSettings("shared", ADDRESS, identity="app", cache_seconds=FRESH, shared=True)


class Keys:
    """Names of rows that can be read; a question's own begins with its place."""

    async def partition(self, *parts: str) -> str:
        return "|".join(parts)

    async def row(self, *parts: str) -> str:
        return f"{parts[-1]}{'|'.join(parts)}"


@dataclass(frozen=True)
class Version:
    """One of the vault's."""

    version: str = "v"
    created: float = 0
    enabled: bool = True
    value: str = base64.b64encode(bytes(32)).decode()


class Vault:
    """One key for ever."""

    async def versions(self, _name: str) -> list[Version]:
        return [Version()]


class AnswersToo(AccountTables):
    """The stand-in, with what only answers need."""

    async def rows(self, _table: str, partition: str, *_names: str) -> AsyncIterator[Row]:
        """As the real one, in one page."""
        account = self._account
        found = await self._call(
            partition,
            lambda: [row for (of, key), row in account._rows.items() if of == partition and key != ROW],
            is_write=False,
        )
        for row in found:
            yield row

    async def delete(self, _table: str, partition: str, key: str) -> None:
        """As the real one."""
        await self._call(partition, lambda: self._account._rows.pop((partition, key), None), is_write=True)


@dataclass(frozen=True)
class Fetched:
    """What the agent was asked, by whom, and when that was decided."""

    who: str
    agent: str
    text: str
    at: float


@dataclass
class World:
    """Two instances, an agent that is `away` at times, and all that came of it."""

    away: list[tuple[float, float]]
    fetched: list[Fetched] = field(default_factory=list)
    revoked: list[tuple["Revokes", float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.account = Account(Weather(), Random(1), self.now)
        self.instances = [self._instance() for _ in range(2)]

    def now(self) -> float:
        """The true time."""
        return BEGINS + self.loop.time()

    def _instance(self) -> tuple[Questions, Revocations]:
        chance, clock = Random(2), ServerClock(self.now)
        tables = cast("Tables", AnswersToo(self.account, clock, chance))
        standings = Standings(tables, clock=self.loop.time)
        revocations = Revocations(standings, cast("RowKeys", Keys()), now=clock.now)
        ring = KeyRing(cast("KeyVault", Vault()), now=self.now)
        questions = Questions(
            AnswerCache(STALE, now=clock.now),
            StoredAnswers(tables, Sealer(ring), STALE),
            Meter(Rate(1, 1000), now=self.loop.time),
            Limiter(standings, SafeShare(LIMITS, 40), LIMITS, now=clock.now),
            revocations,
            stale_seconds=STALE,
            now=clock.now,
        )
        return questions, revocations

    async def ask(self, event: "Asks") -> None:
        """One question, and whether what was given for it may be."""
        began = self.loop.time()
        agent = SHARED if event.shared else OWN
        who = Principal("tenant", event.who, "user", "bearer", 0, Assertion(event.who, 0, 0))
        want = await wanted(cast("RowKeys", Keys()), who, agent, Question(event.text), GATEWAY, anew=event.anew)

        async def fetch() -> Encoded:
            self.fetched.append(Fetched(event.who, agent.name, event.text, self.now()))
            number = len(self.fetched) - 1
            await asyncio.sleep(event.seconds)
            if any(begins <= self.loop.time() < ends for begins, ends in self.away):
                raise AgentUnavailable
            return Encoded(str(number).encode())

        async def ready() -> None:
            pass

        questions, _ = self.instances[event.instance]
        try:
            given = await questions.known(want) or await questions.ask(
                want, Deadline.after(100, self.loop.time), Agent(ready, fetch)
            )
        except GatewayError as fault:
            assert isinstance(fault, AgentUnavailable), fault
        else:
            self.check(event, agent, given, began)

    def check(self, event: "Asks", agent: AgentSettings, given: Given, began: float) -> None:
        """The answer is to this question, this person's unless it is shared, and no older than it may be."""
        answer = self.fetched[int(given.json)]
        assert (answer.agent, answer.text) == (agent.name, event.text)
        assert answer.who == event.who or agent.shared
        age = self.now() - answer.at
        assert abs(given.age - age) <= CALLS_SECONDS
        if given.how == "kept":
            assert not event.anew
            assert age <= (STALE if given.stale else FRESH) + CALLS_SECONDS
            now = self.loop.time()
            assert not given.stale or any(begins <= now and began <= ends + CALLS_SECONDS for begins, ends in self.away)
        for revokes, done in self.revoked:
            known_at = done if revokes.instance == event.instance else done + FRESH_SECONDS
            if revokes.who == event.who and not agent.shared and began > known_at:
                assert answer.at >= BEGINS + revokes.at

    async def revoke(self, event: "Revokes") -> None:
        """Ends all that is somebody's, on one instance."""
        questions, revocations = self.instances[event.instance]
        await revocations.revoke("tenant", event.who)
        self.revoked.append((event, self.loop.time()))
        if event.forgets:
            await questions.forget(await Keys().partition("tenant", event.who))

    def charged(self) -> int:
        """What the rows of all say that they have asked."""
        rows = (row for (_, key), row in self.account._rows.items() if key == ROW)
        return sum(Usage.read(row.values).asked for row in rows)


@dataclass(frozen=True)
class Asks:
    """A question, on one of the instances, which the agent takes so long for."""

    who: str
    text: str
    instance: int
    shared: bool
    anew: bool
    seconds: float
    at: float = 0


@dataclass(frozen=True)
class Revokes:
    """A person ends all that is theirs; storage may be away when what is kept of it is to be forgotten."""

    who: str
    instance: int
    forgets: bool
    at: float = 0


PEOPLE, TEXTS, NUMBERS = st.sampled_from("aaab"), st.sampled_from(["aa", "aa", "ab", "aaa"]), st.integers(0, 1)
ASKS = st.builds(
    Asks, PEOPLE, TEXTS, NUMBERS, st.sampled_from([False] * 3 + [True]), st.sampled_from([False] * 3 + [True]),
    st.sampled_from([0, 1, 30]),
)  # fmt: skip
REVOKES = st.builds(Revokes, PEOPLE, NUMBERS, st.booleans())
EVENTS = st.lists(st.tuples(ASKS | ASKS | ASKS | REVOKES, st.sampled_from([0, 0.01, 1, 15, 35])), max_size=20)
AWAY = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 200)).map(lambda pair: (pair[0], sum(pair))), max_size=3)


@given(EVENTS, AWAY)
@settings(max_examples=250, deadline=None)
def test_whatever_happens_everybody_is_given_what_they_may_have_and_each_call_is_charged_once(
    events: list[tuple[Asks | Revokes, float]], away: list[tuple[float, float]]
) -> None:
    """No answer of another person or question, none too old, none from before a revocation that is known."""

    async def main() -> None:
        world, at = World(away), 0.0
        async with asyncio.TaskGroup() as tasks:
            for event, pause in events:
                at += pause
                await asyncio.sleep(at - world.loop.time())
                happens = replace(event, at=at)
                tasks.create_task(world.ask(happens) if isinstance(happens, Asks) else world.revoke(happens))
        assert world.charged() == len(world.fetched)

    run(main())
