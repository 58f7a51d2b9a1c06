"""Rules for idempotency keys, on a real Azurite and with the real Key Vault client."""

import asyncio
import logging
import random
import re
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.responses import Response

from lib.answers.idempotency import (
    AGAIN_SECONDS,
    GRACE_SECONDS,
    KEPT_SECONDS,
    MOST_RESULT_BYTES,
    TABLE,
    Idempotency,
    read_key,
)
from lib.errors import (
    AgentFailed,
    GatewayError,
    IdempotencyConflict,
    IdempotencyInProgress,
    InvalidRequest,
    OutcomeUnknown,
    RateLimited,
    StateUnavailable,
    StepUpRequired,
    TooManyRequests,
)
from lib.storage.key_vault import KeyVault
from lib.storage.row_keys import RowKeys
from lib.storage.rows import Row
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.tables import Tables
from tests.clock import Clock
from tests.lib.storage.front import Front

if TYPE_CHECKING:
    from starlette.types import ASGIApp

KEY = "8e03978e-40d5-43e8-bc93-6894a57f9324"
CONTENT = "0f" * 32
SECONDS = 60
NOT_PROCESSED = (TooManyRequests,)
FORBIDDEN = Response(status_code=403)


class Work:
    """Something to be done, which counts how often it was; it waits until it is told to go on."""

    def __init__(self, fault: BaseException | None = None, result: bytes = b"result") -> None:
        self.fault = fault
        self.result = result
        self.done = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def __call__(self) -> bytes:
        """The result with the number of this time, or the planned failure."""
        self.done += 1
        number = self.done
        await self.go_on.wait()
        if self.fault:
            raise self.fault
        return self.result + b" %d" % number


@pytest.fixture
def sealer(key_vault_client: KeyVault, clock: Clock) -> Sealer:
    """What seals."""
    return Sealer(KeyRing(key_vault_client, now=clock))


@pytest.fixture
def keys(key_vault_client: KeyVault) -> RowKeys:
    """What rows are named by."""
    return RowKeys(key_vault_client)


@pytest.fixture
def idempotency(sealer: Sealer, keys: RowKeys, fronted: Tables, clock: Clock) -> Idempotency:
    """The keys of a gateway, whose storage can fail."""
    return Idempotency(fronted, sealer, keys, now=clock)


@pytest.fixture
def partition() -> str:
    """The partition of somebody who was never seen before."""
    return uuid.uuid4().hex


@pytest.fixture
def once(idempotency: Idempotency, partition: str) -> Callable[..., Awaitable[tuple[bytes, bool]]]:
    """Does work under a key of that person."""

    async def run(work: Work, key: str = KEY, content: str = CONTENT, seconds: float = SECONDS) -> tuple[bytes, bool]:
        return await idempotency.once(partition, key, content, seconds, work, NOT_PROCESSED)

    return run


type Once = Callable[..., Awaitable[tuple[bytes, bool]]]


async def row_of(tables: Tables, keys: RowKeys, partition: str) -> Row | None:
    """What the table holds of the key."""
    return await tables.read(TABLE, partition, await keys.row("idempotency", KEY))


async def begun(work: Work, running: Awaitable[tuple[bytes, bool]]) -> "asyncio.Task[tuple[bytes, bool]]":
    """The work under way, which goes on when it is told to."""
    work.go_on.clear()
    task = asyncio.ensure_future(running)
    async with asyncio.timeout(30):
        while not work.done:  # noqa: ASYNC110  # the work is ours, and real I/O lies before it
            await asyncio.sleep(0.001)
    assert isinstance(task, asyncio.Task)
    return task


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ('"8e03978e-40d5-43e8-bc93-6894a57f9324"', "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        ("8e03978e-40d5-43e8-bc93-6894a57f9324", "8e03978e-40d5-43e8-bc93-6894a57f9324"),
        (r'"a \"b\" \\ c"', r'a "b" \ c'),
        ('" "', " "),
        ("x", "x"),
        ("a,b;c=d\\", "a,b;c=d\\"),
        ("!" * 255, "!" * 255),
        ('"' + "~" * 255 + '"', "~" * 255),
        ('"' + r"\\" * 255 + '"', "\\" * 255),
    ],
)
def test_a_key_is_a_string_or_a_bare_word(header: str, key: str) -> None:
    """In quotes as the draft has it, or without, as many send it: both are the same key."""
    assert read_key(header) == key


@pytest.mark.parametrize(
    "header",
    [
        "",
        '""',
        '"',
        '"a',
        'a"',
        'a"b',
        '"a"b"',
        '"a", "b"',
        '"a";version=1',
        '"a\\"',
        '"a\\n"',
        "a b",
        "a\tb",
        '"a\tb"',
        '"a\nb"',
        "a\n",
        '"é"',
        "é",
        "\x7f",
        "x" * 256,
        '"' + "x" * 256 + '"',
    ],
    ids=ascii,
)
def test_anything_else_is_no_key(header: str) -> None:
    """Parameters, lists, control characters, other alphabets, nothing, and too much."""
    with pytest.raises(InvalidRequest) as refusal:
        read_key(header)
    assert refusal.value.code == "invalid_request"
    assert "Idempotency-Key" in refusal.value.detail


@given(st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), min_size=1, max_size=255))
def test_every_string_of_the_standard_is_a_key(key: str) -> None:
    """RFC 9651, section 4.1.6: what its serialisation writes is read again."""
    assert read_key('"' + re.sub(r'(["\\])', r"\\\1", key) + '"') == key


@given(st.text(max_size=300) | st.text(st.characters(max_codepoint=0x7F), max_size=300))
def test_whatever_comes_is_a_key_or_an_invalid_request(header: str) -> None:
    """A key is 1 to 255 characters of ASCII without controls."""
    try:
        key = read_key(header)
    except InvalidRequest:
        return
    assert re.fullmatch("[ -~]{1,255}", key)


@pytest.mark.stack
async def test_work_is_done_once_and_its_result_is_given_again(once: Once, clock: Clock) -> None:
    """For ten minutes from the first request; then the key is as good as new."""
    work = Work()
    assert await once(work) == (b"result 1", False)
    assert await once(work) == (b"result 1", True)
    clock.advance(KEPT_SECONDS)
    assert await once(work) == (b"result 1", True)
    clock.advance(1)
    assert await once(work) == (b"result 2", False)
    assert await once(work) == (b"result 2", True)


@pytest.mark.stack
async def test_a_key_is_one_persons_own(idempotency: Idempotency, partition: str) -> None:
    """Another's same key, and another key, are other work."""
    work = Work()
    for number, (owner, key) in enumerate([(partition, KEY), (uuid.uuid4().hex, KEY), (partition, "other")], start=1):
        assert await idempotency.once(owner, key, CONTENT, SECONDS, work) == (b"result %d" % number, False)


@pytest.mark.stack
async def test_a_key_with_another_content_is_refused(once: Once) -> None:
    """Whatever became of the first, and until it is forgotten."""
    work, other = Work(), Work()
    running = await begun(work, once(work))
    for _ in range(2):
        with pytest.raises(IdempotencyConflict) as refusal:
            await once(other, content="another")
        assert (refusal.value.status, refusal.value.code) == (422, "idempotency_conflict")
        work.go_on.set()
        await running
    assert other.done == 0


@pytest.mark.stack
async def test_work_under_way_is_not_begun_again(once: Once, clock: Clock) -> None:
    """Whoever comes meanwhile is told when to come back; after that the result is there."""
    work = Work()
    running = await begun(work, once(work))
    for advanced, retry_after in ((0, AGAIN_SECONDS), (SECONDS + GRACE_SECONDS - 2, 2), (1.5, 1)):
        clock.advance(advanced)
        with pytest.raises(IdempotencyInProgress) as refusal:
            await once(work)
        assert (refusal.value.status, refusal.value.code) == (409, "idempotency_conflict")
        assert refusal.value.retry_after == retry_after
    work.go_on.set()
    assert await running == (b"result 1", False)
    assert await once(work) == (b"result 1", True)


@pytest.mark.stack
async def test_of_many_who_come_at_once_one_does_the_work(once: Once, clock: Clock) -> None:
    """The others see that it is under way; where an expired row is taken over as well."""
    for _ in range(2):
        work = Work()
        asking = [asyncio.ensure_future(once(work)) for _ in range(8)]
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
        done = [outcome for outcome in outcomes if outcome == (b"result 1", False)]
        others = [outcome for outcome in outcomes if outcome != (b"result 1", False)]
        assert (len(done), work.done) == (1, 1)
        assert all(isinstance(other, IdempotencyInProgress) or other == (b"result 1", True) for other in others)
        clock.advance(KEPT_SECONDS + 1)


@pytest.mark.stack
async def test_who_takes_over_an_expired_row_too_late_sees_that_it_is_under_way(
    once: Once, fronted: Tables, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else has taken it over since it was read."""
    await once(Work())
    clock.advance(KEPT_SECONDS + 1)
    work, late, read = Work(), Work(), fronted.read

    async def read_early(table: str, partition: str, key: str) -> Row | None:
        row = await read(table, partition, key)
        monkeypatch.undo()
        await once(work)
        return row

    monkeypatch.setattr(fronted, "read", read_early)
    with pytest.raises(IdempotencyInProgress) as refusal:
        await once(late)
    assert (refusal.value.retry_after, work.done, late.done) == (AGAIN_SECONDS, 1, 0)


@pytest.mark.stack
async def test_a_key_that_is_given_back_just_now_is_told_as_under_way(
    once: Once, fronted: Tables, keys: RowKeys, partition: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the claim that was refused and the look at why; a second later it is free."""
    await once(Work())
    work, read = Work(), fronted.read

    async def read_late(table: str, partition: str, key: str) -> Row | None:
        await fronted.delete(table, partition, key)
        return await read(table, partition, key)

    monkeypatch.setattr(fronted, "read", read_late)
    with pytest.raises(IdempotencyInProgress) as refusal:
        await once(work)
    assert refusal.value.retry_after == 1
    monkeypatch.undo()
    assert await row_of(fronted, keys, partition) is None
    assert await once(work) == (b"result 1", False)


@pytest.mark.stack
async def test_after_what_was_not_processed_the_key_is_free(
    once: Once, fronted: Tables, keys: RowKeys, partition: str
) -> None:
    """The caller may come again with it, and with another content too."""
    with pytest.raises(RateLimited):
        await once(Work(RateLimited("minute", retry_after=3)))
    assert await row_of(fronted, keys, partition) is None
    assert await once(Work(), content="another") == (b"result 1", False)


@pytest.mark.stack
@pytest.mark.parametrize(
    "fault",
    [
        AgentFailed("No.", retry_after=9, members={"agents": ["x"]}),
        StepUpRequired("{}", login_url="/api/login"),
        GatewayError(),
    ],
    ids=lambda fault: fault.code,
)
async def test_a_failure_is_told_again_and_the_work_is_not_done_again(once: Once, fault: GatewayError) -> None:
    """By the same problem."""
    work = Work(fault)
    for _ in range(3):
        with pytest.raises(type(fault)) as told:
            await once(work)
        assert (told.value.detail, told.value.retry_after) == (fault.detail, fault.retry_after)
        assert (told.value.members, told.value.code) == (fault.members, fault.code)
    assert work.done == 1


@pytest.mark.stack
@pytest.mark.parametrize("end", ["crash", "cancellation"])
async def test_what_ended_without_a_word_is_not_done_again(once: Once, clock: Clock, end: str) -> None:
    """Under way until its deadline has passed, of unknown outcome from then on, and forgotten with the row."""
    work = Work(RuntimeError("unexpected"))
    running = await begun(work, once(work))
    if end == "cancellation":
        running.cancel()
    else:
        work.go_on.set()
    with pytest.raises(asyncio.CancelledError if end == "cancellation" else RuntimeError):
        await running
    again = Work()
    with pytest.raises(IdempotencyInProgress):
        await once(again)
    clock.advance(SECONDS + GRACE_SECONDS)
    for _ in range(2):
        with pytest.raises(OutcomeUnknown) as told:
            await once(again)
        assert (told.value.status, told.value.code) == (502, "outcome_unknown")
        clock.advance(KEPT_SECONDS - SECONDS - GRACE_SECONDS)
    clock.advance(1)
    assert await once(again) == (b"result 1", False)


@pytest.mark.stack
async def test_work_that_takes_longer_than_keys_are_kept_is_not_begun_twice(once: Once, clock: Clock) -> None:
    """Its row lives as long as it may take."""
    work = Work()
    running = await begun(work, once(work, seconds=2 * KEPT_SECONDS))
    clock.advance(2 * KEPT_SECONDS)
    with pytest.raises(IdempotencyInProgress):
        await once(work)
    work.go_on.set()
    assert await running == (b"result 1", False)


@pytest.mark.stack
async def test_a_result_that_comes_after_its_row_was_taken_over_changes_nothing(
    once: Once, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever waited has theirs; what the key tells is the later one's."""
    early, late = Work(result=b"early"), Work(result=b"late")
    running = await begun(early, once(early))
    clock.advance(KEPT_SECONDS + 1)
    assert await once(late) == (b"late 1", False)
    early.go_on.set()
    assert await running == (b"early 1", False)
    assert await once(late) == (b"late 1", True)
    assert [record.__dict__["fault"] for record in caplog.records if "could not" in record.message] == ["Conflict"]


@pytest.mark.stack
async def test_a_result_that_cannot_be_kept_is_given_this_once(
    once: Once, front: Front, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller has it; later the key tells that it is not known."""
    work = Work()
    front.planned.extend([front.pass_on, FORBIDDEN])
    assert await once(work) == (b"result 1", False)
    assert "a result could not be kept" in caplog.text
    with pytest.raises(IdempotencyInProgress):
        await once(work)
    clock.advance(SECONDS + GRACE_SECONDS)
    with pytest.raises(OutcomeUnknown):
        await once(work)
    assert work.done == 1


@pytest.mark.stack
async def test_a_failure_that_cannot_be_kept_is_raised_all_the_same(once: Once, front: Front) -> None:
    """What happened matters more than that it could not be written down; a key that cannot be given back likewise."""
    for key, fault in (("one", AgentFailed()), ("two", RateLimited("minute", retry_after=3))):
        front.planned.extend([front.pass_on, FORBIDDEN])
        with pytest.raises(type(fault)):
            await once(Work(fault), key)
        with pytest.raises(IdempotencyInProgress):
            await once(Work(), key)


@pytest.mark.stack
async def test_a_result_whose_reply_was_lost_is_kept(once: Once, front: Front) -> None:
    """The write counted, though nobody heard of it."""
    front.planned.extend([front.pass_on, front.lose_reply])
    work = Work()
    assert await once(work) == (b"result 1", False)
    assert await once(work) == (b"result 1", True)


@pytest.mark.stack
async def test_a_claim_whose_reply_was_lost_is_ones_own(once: Once, front: Front, clock: Clock) -> None:
    """The row says whose it is: new or taken over, the work is done."""
    await once(Work(), "other")  # makes the table
    for faults in ([front.lose_reply], [front.pass_on, front.pass_on, front.lose_reply]):
        front.planned.extend(faults)
        work = Work()
        assert await once(work) == (b"result 1", False)
        assert await once(work) == (b"result 1", True)
        clock.advance(KEPT_SECONDS + 1)


@pytest.mark.stack
async def test_nothing_is_done_while_storage_is_away(
    once: Once, front: Front, fronted: Tables, keys: RowKeys, partition: str
) -> None:
    """A guard fails closed: nothing was written, the row is somebody else's, or it cannot be read."""
    await once(Work(), "other")
    work, first = Work(), Work()
    faults: tuple[ASGIApp, ASGIApp]
    for faults in ((FORBIDDEN, front.pass_on), (FORBIDDEN, FORBIDDEN)):
        front.planned.extend(faults)
        with pytest.raises(StateUnavailable):
            await once(work)
    assert await row_of(fronted, keys, partition) is None
    running = await begun(first, once(first))
    for faults in ((FORBIDDEN, front.pass_on), (front.pass_on, FORBIDDEN)):
        front.planned.extend(faults)
        with pytest.raises(StateUnavailable):
            await once(work)
    first.go_on.set()
    await running
    assert (work.done, first.done) == (0, 1)


@pytest.mark.stack
async def test_new_work_costs_two_calls_and_a_result_given_again_two(once: Once, front: Front) -> None:
    """A claim and its result; a claim that is refused and the look at why."""
    await once(Work(), "other")
    work = Work()
    for expected in (["POST", "PATCH"], ["POST", "GET"]):
        front.methods.clear()
        await once(work)
        assert front.methods == expected


@pytest.mark.stack
async def test_the_row_gives_nothing_away(once: Once, fronted: Tables, keys: RowKeys, partition: str) -> None:
    """Neither the key, nor the request, by whose hash short questions could be guessed, nor the result."""
    await once(Work())
    row = await row_of(fronted, keys, partition)
    assert row is not None
    stored = repr((row.partition, row.key, dict(row.values)))
    for hidden in (KEY, CONTENT, "result"):
        assert hidden not in stored
    assert row.values.keys() == {"state", "content", "claim", "deadline", "expires", "sealed"}


@pytest.mark.stack
@pytest.mark.parametrize("change", ["result", "state", "content"])
async def test_what_was_moved_or_changed_is_not_given(
    once: Once, fronted: Tables, keys: RowKeys, partition: str, change: str
) -> None:
    """The seal binds a result to its row, its request and to what it is; the work is not done again for that."""
    await once(Work(), "other", "another")
    other = await fronted.read(TABLE, partition, await keys.row("idempotency", "other"))
    await once(Work())
    row = await row_of(fronted, keys, partition)
    assert row is not None
    assert other is not None
    changes = {"result": {"sealed": other.values["sealed"]}, "state": {"state": "failed"}}
    await fronted.update(TABLE, row, changes.get(change, {"content": other.values["content"]}))
    work = Work()
    with pytest.raises(IdempotencyConflict if change == "content" else OutcomeUnknown):
        await once(work)
    assert work.done == 0


@pytest.mark.stack
async def test_a_long_result_is_kept_and_one_too_long_is_given_this_once(
    once: Once, caplog: pytest.LogCaptureFixture
) -> None:
    """Replies are compressed, so that even the longest fit; noise that does not is told as not known."""
    chance = random.Random(1)
    fits = Work(result=chance.randbytes(MOST_RESULT_BYTES - 1000))
    first = await once(fits, "fits")
    assert await once(fits, "fits") == (first[0], True)
    text = Work(result=b'["\\u3042"]' * 400_000)
    first = await once(text, "text")
    assert await once(text, "text") == (first[0], True)
    too_long = Work(result=chance.randbytes(MOST_RESULT_BYTES))
    assert (await once(too_long, "too long"))[1] is False
    assert [record.levelno for record in caplog.records if "too long" in record.message] == [logging.WARNING]
    with pytest.raises(IdempotencyInProgress):
        await once(too_long, "too long")


@pytest.mark.stack
async def test_a_long_result_leaves_nothing_in_a_row_that_is_taken_over(once: Once, clock: Clock) -> None:
    """A shorter one stands alone."""
    chance = random.Random(1)
    await once(Work(result=chance.randbytes(300_000)))
    clock.advance(KEPT_SECONDS + 1)
    with pytest.raises(AgentFailed):
        await once(Work(AgentFailed()))
    with pytest.raises(AgentFailed):
        await once(Work())


@dataclass
class Claim:
    """What the rules say of a key that is taken."""

    content: str
    outcome: str
    result: bytes
    deadline: float
    expires: float


OUTCOMES = {"done": None, "failed": AgentFailed(), "crashed": RuntimeError(), "free": RateLimited("x", retry_after=1)}
ASK = st.tuples(st.sampled_from("ab"), st.sampled_from(sorted(OUTCOMES)), st.sampled_from([1, 60, 900]))
STEPS = st.lists(ASK | st.sampled_from([0.5, 5, 60, 300, 601, 1000]), max_size=14)


def expected(claim: Claim | None, content: str, now: float) -> type[GatewayError] | bytes | None:
    """What a request gets by the rules' own words; None where its work is done."""
    if claim is None or now > claim.expires:
        return None
    if claim.content != content:
        return IdempotencyConflict
    if claim.outcome == "crashed":
        return IdempotencyInProgress if now < claim.deadline else OutcomeUnknown
    return claim.result if claim.outcome == "done" else AgentFailed


@pytest.mark.stack
@given(steps=STEPS)
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_key_goes_by_the_rules_whatever_comes_when(
    idempotency: Idempotency, clock: Clock, steps: list[tuple[str, str, int] | float]
) -> None:
    """Requests of two contents, work that ends in each way, and time: beside a plain account of it."""
    partition, claim = uuid.uuid4().hex, None
    for number, step in enumerate(steps):
        if not isinstance(step, tuple):
            clock.advance(step)
            continue
        content, outcome, seconds = step
        work = Work(OUTCOMES[outcome], b"%d" % number)
        want = expected(claim, content, clock.now)
        if want is None:
            kept = max(KEPT_SECONDS, seconds + GRACE_SECONDS)
            made = Claim(content, outcome, work.result + b" 1", clock.now + seconds + GRACE_SECONDS, clock.now + kept)
            claim = None if outcome == "free" else made
        got: object
        try:
            got = await idempotency.once(partition, KEY, content, seconds, work, NOT_PROCESSED)
        except (GatewayError, RuntimeError) as fault:
            got = type(fault)
        assert work.done == (want is None)
        if want is None:
            assert got == (type(work.fault) if work.fault else (work.result + b" 1", False))
        else:
            assert got == ((want, True) if isinstance(want, bytes) else want)
