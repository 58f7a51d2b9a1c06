"""Rules for the settings of agents."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.agent_settings import LONGEST_CACHE_SECONDS, MOST_QUESTIONS, AgentSettings, read_agents
from lib.agents.question import MAX_CHARACTERS
from lib.environ import EnvironReader
from tests.lib.test_settings import AGENT, DEVELOPMENT

SHARED = {"url": AGENT, "identity": "app", "shared": True}


def read(environ: dict[str, str]) -> tuple[dict[str, AgentSettings], list[str]]:
    """The agents, and what is wrong."""
    reader = EnvironReader(environ)
    return read_agents(reader), reader.problems


def agents(described: Any, **environ: str) -> dict[str, AgentSettings]:
    """The agents of `DATA_AGENTS`, in which nothing is wrong."""
    found, problems = read({"DATA_AGENTS": json.dumps(described), **environ})
    assert problems == []
    return found


def problems(described: Any, **environ: str) -> list[str]:
    """What is wrong with `DATA_AGENTS`."""
    return read({"DATA_AGENTS": json.dumps(described), **environ})[1]


def test_one_agent_has_an_address_and_is_called_default() -> None:
    """Each person asks it, and its answers are kept for five minutes, for them alone."""
    found, wrong = read({"DATA_AGENT_URL": AGENT})
    assert wrong == []
    (agent,) = found.values()
    assert (agent.name, agent.address.url, agent.description, agent.identity) == ("default", AGENT, "", "user")
    assert (agent.cache_seconds, agent.shared, agent.questions) == (300, False, ())
    assert list(found) == ["default"]


def test_each_of_several_is_as_it_is_described() -> None:
    """In their order."""
    described = {
        "sales": {"url": AGENT, "description": "Sales figures", "cache_seconds": 0},
        "company": {**SHARED, "cache_seconds": 3600, "questions": [" How much? ", "How many?"]},
        "app-1": {"url": AGENT, "identity": "app"},
    }
    sales, company, app = agents(described).values()
    assert (sales.name, sales.description, sales.identity, sales.cache_seconds) == ("sales", "Sales figures", "user", 0)
    assert (company.identity, company.shared, company.cache_seconds) == ("app", True, 3600)
    assert company.questions == ("How much?", "How many?")
    assert (app.name, app.identity, app.shared, app.cache_seconds) == ("app-1", "app", False, 300)


def test_an_agent_keeps_answers_as_long_as_all_do_unless_it_says_so() -> None:
    """`ANSWER_CACHE_SECONDS` is the default of `cache_seconds`."""
    described = {"sales": {"url": AGENT}, "stock": {"url": AGENT, "cache_seconds": 60}}
    found = agents(described, ANSWER_CACHE_SECONDS="0")
    assert [agent.cache_seconds for agent in found.values()] == [0, 60]
    (one,) = read({"DATA_AGENT_URL": AGENT, "ANSWER_CACHE_SECONDS": "7"})[0].values()
    assert one.cache_seconds == 7


@pytest.mark.parametrize("seconds", ["-1", "3601", "1.5", "soon"])
def test_how_long_all_keep_answers_is_bounded(seconds: str) -> None:
    """From nothing to an hour."""
    assert [line.partition(" ")[0] for line in read({"DATA_AGENT_URL": AGENT, "ANSWER_CACHE_SECONDS": seconds})[1]] == [
        "ANSWER_CACHE_SECONDS"
    ]


@pytest.mark.parametrize(
    ("described", "told"),
    [
        ({"url": AGENT, "cache_seconds": -1}, "has cache_seconds that are not from 0 to 3600"),
        ({"url": AGENT, "cache_seconds": LONGEST_CACHE_SECONDS + 1}, "has cache_seconds that are not from 0 to 3600"),
        ({"url": AGENT, "cache_seconds": 10**400}, "has cache_seconds that are not from 0 to 3600"),
        ({"url": AGENT, "cache_seconds": True}, "takes "),
        ({"url": AGENT, "cache_seconds": 1.0}, "takes "),
        ({"url": AGENT, "cache_seconds": "60"}, "takes "),
        ({"url": AGENT, "cache_seconds": None}, "takes "),
        ({"url": AGENT, "shared": 1}, "takes "),
        ({"url": AGENT, "questions": "How much?"}, "takes "),
        ({"url": AGENT, "identity": ["app"]}, "takes "),
        ({"url": AGENT, "secret": "x"}, "takes "),
        ({"url": 5}, "takes "),
        ([], "takes "),
        ({"url": AGENT, "identity": "everyone"}, "has an identity that is neither user nor app"),
        ({"url": AGENT, "shared": True}, "is shared but not asked as the app"),
        ({"url": AGENT, "identity": "user", "shared": True}, "is shared but not asked as the app"),
        ({"url": AGENT, "identity": "app", "questions": ["How much?"]}, "has questions to keep fresh"),
        ({**SHARED, "cache_seconds": 0, "questions": ["How much?"]}, "has questions to keep fresh"),
        ({**SHARED, "questions": [str(number) for number in range(MOST_QUESTIONS + 1)]}, "has more than 20 questions"),
        ({**SHARED, "questions": ["How much?", ""]}, "has a question that nobody could ask"),
        ({**SHARED, "questions": ["How much?", 5]}, "has a question that nobody could ask"),
        ({**SHARED, "questions": ["x" * (MAX_CHARACTERS + 1)]}, "has a question that nobody could ask"),
        ({**SHARED, "questions": ["a\u202eb"]}, "has a question that nobody could ask"),
        ({}, ""),
        ({"url": "https://evil.example/x"}, ""),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_told_under_the_agents_name(described: Any, told: str) -> None:
    """Each once; the other agents are read all the same."""
    found, (problem,) = read({"DATA_AGENTS": json.dumps({"sales": described, "stock": {"url": AGENT}})})
    assert problem.startswith(f"DATA_AGENTS[sales] {told}")
    assert found["stock"].address.url == AGENT


@pytest.mark.parametrize("name", ["Sales", "sales agent", "1", "-", "", "x" * 64, "säles"])
def test_a_name_is_small_letters_digits_and_hyphens(name: str) -> None:
    """It names rows, and stands in requests."""
    assert problems({name: {"url": AGENT}}) == [
        f"DATA_AGENTS[{name}] needs a name of small letters, digits and hyphens"
    ]


def test_everything_that_is_wrong_is_told_at_once() -> None:
    """With several agents, and several faults of one."""
    told = problems({"Sales": {"url": AGENT, "shared": True, "cache_seconds": -1}, "stock": []})
    assert [line.partition(" ")[0] for line in told] == ["DATA_AGENTS[Sales]"] * 3 + ["DATA_AGENTS[stock]"]


@pytest.mark.parametrize("listed", ["not json", "[]", "{}", "5", '{"a": {"url": "x"}, "a": {"url": "x"}}', "\udc80"])
def test_what_is_no_list_of_agents_is_told_once(listed: str) -> None:
    """Whatever else it is."""
    found, (problem,) = read({"DATA_AGENTS": listed})
    assert found == {}
    assert problem.startswith("DATA_AGENTS must be a JSON object")


def test_one_of_the_two_settings_has_to_be_there_and_not_both() -> None:
    """Which one is meant is not for the gateway to guess."""
    assert read({}) == ({}, ["DATA_AGENT_URL is missing"])
    both = {"DATA_AGENT_URL": AGENT, "DATA_AGENTS": json.dumps({"sales": {"url": AGENT}})}
    assert [line.partition(" ")[0] for line in read(both)[1]] == ["DATA_AGENT_URL"]
    assert read({"DATA_AGENT_URL": "https://evil.example/"})[0] == {}


def test_this_machine_is_for_development() -> None:
    """As with every address."""
    local = {"DATA_AGENTS": json.dumps({"sales": {"url": DEVELOPMENT["DATA_AGENT_URL"]}})}
    assert len(read(local)[1]) == 1
    assert read(local | {"ENVIRONMENT": "development"})[1] == []


def test_questions_show_in_no_log() -> None:
    """Settings may be printed while somebody looks for a fault."""
    assert "How much" not in repr(agents({"sales": {**SHARED, "questions": ["How much?"]}}))


FIELDS = st.sampled_from(["url", "description", "identity", "cache_seconds", "shared", "questions", "x"])
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from([AGENT, "app", "user"]),
    st.lists(st.text(max_size=3) | st.integers(), max_size=3),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["sales", "Stock"]), st.dictionaries(FIELDS, VALUES), min_size=1))
def test_any_description_is_an_agent_or_a_problem(described: dict[str, dict[str, Any]]) -> None:
    """And what is taken is never shared by people who are asked as themselves."""
    found, wrong = read({"DATA_AGENTS": json.dumps(described)})
    assert wrong or set(found) == set(described)
    for agent in found.values() if not wrong else ():
        assert agent.identity == "app" or not agent.shared
        assert agent.shared or not agent.questions
        assert 0 <= agent.cache_seconds <= LONGEST_CACHE_SECONDS
