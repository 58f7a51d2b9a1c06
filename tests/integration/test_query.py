"""Questions and answers, end to end: each person gets their own."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.fabric import SALES_AGENT, faults
from local.people import ALICE, BOB
from local.stack import Stack
from tests.integration.browser import Browser

QUESTION = "What are the total sales by month?"


def bearer(browser: Browser, person: str) -> dict[str, str]:
    """The header that a script sends for this person."""
    return {"Authorization": f"Bearer {browser.token(person)}"}


def ask(browser: Browser, person: str, question: str = QUESTION, **fields: object) -> dict[str, object]:
    """The answer to a question that a script asks in this person's name."""
    reply = browser.call("POST", "/api/query", json={"question": question, **fields}, headers=bearer(browser, person))
    assert reply.status_code == 200, reply.text
    value: dict[str, object] = reply.json()
    return value


def test_two_people_ask_the_same_and_get_their_own_answers(browser: Browser, stack: Stack) -> None:
    """Row-level security holds all the way: the agent is asked as alice, then as bob."""
    stack.fabric.asked.clear()
    of_alice, of_bob = ask(browser, "alice")["answer"], ask(browser, "bob")["answer"]
    assert isinstance(of_alice, dict)
    assert isinstance(of_bob, dict)
    assert [oid for oid, _ in stack.fabric.asked] == [ALICE.object_id, BOB.object_id]
    for answer, person in ((of_alice, ALICE), (of_bob, BOB)):
        for row in answer["tables"][0]["rows"]:
            assert f"| {' | '.join(row)} |" in stack.fabric.sales.answer(QUESTION, person.region)
    assert of_alice["tables"] != of_bob["tables"]


def test_an_answer_has_text_tables_and_the_query_behind_it(browser: Browser) -> None:
    """The parts a page or a script works with."""
    reply = ask(browser, "alice")
    answer = reply["answer"]
    assert isinstance(answer, dict)
    assert reply["agent"] == "sales"
    cached = reply["cached"]
    assert isinstance(cached, dict)
    assert (cached["hit"], cached["stale"]) == (False, False)
    (table,) = answer["tables"]
    assert len(table["rows"]) == 12
    assert all(len(row) == len(table["columns"]) for row in table["rows"])
    (query,) = answer["queries"]
    assert query["language"] == "sql"
    assert query["text"].upper().startswith(("SELECT", "WITH"))
    assert "|" not in answer["text"].split("\n")[0]


def test_a_session_asks_too_and_survives_a_restart_of_the_host(browser: Browser, stack: Stack) -> None:
    """Nothing that matters is in the process: the same cookie works before and after."""
    browser.sign_in("bob")
    before = browser.ask(QUESTION)
    assert before.status_code == 200, before.text
    assert stack.host is not None
    stack.restart_host()
    after = browser.ask(QUESTION)
    assert after.status_code == 200, after.text
    assert after.json()["answer"] == before.json()["answer"]


def test_the_history_of_a_conversation_gives_a_follow_up_its_meaning(browser: Browser) -> None:
    """Turns go along with the request; the gateway keeps nothing of them."""
    first = ask(browser, "alice", "total sales by product")["answer"]
    assert isinstance(first, dict)
    history = [
        {"role": "user", "content": "total sales by product"},
        {"role": "assistant", "content": first["markdown"]},
    ]
    second = ask(browser, "alice", "and by month?", history=history)["answer"]
    assert isinstance(second, dict)
    assert len(second["tables"][0]["rows"]) == 12


def test_the_agents_i_may_ask_are_listed(browser: Browser) -> None:
    """Name, description and whose token asks."""
    reply = browser.call("GET", "/api/agents", headers=bearer(browser, "alice"))
    assert reply.json() == {"agents": [{"name": "sales", "description": SALES_AGENT.description, "identity": "user"}]}


def test_an_unknown_agent_is_a_problem_that_names_the_known_ones(browser: Browser) -> None:
    """The caller can choose again."""
    reply = browser.call("POST", "/api/query", json={"question": "x", "agent": "hr"}, headers=bearer(browser, "alice"))
    assert (reply.status_code, reply.json()["code"], reply.json()["agents"]) == (404, "agent_unknown", ["sales"])


def test_the_agent_is_discovered_once_and_asked_each_time(browser: Browser, stack: Stack) -> None:
    """Initialize and tools/list are not repeated for every question; each question is one call."""
    ask(browser, "alice")
    before = stack.fabric.calls.copy()
    ask(browser, "alice")
    ask(browser, "bob")
    after = stack.fabric.calls.copy()
    assert after["tools/call"] - before["tools/call"] == 2
    assert after["initialize"] == before["initialize"]
    assert after["tools/list"] == before["tools/list"]


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [
        (faults.run_failed(), 502, "agent_failed"),
        (faults.source_failed(), 502, "agent_failed"),
        (faults.say("It broke.", is_error=True), 502, "agent_failed"),
        (faults.misaddress(), 502, "agent_failed"),
        (faults.cut(20), 503, "agent_unavailable"),
    ],
    ids=["the run failed", "an error disguised as success", "a tool error", "another id", "a broken connection"],
)
def test_a_failure_of_the_agent_is_told_as_one_and_not_asked_again(
    browser: Browser, stack: Stack, fault: object, status: int, code: str
) -> None:
    """A question costs capacity: it is sent once, and what is no answer is not passed off as one."""
    ask(browser, "alice")
    calls = stack.fabric.calls["tools/call"]
    stack.fabric.faults.plan("tools/call", fault)  # type: ignore[arg-type]
    reply = browser.call("POST", "/api/query", json={"question": QUESTION}, headers=bearer(browser, "alice"))
    assert (reply.status_code, reply.json()["code"]) == (status, code)
    assert stack.fabric.calls["tools/call"] == calls + 1


def test_an_answer_behind_other_events_of_a_stream_is_found(browser: Browser, stack: Stack) -> None:
    """Notifications and replies to others come first; ours is taken."""
    stack.fabric.faults.plan("tools/call", faults.chatter())
    assert ask(browser, "alice")["answer"]


def test_a_claims_challenge_of_fabric_reaches_the_caller(browser: Browser, stack: Stack) -> None:
    """401 with the claims, for the caller to take to Entra."""
    stack.fabric.faults.plan("tools/call", faults.challenge(json.dumps({"access_token": {"acrs": {"value": "c1"}}})))
    reply = browser.call("POST", "/api/query", json={"question": QUESTION}, headers=bearer(browser, "alice"))
    assert (reply.status_code, reply.json()["code"]) == (401, "step_up_required")
    assert 'error="insufficient_claims"' in reply.headers["www-authenticate"]


def test_fifty_questions_at_once_are_each_asked_as_their_own_person(browser: Browser) -> None:
    """Nobody's token goes along with another's question."""
    tokens = {person: bearer(browser, person) for person in ("alice", "bob")}
    people = ["alice", "bob"] * 25

    def one(person: str) -> str:
        reply = browser.call("POST", "/api/query", json={"question": QUESTION}, headers=tokens[person], cookies=False)
        assert reply.status_code == 200, reply.text
        markdown: str = reply.json()["answer"]["markdown"]
        return markdown

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(one, people))
    assert len({answer for answer, person in zip(answers, people, strict=True) if person == "alice"}) == 1
    assert len({answer for answer, person in zip(answers, people, strict=True) if person == "bob"}) == 1
    assert len(set(answers)) == 2
