"""What the gateway tells of a question on its way: steps, numbers and one audit line, whatever becomes of it."""

import asyncio
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.responses import Response as Refusal

from lib.answers.cache import AnswerKey
from lib.errors import StateUnavailable
from lib.gateway import Gateway
from lib.telemetry import metrics
from lib.telemetry.logs import JsonFormatter
from tests.lib.endpoints.caller import Caller, caller, read
from tests.lib.telemetry.heard import Heard, hearing
from tests.lib.whole import Whole

pytestmark = pytest.mark.stack

FORBIDDEN = Refusal(status_code=403)
ASYNC = {"prefer": "respond-async"}


@pytest.fixture
def heard() -> Iterator[Heard]:
    """Somebody who listens."""
    with hearing() as listening:
        yield listening


@pytest.fixture(autouse=True)
def _talkative(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "lib")


def told(caplog: pytest.LogCaptureFixture, event: str) -> list[dict[str, Any]]:
    """The lines of an event, without what every line has."""
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    around = {"level", "logger", "message", "trace_id", "version", "event"}
    return [
        {name: value for name, value in line.items() if name not in around}
        for line in lines
        if line.get("event") == event
    ]


async def run(whole: Whole, gateway: Gateway) -> None:
    """Delivers what is in the queue."""
    for message in await whole.messages():
        await gateway.run_message(json.dumps(message).encode())


async def pseudonym(asker: Caller) -> str:
    """Whom lines about the caller name."""
    who = asker.principal
    partition = await asker.gateway.row_keys.partition(who.tenant_id, who.object_id)
    return await asker.gateway.row_keys.pseudonym(partition)


def steps(heard: Heard) -> list[str]:
    """The steps in the order they began, without calls to anybody."""
    return [one.name for one in heard.spans if one.kind == "internal"]


async def test_a_question_tells_its_steps_and_one_line(
    asker: Caller, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    """And the next one like it, whose answer is known, fewer of them."""
    read(await asker.ask())
    assert steps(heard) == [
        *("POST ", "authenticate", "parse", "look", "look", "admit", "delegate", "ask", "release", "keep", "reply")
    ]
    heard.spans.clear()
    read(await asker.ask())
    assert steps(heard) == ["POST ", "authenticate", "parse", "look", "reply"]
    lines = told(caplog, "question")
    assert [line["cached"] for line in lines] == ["fetched", "kept"]
    assert lines[0] | {"ms": 0} == {
        "who": await pseudonym(asker),
        "kind": "person",
        "agent": "sales",
        "outcome": "answered",
        "code": "",
        "cached": "fetched",
        "age": 0,
        "ms": 0,
        "operation": "",
    }
    assert [names["cached"] for names in heard.of(metrics.QUESTIONS)] == ["fetched", "kept"]
    assert heard.of(metrics.LOOKUPS) == [{"result": "none"}, {"result": "memory"}]
    assert heard.of(metrics.TOKENS) == [{"kind": "refresh", "result": "acquired"}]
    assert [(value, names) for name, value, names in heard.numbers if name == metrics.QUESTIONS_UNDER_WAY.name] == [
        (1, {"agent": "agent"}),
        (-1, {"agent": "agent"}),
    ]
    (call,) = heard.of(metrics.AGENT_CALLS)
    assert call == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "microsoft.fabric",
        "gen_ai.agent.name": "agent",
    }


async def test_an_answer_that_another_instance_keeps_is_told_as_stored(whole: Whole, heard: Heard) -> None:
    """At once, and by an operation that needs none."""
    first, second, third = whole.instance(), whole.instance(), whole.instance()
    one = await caller(first)
    read(await one.ask())
    read(await Caller(second, one._headers["cookie"].partition("=")[2], one.principal).ask())
    read(await Caller(third, one._headers["cookie"].partition("=")[2], one.principal).ask(headers=ASYNC))
    assert [names["result"] for names in heard.of(metrics.LOOKUPS)] == ["none", "stored", "stored"]


async def test_who_joins_a_question_is_told_so(asker: Caller, caplog: pytest.LogCaptureFixture) -> None:
    """One of them has asked it."""
    await asyncio.gather(asker.ask(), asker.ask())
    assert sorted(line["cached"] for line in told(caplog, "question")) == ["fetched", "joined"]


@pytest.mark.parametrize(
    ("body", "outcome", "code", "agent"),
    [
        ({"agent": "nobody-knows-it"}, "refused", "agent_unknown", ""),
        ({"question": 5}, "refused", "invalid_request", ""),
    ],
)
async def test_what_a_caller_has_to_mend_is_a_refusal(
    body: dict[str, Any], outcome: str, code: str, agent: str, asker: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller's own words are not in the line, not even as an agent's name."""
    reply = await asker.ask(**body)
    assert reply.status in {400, 404}
    (line,) = told(caplog, "question")
    assert (line["outcome"], line["code"], line["agent"]) == (outcome, code, agent)


async def test_a_failure_of_the_agents_is_a_failure(
    whole: Whole, asker: Caller, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    """And of the step in which it has failed; nobody's text is told."""
    whole.upstreams["sales"].plan("tools/call", (429, {"retry-after": "600"}, b"a text of fabric's"))
    assert (await asker.ask()).status == 503
    (line,) = told(caplog, "question")
    assert (line["outcome"], line["code"], line["agent"]) == ("failed", "capacity_exceeded", "sales")
    failed = {one.name: one.failed for one in heard.spans if one.failed}
    assert failed == {"ask": "capacity_exceeded", "POST fabric": "429", "POST ": "capacity_exceeded"}
    assert [names.get("error.type") for names in heard.of(metrics.AGENT_CALLS)] == ["capacity_exceeded"]
    (throttled,) = told(caplog, "upstream_throttled")
    assert throttled == {"peer": "fabric", "status": 429, "retry_after": 600}
    (request,) = told(caplog, "request_failed")
    assert request["code"] == "capacity_exceeded"


async def test_an_earlier_answer_is_told_as_stale(
    whole: Whole, asker: Caller, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    """With its age."""
    read(await asker.ask())
    whole.clock.advance(400)
    whole.upstreams["sales"].plan("tools/call", (500, {}, b""))
    read(await asker.ask())
    line = told(caplog, "question")[-1]
    assert (line["outcome"], line["cached"], line["age"]) == ("answered", "stale", 400)
    assert {"mode": "stale_answer"} in heard.of(metrics.DEGRADED)


async def test_what_nobody_has_foreseen_is_a_failure_too(
    instance: Gateway, asker: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Its text stays where it is."""

    async def broken(*_: object) -> None:
        raise ValueError("total sales")

    monkeypatch.setattr(instance, "ask", broken)
    assert (await asker.ask()).status == 500
    (line,) = told(caplog, "question")
    assert (line["outcome"], line["code"]) == ("failed", "internal_error")
    (request,) = told(caplog, "request_failed")
    assert (request["code"], "total sales" in str(request)) == ("internal_error", False)


async def test_while_the_vault_is_away_the_line_names_nobody(
    instance: Gateway, asker: Caller, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And comes all the same."""
    authenticate = instance.authenticate

    async def known(request: Any) -> Any:
        principal = await authenticate(request)
        monkeypatch.setattr(instance.row_keys._vault, "secret", away)
        return principal

    async def away(_name: str) -> str:
        raise StateUnavailable

    monkeypatch.setattr(instance, "authenticate", known)
    assert (await asker.ask()).status == 503
    (line,) = told(caplog, "question")
    assert (line["who"], line["outcome"], line["code"]) == ("", "failed", "state_unavailable")
    assert await instance.pseudonym("0f" * 16) == ""


async def test_a_stranger_has_no_line(asker: Caller, heard: Heard, caplog: pytest.LogCaptureFixture) -> None:
    """Nobody is known who could have asked."""
    asker._headers.pop("cookie")
    assert (await asker.ask()).status == 401
    assert told(caplog, "question") == []
    assert [(one.name, one.failed) for one in heard.spans] == [("POST ", ""), ("authenticate", "token_missing")]


async def test_an_operation_has_a_line_of_its_own_by_whoever_ends_it(
    whole: Whole, instance: Gateway, asker: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """The same person, and the operation that the question's line names."""
    operation = read(await asker.ask(headers=ASYNC), 202)
    whole.clock.advance(3)
    await run(whole, instance)
    (question,) = told(caplog, "question")
    assert (question["outcome"], question["operation"]) == ("accepted", operation["id"])
    (ended,) = told(caplog, "operation")
    assert ended == {
        "who": await pseudonym(asker),
        "agent": "sales",
        "outcome": "done",
        "code": "",
        "ms": ended["ms"],
        "operation": operation["id"],
    }
    assert ended["ms"] >= 3000
    read(await asker.look(operation["id"]))
    assert len(told(caplog, "operation")) == 1


async def test_operations_that_come_to_nothing_tell_how(
    whole: Whole, instance: Gateway, asker: Caller, caplog: pytest.LogCaptureFixture
) -> None:
    """Given up, failed, or never picked up."""
    given_up = read(await asker.ask("one", headers=ASYNC), 202)
    await asker.give_up(given_up["id"])
    whole.upstreams["sales"].plan("tools/call", (403, {}, b""))
    read(await asker.ask("two", headers=ASYNC), 202)
    await run(whole, instance)
    late = read(await asker.ask("three", headers=ASYNC), 202)
    whole.clock.advance(600)
    await asker.look(late["id"])
    assert [(line["outcome"], line["code"]) for line in told(caplog, "operation")] == [
        ("cancelled", ""),
        ("failed", "agent_access_denied"),
        ("expired", ""),
    ]
    await whole.messages()


async def test_while_storage_is_away_what_is_done_without_it_is_counted(
    whole: Whole, asker: Caller, heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    """And each call that fails is a line and a number."""
    read(await asker.ask())
    whole.tables.planned.append(FORBIDDEN)
    await asker.gateway.questions._stored.read(AnswerKey("0f" * 16, "sales", "0e" * 16))
    (line,) = told(caplog, "state_unavailable")
    assert line == {
        "service": "tables",
        "operation": "read",
        "fault": "HttpResponseError",
        "status": 403,
        "table": "answers",
    }
    assert {"service": "tables", "operation": "read", "result": "failed"} in heard.of(metrics.STORAGE_CALLS)
    assert {"mode": "answers_skipped"} in heard.of(metrics.DEGRADED)
