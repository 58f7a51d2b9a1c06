"""Rules for what leaves for a collector, as it is received."""

import logging
import threading
import time
from collections.abc import Iterator

import pytest

from lib.telemetry import metrics, signals
from lib.telemetry.export import Exports
from lib.telemetry.signals import count, span
from lib.telemetry.traces import trace_id
from lib.telemetry_settings import TelemetrySettings
from local.serving import Server
from tests.integration.collector import Collector

pytestmark = pytest.mark.stack

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@pytest.fixture
def collector() -> Collector:
    """A collector that answers at once."""
    return Collector()


@pytest.fixture
def exports(collector: Collector) -> Iterator[Exports]:
    """What leaves for it, when it is told to."""
    with Server(collector) as server:
        settings = TelemetrySettings("ask", 1, 3600, otlp_endpoint=server.url, otlp_headers={"x-key": "k"})
        made = Exports(settings, lambda: None)
        scope = trace_id.set(TRACE)
        yield made
        trace_id.reset(scope)
        made.close()
        collector.closing.set()


def tell() -> None:
    """A span, a number and a line."""
    with span("POST query", parent=PARENT):
        count(metrics.LOOKUPS, {"result": "none"})
        logging.getLogger("lib.test").info("served", extra={"event": "served"})


def test_spans_numbers_and_lines_reach_the_collector(exports: Exports, collector: Collector) -> None:
    """All three say which service, and which instance of it, they are of."""
    tell()
    exports.flush()
    assert collector.tree(TRACE, PARENT) == [("POST query", [])]
    assert collector.points()["gateway.answers.lookups"] == [({"result": "none"}, 1)]
    assert [line.event_name for line in collector.lines(TRACE)] == ["served"]
    resources = {
        resource.resource.SerializeToString()
        for path, kind in (("/v1/traces", "spans"), ("/v1/metrics", "metrics"), ("/v1/logs", "logs"))
        for message in collector.messages(path)
        for resource in getattr(message, f"resource_{kind}")
    }
    assert len(resources) == 1
    assert b"service.instance.id" in next(iter(resources))
    assert b"ask" in next(iter(resources))


def test_what_is_left_goes_out_at_the_end_and_nothing_after_it(exports: Exports, collector: Collector) -> None:
    """Nobody listens any more then."""
    tell()
    exports.close()
    assert collector.tree(TRACE, PARENT) == [("POST query", [])]
    assert [line.event_name for line in collector.lines(TRACE)] == ["served"]
    assert "gateway.answers.lookups" in collector.points()
    assert type(signals._recorder) is signals.Recorder


def test_a_collector_that_fails_is_told_of_once_and_when_it_is_back(
    exports: Exports, collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    """For each signal; in our words, and on the host's log alone."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    collector.status = 400
    for _ in range(2):
        tell()
        exports.flush()
    collector.status = 200
    tell()
    exports.flush()
    lines = [(record.getMessage(), vars(record)["signal"]) for record in caplog.records if "signal" in vars(record)]
    assert sorted(lines) == sorted(
        (f"telemetry {what} exported", signal)
        for what in ("cannot be", "can be")
        for signal in ("spans", "metrics", "logs")
    )
    assert "exported" not in "".join(line.body.string_value for line in collector.lines(TRACE))


def test_a_collector_that_hangs_is_not_waited_for_by_who_tells(exports: Exports, collector: Collector) -> None:
    """Only a thread of the export waits."""
    logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
    collector.delay_seconds = 60
    tell()
    flushing = threading.Thread(target=exports.flush, daemon=True)
    flushing.start()
    collector.until(lambda: bool(collector.bodies))
    began = time.monotonic()
    for _ in range(100):
        tell()
    assert time.monotonic() - began < 2
    collector.closing.set()
    flushing.join(30)
    assert not flushing.is_alive()
