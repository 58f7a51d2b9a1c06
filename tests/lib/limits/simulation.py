"""The limiter in a simulated world: many instances, clocks that are wrong, storage that loses replies and goes away.

The limiter, its share, the rows' memory, the server's clock and the circuit are the real ones, one set for each
instance; storage is a dictionary with etags, and time is the loop's own, which jumps from event to event.
`python -m tests.lib.limits.simulation` prints the worst window of each scenario beside its bound.
"""

import asyncio
import logging
import random
import selectors
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any

from lib.errors import StateUnavailable, TooManyRequests
from lib.limits.limiter import Limiter
from lib.limits.safe_share import SafeShare
from lib.limits.usage import Limits
from lib.storage.rows import Conflict, Row
from lib.storage.server_clock import TOLERATED_SECONDS, ServerClock
from lib.storage.standings import Standings
from lib.traffic.circuit import Circuit, CircuitOpen

EPOCH = 1_800_000_000.0
WINDOW = 60.0
LIMITS = Limits(per_minute=20, burst=5, per_day=100_000, in_flight=2)
MOST_INSTANCES = 40
ERROR = TOLERATED_SECONDS + 0.5 + 0.1
"""What may remain of a clock's error in seconds: what is tolerated, the header's half second, the reply's way."""


class _Jumping(selectors.DefaultSelector):
    """Waits for nothing: the time to wait has passed at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        """What is ready now."""
        self.now += max(0.0, timeout or 0.0)
        return super().select(0)


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """The simulated time in seconds."""
        return self._jumping.now


@dataclass(frozen=True)
class Scenario:
    """One world. `load` is in questions a second over all instances; faults are chances; times are in seconds."""

    name: str
    instances: int
    load: float
    seconds: float = 600
    skew: float = 0
    wrong: float = 0
    lost: float = 0
    failed: float = 0
    outage: tuple[float, float] = (0, 0)
    busy: float = 0.05
    seed: int = 7
    ignores_etags: bool = False


@dataclass
class Outcome:
    """What came of it: when questions were let through, by true time, and the most under way at once."""

    admitted: list[float] = field(default_factory=list)
    under_way: int = 0
    most_under_way: int = 0
    calls: int = 0
    recorded: int = 0

    @property
    def worst(self) -> int:
        """The most in any window."""
        first, most = 0, 0
        for index, at in enumerate(self.admitted):
            while self.admitted[first] <= at - WINDOW:
                first += 1
            most = max(most, index - first + 1)
        return most


class _Storage:
    """One table, as all instances see it."""

    def __init__(self, scenario: Scenario, chance: random.Random, outcome: Outcome) -> None:
        self.scenario = scenario
        self.chance = chance
        self.outcome = outcome
        self.rows: dict[str, tuple[dict[str, Any], int]] = {}

    @property
    def is_away(self) -> bool:
        begins, lasts = self.scenario.outage
        return begins <= asyncio.get_running_loop().time() < begins + lasts


class _Tables:
    """What one instance has of it: the same calls as `lib.storage.tables.Tables`."""

    def __init__(self, storage: _Storage, circuit: Circuit, clock: ServerClock) -> None:
        self._storage = storage
        self._circuit = circuit
        self._clock = clock

    @property
    def away_since(self) -> float | None:
        """As the circuit says."""
        return self._circuit.away_since

    async def read(self, _table: str, partition: str, key: str) -> Row | None:
        """The row."""
        return await self._call(lambda: self._row(partition, key), loses=False)

    async def insert(self, _table: str, partition: str, key: str, values: Mapping[str, Any]) -> Row:
        """A new row."""

        def work() -> Row:
            if partition in self._storage.rows and not self._storage.scenario.ignores_etags:
                raise Conflict
            self._storage.rows[partition] = dict(values), 1
            return Row(partition, key, dict(values), "1")

        return await self._call(work)

    async def update(self, _table: str, row: Row, changes: Mapping[str, Any]) -> Row:
        """The row with these changes."""

        def work() -> Row:
            values, version = self._storage.rows[row.partition]
            if str(version) != row.etag and not self._storage.scenario.ignores_etags:
                raise Conflict
            merged = {**values, **changes}
            self._storage.rows[row.partition] = merged, version + 1
            return Row(row.partition, row.key, merged, str(version + 1))

        return await self._call(work)

    def _row(self, partition: str, key: str) -> Row | None:
        if partition not in self._storage.rows:
            return None
        values, version = self._storage.rows[partition]
        return Row(partition, key, dict(values), str(version))

    async def _call[T](self, work: Callable[[], T], *, loses: bool = True) -> T:
        storage, chance = self._storage, self._storage.chance
        try:
            with self._circuit.attempt(StateUnavailable):
                storage.outcome.calls += 1
                await asyncio.sleep(chance.uniform(0.001, 0.01))
                if storage.is_away or chance.random() < storage.scenario.failed:
                    raise StateUnavailable
                result = work()
                date = formatdate(int(EPOCH + asyncio.get_running_loop().time()), usegmt=True)
                await asyncio.sleep(chance.uniform(0.001, 0.05))
                if loses and chance.random() < storage.scenario.lost:
                    raise StateUnavailable
                self._clock.hear(date)
                return result
        except CircuitOpen as fault:
            raise StateUnavailable from fault


def run(scenario: Scenario) -> Outcome:
    """What comes of a scenario, the same each time."""
    loop = _Loop()
    try:
        return loop.run_until_complete(_run(scenario))
    finally:
        loop.close()


async def _run(scenario: Scenario) -> Outcome:
    chance, outcome = random.Random(scenario.seed), Outcome()
    storage = _Storage(scenario, chance, outcome)
    limiters = [_instance(number, scenario, storage) for number in range(scenario.instances)]
    asking = set()
    loop = asyncio.get_running_loop()
    while loop.time() < scenario.seconds:
        await asyncio.sleep(chance.expovariate(scenario.load))
        task = asyncio.create_task(_ask(chance.choice(limiters), scenario.busy, outcome))
        asking.add(task)
        task.add_done_callback(asking.discard)
    await asyncio.gather(*asking)
    outcome.recorded = storage.rows.get("p", ({}, 0))[0].get("asked", 0)
    return outcome


def _instance(number: int, scenario: Scenario, storage: _Storage) -> Limiter:
    loop, skew = asyncio.get_running_loop(), storage.chance.uniform(-scenario.skew, scenario.skew)
    error = scenario.wrong if number == 0 else skew
    clock = ServerClock(lambda: EPOCH + loop.time() + error)
    circuit = Circuit("storage", clock=loop.time, uniform=storage.chance.uniform)
    tables: Any = _Tables(storage, circuit, clock)
    standings = Standings(tables, clock=loop.time)
    share = SafeShare(LIMITS, MOST_INSTANCES)
    ids = iter(range(10**9))
    return Limiter(
        standings,
        share,
        LIMITS,
        now=clock.now,
        uniform=storage.chance.uniform,
        new_id=lambda: f"{number}-{next(ids)}",
    )


async def _ask(limiter: Limiter, busy: float, outcome: Outcome) -> None:
    try:
        async with limiter.place("p", 60):
            outcome.admitted.append(asyncio.get_running_loop().time())
            outcome.under_way += 1
            outcome.most_under_way = max(outcome.most_under_way, outcome.under_way)
            await asyncio.sleep(busy)
            outcome.under_way -= 1
    except (TooManyRequests, StateUnavailable):
        return


def bound(scenario: Scenario) -> float:
    """The most that a window may let through (facts of the design: Q + b + 2 error / T, and what shares add)."""
    interval = WINDOW / LIMITS.per_minute
    error = min(scenario.skew, TOLERATED_SECONDS) if not scenario.wrong else ERROR
    shares = scenario.instances * (1 + LIMITS.per_minute / MOST_INSTANCES) if scenario.outage[1] else 0
    return LIMITS.per_minute + LIMITS.burst + 2 * error / interval + shares


SCENARIOS = [
    Scenario(f"{what}, {instances} instances", instances, load, **more)
    for instances in (1, 5, 40)
    for what, load, more in (
        ("twice the limit", 0.66, {}),
        ("a flood", 10, {"seconds": 300}),
        ("clocks off by up to 2 s", 3, {"skew": 2}),
        ("one clock off by an hour", 3, {"wrong": 3600}),
        ("lost replies and failed calls", 3, {"lost": 0.05, "failed": 0.05}),
        ("storage away for two minutes", 3, {"outage": (120, 120), "failed": 0.01}),
    )
]


def main() -> None:
    """Prints one line for each scenario."""
    logging.disable()
    print(  # noqa: T201  # this is what it is for
        f"{'scenario':48} {'worst':>5} {'bound':>6} {'in all':>6} {'under way':>9} {'calls each':>10}"
    )
    for scenario in SCENARIOS:
        outcome = run(scenario)
        calls = outcome.calls / max(1, len(outcome.admitted))
        print(  # noqa: T201
            f"{scenario.name:48} {outcome.worst:5} {bound(scenario):6.1f} {len(outcome.admitted):6} "
            f"{outcome.most_under_way:9} {calls:10.1f}"
        )


if __name__ == "__main__":
    main()
