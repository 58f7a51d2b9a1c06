"""Rules for answers kept for every instance, on a real Azurite behind a front that can fail."""

import logging
import secrets
from collections.abc import Callable
from typing import Any

import pytest
from starlette.responses import Response
from starlette.types import ASGIApp

from lib.answers import stored as module
from lib.answers.cache import AnswerKey, Kept
from lib.answers.encoding import pack
from lib.answers.stored import LONGEST_BYTES, MOST_ON_LOOP, PLACE_DIGITS, TABLE, Found, StoredAnswers
from lib.storage.key_vault import KeyVault
from lib.storage.rows import Row
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.tables import Tables
from local.faults import hang
from tests.clock import Clock
from tests.lib.storage.front import Front

pytestmark = pytest.mark.stack

REFUSED = Response(status_code=403)
SECONDS = 3600


@pytest.fixture
def sealer(key_vault_client: KeyVault, clock: Clock) -> Sealer:
    """What seals them."""
    return Sealer(KeyRing(key_vault_client, now=clock))


@pytest.fixture
def partition() -> str:
    """An owner of this test alone."""
    return secrets.token_hex(16)


@pytest.fixture
async def stored(sealer: Sealer, fronted: Tables, front: Front, clock: Clock) -> StoredAnswers:
    """One instance's way to them, of a table that is there."""
    answers = StoredAnswers(fronted, sealer, SECONDS)
    await answers.write(key(secrets.token_hex(16)), Kept(b"first", clock.now), Found())
    front.methods.clear()
    return answers


@pytest.fixture
def others(sealer: Sealer, tables: Tables) -> StoredAnswers:
    """Another instance's."""
    return StoredAnswers(tables, sealer, SECONDS)


def key(partition: str, question: str = "ab0", agent: str = "sales") -> AnswerKey:
    """A question of an owner; its first two digits are its place."""
    return AnswerKey(partition, agent, question)


async def keep(stored: StoredAnswers, question: AnswerKey, kept: Kept) -> None:
    """Keeps an answer in whatever place there is."""
    await stored.write(question, kept, await stored.read(question))


async def rows_of(tables: Tables, partition: str) -> list[Row]:
    """What stands there of one owner."""
    return [row async for row in tables.rows(TABLE, partition)]


async def test_an_answer_is_there_for_every_instance(
    stored: StoredAnswers, others: StoredAnswers, partition: str, clock: Clock, front: Front
) -> None:
    """As it was, with the time it was asked for to the millisecond; a look is one call, and so is keeping it."""
    question, kept = key(partition), Kept(b'{"text":"North"}' * 10, clock.now + 0.1239)
    nothing = await stored.read(question)
    assert nothing == Found(None, None)
    await stored.write(question, kept, nothing)
    assert front.methods == ["GET", "POST"]
    assert (await others.read(question)).kept == Kept(kept.json, clock.now + 0.123)
    assert (await stored.read(question)).kept == Kept(kept.json, clock.now + 0.123)
    assert front.methods == ["GET", "POST", "GET"]


async def test_a_later_answer_takes_the_place_of_an_earlier_one(
    stored: StoredAnswers, others: StoredAnswers, partition: str, clock: Clock, front: Front
) -> None:
    """Shorter or longer."""
    for number, json in enumerate((b"short", secrets.token_bytes(100_000), b"", b"short again")):
        await keep(stored, key(partition), Kept(json, clock.now + number))
        assert (await others.read(key(partition))).kept == Kept(json, clock.now + number)
    assert front.methods == ["GET", "POST", *["GET", "PATCH"] * 3]


async def test_nobody_is_given_what_is_anothers(stored: StoredAnswers, partition: str, clock: Clock) -> None:
    """Nor another agent's answer, nor that to another question in the same place."""
    await keep(stored, key(partition), Kept(b"mine", clock.now))
    for other in (
        key(secrets.token_hex(16)),
        key(partition, agent="stock"),
        key(partition, "ab1"),
        key(partition, "cd"),
    ):
        assert (await stored.read(other)).kept is None


async def test_two_questions_with_one_place_take_it_from_each_other(
    stored: StoredAnswers, tables: Tables, partition: str, clock: Clock
) -> None:
    """So that what one owner takes up is bounded without being counted."""
    for number in range(20):
        await keep(stored, key(partition, f"ab{number}"), Kept(b"x", clock.now))
    assert [row.key for row in await rows_of(tables, partition)] == ["ab"]
    assert (await stored.read(key(partition, "ab19"))).kept == Kept(b"x", clock.now)
    assert (await stored.read(key(partition, "ab18"))).kept is None
    assert 16**PLACE_DIGITS == 256


async def test_of_two_who_keep_an_answer_at_once_one_does(
    stored: StoredAnswers, others: StoredAnswers, partition: str, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """The other one's is not kept, which is no failure; in an empty place and in one that is taken."""
    for turn in range(2):
        found = await stored.read(key(partition))
        await others.write(key(partition), Kept(b"faster", clock.now + turn), found)
        with caplog.at_level(logging.WARNING, module.__name__):
            await stored.write(key(partition), Kept(b"slower", clock.now + turn), found)
        assert (await stored.read(key(partition))).kept == Kept(b"faster", clock.now + turn)
    told = [record for record in caplog.records if record.name == module.__name__]
    assert [vars(record)["fault"] for record in told] == ["Conflict"] * 2


@pytest.mark.parametrize("size", [MOST_ON_LOOP, MOST_ON_LOOP + 1, LONGEST_BYTES - 1000])
async def test_a_long_answer_is_kept_as_well(stored: StoredAnswers, partition: str, clock: Clock, size: int) -> None:
    """However little can be left out of it."""
    json = secrets.token_bytes(size)
    await keep(stored, key(partition), Kept(json, clock.now))
    assert (await stored.read(key(partition))).kept == Kept(json, clock.now)


async def test_what_is_too_long_is_not_kept_here(
    stored: StoredAnswers, partition: str, clock: Clock, front: Front
) -> None:
    """Its way here and back would cost more than it is worth; what is long and says little is kept."""
    await stored.write(key(partition), Kept(secrets.token_bytes(LONGEST_BYTES + 1), clock.now), Found())
    assert front.methods == []
    await stored.write(key(partition), Kept(bytes(4 * LONGEST_BYTES), clock.now), Found())
    assert (await stored.read(key(partition))).kept == Kept(bytes(4 * LONGEST_BYTES), clock.now)


async def test_a_row_tells_neither_question_nor_answer_and_ends_with_its_time(
    stored: StoredAnswers, tables: Tables, partition: str, clock: Clock
) -> None:
    """Whoever reads the table learns whose agent was asked when, by a hash."""
    await keep(stored, key(partition), Kept(b'{"text":"North sold 5."}', clock.now + 0.5))
    (row,) = await rows_of(tables, partition)
    assert set(row.values) == {"agent", "question", "asked_ms", "sealed", "expires"}
    assert row.values["expires"] == int(clock.now) + SECONDS + 1
    assert b"North" not in row.values["sealed"]
    assert pack(b'{"text":"North sold 5."}') not in row.values["sealed"]


type Tamper = Callable[[Row], dict[str, Any]]

TAMPERED: dict[str, Tamper] = {
    "another time": lambda row: {"asked_ms": row.values["asked_ms"] + 1},
    "no time": lambda _: {"asked_ms": "soon"},
    "no whole number": lambda _: {"asked_ms": float("nan")},
    "other bytes": lambda row: {"sealed": row.values["sealed"][:-1] + b"x"},
    "no bytes": lambda _: {"sealed": b""},
    "a text": lambda _: {"sealed": "North"},
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=TAMPERED.keys())
async def test_what_was_not_written_so_is_not_given(
    stored: StoredAnswers, tables: Tables, partition: str, clock: Clock, tamper: Tamper
) -> None:
    """The next answer takes its place."""
    await keep(stored, key(partition), Kept(b"mine", clock.now))
    (row,) = await rows_of(tables, partition)
    await tables.update(TABLE, row, tamper(row))
    found = await stored.read(key(partition))
    assert found.kept is None
    assert found.row is not None
    await stored.write(key(partition), Kept(b"new", clock.now), found)
    assert (await stored.read(key(partition))).kept == Kept(b"new", clock.now)


async def test_a_row_that_was_moved_does_not_open(
    stored: StoredAnswers, tables: Tables, partition: str, clock: Clock
) -> None:
    """To another owner, under another agent, or to another question: whoever may write there gains nothing."""
    await keep(stored, key(partition), Kept(b"mine", clock.now))
    (row,) = await rows_of(tables, partition)
    for target in (key(secrets.token_hex(16)), key(partition, agent="stock"), key(partition, "abc")):
        values = {**row.values, "agent": target.agent, "question": target.question}
        if target.partition == partition:
            row = await tables.update(TABLE, row, values)
        else:
            await tables.insert(TABLE, target.partition, row.key, values)
        assert (await stored.read(target)).kept is None


async def test_what_is_packed_by_somebody_else_is_not_given(
    stored: StoredAnswers, tables: Tables, sealer: Sealer, partition: str, clock: Clock
) -> None:
    """A later release may pack otherwise."""
    await keep(stored, key(partition), Kept(b"mine", clock.now))
    (row,) = await rows_of(tables, partition)
    sealed = await sealer.seal(b"not packed", TABLE, partition, "sales", "ab0", str(row.values["asked_ms"]))
    await tables.update(TABLE, row, {"sealed": sealed})
    assert (await stored.read(key(partition))).kept is None


async def test_what_is_kept_of_one_owner_is_forgotten(
    stored: StoredAnswers, tables: Tables, partition: str, clock: Clock
) -> None:
    """Of one agent, or all; nobody else's."""
    other = secrets.token_hex(16)
    for owner in (partition, other):
        for number, agent in enumerate(("sales", "sales", "stock")):
            await keep(stored, key(owner, f"{number}0", agent), Kept(b"x", clock.now))
    await stored.forget(partition, "sales")
    assert [row.key for row in await rows_of(tables, partition)] == ["20"]
    await stored.forget(partition)
    assert await rows_of(tables, partition) == []
    assert len(await rows_of(tables, other)) == 3


@pytest.fixture
def impatient(stored: StoredAnswers, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ARG001  # is made before this
    """Waits for a moment where the gateway waits for seconds."""
    monkeypatch.setattr(module, "MOST_CALL_SECONDS", 0.05)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("fault", "name"), [(REFUSED, "StateUnavailable"), (hang, "TimeoutError")], ids=["refused", "slow"]
)
async def test_a_failure_of_storage_is_told_in_the_log_and_nowhere_else(
    stored: StoredAnswers, partition: str, front: Front, fault: ASGIApp, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """What cannot be read is not there, what cannot be kept is not kept."""
    front.planned.extend([fault] * 2)
    with caplog.at_level(logging.WARNING, module.__name__):
        found = await stored.read(key(partition))
        assert found == Found(None, None)
        await stored.write(key(partition), Kept(b"mine", 0), found)
    told = [record for record in caplog.records if record.name == module.__name__]
    assert [(record.getMessage(), vars(record)["fault"]) for record in told] == [
        ("a kept answer could not be read", name),
        ("a kept answer could not be written", name),
    ]
    assert partition not in caplog.text


async def test_what_cannot_be_forgotten_is_told_in_the_log(
    stored: StoredAnswers, partition: str, front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    """It counts no more by the rules of revocation, and ends by itself."""
    front.planned.append(REFUSED)
    with caplog.at_level(logging.WARNING, module.__name__):
        await stored.forget(partition)
    assert "a kept answer could not be deleted" in caplog.messages


async def test_while_the_key_vault_is_away_nothing_is_opened_or_kept(
    stored: StoredAnswers, fronted: Tables, tables: Tables, partition: str, clock: Clock
) -> None:
    """Nor is that a failure."""
    await keep(stored, key(partition), Kept(b"mine", clock.now))

    class Away:
        async def versions(self, _name: str) -> list[Any]:
            return []

    keyless = StoredAnswers(fronted, Sealer(KeyRing(Away(), now=clock)), SECONDS)  # type: ignore[arg-type]
    found = await keyless.read(key(partition))
    assert found.kept is None
    await keyless.write(key(partition), Kept(b"new", clock.now), found)
    assert (await stored.read(key(partition))).kept == Kept(b"mine", clock.now)
    assert len(await rows_of(tables, partition)) == 1
