"""Questions that outlive their requests, on the whole stack: by the queue, by the agent's tasks, and as events."""

import base64
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import httpx
import pytest
from azure.data.tables import TableServiceClient

from lib.endpoints.operations import END
from lib.telemetry.traces import read_traceparent
from local.fabric import SALES_AGENT, Fabric, build, faults
from local.people import ALICE, GATEWAY_OBJECT_ID, Person
from local.serving import Server
from local.stack import FABRIC_AUDIENCE, Host, Stack, free_port
from tests.clock import Clock
from tests.integration.browser import Browser, app_token
from tests.integration.conftest import SETTINGS
from tests.integration.people import newcomers
from tests.local.fabric.callers import SHARED_TASK_AGENT, TASK_AGENT, Thinking

QUESTION = "total sales by month"
UNKNOWN = "0f" * 16
ASYNC = {"Prefer": "respond-async"}
CLAIMS = json.dumps({"access_token": {"acrs": {"essential": True, "value": "c1"}}})


@dataclass(frozen=True)
class Script:
    """A client with an access token, at one gateway."""

    url: str
    token: str
    agent: str | None = None

    def call(self, method: str, path: str, headers: dict[str, str] | None = None, **options: object) -> httpx.Response:
        """One request."""
        known = {"Authorization": f"Bearer {self.token}", **(headers or {})}
        return httpx.request(method, self.url + path, headers=known, timeout=60, trust_env=False, **options)  # type: ignore[arg-type]

    def ask(self, question: str = QUESTION, headers: dict[str, str] | None = None, **fields: object) -> httpx.Response:
        """One question."""
        agent = {"agent": self.agent} if self.agent else {}
        return self.call("POST", "/api/query", headers, json={"question": question, **agent, **fields})

    def begin(self, question: str = QUESTION, **fields: object) -> str:
        """Where the operation of a question is."""
        reply = self.ask(question, ASYNC, **fields)
        assert reply.status_code == 202, reply.text
        location: str = reply.headers["location"]
        assert re.fullmatch("/api/query/[0-9a-f]{32}", location)
        return location

    def waited(self, location: str) -> httpx.Response:
        """The reply once the operation has ended."""
        return self.call("GET", location, {"Prefer": "wait=20"})


@pytest.fixture
def alice(browser: Browser, stack: Stack) -> Script:
    """Alice's script."""
    return Script(stack.public_url, browser.token("alice"))


@pytest.fixture
def bob(browser: Browser, stack: Stack) -> Script:
    """Bob's."""
    return Script(stack.public_url, browser.token("bob"))


@pytest.fixture
def person(stack: Stack) -> Iterator[Person]:
    """Somebody of this test alone, without conversations, and of whose questions none is under way."""
    with newcomers(stack, 1) as (one,):
        yield one


@pytest.fixture
def newcomer(browser: Browser, stack: Stack, person: Person) -> Script:
    """A script of theirs."""
    return Script(stack.public_url, browser.token(person.key))


@pytest.fixture(autouse=True)
def _no_fault_left(stack: Stack) -> Iterator[None]:
    """A fault that nobody met is not the next test's."""
    yield
    stack.fabric.faults.clear()


def until(is_so: Callable[[], bool]) -> None:
    """Returns once it is so."""
    ends = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < ends, "it never came to that"
        time.sleep(0.01)


# Waiting


def test_an_operation_is_begun_polled_and_answered(alice: Script, stack: Stack) -> None:
    """The reply comes at once, and says where to look, when, and what was followed; the agent is asked once."""
    stack.fabric.asked.clear()
    accepted = alice.ask(headers=ASYNC)
    assert accepted.status_code == 202, accepted.text
    assert accepted.headers["preference-applied"] == "respond-async"
    assert int(accepted.headers["retry-after"]) >= 1
    status = accepted.json()
    assert (status["status"], status["agent"], status["conversation_id"]) == ("accepted", "sales", None)
    location = accepted.headers["location"]
    assert location == f"/api/query/{status['id']}"
    seen = [alice.call("GET", location)]
    while seen[-1].status_code == 202:
        assert len(seen) < 1000
        seen.append(alice.call("GET", location))
    assert {reply.json()["status"] for reply in seen if reply.status_code == 202} <= {"accepted", "asked"}
    answer = seen[-1].json()
    assert answer["id"] == status["id"]
    assert answer["answer"] == alice.ask().json()["answer"]
    assert stack.fabric.asked == [(ALICE.object_id, SALES_AGENT.tool_name)] * 2


def test_a_caller_waits_as_long_as_they_say(alice: Script, stack: Stack) -> None:
    """The answer if it comes by then; else the operation, which may be waited for again."""
    reply = alice.ask(headers={"Prefer": "wait=20"})
    assert (reply.status_code, reply.headers["preference-applied"]) == (200, "wait=20"), reply.text
    assert reply.json()["answer"]["tables"]
    stack.fabric.faults.plan("tools/call", faults.late(1.5))
    late = alice.ask(headers={"Prefer": "respond-async, wait=1"})
    assert (late.status_code, late.headers["preference-applied"]) == (202, "respond-async, wait=1")
    answered = alice.waited(late.headers["location"])
    assert (answered.status_code, answered.headers["preference-applied"]) == (200, "wait=20")


# Whose it is


def test_an_operation_is_its_owners_alone(alice: Script, bob: Script) -> None:
    """For everybody else there is none, to look at, to listen to and to give up."""
    location = alice.begin()
    for method, path in (("GET", ""), ("GET", "/events"), ("DELETE", "")):
        theirs, none = bob.call(method, location + path), bob.call(method, f"/api/query/{UNKNOWN}{path}")
        assert (
            (theirs.status_code, theirs.json()["code"]) == (none.status_code, none.json()["code"]) == (404, "not_found")
        )
        assert theirs.json()["detail"] == none.json()["detail"]
        stranger = httpx.request(method, alice.url + location + path, trust_env=False)
        assert stranger.status_code == 401
    assert alice.waited(location).status_code == 200


def test_a_session_and_a_token_of_one_person_find_the_same(alice: Script, browser: Browser) -> None:
    """An operation belongs to the person."""
    browser.sign_in("alice")
    reply = browser.page_call("POST", "/api/query", json={"question": QUESTION}, headers=ASYNC)
    assert reply.status_code == 202, reply.text
    assert alice.waited(reply.headers["location"]).json()["id"] == reply.json()["id"]
    refused = browser.call("DELETE", reply.headers["location"])
    assert (refused.status_code, refused.json()["code"]) == (403, "csrf_rejected")


# What comes of it


def test_a_question_is_given_up(alice: Script, stack: Stack) -> None:
    """Whatever its agent says later; and giving it up again changes nothing."""
    stack.fabric.faults.plan("tools/call", faults.late(0.5))
    calls = stack.fabric.calls["tools/call"]
    location = alice.begin()
    until(lambda: stack.fabric.calls["tools/call"] > calls)
    for _ in range(2):
        given_up = alice.call("DELETE", location)
        assert (given_up.status_code, given_up.json()["status"]) == (200, "cancelled")
    told = alice.call("GET", location)
    assert (told.status_code, told.json()["code"]) == (410, "operation_cancelled")
    assert told.json()["operation"]["status"] == "cancelled"


def test_a_failure_is_the_problem_that_asking_would_have_met(alice: Script, stack: Stack) -> None:
    """With the operation beside its own members; told again each time, and asked no more."""
    stack.fabric.faults.plan("tools/call", faults.run_failed())
    calls = stack.fabric.calls["tools/call"]
    location = alice.begin()
    for reply in (alice.waited(location), alice.call("GET", location)):
        assert reply.headers["content-type"] == "application/problem+json"
        problem = reply.json()
        assert (reply.status_code, problem["code"]) == (502, "agent_failed")
        assert (problem["operation"]["status"], location.endswith(problem["operation"]["id"])) == ("failed", True)
    assert stack.fabric.calls["tools/call"] == calls + 1


def test_a_challenge_that_the_runner_meets_is_handed_to_who_brought_a_token(alice: Script, stack: Stack) -> None:
    """With the claims to take to Entra."""
    stack.fabric.faults.plan("tools/call", faults.challenge(CLAIMS))
    reply = alice.waited(alice.begin())
    assert (reply.status_code, reply.json()["code"]) == (401, "step_up_required")
    assert 'error="insufficient_claims"' in reply.headers["www-authenticate"]
    assert "login_url" not in reply.json()


def test_a_challenge_that_the_runner_meets_sends_a_session_to_sign_in(browser: Browser, stack: Stack) -> None:
    """By the gateway's own login."""
    browser.sign_in("alice")
    stack.fabric.faults.plan("tools/call", faults.challenge(CLAIMS))
    begun = browser.page_call("POST", "/api/query", json={"question": QUESTION}, headers=ASYNC)
    reply = browser.call("GET", begun.headers["location"], headers={"Prefer": "wait=20"})
    assert (reply.status_code, reply.json()["code"]) == (401, "step_up_required")
    assert reply.json()["login_url"].startswith(f"{stack.public_url}/api/login?step_up=")
    assert "acrs" not in reply.text


# Events


class EventSource:
    """What a browser's `EventSource` does: it reads, comes back with the last id, and ends with anything but 200."""

    def __init__(self, browser: Browser, path: str) -> None:
        self._browser = browser
        self._path = path
        self.last = ""
        self.retries: list[int] = []

    def connect(self) -> list[tuple[str, str]] | None:
        """The events, by name and data, of one connection; None where it is the end."""
        headers = {"Accept": "text/event-stream", "Sec-Fetch-Site": "same-origin"}
        headers |= {"Last-Event-ID": self.last} if self.last else {}
        reply = self._browser.call("GET", self._path, headers=headers)
        if reply.status_code != 200:
            assert (reply.status_code, reply.content) == (204, b"")
            return None
        assert reply.headers["content-type"].partition(";")[0] == "text/event-stream"
        assert reply.headers["cache-control"] == "no-store"
        events = []
        for block in re.split(r"\r\n\r\n|\n\n|\r\r", reply.text)[:-1]:
            fields = [line.partition(":")[::2] for line in block.splitlines()]
            read = {name: value.removeprefix(" ") for name, value in fields}
            self.last = read.get("id", self.last)
            self.retries.append(int(read["retry"]))
            if "data" in read:
                events.append((read.get("event", "message"), read["data"]))
        return events

    def all(self) -> list[tuple[str, str]]:
        """Everything until the end."""
        seen: list[tuple[str, str]] = []
        while (events := self.connect()) is not None:
            seen += events
            assert len(seen) < 50
        return seen


def begun_in_page(browser: Browser) -> str:
    """Where the operation of a question is that a page has asked."""
    begun = browser.page_call("POST", "/api/query", json={"question": QUESTION}, headers=ASYNC)
    assert begun.status_code == 202, begun.text
    location: str = begun.headers["location"]
    return location


def test_a_page_hears_how_it_goes_on_and_the_answer(browser: Browser) -> None:
    """By its cookie, for a source can send nothing else; in the end it is told to stop, and stays so."""
    browser.sign_in("alice")
    location = begun_in_page(browser)
    source = EventSource(browser, f"{location}/events")
    *progress, (name, data) = source.all()
    assert progress
    assert {each for each, _ in progress} == {"progress"}
    states = [json.loads(each)["status"] for _, each in progress]
    assert states == sorted(states, key=["accepted", "asked"].index)
    assert (name, source.last) == ("answer", END)
    assert json.loads(data) == browser.call("GET", location).json()
    assert set(source.retries) == {1000}
    assert source.connect() is None


def test_a_page_hears_of_a_failure_as_an_event(browser: Browser, stack: Stack) -> None:
    """Any other status than 200 would show it nothing."""
    browser.sign_in("alice")
    stack.fabric.faults.plan("tools/call", faults.challenge(CLAIMS))
    source = EventSource(browser, f"{begun_in_page(browser)}/events")
    *_, (name, data) = source.all()
    problem = json.loads(data)
    assert (name, problem["code"], problem["operation"]["status"]) == ("problem", "step_up_required", "failed")
    assert "/api/login?step_up=" in problem["login_url"]


# The same request twice


def key() -> dict[str, str]:
    """A key that was never used."""
    return {"Idempotency-Key": f'"{secrets.token_hex(8)}"'}


def test_a_request_that_is_repeated_is_answered_once(alice: Script, stack: Stack) -> None:
    """The answer, the operation and a failure alike."""
    calls, own = stack.fabric.calls["tools/call"], key()
    first, again = alice.ask(headers=own), alice.ask(headers=own)
    assert first.json()["answer"] == again.json()["answer"]
    assert stack.fabric.calls["tools/call"] == calls + 1
    own = key()
    locations = [alice.ask(headers=own | ASYNC).headers["location"] for _ in range(2)]
    assert len(set(locations)) == 1
    answered = alice.waited(locations[0]).json()
    assert alice.ask(headers=own).json()["id"] == answered["id"]
    assert stack.fabric.calls["tools/call"] == calls + 2
    stack.fabric.faults.plan("tools/call", faults.run_failed())
    own = key()
    problems = [alice.ask(headers=own) for _ in range(2)]
    assert [(each.status_code, each.json()["code"]) for each in problems] == [(502, "agent_failed")] * 2
    assert stack.fabric.calls["tools/call"] == calls + 3


def test_a_request_that_is_under_way_is_not_begun_again(alice: Script, stack: Stack) -> None:
    """409, and when to come back; with another body 422, whoever is faster. Another's key is another's."""
    stack.fabric.faults.plan("tools/call", faults.late(1))
    calls, own = stack.fabric.calls["tools/call"], key()
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(alice.ask, headers=own)
        until(lambda: stack.fabric.calls["tools/call"] > calls)
        second = alice.ask(headers=own)
        assert (second.status_code, second.json()["code"]) == (409, "idempotency_conflict")
        assert int(second.headers["retry-after"]) >= 1
        other = alice.ask("total units", headers=own)
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_conflict")
        assert first.result().status_code == 200
    assert alice.ask(headers=own).json()["answer"] == first.result().json()["answer"]


# Conversations


def test_a_conversation_goes_on_through_questions_and_operations(newcomer: Script, bob: Script) -> None:
    """A follow-up means what was said before, as soon as the answer is seen; it is listed, and nobody else's."""
    begun = newcomer.waited(newcomer.begin("total sales by product", conversation_id="new")).json()
    conversation_id = begun["conversation_id"]
    follow_up = newcomer.ask("and by month?", conversation_id=conversation_id).json()
    assert follow_up["conversation_id"] == conversation_id
    assert len(follow_up["answer"]["tables"][0]["rows"]) == 12
    turns = newcomer.call("GET", f"/api/conversations/{conversation_id}").json()["turns"]
    assert [turn["content"] for turn in turns][::2] == ["total sales by product", "and by month?"]
    for who, wanted in ((bob, conversation_id), (newcomer, UNKNOWN)):
        refused = who.ask(conversation_id=wanted)
        assert (refused.status_code, refused.json()["code"]) == (404, "not_found")
    history = [{"role": "user", "content": "total sales"}]
    refused = newcomer.ask(conversation_id=conversation_id, history=history)
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "history")


# Agents that run questions as tasks


@dataclass(frozen=True)
class Thinkers:
    """Two gateways with agents that think by themselves, which a test can hold up."""

    fabric: Fabric
    thinking: Thinking
    urls: tuple[str, str]


@pytest.fixture(scope="module")
def running(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Thinkers]:
    """They give up waiting after five seconds, and let one question of a person go on at a time."""
    fabric, thinking = Fabric(TASK_AGENT, SHARED_TASK_AGENT), Thinking(Clock())
    app = build(
        fabric,
        claims_of=lambda token: stack.issuer.verify(token, FABRIC_AUDIENCE),
        delay_seconds=1,
        sleep=thinking.sleep,
    )
    log_path = tmp_path_factory.mktemp("host") / "log"
    with Server(app, certificates=stack.certificates) as server, log_path.open("wb") as log:
        agents = json.loads(stack.environment["DATA_AGENTS"])
        agents["thinker"] = {"url": server.url + TASK_AGENT.path}
        agents["company"] = {"url": server.url + SHARED_TASK_AGENT.path, "identity": "app"}
        settings = SETTINGS | {"QUERY_DEADLINE_SECONDS": "5", "LIMIT_IN_FLIGHT": "1", "DATA_AGENTS": json.dumps(agents)}
        hosts = [Host(free_port(), stack.environment | settings, log) for _ in range(2)]
        try:
            yield Thinkers(fabric, thinking, (hosts[0].url, hosts[1].url))
        finally:
            for host in hosts:
                host.stop()


@pytest.fixture
def thinkers(running: Thinkers, person: Person) -> Thinkers:
    """The same, and the agent is shared with the person too."""
    agent = replace(TASK_AGENT, readers=frozenset({person.object_id}))
    running.fabric.agents[TASK_AGENT.object_id] = agent
    return running


@pytest.fixture
def script(thinkers: Thinkers, browser: Browser, person: Person) -> Script:
    """A script of theirs, at the first gateway."""
    return Script(thinkers.urls[0], browser.token(person.key), "thinker")


def test_a_task_is_picked_up_elsewhere_under_its_askers_own_token(
    thinkers: Thinkers, script: Script, person: Person, browser: Browser
) -> None:
    """By the second gateway, which has never asked the agent; the question reaches it once, and no queue."""
    elsewhere, asked = replace(script, url=thinkers.urls[1]), len(thinkers.fabric.asked)
    begun = script.ask(headers=ASYNC)
    assert (begun.status_code, begun.json()["status"]) == (202, "running"), begun.text
    answered = elsewhere.waited(begun.headers["location"])
    assert answered.status_code == 200, answered.text
    assert answered.json()["id"] == begun.json()["id"]
    assert answered.json()["answer"]["tables"]
    assert thinkers.fabric.asked[asked:] == [(person.object_id, TASK_AGENT.tool_name)]
    other = replace(elsewhere, token=browser.token("bob")).call("GET", begun.headers["location"])
    assert other.status_code == 404


def test_an_app_has_its_tasks_too(thinkers: Thinkers, stack: Stack) -> None:
    """By an agent that is asked as the app."""
    script = Script(thinkers.urls[0], app_token(stack), "company")
    reply = script.waited(script.begin())
    assert reply.status_code == 200, reply.text
    assert reply.json()["agent"] == "company"
    assert thinkers.fabric.asked[-1] == (GATEWAY_OBJECT_ID, SHARED_TASK_AGENT.tool_name)


def test_who_prefers_nothing_waits_for_the_task(thinkers: Thinkers, script: Script) -> None:
    """And has the answer, by an agent that is known to have tasks."""
    script.waited(script.begin())
    looks = thinkers.fabric.calls["tasks/get"]
    reply = script.ask()
    assert reply.status_code == 200, reply.text
    assert reply.json()["answer"]["tables"]
    assert "preference-applied" not in reply.headers
    assert thinkers.fabric.calls["tasks/get"] > looks


def test_a_task_that_takes_longer_is_an_operation_and_can_be_given_up(thinkers: Thinkers, script: Script) -> None:
    """Past the deadline the caller has 202. Meanwhile one more is too many, which frees its key; then it is let in."""
    own, cancelled = key(), thinkers.fabric.calls["tasks/cancel"]
    script.waited(script.begin())
    with thinkers.thinking.held():
        late = script.ask()
        assert (late.status_code, late.json()["status"]) == (202, "running"), late.text
        refused = script.ask("total units", headers=own)
        assert (refused.status_code, refused.json()["code"]) == (429, "too_many_in_flight")
        given_up = script.call("DELETE", late.headers["location"])
        assert (given_up.status_code, given_up.json()["status"]) == (200, "cancelled")
    assert script.call("GET", late.headers["location"]).json()["code"] == "operation_cancelled"
    assert thinkers.fabric.calls["tasks/cancel"] == cancelled + 1
    assert script.ask("total units by month", headers=own).status_code == 200


def test_another_agents_conversation_is_refused(script: Script) -> None:
    """What was said to one is not told to the other."""
    begun = replace(script, agent="sales").ask(conversation_id="new")
    assert begun.status_code == 200, begun.text
    refused = script.ask(conversation_id=begun.json()["conversation_id"])
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (400, "conversation_id")


def test_a_task_that_fails_is_told_by_what_it_failed_with(thinkers: Thinkers, script: Script) -> None:
    """Also where that is something that passes: this task has ended. The agent is left alone for a while after it."""
    thinkers.fabric.task_failures.append("CapacityNotActive")
    reply = script.waited(script.begin())
    assert (reply.status_code, reply.json()["code"]) == (503, "capacity_exceeded")
    assert reply.json()["operation"]["status"] == "failed"


# What others could read


def test_messages_hold_ids_and_nothing_else(alice: Script, stack: Stack) -> None:
    """Every message that was ever sent in this run is in Azurite's files."""
    operation_id = alice.begin().rpartition("/")[2]
    sent = b"".join(file.read_bytes() for file in (stack.folder / "azurite" / "__queuestorage__").iterdir())
    texts = re.findall(rb"[A-Za-z0-9+/]+={1,2}", sent)
    assert b"".join(texts) == sent
    messages = [json.loads(base64.b64decode(text)) for text in texts]
    assert all(set(message) == {"partition", "operation", "traceparent"} for message in messages)
    assert all(
        re.fullmatch("[0-9a-f]{32}", message[name]) for message in messages for name in ("partition", "operation")
    )
    assert all(all(read_traceparent(message["traceparent"])) for message in messages)
    assert operation_id in {message["operation"] for message in messages}


def test_rows_hold_no_question_answer_or_token_in_clear(
    newcomer: Script, person: Person, stack: Stack, secrets_seen: set[str]
) -> None:
    """While an operation waits, after it has ended, under a key and in a conversation."""
    canary = "total sales by month of the canary Quastenflosser"
    stack.fabric.faults.plan("tools/call", faults.late(0.3))
    calls = stack.fabric.calls["tools/call"]
    reply = newcomer.ask(canary, key() | ASYNC, conversation_id="new")
    accepted = stored(stack)
    until(lambda: stack.fabric.calls["tools/call"] > calls)
    asked = stored(stack)
    answered = newcomer.waited(reply.headers["location"])
    assert answered.status_code == 200, answered.text
    rows = accepted + asked + stored(stack)
    assert reply.json()["id"].encode() in rows
    hidden = {canary, "Quastenflosser", answered.json()["answer"]["text"][:40], person.object_id, *secrets_seen}
    assert [secret for secret in hidden if len(secret) > 8 and secret.encode() in rows] == []
    assert not re.search(rb"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}", rows)


def stored(stack: Stack) -> bytes:
    """Everything in the tables that questions leave something in."""
    with TableServiceClient.from_connection_string(stack.azurite.connection_string) as service:
        names = {table.name for table in service.list_tables()} & {
            "operations",
            "idempotency",
            "conversations",
            "answers",
        }
        assert "operations" in names
        values = [
            value
            for name in names
            for entity in service.get_table_client(name).list_entities()
            for value in entity.values()
        ]
    return b"\n".join(value if isinstance(value, bytes) else str(value).encode() for value in values)
