"""Rules for the limiter, on a real Azurite behind a front that can fail."""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp

from lib.errors import RateLimited, ReducedCapacity, StateUnavailable, TooManyInFlight, TooManyRequests
from lib.limits import limiter as module
from lib.limits.limiter import BUSY_SECONDS, GIVE_BACK_AFTER, LOOKS, RECENT_SECONDS, SLOT_GRACE_SECONDS, Limiter
from lib.limits.safe_share import SafeShare
from lib.limits.usage import Limits, Usage
from lib.settings import StateStorage
from lib.storage.server_clock import ServerClock
from lib.storage.standings import ATTEMPTS, ROW, TABLE, Standings
from lib.storage.tables import Tables
from lib.telemetry import metrics
from lib.traffic.circuit import LEAST_OUTCOMES, RESET_SECONDS, Circuit
from local.faults import drop
from tests.clock import Clock
from tests.lib.storage.front import Front
from tests.lib.telemetry.heard import hearing

pytestmark = pytest.mark.stack

LIMITS = Limits(per_minute=20, burst=3, per_day=10, in_flight=2)
REFUSED = Response(status_code=403)
SECONDS = 60.0

type Make = Callable[..., Limiter]


@pytest.fixture
def partition() -> str:
    """A principal of this test alone."""
    return secrets.token_hex(16)


@pytest.fixture
def instance(fronted: Tables, clock: Clock) -> Make:
    """Makes the limiter of one more instance."""

    def make(limits: Limits = LIMITS, now: Callable[[], float] = clock, tables: Tables = fronted) -> Limiter:
        standings = Standings(tables, clock=clock)
        return Limiter(
            standings,
            SafeShare(limits, 40),
            limits,
            now=now,
            heard=lambda: tables.clock.heard,
            uniform=lambda low, _: low,
            sleep=clock.sleep,
        )

    return make


@pytest.fixture
def limiter(instance: Make) -> Limiter:
    """One instance's."""
    return instance()


async def ask(limiter: Limiter, partition: str) -> None:
    """One question that is answered at once."""
    async with limiter.place(partition, SECONDS):
        pass


async def usage_of(tables: Tables, partition: str) -> Usage:
    """What the row says."""
    row = await tables.read(TABLE, partition, ROW)
    assert row is not None
    return Usage.read(row.values)


async def given_back(limiter: Limiter) -> None:
    """Waits for what is given back behind."""
    await asyncio.gather(*limiter._behind)


def in_vain(front: Front, reply: ASGIApp) -> None:
    """Plans that every write of a change meets `reply`, and the reads between them are answered."""
    again: list[ASGIApp] = [front.pass_on, reply]
    front.planned.extend([reply, *again * (ATTEMPTS - 1)])


async def test_a_question_costs_one_read_and_two_writes_and_the_next_two_writes(
    limiter: Limiter, partition: str, front: Front
) -> None:
    """In and out; the row is known from then on."""
    await ask(limiter, secrets.token_hex(16))  # whoever comes first of all makes the table
    front.methods.clear()
    await ask(limiter, partition)
    assert front.methods == ["GET", "POST", "PATCH"]
    front.methods.clear()
    await ask(limiter, partition)
    assert front.methods == ["PATCH", "PATCH"]


async def test_past_the_burst_a_question_waits_for_its_turn_and_costs_no_call(
    limiter: Limiter, partition: str, front: Front, clock: Clock
) -> None:
    """Three at once, then one every three seconds."""
    for _ in range(3):
        await ask(limiter, partition)
    front.methods.clear()
    for _ in range(50):
        with pytest.raises(RateLimited) as refusal:
            await ask(limiter, partition)
    assert refusal.value.retry_after == 3
    assert refusal.value.members == {"violated-policies": ["minute"]}
    assert front.methods == []
    clock.advance(3)
    await ask(limiter, partition)
    with pytest.raises(RateLimited):
        await ask(limiter, partition)


async def test_all_instances_share_the_limit(instance: Make, partition: str) -> None:
    """Whoever is asked."""
    outcomes = await asyncio.gather(*(ask(instance(), partition) for _ in range(4)), return_exceptions=True)
    admitted = outcomes.count(None)
    refusals = [outcome for outcome in outcomes if outcome]
    assert 1 <= admitted <= 3
    assert all(isinstance(refusal, (RateLimited, TooManyInFlight)) for refusal in refusals)
    for _ in range(3 - admitted):
        await ask(instance(), partition)
    with pytest.raises(RateLimited):
        await ask(instance(), partition)


async def test_a_day_has_so_many_questions_and_begins_at_midnight(
    limiter: Limiter, partition: str, clock: Clock
) -> None:
    """By UTC; the refusal says when that is."""
    clock.now = 20_000 * 86_400.0 + 80_000
    for _ in range(10):
        await ask(limiter, partition)
        clock.advance(60)
    with pytest.raises(RateLimited) as refusal:
        await ask(limiter, partition)
    assert refusal.value.members == {"violated-policies": ["day"]}
    assert refusal.value.retry_after == 86_400 - 80_600
    clock.advance(refusal.value.retry_after)
    await ask(limiter, partition)


async def test_so_many_are_under_way_at_once_and_a_place_is_free_when_one_is_done(
    limiter: Limiter, partition: str
) -> None:
    """The third waits for one of two."""
    async with limiter.place(partition, SECONDS):
        async with limiter.place(partition, SECONDS):
            with pytest.raises(TooManyInFlight) as refusal:
                await ask(limiter, partition)
            assert refusal.value.retry_after == BUSY_SECONDS
            assert refusal.value.members == {"violated-policies": ["in-flight"]}
        await ask(limiter, partition)


async def test_a_place_that_nobody_gives_back_ends_with_the_deadline(
    instance: Make, limiter: Limiter, partition: str, clock: Clock
) -> None:
    """An instance died with both."""
    dead = instance()
    held = [dead.place(partition, SECONDS) for _ in range(2)]
    for place in held:
        await place.__aenter__()
    with pytest.raises(TooManyInFlight):
        await ask(limiter, partition)
    clock.advance(SECONDS + SLOT_GRACE_SECONDS)
    await ask(limiter, partition)
    for place in held:
        await place.__aexit__(None, None, None)


async def test_a_place_given_back_elsewhere_is_seen_within_a_second(
    instance: Make, limiter: Limiter, partition: str, front: Front, clock: Clock
) -> None:
    """A row that is older is read before it refuses; a younger one refuses by itself."""
    elsewhere = instance()
    await limiter._standings.read(partition)
    async with elsewhere.place(partition, SECONDS), elsewhere.place(partition, SECONDS):
        with pytest.raises(TooManyInFlight):
            await ask(limiter, partition)
        front.methods.clear()
        with pytest.raises(TooManyInFlight):
            await ask(limiter, partition)
        assert front.methods == []
    clock.advance(RECENT_SECONDS + 0.1)
    clock.advance(2)
    await ask(limiter, partition)


async def test_a_lost_reply_lets_in_and_is_charged_once(
    limiter: Limiter, partition: str, front: Front, tables: Tables
) -> None:
    """The row tells that the write was made."""
    await ask(limiter, partition)
    front.planned.append(front.lose_reply)
    await ask(limiter, partition)
    assert (await usage_of(tables, partition)).asked == 2
    assert (await usage_of(tables, partition)).slots == ()


async def test_a_lost_reply_is_charged_once_where_there_are_no_places_either(
    instance: Make, partition: str, front: Front, tables: Tables
) -> None:
    """A call in the gateway's own name is known by its id."""
    app = instance(Limits(per_minute=60, burst=10, name="app"))
    await app.charge(partition)
    front.planned.append(front.lose_reply)
    await app.charge(partition)
    usage = await usage_of(tables, partition)
    assert (usage.asked, usage.slots) == (2, ())


async def test_one_failed_call_alone_closes_the_door(limiter: Limiter, partition: str, front: Front) -> None:
    """That is no outage: who asks again is let in."""
    front.planned.append(REFUSED)
    with pytest.raises(StateUnavailable) as refusal:
        await ask(limiter, partition)
    assert not isinstance(refusal.value, ReducedCapacity)
    await ask(limiter, partition)


async def test_a_place_that_cannot_be_given_back_is_no_failure_of_the_question(
    limiter: Limiter, partition: str, front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told to those who operate the gateway, and ends by itself."""
    await ask(limiter, partition)
    with caplog.at_level(logging.WARNING):
        async with limiter.place(partition, SECONDS):
            front.planned.extend([REFUSED] * 2)
    assert "a place could not be given back" in caplog.messages


async def test_what_else_the_row_holds_stays(limiter: Limiter, partition: str, tables: Tables) -> None:
    """A revocation lives there too, and must not be forgotten sooner."""
    far = 4_000_000_000
    await tables.insert(TABLE, partition, ROW, {"valid_after": 123.5, "expires": far})
    await ask(limiter, partition)
    row = await tables.read(TABLE, partition, ROW)
    assert row is not None
    assert (row.values["valid_after"], row.values["expires"]) == (123.5, far)


async def test_the_reply_tells_how_much_is_left_as_far_as_it_is_known(limiter: Limiter, partition: str) -> None:
    """Nothing of somebody who was not seen yet."""
    assert limiter.fields(partition) == ()
    await ask(limiter, partition)
    fields = dict(limiter.fields(partition))
    assert fields["RateLimit"].startswith('"minute";r=2;t=3, "day";r=9;t=')
    assert fields["RateLimit-Policy"] == (
        '"minute";q=20;w=60, "day";q=10;w=86400, "in-flight";q=2;qu="concurrent-requests"'
    )


async def test_a_place_of_which_nothing_was_heard_is_given_back(
    limiter: Limiter, partition: str, front: Front, tables: Tables
) -> None:
    """The write was made, its reply was lost, and the row could not be read: who was refused holds no place."""
    await ask(limiter, partition)
    for _ in range(2):
        front.planned.extend([front.lose_reply, REFUSED])
        with pytest.raises(StateUnavailable):
            await ask(limiter, partition)
        await given_back(limiter)
    usage = await usage_of(tables, partition)
    assert (usage.asked, usage.slots) == (3, ())


async def test_a_place_that_is_taken_late_is_looked_for_again(
    limiter: Limiter, partition: str, front: Front, tables: Tables, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The write was still on its way when it was looked for first, and storage away the second time."""
    await ask(limiter, partition)
    taken: list[str] = []
    monkeypatch.setattr(limiter, "_new_id", lambda: "late")

    async def meanwhile(seconds: float) -> None:
        await clock.sleep(seconds)
        if seconds == GIVE_BACK_AFTER[1]:
            row = await tables.read(TABLE, partition, ROW)
            assert row is not None
            taken.extend(slot.id for slot in Usage.read(row.values).slots)
            await tables.update(TABLE, row, {"slots": f'[["late",{int(clock.now + 60) * 1000}]]'})
            front.planned.append(REFUSED)

    monkeypatch.setattr(limiter, "_sleep", meanwhile)
    front.planned.extend([REFUSED] * 2)
    with pytest.raises(StateUnavailable):
        await ask(limiter, partition)
    await given_back(limiter)
    assert taken == []
    assert (await usage_of(tables, partition)).slots == ()
    assert clock.slept == list(GIVE_BACK_AFTER)


async def test_a_place_that_was_not_taken_is_looked_for_in_vain_and_no_longer(
    limiter: Limiter, partition: str, front: Front, clock: Clock
) -> None:
    """And where nothing was written, not at all."""
    front.planned.append(REFUSED)
    with pytest.raises(StateUnavailable):
        await ask(limiter, partition)
    assert not limiter._behind
    await ask(limiter, partition)
    front.methods.clear()
    front.planned.extend([REFUSED] * 2)
    with pytest.raises(StateUnavailable):
        await ask(limiter, partition)
    await given_back(limiter)
    assert front.methods == ["PATCH", *["GET"] * (1 + len(GIVE_BACK_AFTER))]
    assert clock.slept == list(GIVE_BACK_AFTER)


async def test_no_more_than_so_many_places_are_looked_for_at_once(
    limiter: Limiter, partition: str, front: Front, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others end by themselves."""
    await ask(limiter, partition)
    monkeypatch.setattr(module, "MOST_BEHIND", 0)
    front.planned.extend([front.lose_reply, REFUSED])
    with pytest.raises(StateUnavailable):
        await ask(limiter, partition)
    assert not limiter._behind
    assert len((await usage_of(tables, partition)).slots) == 1


@pytest.mark.parametrize("years", [1 / 8766, 20], ids=["an-hour", "twenty-years"])
async def test_a_write_by_a_wrong_clock_locks_nobody_out(
    instance: Make, limiter: Limiter, partition: str, front: Front, clock: Clock, years: float
) -> None:
    """Not even by places: the row is read until it is certain whose clock is wrong, and set right by the next write."""
    wrong = instance(now=lambda: clock.now + years * 365.25 * 86_400)
    held = [wrong.place(partition, SECONDS) for _ in range(2)]
    for place in held:
        await place.__aenter__()
    front.methods.clear()
    await ask(limiter, partition)
    assert front.methods == ["GET"] * (1 + LOOKS) + ["PATCH"] * 2
    front.methods.clear()
    with pytest.raises(RateLimited) as refusal:
        await ask(limiter, partition)
    assert refusal.value.retry_after == 3
    assert front.methods == []
    clock.advance(3)
    await ask(limiter, partition)
    for place in held:
        await place.__aexit__(None, None, None)


async def test_a_write_by_a_wrong_clock_takes_no_day(
    instance: Make, limiter: Limiter, partition: str, clock: Clock
) -> None:
    """What it has counted for a later one counts on none."""
    wrong = instance(now=lambda: clock.now + 20 * 86_400)
    for _ in range(10):
        await ask(wrong, partition)
        clock.advance(60)
    for _ in range(10):
        await ask(limiter, partition)
        clock.advance(60)
    with pytest.raises(RateLimited) as refusal:
        await ask(limiter, partition)
    assert refusal.value.members == {"violated-policies": ["day"]}


async def test_what_is_told_of_a_row_that_makes_no_sense_makes_sense(
    instance: Make, limiter: Limiter, partition: str, clock: Clock
) -> None:
    """The reply's fields name seconds, not years."""
    await ask(instance(now=lambda: clock.now + 20 * 365 * 86_400), partition)
    await limiter._standings.read(partition)
    assert dict(limiter.fields(partition))["RateLimit"].startswith('"minute";r=1;t=3, "day";r=10;t=')


async def test_where_nobody_tells_the_time_every_row_is_believed(
    instance: Make, limiter: Limiter, partition: str, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It might be this clock that is behind, and it must not let through what others have used up."""
    for _ in range(3):
        await ask(instance(now=lambda: clock.now + 3600), partition)
    monkeypatch.setattr(limiter, "_heard", lambda: 5)
    with pytest.raises(RateLimited) as refusal:
        await ask(limiter, partition)
    assert refusal.value.retry_after == 3600 + 3


async def test_a_clock_that_falls_behind_lets_nobody_through_too_early(
    instance: Make, partition: str, front: Front, fronted_state: StateStorage, clock: Clock
) -> None:
    """It would take every row for one from the future; what it reads sets it right first."""
    off = 0.0
    own = Tables(fronted_state, clock=ServerClock(lambda: time.time() + off))
    try:
        fallen = instance(now=own.clock.now, tables=own)
        for _ in range(3):
            await ask(fallen, partition)
        off = -3600.0
        front.methods.clear()
        with pytest.raises(RateLimited) as refusal:
            await ask(fallen, partition)
        assert refusal.value.retry_after is not None
        assert refusal.value.retry_after <= 3 + 3  # the header tells whole seconds, and its way takes time
        assert front.methods == ["GET"] * LOOKS
        assert abs(own.clock.now() - time.time()) < 3
        assert clock.slept == []
    finally:
        await own.close()


@pytest.mark.parametrize(
    ("limits", "policy"),
    [(LIMITS, "in-flight"), (Limits(per_minute=60, burst=10, name="app"), "app")],
    ids=["a-person", "the-gateway-itself"],
)
async def test_who_is_never_the_fastest_is_asked_to_come_back(
    instance: Make, partition: str, front: Front, limits: Limits, policy: str
) -> None:
    """Other instances write the same row all the time; the refusal names a limit that there is."""
    limiter = instance(limits)
    await limiter.charge(partition)
    in_vain(front, Response(status_code=412))
    with pytest.raises(TooManyRequests) as refusal:
        await limiter.charge(partition)
    assert isinstance(refusal.value, TooManyInFlight if policy == "in-flight" else RateLimited)
    assert refusal.value.members == {"violated-policies": [policy]}
    assert refusal.value.retry_after == BUSY_SECONDS


async def test_writes_that_fail_again_and_again_are_the_storages_fault(
    limiter: Limiter, partition: str, front: Front
) -> None:
    """Its identity may only read: nobody is told to wait for questions of their own."""
    await ask(limiter, partition)
    in_vain(front, REFUSED)
    with pytest.raises(StateUnavailable):
        await ask(limiter, partition)


async def test_while_storage_is_away_a_share_serves_and_is_repaid(
    front: Front, clock: Clock, partition: str, tables: Tables, fronted_state: StateStorage
) -> None:
    """It starts empty, lets through a fortieth, and what it let through stands in the row afterwards."""
    circuit = Circuit("table_storage", clock=clock, uniform=lambda low, high: (low + high) / 2)
    own = Tables(fronted_state, circuit=circuit, clock=ServerClock(clock))
    limiter = Limiter(Standings(own, clock=clock), SafeShare(LIMITS, 40), LIMITS, now=clock, uniform=lambda low, _: low)
    try:
        await ask(limiter, partition)
        front.planned.extend([drop] * 50)
        for _ in range(LEAST_OUTCOMES):
            with pytest.raises(StateUnavailable):
                await own.insert(TABLE, partition, "x", {"expires": 1})
        assert circuit.away_since is not None
        front.planned.clear()
        with pytest.raises(ReducedCapacity) as refusal:
            await ask(limiter, partition)
        share_seconds = 40 * 60 // LIMITS.per_minute
        assert refusal.value.retry_after == share_seconds
        front.planned.extend([drop] * 50)
        clock.advance(share_seconds)
        await ask(limiter, partition)
        with pytest.raises(ReducedCapacity):
            await ask(limiter, partition)
        front.planned.clear()
        clock.advance(RESET_SECONDS + 1)
        await asyncio.gather(*(ask(limiter, partition) for _ in range(2)))  # they owe the debt once
        assert own.away_since is None
        assert (await usage_of(tables, partition)).asked == 4
    finally:
        front.planned.clear()
        await own.close()


async def test_who_is_let_in_by_a_share_leaves_no_place_in_the_row(
    front: Front, clock: Clock, partition: str, tables: Tables, fronted_state: StateStorage
) -> None:
    """The write that was to let them in was made after all, and only its reply was lost, as storage went away again."""
    circuit = Circuit("table_storage", clock=clock, uniform=lambda low, high: (low + high) / 2)
    own = Tables(fronted_state, circuit=circuit, clock=ServerClock(clock))
    limiter = Limiter(
        Standings(own, clock=clock),
        SafeShare(LIMITS, 40),
        LIMITS,
        now=clock,
        uniform=lambda low, _: low,
        sleep=clock.sleep,
    )
    try:
        await ask(limiter, partition)
        front.planned.extend([drop] * LEAST_OUTCOMES)
        for _ in range(LEAST_OUTCOMES):
            with pytest.raises(StateUnavailable):
                await own.insert(TABLE, partition, "x", {"expires": 1})
        with pytest.raises(ReducedCapacity) as refusal:
            await ask(limiter, partition)
        assert not limiter._behind
        assert refusal.value.retry_after is not None
        clock.advance(refusal.value.retry_after)
        front.planned.clear()
        front.planned.append(front.lose_reply)  # the circuit's probe
        async with limiter.place(partition, SECONDS):
            assert len((await usage_of(tables, partition)).slots) == 1
            clock.advance(RESET_SECONDS)
        assert (await usage_of(tables, partition)).slots == ()
        clock.advance(RESET_SECONDS)
        await own.read(TABLE, partition, ROW)
        await ask(limiter, partition)
        assert (await usage_of(tables, partition)).slots == ()
    finally:
        front.planned.clear()
        await own.close()


async def test_what_it_decides_is_counted_with_what_it_went_by(limiter: Limiter, partition: str, clock: Clock) -> None:
    """The row, or what is known of it here; and the steps in and out are told."""
    with hearing() as heard:
        for _ in range(3):
            await ask(limiter, partition)
        with pytest.raises(RateLimited):
            await ask(limiter, partition)
        with pytest.raises(RateLimited):
            limiter.refuse_known(partition)
        clock.advance(3)
        async with limiter.place(partition, SECONDS):
            clock.advance(3)
            async with limiter.place(partition, SECONDS):
                clock.advance(3)
                with pytest.raises(TooManyInFlight):
                    await ask(limiter, partition)
    decisions = [tuple(names.values()) for names in heard.of(metrics.DECISIONS)]
    assert decisions == [
        *[("minute", "admitted", "row")] * 3,
        ("minute", "refused", "row"),
        ("minute", "refused", "memory"),
        *[("minute", "admitted", "row")] * 2,
        ("in-flight", "refused", "row"),
    ]
    steps = [one.name for one in heard.spans if one.kind == "internal"]
    assert (steps.count("admit"), steps.count("release")) == (7, 5)
