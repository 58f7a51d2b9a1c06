"""Many instances of the gateway's limiter, and one principal who asks all of them more than the limit."""

import asyncio
from itertools import chain, count
from random import Random
from typing import TYPE_CHECKING, cast

from bench.account import Account, AccountTables
from bench.scenario import MIDNIGHT, WINDOW, Outcome, Scenario
from bench.virtual_time import run
from lib.errors import StateUnavailable, TooManyRequests
from lib.limits.limiter import Limiter
from lib.limits.safe_share import SafeShare
from lib.limits.usage import Limits, Refusal
from lib.storage.server_clock import ServerClock
from lib.storage.standings import Standings

if TYPE_CHECKING:
    from lib.storage.tables import Tables

DEADLINE = 90.0
OTHERS_PAUSE = 3.0
PRINCIPAL = "principal"


def simulate(scenario: Scenario, seed: int) -> Outcome:
    """Runs the scenario."""

    async def main() -> Outcome:
        return await _Simulation(scenario, Random(seed)).run()  # seeded chance is what is wanted

    return run(main())


class _Share(SafeShare):
    """Notes whom it lets through."""

    def __init__(self, limits: Limits, instances: int) -> None:
        super().__init__(limits, instances)
        self.admitted: set[str] = set()

    def admit(self, partition: str, slot_id: str, began: int, now: int) -> Refusal | None:
        refusal = super().admit(partition, slot_id, began, now)
        if refusal is None:
            self.admitted.add(slot_id)
        return refusal


class Instance:
    """One instance: the parts that the gateway is made of, as far as they limit."""

    def __init__(self, scenario: Scenario, account: Account, chance: Random, off: float, wrong: float = 0) -> None:
        loop = asyncio.get_running_loop()

        def now() -> float:
            return account.now() + off + (wrong if loop.time() >= scenario.sets_in else 0)

        self.tables = AccountTables(account, ServerClock(now), chance)
        self.share = _Share(scenario.limits, scenario.max_instances)
        self.ids: list[str] = []
        """The next questions' ids, to be set by who asks."""
        self.under_way = 0
        self.served = 0
        self.limiter = Limiter(
            Standings(cast("Tables", self.tables), clock=loop.time),
            self.share,
            scenario.limits,
            now=self.tables.clock.now,
            heard=lambda: self.tables.clock.heard,
            uniform=chance.uniform,
            new_id=self.ids.pop,
        )


class _Simulation:
    def __init__(self, scenario: Scenario, chance: Random) -> None:
        self._scenario = scenario
        self._chance = chance
        self._loop = asyncio.get_running_loop()
        self._account = Account(scenario.weather, chance, self._now)
        self._instances: list[Instance] = []
        self._dead: list[Instance] = []
        self._ids = count()
        self._asked = 0
        self._entered: dict[str, float] = {}
        self._most_in_flight = 0

    def _now(self) -> float:
        """The true time."""
        return MIDNIGHT + self._scenario.begins + self._loop.time()

    async def run(self) -> Outcome:
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._scenario.instances):
                self._begin(tasks, self._scenario.wrong if number == 0 else 0)
            tasks.create_task(self._ask_on(tasks))
            tasks.create_task(self._die_on(tasks))
        return self._outcome()

    def _begin(self, tasks: asyncio.TaskGroup, wrong: float = 0) -> None:
        off = self._chance.uniform(-self._scenario.skew, self._scenario.skew)
        instance = Instance(self._scenario, self._account, self._chance, off, wrong)
        self._instances.append(instance)
        tasks.create_task(self._serve_others(instance))

    async def _serve_others(self, instance: Instance) -> None:
        """Other principals' calls, from which an instance learns as well that storage is away."""
        while self._loop.time() < self._scenario.seconds and not instance.tables.is_dead:
            await asyncio.sleep(self._chance.expovariate(1 / OTHERS_PAUSE))
            try:
                await instance.tables.read("principals", "others", "standing")
            except StateUnavailable:
                continue

    async def _ask_on(self, tasks: asyncio.TaskGroup) -> None:
        scenario = self._scenario
        pause = scenario.at_once * WINDOW / (scenario.load * scenario.limits.per_minute)
        while self._loop.time() < scenario.seconds:
            for _ in range(scenario.at_once):
                tasks.create_task(self._ask(self._chance.choice(self._instances)))
            await asyncio.sleep(self._chance.expovariate(1 / pause))

    async def _ask(self, instance: Instance) -> None:
        self._asked += 1
        name = str(next(self._ids))
        instance.ids.append(name)
        deadline = self._loop.time() + DEADLINE
        try:
            async with instance.limiter.place(PRINCIPAL, DEADLINE):
                if instance.tables.is_dead:
                    return
                self._entered[name] = self._loop.time()
                instance.under_way += 1
                instance.served += 1
                self._most_in_flight = max(self._most_in_flight, sum(each.under_way for each in self._instances))
                ends = min(deadline, self._loop.time() + self._chance.uniform(*self._scenario.answer))
                await asyncio.sleep(ends - self._loop.time())
                instance.under_way -= 1
        except (TooManyRequests, StateUnavailable):
            return

    async def _die_on(self, tasks: asyncio.TaskGroup) -> None:
        for _ in range(self._scenario.deaths):
            await asyncio.sleep(self._scenario.seconds / (self._scenario.deaths + 1))
            instance = self._instances.pop(self._chance.randrange(len(self._instances)))
            instance.tables.is_dead = True
            self._dead.append(instance)
            self._begin(tasks)

    def _outcome(self) -> Outcome:
        charged = self._account.charged
        by_share = set(chain.from_iterable(each.share.admitted for each in self._instances + self._dead))
        late = (entered - charged[name][-1] for name, entered in self._entered.items() if name not in by_share)
        return Outcome(
            scenario=self._scenario,
            asked=self._asked,
            times=sorted(self._now() - self._loop.time() + entered for entered in self._entered.values()),
            by_share=len(by_share),
            most_in_flight=self._most_in_flight,
            late=max(late, default=0),
            calls=self._account.calls[PRINCIPAL],
            lost_replies=self._account.lost_replies,
            charged_twice=sum(len(sent) > 1 for sent in charged.values()),
            owed_twice=len(by_share & charged.keys()),
            most_by_one=max(each.served for each in self._instances + self._dead) / max(1, len(self._entered)),
        )
