"""The limits hold over many instances, in virtual time, and break where what they stand on is taken away."""

import asyncio
import functools
import re
from collections.abc import Iterator
from random import Random

import pytest

from bench.account import TAIL, Account, Weather
from bench.scenario import DAY, MIDNIGHT, Outcome, Scenario
from bench.simulation import PRINCIPAL, Instance, simulate
from bench.virtual_time import run
from lib.errors import GatewayError, RateLimited, TooManyRequests
from lib.limits.limiter import Limiter
from lib.limits.usage import Limits
from lib.storage.server_clock import TOLERATED_SECONDS

SEED = 4
simulated = functools.cache(lambda scenario: simulate(scenario, SEED))
PLACES = Limits(per_minute=20, burst=5, in_flight=2)
STEADY = [
    Scenario("one instance", instances=1, load=20, seconds=300),
    Scenario("five instances", load=5, seconds=300),
    Scenario("forty instances", instances=40, load=20, seconds=240),
    Scenario("clocks off by up to 2 s", instances=40, load=5, seconds=240, skew=2),
    Scenario("a clock an hour ahead", load=5, seconds=300, wrong=3600),
    Scenario("a clock an hour behind, the others by up to 2 s", load=5, seconds=300, wrong=-3600, skew=2),
    Scenario("a clock that jumps an hour ahead", load=5, seconds=300, wrong=3600, sets_in=150),
    Scenario("a clock that jumps an hour back", load=5, seconds=300, wrong=-3600, sets_in=150),
    Scenario("a clock that jumps twenty years ahead", load=5, seconds=300, wrong=20 * 365 * DAY, sets_in=150, skew=2),
    Scenario("replies to writes are lost", load=5, seconds=600, weather=Weather(lost=0.1)),
    Scenario("calls fail", load=10, seconds=300, weather=Weather(failing=0.05)),
    Scenario("storage away", max_instances=5, load=5, seconds=600, weather=Weather(outage=(120, 240), half_done=0.5)),
]
BUSY = [
    Scenario("bursts", load=20, at_once=50, seconds=300),
    Scenario("long questions", PLACES, 20, load=2, seconds=400, answer=(25, 100), skew=2),
    Scenario("instances die", PLACES, load=3, seconds=1200, answer=(25, 100), deaths=10),
    Scenario(
        "long questions, storage away",
        PLACES,
        max_instances=5,
        seconds=600,
        answer=(25, 100),
        weather=Weather(outage=(120, 240)),
    ),
    Scenario("across midnight", Limits(20, 5, 60, 100), load=3, seconds=600, begins=DAY - 300, skew=2),
    Scenario(
        "all of it",
        Limits(60, 5, 100, 3),
        max_instances=5,
        at_once=5,
        seconds=600,
        begins=DAY - 300,
        answer=(1, 100),
        skew=2,
        wrong=3600,
        deaths=3,
        weather=Weather(failing=0.05, lost=0.1, outage=(200, 320), half_done=0.5),
    ),
]


def holds(outcome: Outcome) -> bool:
    """Whether all bounds were kept; the figures are printed, for whoever looks at a failure."""
    print(outcome)  # noqa: T201  # pytest shows it where the test fails
    assert outcome.most_in_window <= outcome.bound_of_window
    assert outcome.most_in_day <= outcome.bound_of_day
    assert outcome.most_in_flight <= outcome.bound_of_in_flight
    assert outcome.charged_twice == 0
    return outcome.holds


@pytest.mark.parametrize("scenario", STEADY, ids=lambda scenario: scenario.name)
def test_who_always_asks_gets_what_the_rate_allows_and_no_more(scenario: Scenario) -> None:
    """The bound for any 60 s is kept, and nine tenths of the rate can be used: nobody starves."""
    outcome = simulated(scenario)
    assert holds(outcome)
    assert outcome.used >= 0.9


@pytest.mark.parametrize("scenario", BUSY, ids=lambda scenario: scenario.name)
def test_places_and_days_hold_as_well(scenario: Scenario) -> None:
    """Over all instances, those that died and those that disagree about midnight."""
    assert holds(simulated(scenario))


def test_places_are_used_and_given_back() -> None:
    """Also those of instances that died: each is held for the deadline at most."""
    outcome = simulated(next(scenario for scenario in BUSY if scenario.name == "instances die"))
    assert outcome.most_in_flight == PLACES.in_flight
    assert len(outcome.times) >= PLACES.in_flight * (1200 / 100 - 1)


def test_every_lost_reply_is_noticed() -> None:
    """Many are lost, every question is charged once, and as much is let through as without."""
    outcome = simulated(next(scenario for scenario in STEADY if scenario.weather.lost))
    assert outcome.lost_replies > 50
    assert outcome.charged_twice == 0


def test_while_storage_is_away_something_is_let_through() -> None:
    """By the shares, and within their bound."""
    outcome = simulated(next(scenario for scenario in STEADY if scenario.weather.half_done))
    assert 0 < outcome.by_share <= 5 * (1 + (120 + 30) / (3 * 5))


def test_two_seconds_are_what_a_clock_may_be_wrong_by() -> None:
    """What the scenarios' clocks are off by is what the server's clock leaves alone, and what the bound counts with."""
    assert max(scenario.skew for scenario in STEADY + BUSY) == TOLERATED_SECONDS
    assert Scenario("", wrong=3600).apart == 0.5 + TAIL


def test_without_etags_the_bounds_break() -> None:
    """The simulation can fail: it is the comparison with what was read that keeps instances together."""
    outcome = simulate(Scenario("", instances=20, load=5, seconds=120, weather=Weather(ignores_etags=True)), SEED)
    assert not outcome.holds
    assert outcome.most_in_window > 2 * outcome.bound_of_window


def test_without_the_servers_time_a_wrong_clock_takes_everything() -> None:
    """The simulation shows it: whoever is ahead by an hour leaves nothing to the other four instances."""
    told, untold = (
        simulate(Scenario("", load=5, seconds=300, wrong=3600, weather=Weather(tells_time=tells_time)), SEED)
        for tells_time in (True, False)
    )
    assert told.most_by_one < 2 / 5
    assert untold.most_by_one > 4 / 5


class Even(Random):
    """No chance: every call takes as long as the next."""

    def random(self) -> float:
        return 0.5


def one_instance(limits: Limits) -> tuple[Account, Instance]:
    """An instance on its own, with ids for as many questions as it may meet."""
    loop = asyncio.get_running_loop()
    account = Account(Weather(), Even(), lambda: MIDNIGHT + DAY / 2 + loop.time())
    instance = Instance(Scenario("", limits), account, Even(), 0)
    instance.ids.extend(str(number) for number in range(10_000))
    return account, instance


async def ask(limiter: Limiter, partition: str = PRINCIPAL) -> GatewayError | None:
    """A question that is answered at once, or why it was not let through."""
    try:
        async with limiter.place(partition, 60):
            return None
    except TooManyRequests as refusal:
        return refusal


def test_a_refusal_by_a_known_row_makes_no_call() -> None:
    """A thousand of them."""

    async def main() -> tuple[int, int]:
        account, instance = one_instance(Limits(per_minute=20, burst=5, in_flight=2))
        while await ask(instance.limiter) is None:
            pass
        before = account.calls[PRINCIPAL]
        refusals = [await ask(instance.limiter) for _ in range(1000)]
        assert all(isinstance(refusal, RateLimited) for refusal in refusals)
        return before, account.calls[PRINCIPAL]

    before, after = run(main())
    assert before == after


@pytest.mark.parametrize("cold", [True, False], ids=["not-known-yet", "known"])
def test_one_principals_flood_does_not_delay_another(cold: bool) -> None:
    """Two thousand at once cost a few calls, and the other is let in as fast as without them."""

    async def seconds(flood: int) -> tuple[float, int]:
        account, instance = one_instance(Limits(per_minute=20, burst=5, in_flight=2))
        if not cold:
            await ask(instance.limiter, "quiet")
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as tasks:
            for _ in range(flood):
                tasks.create_task(ask(instance.limiter, "loud"))
            began = loop.time()
            assert await ask(instance.limiter, "quiet") is None
            took = loop.time() - began
        return took, account.calls["loud"]

    alone, _ = run(seconds(0))
    beside_a_flood, calls = run(seconds(2000))
    assert beside_a_flood == pytest.approx(alone)
    assert alone > 0
    assert 0 < calls < 20


def waits(limiter: Limiter) -> Iterator[tuple[str, int]]:
    """What the reply's fields say: the limits, and in how many seconds there will be more of each."""
    for name, seconds in re.findall(r'"([a-z-]+)";r=\d+;t=(\d+)', dict(limiter.fields(PRINCIPAL))["RateLimit"]):
        yield name, int(seconds)


def test_who_comes_back_after_retry_after_is_let_through_and_the_fields_never_ask_for_more() -> None:
    """`Retry-After` is never earlier than `t`, and after it the limit that refused does no more."""

    async def main() -> list[str]:
        _, instance = one_instance(Limits(per_minute=20, burst=3, per_day=20))
        met = []
        for _ in range(40):
            refusal = await ask(instance.limiter)
            if refusal is None:
                continue
            (policy,) = refusal.members["violated-policies"]
            met.append(policy)
            assert refusal.retry_after is not None
            assert refusal.retry_after >= dict(waits(instance.limiter))[policy]
            await asyncio.sleep(refusal.retry_after)
            again = await ask(instance.limiter)
            assert again is None or policy not in again.members["violated-policies"]
        return met

    assert set(run(main())) == {"minute", "day"}
