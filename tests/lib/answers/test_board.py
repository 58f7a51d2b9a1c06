"""Rules for the board on which instances tell each other of an agent, on a real Azurite behind a front that counts."""

import asyncio
import logging
import math
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from lib.agents.discovery import Discovery
from lib.agents.mcp import PROTOCOLS, Session, Tool
from lib.agents.notices import Notice
from lib.answers import board as module
from lib.answers.board import KEPT_SECONDS, LEAST_COOLDOWN_SECONDS, READ_SECONDS, TABLE, Board
from lib.storage.rows import Row
from lib.storage.tables import Tables
from lib.traffic.cooldown import MOST_SECONDS
from local.faults import hang
from tests.clock import Clock
from tests.lib.storage.front import Front

if TYPE_CHECKING:
    from lib.storage.properties import Value

pytestmark = pytest.mark.stack

REFUSED = Response(status_code=403)
ADDRESS = "https://api.fabric.microsoft.com/v1/mcp/workspaces/w/dataagents/a/agent"
TWENTY_YEARS = 20 * 365 * 86_400
FOUND = Discovery(Session("2025-06-18"), Tool("DataAgent_Sales", "userQuestion", "hash"))

type Make = Callable[..., Board]


@pytest.fixture
def agent() -> str:
    """An agent of this test alone."""
    return f"agent-{secrets.token_hex(8)}"


@pytest.fixture
async def instance(fronted: Tables, agent: str, clock: Clock, front: Front) -> Make:
    """Makes one more instance's board, of a table that is there."""
    await Board(fronted, f"{agent}-first", ADDRESS, now=clock, clock=clock).tell_cooldown(60)
    front.methods.clear()

    def make(address: str = ADDRESS, now: Callable[[], float] = clock) -> Board:
        return Board(fronted, agent, address, now=now, clock=clock)

    return make


@pytest.fixture
def board(instance: Make) -> Board:
    """One instance's."""
    return instance()


async def reading(board: Board) -> None:
    """Waits for what is read behind."""
    await asyncio.gather(*board._behind)


async def test_what_one_instance_tells_the_others_read(instance: Make, board: Board, clock: Clock) -> None:
    """With the time that is left of it, until that is over."""
    assert await instance().read() == Notice()
    await board.tell_cooldown(60)
    await board.tell_discovery(FOUND, 600)
    clock.advance(20)
    assert await instance().read() == Notice(40, FOUND, 580)
    clock.advance(40)
    assert await instance().read() == Notice(0, FOUND, 540)
    clock.advance(540)
    assert await instance().read() == Notice(0, FOUND, 0)


async def test_the_board_is_read_once_in_a_while_and_behind_a_question(
    instance: Make, board: Board, clock: Clock, front: Front
) -> None:
    """Only the first question waits for it; a later one goes by what is known, and the next by what was read."""
    await board.read()
    clock.advance(READ_SECONDS - 1)
    await board.read()
    assert front.methods == ["GET"]
    await instance().tell_cooldown(60)
    clock.advance(1)
    front.methods.clear()
    for _ in range(3):
        assert await board.read() == Notice()
    await reading(board)
    assert front.methods == ["GET"]
    assert await board.read() == Notice(59)


async def test_all_who_come_first_wait_for_one_reading(instance: Make, board: Board, front: Front) -> None:
    """Whoever comes while it is under way, too."""
    await board.tell_cooldown(60)
    front.methods.clear()
    other = instance()
    early = [asyncio.create_task(other.read()) for _ in range(5)]
    for _ in range(5):
        await asyncio.sleep(0)
    late = other.read()
    assert {notice.cooldown_seconds for notice in await asyncio.gather(*early, late)} == {60}
    assert front.methods == ["GET"]


async def test_what_stands_there_is_not_told_again(instance: Make, board: Board, clock: Clock, front: Front) -> None:
    """By whoever told it, nor by another; a longer time is."""
    await board.tell_cooldown(60)
    clock.advance(10)
    other = instance()
    await other.read()
    front.methods.clear()
    for one in (board, other):
        await one.tell_cooldown(50.5)
        await one.tell_cooldown(20)
    assert front.methods == []
    await other.tell_cooldown(90)
    assert front.methods == ["PATCH"]
    assert (await instance().read()).cooldown_seconds == 90


async def test_what_is_over_before_others_could_read_it_is_not_told(board: Board, front: Front) -> None:
    """They look every 30 s."""
    await board.tell_cooldown(LEAST_COOLDOWN_SECONDS - 0.1)
    assert front.methods == []
    await board.tell_cooldown(LEAST_COOLDOWN_SECONDS)
    assert front.methods == ["GET", "POST"]


async def test_many_failures_at_once_tell_it_once(board: Board, front: Front) -> None:
    """Each question that was under way meets the same refusal."""
    await asyncio.gather(*(board.tell_cooldown(60) for _ in range(20)))
    assert front.methods == ["GET", "POST"]


async def test_what_was_told_of_another_address_is_not_taken(instance: Make, board: Board) -> None:
    """The name stands for another agent since, which tells in its place."""
    await board.tell_cooldown(60)
    await board.tell_discovery(FOUND, 600)
    moved = instance("https://api.fabric.microsoft.com/elsewhere")
    assert await moved.read() == Notice()
    await moved.tell_cooldown(30)
    await moved.tell_discovery(FOUND, 500)
    assert await instance("https://api.fabric.microsoft.com/elsewhere").read() == Notice(30, FOUND, 500)
    assert await instance().read() == Notice()


@pytest.mark.parametrize("name", ["", "x" * 513, "x" * 40_000])
async def test_what_nobody_would_take_is_not_told(board: Board, front: Front, name: str) -> None:
    """A tool without a name, or with an endless one, is this instance's own matter."""
    await board.tell_discovery(Discovery(FOUND.session, Tool(name, "userQuestion", "hash")), 600)
    await board.tell_discovery(Discovery(FOUND.session, Tool("tool", name, "hash")), 600)
    assert front.methods == []


async def test_a_clock_that_was_wrong_keeps_nobody_from_the_agent(
    instance: Make, board: Board, clock: Clock, front: Front
) -> None:
    """What it told is not taken, and what others tell, or it tells itself once it is right, is."""
    wrong = Clock(clock.now + TWENTY_YEARS)
    odd = instance(now=wrong)
    await odd.tell_cooldown(60)
    await odd.tell_discovery(FOUND, 600)
    assert await instance().read() == Notice(0, FOUND, 0)
    await board.read()
    front.methods.clear()
    await board.tell_cooldown(60)
    assert front.methods == ["PATCH"]
    assert (await instance().read()).cooldown_seconds == 60
    wrong.now = clock.now
    await odd.tell_cooldown(100)  # the row is no longer as it was there
    await odd.tell_cooldown(100)
    assert (await instance().read()).cooldown_seconds == 100


async def test_what_was_changed_by_another_since_is_told_the_next_time(instance: Make, board: Board) -> None:
    """Nobody's notice is written over unread; the board goes on."""
    await board.tell_cooldown(60)
    await instance().tell_cooldown(90)
    await board.tell_cooldown(120)
    assert (await instance().read()).cooldown_seconds == 90
    await board.tell_cooldown(120)
    assert (await instance().read()).cooldown_seconds == 120


async def test_a_failure_of_storage_is_told_in_the_log_and_nowhere_else(
    board: Board, agent: str, clock: Clock, front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither reading nor telling fails; it is tried again after the usual time, and with the next failure."""
    front.planned.extend([REFUSED] * 3)
    with caplog.at_level(logging.WARNING):
        assert await board.read() == Notice()
        await board.tell_cooldown(60)
        await board.tell_discovery(FOUND, 600)
    told = [record for record in caplog.records if record.name == module.__name__]
    assert [record.getMessage() for record in told] == [
        "the board of agents could not be read",
        *["the board of agents could not be written"] * 2,
    ]
    assert {(vars(record)["agent"], vars(record)["fault"]) for record in told} == {(agent, "StateUnavailable")}
    front.methods.clear()
    assert await board.read() == Notice()
    assert front.methods == []
    await board.tell_cooldown(60)
    assert await board.read() == Notice(60)
    clock.advance(READ_SECONDS)
    front.planned.append(REFUSED)
    assert await board.read() == Notice(30)
    await reading(board)
    assert await board.read() == Notice(30)


async def test_nobody_waits_for_a_board_that_is_slow(
    board: Board, front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question has better things to wait for."""
    monkeypatch.setattr(module, "MOST_CALL_SECONDS", 0.05)
    front.planned.extend([hang] * 2)
    async with asyncio.timeout(1):
        assert await board.read() == Notice()
        await board.tell_cooldown(60)


async def test_rows_end_with_the_next_day(board: Board, agent: str, tables: Tables, clock: Clock) -> None:
    """What nobody has told again since is swept."""
    await board.tell_cooldown(60)
    await board.tell_discovery(FOUND, 600)
    ends = [row.values["expires"] async for row in tables.rows(TABLE, agent)]
    assert ends == [int(clock.now) + KEPT_SECONDS] * 2


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.sampled_from([*PROTOCOLS, ADDRESS, "x" * 513, math.nan, math.inf, 1_800_000_060, 1_800_000_060.5]),
)
NAMES = st.sampled_from(["until", "address", "protocol", "tool", "argument", "schema_hash", "other"])
ROWS = st.dictionaries(st.sampled_from(["cooldown", "discovery", "health"]), st.dictionaries(NAMES, VALUES))


@given(ROWS)
def test_whatever_a_row_says_a_notice_makes_sense(rows: "dict[str, dict[str, Value]]") -> None:
    """Somebody else may have written it: bounded times, a known protocol, names of a sensible length, this address."""
    board = Board(cast("Tables", None), "agent", ADDRESS, now=Clock())
    board._rows = {key: Row("agent", key, values, "") for key, values in rows.items()}
    notice = board._notice()
    assert 0 <= notice.cooldown_seconds <= MOST_SECONDS
    assert 0 <= notice.discovery_seconds <= KEPT_SECONDS
    if found := notice.discovery:
        assert rows["discovery"]["address"] == ADDRESS
        assert found.session.protocol in PROTOCOLS
        assert found.session.id is None
        assert 1 <= len(found.tool.name) <= 512
        assert 1 <= len(found.tool.question_argument) <= 512
