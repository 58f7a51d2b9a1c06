"""Rules for the health of an agent on the board, on a real Azurite behind a front that counts."""

import asyncio
import logging
import math
import secrets
from collections.abc import Callable
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.responses import Response

from lib.agents.data_agent import DataAgent
from lib.agents.notices import Notice
from lib.answers.board import HEALTH_SECONDS, KEPT_SECONDS, OLDEST_SECONDS, READ_SECONDS, TABLE, Board
from lib.errors import AgentUnavailable
from lib.readiness import AGENT_SECONDS, Readiness
from lib.storage.rows import Row
from lib.storage.tables import Tables
from tests.clock import Clock
from tests.lib.agents.recorded import sample
from tests.lib.agents.upstream import ADDRESS, Tokens, Upstream, soon
from tests.lib.storage.front import Front

pytestmark = pytest.mark.stack

REFUSED = Response(status_code=403)
STRANGER = sample("token-missing")

type Make = Callable[[], Board]


@pytest.fixture
def agent() -> str:
    """An agent of this test alone."""
    return f"agent-{secrets.token_hex(8)}"


@pytest.fixture
async def instance(fronted: Tables, agent: str, clock: Clock, front: Front) -> Make:
    """Makes one more instance's board, of a table that is there."""
    await Board(fronted, f"{agent}-first", ADDRESS.url, now=clock, clock=clock).tell_health(answers=True)
    front.methods.clear()
    return lambda: Board(fronted, agent, ADDRESS.url, now=clock, clock=clock)


@pytest.fixture
def board(instance: Make) -> Board:
    """One instance's."""
    return instance()


async def reading(board: Board) -> None:
    """Waits for what is read behind."""
    await asyncio.gather(*board._behind)


@pytest.mark.parametrize("answers", [True, False])
async def test_what_one_instance_has_seen_the_others_read(
    instance: Make, board: Board, clock: Clock, answers: bool
) -> None:
    """For five minutes; then it is too long ago to say anything."""
    assert (await instance().read()).answers is None
    await board.tell_health(answers=answers)
    clock.advance(HEALTH_SECONDS - 1)
    assert await instance().read() == Notice(answers=answers)
    clock.advance(1)
    assert await instance().read() == Notice()


async def test_what_stands_there_is_not_told_again_before_it_is_over(
    instance: Make, board: Board, clock: Clock, front: Front
) -> None:
    """Neither by whoever told it nor by who has read it: a question in a thousand pays for a write."""
    await board.tell_health(answers=True)
    other = instance()
    await other.read()
    front.methods.clear()
    for _ in range(100):
        await board.tell_health(answers=True)
        await other.tell_health(answers=True)
        clock.advance((HEALTH_SECONDS - 1) / 100)
    assert front.methods == []
    clock.advance(1)
    await board.tell_health(answers=True)
    assert front.methods == ["PATCH"]
    assert (await instance().read()).answers is True


async def test_a_change_is_told_at_once(instance: Make, board: Board, front: Front) -> None:
    """By one write each time."""
    await board.tell_health(answers=True)
    front.methods.clear()
    for answers in (False, True, False):
        await board.tell_health(answers=answers)
        assert (await instance().read()).answers is answers
    assert front.methods == ["PATCH", "GET"] * 3


async def test_whoever_was_faster_is_not_written_over_unread(
    instance: Make, board: Board, caplog: pytest.LogCaptureFixture
) -> None:
    """The next one who has something to say reads first."""
    await board.tell_health(answers=True)
    await instance().tell_health(answers=False)
    with caplog.at_level(logging.INFO, "lib.answers.board"):
        await board.tell_health(answers=False)
    assert [record.levelname for record in caplog.records] == ["INFO"], "that is no failure"
    assert (await instance().read()).answers is False
    await board.tell_health(answers=True)
    assert (await instance().read()).answers is True


async def test_a_failure_of_storage_is_told_in_the_log_and_nowhere_else(
    board: Board, agent: str, front: Front, caplog: pytest.LogCaptureFixture
) -> None:
    """A question does not fail for it; the next one tells again."""
    front.planned.append(REFUSED)
    with caplog.at_level(logging.WARNING, "lib.answers.board"):
        await board.tell_health(answers=True)
    (line,) = (record for record in caplog.records if record.name == "lib.answers.board")
    assert (line.getMessage(), vars(line)["agent"]) == ("the board of agents could not be written", agent)
    await board.tell_health(answers=True)
    assert (await board.read()).answers is True


async def test_the_row_ends_with_the_next_day(board: Board, agent: str, tables: Tables, clock: Clock) -> None:
    """What nobody has told again since is swept."""
    await board.tell_health(answers=False)
    row = await tables.read(TABLE, agent, "health")
    assert row
    told = {"answers": False, "at": clock.now, "expires": int(clock.now) + KEPT_SECONDS}
    assert row.values == told | {"address": ADDRESS.url}


async def test_what_was_read_a_minute_ago_is_not_gone_by(
    instance: Make, board: Board, clock: Clock, front: Front
) -> None:
    """An instance that was idle, or a timer's, waits for the board; one that was at work reads it behind."""
    await board.read()
    await instance().tell_health(answers=False)
    clock.advance(READ_SECONDS)
    front.methods.clear()
    assert (await board.read()).answers is None
    await reading(board)
    assert (await board.read()).answers is False
    assert front.methods == ["GET"]
    other = instance()
    await other.read()
    await other.tell_health(answers=True)
    clock.advance(OLDEST_SECONDS)
    front.methods.clear()
    assert (await board.read()).answers is True
    assert front.methods == ["GET"]


async def test_many_instances_probe_an_agent_once_in_five_minutes(agent: str, clock: Clock, instance: Make) -> None:
    """However often, and by whom, they are asked whether they are ready: who knows nothing reads before it probes."""
    upstream = Upstream()
    upstream.plan("initialize", *[STRANGER] * 3)
    fleet = [
        Readiness({}, {agent: DataAgent(ADDRESS, upstream.transport(), notices=instance(), now=clock).check}, clock)
        for _ in range(3)
    ]
    for seconds in range(0, 2 * HEALTH_SECONDS + 1, AGENT_SECONDS):
        assert [(await one.report()).status for one in fleet] == ["ready"] * 3
        assert len(upstream.requests) == 1 + seconds // HEALTH_SECONDS
        clock.advance(AGENT_SECONDS)


async def test_the_last_real_outcome_goes_before_a_probe(agent: str, clock: Clock, instance: Make) -> None:
    """An open front door does not help who asks an agent that fails; one good answer puts that right."""
    upstream = Upstream()

    def one() -> DataAgent:
        return DataAgent(ADDRESS, upstream.transport(), name=agent, notices=instance(), now=clock, sleep=clock.sleep)

    serving = one()
    upstream.plan("tools/call", (500, {}, b""))
    with pytest.raises(AgentUnavailable):
        await serving.ask("How much", Tokens(), soon(), str)
    asked = len(upstream.requests)
    report = await Readiness({}, {agent: one().check}, clock).report()
    assert (report.status, report.agents) == ("degraded", {agent: False})
    assert len(upstream.requests) == asked
    await serving.ask("How much", Tokens(), soon(), str)
    assert (await Readiness({}, {agent: one().check}, clock).report()).status == "ready"


VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.sampled_from([math.nan, math.inf, -math.inf, 1_800_000_000, 1_799_999_900.5, 1_800_000_500]),
)
ROWS = st.dictionaries(st.sampled_from(["answers", "at", "other"]), VALUES)


@given(ROWS)
def test_whatever_the_row_says_it_is_a_claim_of_the_last_minutes_or_none(row: dict[str, object]) -> None:
    """Somebody else may have written it, or a clock that was wrong."""
    clock = Clock()
    board = Board(cast("Tables", None), "agent", ADDRESS.url, now=clock)
    board._rows = {"health": Row("agent", "health", row, "")}
    answers = board._notice().answers
    assert answers in {True, False, None}
    if answers is not None:
        assert answers is row["answers"]
        at = row["at"]
        assert isinstance(at, int | float)
        assert abs(clock.now - at) < HEALTH_SECONDS
