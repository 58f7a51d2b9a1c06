"""What docs/failures.md promises for each fault of an agent, met on the whole stack: the page's own table is run.

Each row has people and agents of its own, an agent for each column, so that none meets the circuit or the rest of
another.
"""

import json
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest
from starlette.responses import Response

from local.fabric import Agent
from local.people import Person
from local.stack import ROOT, Stack
from tests.integration.agent_faults import FAULTS, MANY, QUESTION, Broken, Peer, Place
from tests.integration.callers import token_of
from tests.integration.instances import Instance, instance_of
from tests.integration.people import newcomers

PAGE = (ROOT / "docs" / "failures.md").read_text(encoding="utf-8")
COLUMNS = ("cold", "warm", "stale", "discovery", "circuit")
GROW_OLD = {"stale", "circuit"}
SETTINGS = {
    "QUERY_DEADLINE_SECONDS": 6,
    "LIMIT_PER_MINUTE": 6000,
    "LIMIT_BURST": 1000,
    "LIMIT_PER_DAY": 1_000_000,
    "LIMIT_IN_FLIGHT": 100,
}
AT_ONCE = 8
"""Rows that are played at the same time."""
OLD_SECONDS = 2.5
"""By then an answer that is fresh for one second is old by any clock."""
FIRST, SECOND = "What are the total sales by month?", "total units by product"
RESTS = re.compile(r"rests (as told|([0-9]+) s)(, for the caller)?")


@dataclass(frozen=True)
class Row:
    """One fault's row of the table, as it is written."""

    fault: str
    cold: str
    warm: str
    stale: str
    questions: str
    discoveries: str
    earlier: str
    then: str


@dataclass(frozen=True)
class Seen:
    """One reply in the words of the table, when it came, and what the agent got for it."""

    told: str
    retry_after: int
    at: float
    questions: int
    discoveries: int


def cells_under(heading: str) -> list[list[str]]:
    """The table under a heading of the page, without its head."""
    section = PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


ROWS = [Row(*cells) for cells in cells_under("What the caller gets")]
EACH = pytest.mark.parametrize("row", ROWS, ids=lambda row: row.fault)


class Play:
    """One row, played by carol and dave."""

    def __init__(self, name: str, instance: Instance, places: Mapping[str, Place], carol: str, dave: str) -> None:
        self._name = name
        self._fault = FAULTS[name]
        self._instance = instance
        self._places = places
        self._carol = carol
        self._dave = dave

    def play(self) -> dict[str, list[Seen]]:
        """What was seen in each column."""
        for column in ("cold", "warm", "stale", "circuit"):
            assert self._ask(column).told == "200", "the agent is not asked as usual to begin with"
        prepared_at = time.monotonic()
        for place in self._places.values():
            self._fault.begin(place)
        seen = {"warm": [self._ask("warm")], "discovery": [self._ask("discovery")]}
        seen["cold"] = [self._ask("cold", SECOND)]
        self._fault.end(self._places["cold"])
        seen["cold"] += [self._ask("cold", SECOND), self._ask("cold", SECOND, self._dave)]
        time.sleep(max(0.0, prepared_at + OLD_SECONDS - time.monotonic()))
        with ThreadPoolExecutor(5) as pool:
            seen["circuit"] = list(pool.map(lambda number: self._ask("circuit", f"{SECOND} {number}"), range(5)))
        self._fault.end(self._places["circuit"])
        seen["circuit"] += [self._ask("circuit", SECOND, self._dave), self._ask("circuit")]
        seen["stale"] = [self._ask("stale")]
        self._fault.end(self._places["stale"])
        stale = self._places["stale"]
        stale.fabric.faults_at[stale.agent.object_id].plan(QUESTION, *[Response(status_code=500)] * MANY)
        seen["stale"].append(self._ask("stale"))
        return seen

    def _ask(self, column: str, question: str = FIRST, token: str = "") -> Seen:
        place = self._places[column]
        calls = place.fabric.faults_at[place.agent.object_id].calls
        before = calls.copy()
        reply = self._instance.ask(token or self._carol, question, agent=setting_of(self._name, column))
        new = calls - before
        return Seen(
            told_by(reply), int(reply.headers.get("retry-after", 0)), time.monotonic(), new[QUESTION], new["initialize"]
        )


def told_by(reply: httpx.Response) -> str:
    """A reply in the words of the table."""
    value = reply.json()
    if reply.status_code == 200:
        return "200" + (", stale" if value["cached"]["stale"] else ", kept" if value["cached"]["hit"] else "")
    assert reply.headers["content-type"].startswith("application/problem+json")
    return f"{reply.status_code} `{value['code']}`"


def setting_of(fault: str, column: str) -> str:
    """What the gateway calls the agent of one column of a row."""
    return f"row-{list(FAULTS).index(fault)}-{column}"


@pytest.fixture(scope="module")
def played(
    stack: Stack, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[dict[str, Future[dict[str, list[Seen]]]]]:
    """Every row, by its name, played in one gateway; the result of one that broke is what broke it."""
    with ExitStack() as running:
        people = running.enter_context(newcomers(stack, 2 * len(FAULTS)))
        places = {fault: _places(stack, fault, people, running) for fault in FAULTS}
        log = tmp_path_factory.mktemp("failures") / "log"
        settings = SETTINGS | {"DATA_AGENTS": json.dumps(_described(stack, places))}
        instance = running.enter_context(instance_of(stack, log, settings))
        with ThreadPoolExecutor(AT_ONCE) as pool:
            outcomes = {}
            for number, fault in enumerate(FAULTS):
                carol, dave = (token_of(stack, person) for person in people[2 * number : 2 * number + 2])
                outcomes[fault] = pool.submit(Play(fault, instance, places[fault], carol, dave).play)
        yield outcomes
        for place in (place for columns in places.values() for place in columns.values()):
            del stack.fabric.agents[place.agent.object_id]
            del stack.fabric.faults_at[place.agent.object_id]


def _places(stack: Stack, fault: str, people: list[Person], running: ExitStack) -> dict[str, Place]:
    made = {}
    for column in COLUMNS:
        readers = frozenset(person.object_id for person in people)
        agent = Agent(f"{fault} {column}", "For this test.", str(uuid.uuid4()), readers=readers)
        stack.fabric.agents[agent.object_id] = agent
        peer = Peer(stack) if isinstance(FAULTS[fault], Broken) else None
        if peer:
            running.callback(peer.close)
        made[column] = Place(stack.fabric, agent, peer)
    return made


def _described(stack: Stack, places: Mapping[str, Mapping[str, Place]]) -> dict[str, dict[str, str | int]]:
    """The agents as settings; answers are fresh for a second where they are to grow old."""
    return {
        setting_of(fault, column): {
            "url": (place.peer.url if place.peer else stack.urls["fabric"]) + place.agent.path,
            "cache_seconds": 1 if column in GROW_OLD else 300,
        }
        for fault, columns in places.items()
        for column, place in columns.items()
    }


def test_the_page_and_this_test_know_the_same_faults() -> None:
    """Each is told apart and advised upon, and none is only claimed."""
    assert {row.fault for row in ROWS} == FAULTS.keys()
    told_apart = cells_under("How they are told apart, and what to do")
    assert [row.fault for row in ROWS] == [cells[0] for cells in told_apart]
    assert all(cell for cells in told_apart for cell in cells)


@EACH
def test_a_fresh_answer_is_given_whatever_is_wrong_with_the_agent(
    row: Row, played: dict[str, Future[dict[str, list[Seen]]]]
) -> None:
    """The agent gets nothing at all."""
    (reply,) = played[row.fault].result()["warm"]
    assert (reply.told, reply.questions, reply.discoveries) == (row.warm, 0, 0)


@EACH
def test_a_new_question_meets_the_fault(row: Row, played: dict[str, Future[dict[str, list[Seen]]]]) -> None:
    """The agent gets it as often as the table says; where it rests afterwards, the reply says for how long."""
    reply, *_ = played[row.fault].result()["cold"]
    assert (reply.told, reply.questions) == (row.cold, int(row.questions))
    assert (reply.retry_after > 0) is row.then.startswith("rests")


@EACH
def test_the_first_question_of_all_meets_it_on_the_way(
    row: Row, played: dict[str, Future[dict[str, list[Seen]]]]
) -> None:
    """What has to be known before a question is asked for as often as the table says; the reply is the same."""
    (reply,) = played[row.fault].result()["discovery"]
    assert (reply.told, reply.discoveries) == (row.cold, int(row.discoveries))


@EACH
def test_an_answer_that_has_grown_old_serves_only_where_the_fault_will_pass(
    row: Row, played: dict[str, Future[dict[str, list[Seen]]]]
) -> None:
    """Whether it is still there afterwards shows when the agent fails in a plain way."""
    reply, again = played[row.fault].result()["stale"]
    assert (reply.told, reply.questions) == (row.stale, int(row.questions))
    later = {"stays": "200, stale", "dropped": "503 `agent_unavailable`", "replaced": "200, (stale|kept)"}
    assert re.fullmatch(later[row.earlier], again.told)


@EACH
def test_nothing_is_kept_of_a_failure(row: Row, played: dict[str, Future[dict[str, list[Seen]]]]) -> None:
    """The same question goes out again when all is well, or is held back for as long as the agent is to rest."""
    failed, again, by_another = played[row.fault].result()["cold"]
    rests = RESTS.fullmatch(row.then)
    if rests:
        seconds = min(300, int(rests[2] or failed.retry_after))
        assert_rests(again, failed.at + seconds, seconds)
    elif row.then == "is kept":
        assert (again.told, again.questions) == ("200, kept", 0)
    else:
        assert (again.told, again.questions) == ("200", 1)
    if rests and not rests[3]:
        assert_rests(by_another, failed.at + seconds, seconds)
    else:
        assert (by_another.told, by_another.questions) == ("200", 1)


def assert_rests(reply: Seen, until: float, seconds: int) -> None:
    """Held back without a call; one that may have come too late says nothing."""
    if reply.at < until - 0.5:
        assert (reply.told, reply.questions) == ("503 `capacity_exceeded`", 0)
        assert 1 <= reply.retry_after <= seconds


@EACH
def test_failures_that_are_an_outage_open_the_circuit(
    row: Row, played: dict[str, Future[dict[str, list[Seen]]]]
) -> None:
    """Five at once, of one person; when all is well somebody else asks, and then the first an old question.

    All five are told the same, but those who come when it is open already, or when the agent is to rest.
    """
    *many, by_another, earlier = played[row.fault].result()["circuit"]
    late = {"counts": "503 `circuit_open`"}.get(row.then, "503 `capacity_exceeded`")
    assert {reply.told for reply in many} <= {row.cold, late}
    if row.then == "counts":
        assert (by_another.told, by_another.questions) == ("503 `circuit_open`", 0)
        assert by_another.retry_after >= 1
        assert (earlier.told, earlier.questions) == ("200, stale", 0)
    elif row.then in {"goes on", "is kept"}:
        assert (by_another.told, by_another.questions) == (earlier.told, earlier.questions) == ("200", 1)
    elif row.then.endswith("for the caller"):
        assert (by_another.told, by_another.questions) == ("200", 1)
        assert (earlier.told, earlier.questions) == ("200, stale", 0)
    else:
        assert RESTS.fullmatch(row.then), "a word that nothing tests"
