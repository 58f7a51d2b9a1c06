"""What leaves the gateway for a collector: one trace for each question, numbers and lines, and nothing that was said."""

import json
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from lib.telemetry.metrics import METRICS
from local.people import ALICE, TENANT_ID
from local.serving import Server
from local.stack import Stack, free_port
from tests.integration.browser import Browser
from tests.integration.collector import Collector, Tree, attributes
from tests.integration.instances import Instance, bearer, instance_of

QUESTION = "total sales by month of the canary Zinzendorf"
PARENT = "b7ad6b7169203331"
SHORT = {"OTEL_METRIC_EXPORT_INTERVAL": "200", "ANSWER_CACHE_SECONDS": "300", "LOG_LEVEL": "DEBUG"}


@pytest.fixture
def collector() -> Collector:
    """A collector that answers at once."""
    return Collector()


@pytest.fixture
def gateway(stack: Stack, collector: Collector, tmp_path: Path) -> Iterator[Instance]:
    """A gateway of its own that tells the collector everything, and has begun to."""
    with Server(collector) as server, instance_of(stack, tmp_path / "log", told_to(server.url)) as instance:
        collector.until(lambda: bool(collector.bodies))
        yield instance


def told_to(url: str) -> dict[str, str]:
    """The settings of one that tells a collector there."""
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20a2V5", **SHORT}


def traced() -> tuple[str, dict[str, str]]:
    """A new trace, and the header that a request of it brings: not sampled, as the host often says."""
    trace_id = secrets.token_hex(16)
    return trace_id, {"traceparent": f"00-{trace_id}-{PARENT}-00"}


def ended(collector: Collector, trace_id: str, name: str) -> bool:
    """Whether a span of that name has come."""
    return any(span.name == name for span in collector.spans(trace_id))


READ: Tree = ("tables read", [])
ASKED: list[Tree] = [
    ("look", [READ]),
    ("admit", [READ, ("tables insert", [])]),
    ("delegate", [("POST entra", [])]),
    ("ask", [("POST fabric", []), ("POST fabric", []), ("POST fabric", []), ("POST fabric", [])]),
    ("release", [("tables update", [])]),
    ("keep", [("tables insert", [])]),
]


def test_a_question_is_one_trace(gateway: Instance, collector: Collector, browser: Browser) -> None:
    """Each step is a span below the request's, which is the host's child, whatever the caller says of sampling."""
    trace_id, header = traced()
    reply = gateway.ask(browser.token("alice"), QUESTION, headers=header)
    assert reply.status_code == 200, reply.text
    collector.until(lambda: ended(collector, trace_id, "POST query"))
    print(json.dumps(collector.tree(trace_id, PARENT), indent=1))
    print(len(collector.spans(trace_id)))
    for s in collector.spans(trace_id):
        print(s.name, attributes(s.attributes))
    print(json.dumps(collector.points(), indent=1))
    for l in collector.lines(trace_id):
        print(l.event_name, l.body.string_value)
