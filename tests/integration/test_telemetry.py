"""What leaves the gateway for a collector: one trace for each question, numbers, lines, and nothing that was said."""

import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import httpx
import pytest

from lib.telemetry.metrics import METRICS
from local.azurite import Azurite
from local.people import ALICE, TENANT_ID
from local.serving import Server
from local.stack import Stack, free_port
from tests.integration.browser import Browser
from tests.integration.collector import Collector, Tree, attributes
from tests.integration.instances import ORIGIN, Instance, bearer, instance_of

QUESTION = "total sales by month, the canary {} wants to know"
PARENT = "b7ad6b7169203331"
KEY = "the-key-of-the-collector"


def told_to(url: str) -> dict[str, str]:
    """The settings of a gateway that tells a collector there."""
    return {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization=Basic%20{KEY}",
        "OTEL_METRIC_EXPORT_INTERVAL": "200",
        "ANSWER_CACHE_SECONDS": "300",
        "LIMIT_BURST": "100",
        "LOG_LEVEL": "DEBUG",
    }


@pytest.fixture(scope="module")
def collector() -> Collector:
    """A collector that answers at once."""
    return Collector()


@pytest.fixture(scope="module")
def gateway(stack: Stack, collector: Collector, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """A gateway with storage of its own, so that nobody else runs its questions, that tells the collector all."""
    log = tmp_path_factory.mktemp("host") / "log"
    with Azurite() as azurite, Server(collector) as server:
        settings = told_to(server.url) | {"STATE_STORAGE": azurite.connection_string}
        with instance_of(stack, log, settings) as instance:
            collector.until(lambda: bool(collector.bodies))  # it begins when its first reply, about its health, is out
            yield instance


@pytest.fixture
def alice(browser: Browser) -> str:
    """Alice's access token."""
    return browser.token("alice")


def traced() -> tuple[str, dict[str, str]]:
    """A new trace, and the header that a request of it brings: not sampled, as the host often says."""
    trace_id = secrets.token_hex(16)
    return trace_id, {"traceparent": f"00-{trace_id}-{PARENT}-00"}


def asked(gateway: Instance, token: str, **headers: str) -> tuple[str, httpx.Response]:
    """A question that nobody has asked before: its trace, and the reply."""
    trace_id, header = traced()
    question = QUESTION.format(secrets.token_hex(8))
    return trace_id, gateway.ask(token, question, headers={**header, **headers})


def steady(tree: list[Tree]) -> list[Tree]:
    """A tree without what is read anew every half minute: it depends on how fast the machine is."""
    return [
        (name, below if name == "look" else [one for one in steady(below) if one != ("tables read", [])])
        for name, below in tree
    ]


WARM: list[Tree] = [
    (
        "POST query",
        [
            ("authenticate", []),
            ("parse", []),
            ("look", []),
            ("look", [("tables read", [])]),
            ("admit", [("tables update", [])]),
            ("delegate", []),
            ("ask", [("POST fabric", [])]),
            ("release", [("tables update", [])]),
            ("keep", [("tables insert", [])]),
            ("reply", []),
        ],
    )
]


def test_a_question_is_one_trace(gateway: Instance, collector: Collector, alice: str) -> None:
    """Each step is a span below the request's, which is the host's child, whatever the caller says of sampling."""
    asked(gateway, alice)  # what has to be found out first is known after that
    trace_id, reply = asked(gateway, alice)
    assert reply.status_code == 200, reply.text
    collector.until(lambda: "POST query" in {span.name for span in collector.spans(trace_id)})
    assert steady(collector.tree(trace_id, PARENT)) == WARM
    spans = {span.name: span for span in collector.spans(trace_id)}
    root = spans["POST query"]
    assert reply.headers["traceparent"] == f"00-{trace_id}-{root.span_id.hex()}-01"
    assert attributes(root.attributes) == {
        "http.route": "query",
        "http.request.method": "POST",
        "http.response.status_code": 200,
    }
    assert attributes(spans["ask"].attributes) == {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.provider.name": "microsoft.fabric",
        "gen_ai.agent.name": "sales",
    }
    assert attributes(spans["POST fabric"].attributes) == {
        "peer": "fabric",
        "mcp.method.name": "tools/call",
        "http.request.method": "POST",
        "http.response.status_code": 200,
    }
    assert attributes(spans["tables insert"].attributes) == {
        "service": "tables",
        "operation": "insert",
        "db.system.name": "azure.tables",
        "result": "ok",
    }


def test_lines_belong_to_the_trace_and_its_spans(gateway: Instance, collector: Collector, alice: str) -> None:
    """As they stand in the host's log; those that are counted on have a name."""
    trace_id, reply = asked(gateway, alice)
    collector.until(lambda: "served" in {line.event_name for line in collector.lines(trace_id)})
    lines = {line.event_name: line for line in collector.lines(trace_id)}
    told = json.loads(lines["question"].body.string_value)
    assert re.fullmatch("[0-9a-f]{32}", told.pop("who"))
    assert told.pop("ms") > 0
    assert told.pop("age") >= 0
    assert told == {
        "level": "info",
        "logger": "lib.telemetry.audit",
        "message": "a question was put",
        "trace_id": trace_id,
        "event": "question",
        "version": 1,
        "kind": "person",
        "agent": "sales",
        "outcome": "answered",
        "code": "",
        "cached": "fetched",
        "operation": "",
    }
    assert lines["served"].span_id.hex() == reply.headers["traceparent"].split("-")[2]
    assert lines["question"].body.string_value in gateway.log.read_text().splitlines()


def test_numbers_come_with_closed_attributes(gateway: Instance, collector: Collector, alice: str) -> None:
    """Those that were counted before anybody listened too: the reply about its health was the gateway's first."""
    asked(gateway, alice)
    known = {metric.name: metric.attributes for metric in METRICS}

    def points(name: str) -> list[dict[str, object]]:
        return [names for names, _ in collector.points().get(name, [])]

    collector.until(lambda: any(point["outcome"] == "answered" for point in points("gateway.questions")))
    for name, found in collector.points().items():
        assert all(names.keys() <= known[name] for names, _ in found), name
    assert {"peer": "fabric", "http.request.method": "POST", "http.response.status_code": 200} in points(
        "http.client.request.duration"
    )
    assert {"peer": "table_storage"} in points("gateway.circuit.state")
    assert {"policy": "minute", "decision": "admitted", "by": "row"} in points("gateway.limits.decisions")
    assert {"kind": "on_behalf_of", "result": "acquired"} in points("gateway.tokens")
    assert any(names["http.route"] == "health" for names in points("http.server.request.duration"))


def test_an_operation_by_the_queue_goes_on_with_the_requests_trace(
    gateway: Instance, collector: Collector, alice: str
) -> None:
    """The message takes the trace along; who runs it has a span below the one that sent it."""
    trace_id, accepted = asked(gateway, alice, Prefer="respond-async")
    assert accepted.status_code == 202, accepted.text
    done = gateway.operation(alice, accepted.headers["location"], Prefer="wait=20")
    assert done.status_code == 200, done.text
    collector.until(lambda: "run run_question" in {span.name for span in collector.spans(trace_id)})
    (root,) = collector.tree(trace_id, PARENT)
    (run,) = [one for one in root[1] if one[0] == "run run_question"]
    assert [name for name, _ in run[1] if name in {"look", "ask", "keep", "release"}] == [
        "look",
        "ask",
        "keep",
        "release",
    ]
    (line,) = [line for line in collector.lines(trace_id) if line.event_name == "operation"]
    told = json.loads(line.body.string_value)
    assert (told["outcome"], told["code"], told["operation"]) == ("done", "", done.json()["id"])
    (question,) = [line for line in collector.lines(trace_id) if line.event_name == "question"]
    asked_by = json.loads(question.body.string_value)
    assert (asked_by["outcome"], asked_by["operation"]) == ("accepted", told["operation"])
    assert asked_by["who"] == told["who"] != ""


def test_a_refusal_is_told_by_its_code(gateway: Instance, collector: Collector, alice: str) -> None:
    """The steps that failed, and the audit line: with the problem's code and no text."""
    trace_id, header = traced()
    reply = gateway.ask(alice, QUESTION, headers=header, agent="nobody-knows-it")
    assert reply.status_code == 404, reply.text
    collector.until(lambda: "served" in {line.event_name for line in collector.lines(trace_id)})
    lines = {line.event_name: json.loads(line.body.string_value) for line in collector.lines(trace_id)}
    told = lines["question"]
    assert (told["outcome"], told["code"], told["agent"]) == ("refused", "agent_unknown", "")
    stranger, header = traced()
    assert gateway.ask("", QUESTION, headers=header).status_code == 401
    collector.until(lambda: "POST query" in {span.name for span in collector.spans(stranger)})
    spans = {span.name: span for span in collector.spans(stranger)}
    assert attributes(spans["authenticate"].attributes) == {"error.type": "token_missing"}
    assert (spans["authenticate"].status.code, spans["authenticate"].status.message) == (2, "")
    assert spans["POST query"].status.code == 0
    assert "question" not in {line.event_name for line in collector.lines(stranger)}


def test_nothing_that_was_said_and_nobody_is_in_what_leaves(
    gateway: Instance, collector: Collector, alice: str
) -> None:
    """Whatever was received is searched, as bytes: questions, answers, tokens, cookies, and who asked."""
    signed_in = gateway.http.post("/api/login", headers={**bearer(alice), "Origin": ORIGIN})
    assert signed_in.status_code == 201, signed_in.text
    cookie = signed_in.headers["set-cookie"].partition(";")[0]
    trace_id, header = traced()
    page = {"Cookie": cookie, "X-CSRF": "1", "Origin": ORIGIN, **header}
    question = QUESTION.format("Zinzendorf")
    reply = gateway.http.post("/api/query", json={"question": question}, headers=page)
    assert reply.status_code == 200, reply.text
    gateway.http.cookies.clear()
    collector.until(lambda: "served" in {line.event_name for line in collector.lines(trace_id)})
    answer = reply.json()["answer"]
    secret = [question, "Zinzendorf", alice, alice.split(".")[2], cookie, cookie.partition("=")[2], KEY]
    secret += [answer["text"].splitlines()[0], *(row[-1] for row in answer["tables"][0]["rows"][:3])]
    who = [TENANT_ID, ALICE.object_id, ALICE.username, ALICE.name, ALICE.name.split()[0]]
    received = b"".join(body for _, body in collector.bodies) + gateway.log.read_bytes()
    assert len(received) > 10_000
    assert [text for text in secret + who if text.encode() in received] == []
    assert not re.search(rb"eyJ[\w-]{10,}", received)


def test_sign_ins_are_counted_and_those_that_fail_have_a_line(
    gateway: Instance, collector: Collector, stack: Stack, secrets_seen: set[str]
) -> None:
    """By Entra's name for the error, which is not the person's fault or ours."""
    here = SimpleNamespace(public_url=gateway.host.url, certificates=stack.certificates, urls=stack.urls)
    with Browser(cast("Stack", here), secrets_seen) as browser:
        assert browser.sign_in("alice").headers["location"] == "/api/app"
        begun = browser.call("GET", "/api/login")
        form = browser.pick(begun.headers["location"], "alice")
        trace_id, header = traced()
        failed = browser.call(
            "POST",
            "/api/login/callback",
            data={"state": form["state"], "error": "access_denied"},
            headers={"Origin": "null", **header},
            cross_site=True,
        )
        assert failed.headers["location"] == "/api/app?error=login_failed"
    wanted = [{"result": "completed", "code": ""}, {"result": "failed", "code": "login_failed"}]
    collector.until(
        lambda: all(one in [n for n, _ in collector.points().get("gateway.sign_ins", [])] for one in wanted)
    )
    collector.until(lambda: "sign_in_failed" in {line.event_name for line in collector.lines(trace_id)})
    (line,) = [line for line in collector.lines(trace_id) if line.event_name == "sign_in_failed"]
    told = json.loads(line.body.string_value)
    assert (told["error"], told["code"]) == ("access_denied", "login_failed")


@pytest.mark.parametrize("trouble", ["away", "failing", "hanging"])
def test_a_collector_in_trouble_keeps_no_question(trouble: str, stack: Stack, alice: str, tmp_path: Path) -> None:
    """It is told once in the log that telemetry cannot be exported; the gateway also ends as it should."""
    collector = Collector(status=500) if trouble == "failing" else Collector(delay_seconds=60)
    server = Server(collector)
    url = f"http://127.0.0.1:{free_port()}" if trouble == "away" else server.url
    log = tmp_path / "log"
    with server, instance_of(stack, log, told_to(url)) as gateway:
        if trouble != "away":
            collector.until(lambda: bool(collector.bodies))
        replies = [asked(gateway, alice)[1] for _ in range(3)]
        assert [reply.status_code for reply in replies] == [200] * 3
        assert replies[2].elapsed.total_seconds() < 10  # far from what it would wait for
        told = '"message": "telemetry cannot be exported"'
        collector.until(lambda: told in log.read_text())
        gateway.close()
        collector.closing.set()
    assert gateway.host.process.returncode == 0
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    assert len([line for line in lines if line["message"] == "telemetry cannot be exported"]) <= 3  # of each signal
    libraries = ("opentelemetry", "urllib3", "requests", "azure")
    assert [line for line in lines if line["logger"].startswith(libraries)] == []
