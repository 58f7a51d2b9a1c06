"""Rules for what OpenTelemetry is handed: spans, numbers and lines, joined by the trace id of the logs."""

import asyncio
import logging
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import copy_context
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry import context as otel
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from lib.errors import AgentFailed
from lib.storage.rows import Conflict
from lib.telemetry import metrics, signals
from lib.telemetry.metrics import METRICS
from lib.telemetry.recording import Ids, LineHandler, Recording
from lib.telemetry.signals import count, measure, span, watch
from lib.telemetry.traces import trace_id
from lib.traffic.single_flight import SingleFlight

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


@dataclass
class Recorded:
    """What has been handed on."""

    exporter: InMemorySpanExporter
    reader: InMemoryMetricReader

    @property
    def spans(self) -> dict[str, ReadableSpan]:
        """By their names."""
        return {one.name: one for one in self.exporter.get_finished_spans()}

    @property
    def points(self) -> dict[str, list[Any]]:
        """By the names of their metrics."""
        data = self.reader.get_metrics_data()
        found = [
            metric
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        ]
        return {metric.name: list(metric.data.data_points) for metric in found}


@pytest.fixture
def recorded(sampled: float) -> Iterator[Recorded]:
    """A recorder that keeps everything, in a trace."""
    exporter, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider(TraceIdRatioBased(sampled), Resource({}), shutdown_on_exit=False, id_generator=Ids())
    tracers.add_span_processor(SimpleSpanProcessor(exporter))
    meters = MeterProvider([reader], Resource({}), shutdown_on_exit=False)
    signals.use(Recording(tracers.get_tracer("t"), meters.get_meter("t")))
    scope = trace_id.set(TRACE)
    yield Recorded(exporter, reader)
    trace_id.reset(scope)
    signals.reset()
    tracers.shutdown()
    meters.shutdown()


@pytest.fixture
def sampled() -> float:
    """All of them."""
    return 1


def parent_of(one: ReadableSpan) -> str:
    """The id of its parent, if it has one."""
    return f"{one.parent.span_id:016x}" if one.parent else ""


def id_of(one: ReadableSpan) -> str:
    """Its own."""
    return f"{one.context.span_id:016x}"


def test_spans_lie_within_each_other_and_below_the_hosts(recorded: Recorded) -> None:
    """In the trace that the logs name, and after a span the one around it is under way again."""
    with span("POST query", parent=PARENT) as root:
        with span("look"):
            pass
        with span("ask", {"peer": "fabric"}, kind="client") as asking:
            asking.note({"status": 200})
    spans = recorded.spans
    assert {f"{one.context.trace_id:032x}" for one in spans.values()} == {TRACE}
    assert parent_of(spans["POST query"]) == PARENT
    assert parent_of(spans["look"]) == parent_of(spans["ask"]) == id_of(spans["POST query"]) == root.id
    assert dict(spans["ask"].attributes or {}) == {"peer": "fabric", "status": 200}
    assert (spans["ask"].kind.name, spans["look"].kind.name) == ("CLIENT", "INTERNAL")
    assert signals.current.get().id == ""


def test_without_a_parent_a_trace_begins_with_the_id_of_the_logs(recorded: Recorded) -> None:
    """Whoever looks for the id that a reply has told finds both; where the logs have none, one is made up."""
    with span("run sweep"):
        pass
    scope = trace_id.set("")
    with span("alone"):
        pass
    trace_id.reset(scope)
    assert f"{recorded.spans['run sweep'].context.trace_id:032x}" == TRACE
    assert recorded.spans["run sweep"].parent is None
    assert recorded.spans["alone"].context.trace_id not in {0, int(TRACE, 16)}


def test_a_step_that_raises_has_failed_by_its_code_and_no_text(recorded: Recorded) -> None:
    """An exception's text may quote anything."""
    with pytest.raises(AgentFailed), span("ask"):
        raise AgentFailed("total sales of the canary")
    with suppress(Conflict), span("tables update") as excused:
        excused.excuse()
        raise Conflict
    failed = recorded.spans["ask"]
    assert (failed.status.is_ok, failed.status.description) == (False, None)
    assert dict(failed.attributes or {}) == {"error.type": "agent_failed"}
    assert failed.events == ()
    assert recorded.spans["tables update"].status.is_ok


async def test_work_that_is_shared_lies_below_who_began_it(recorded: Recorded) -> None:
    """Tasks have the context of their beginning; so have threads."""

    async def work() -> None:
        with span("ask"):
            await asyncio.to_thread(threaded)

    def threaded() -> None:
        with span("in a thread"):
            pass

    flights = SingleFlight[None]()

    async def caller(name: str) -> None:
        with span(name):
            await flights.run("same", work)

    await asyncio.gather(caller("first"), caller("second"))
    spans = recorded.spans
    assert parent_of(spans["ask"]) == id_of(spans["first"])
    assert parent_of(spans["in a thread"]) == id_of(spans["ask"])


@pytest.mark.parametrize("sampled", [0.0])
def test_a_trace_that_is_not_sampled_is_not_told(recorded: Recorded) -> None:
    """Its spans have no id that a reply could name, whatever the host says of it; numbers count all the same."""
    with span("POST query", parent=PARENT) as root:
        assert root.id == ""
        count(metrics.LOOKUPS, {"result": "none"})
    assert recorded.spans == {}
    assert list(recorded.points) == ["gateway.answers.lookups"]


class Peer:
    """Something with a state."""

    def told(self) -> float:
        return 2.0


def test_each_metric_takes_numbers_of_its_kind(recorded: Recorded) -> None:
    """A counter adds, an up-down counter takes off again, a histogram keeps seconds apart, a gauge is read."""
    peer = Peer()
    watch(metrics.CIRCUIT_STATE, {"peer": "sales"}, peer.told)
    for metric in METRICS:
        if metric.kind != "gauge":
            names = dict.fromkeys(metric.attributes, "x")
            measure(metric, 2, names)
            measure(metric, -1 if metric.kind == "up_down_counter" else 40, names)
    points = recorded.points
    assert points.keys() == {metric.name for metric in METRICS}
    assert [point.value for point in points["gateway.questions"]] == [42]
    assert [point.value for point in points["gateway.questions.under_way"]] == [1]
    assert [(point.value, point.attributes) for point in points["gateway.circuit.state"]] == [(2.0, {"peer": "sales"})]
    (seconds,) = points["gateway.question.duration"]
    assert (seconds.count, seconds.sum, max(seconds.explicit_bounds)) == (2, 42, 240)
    assert math.isclose(seconds.min, 2)


@dataclass
class Lines:
    """A logger, and what was handed on of it."""

    log: logging.Logger
    exporter: InMemoryLogRecordExporter

    @property
    def records(self) -> list[Any]:
        """In the order they came."""
        return [one.log_record for one in self.exporter.get_finished_logs()]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """One of ours."""
    exporter, provider = InMemoryLogRecordExporter(), LoggerProvider(Resource({}), shutdown_on_exit=False)  # type: ignore[no-untyped-call]
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    handler, root = LineHandler(provider), logging.getLogger()
    root.addHandler(handler)
    yield Lines(logging.getLogger("lib.test"), exporter)
    root.removeHandler(handler)
    provider.shutdown()


def test_a_line_is_what_the_host_gets_with_its_place_in_the_trace(recorded: Recorded, lines: Lines) -> None:
    """No text of an exception is in it; its event is its name."""
    with span("POST query") as root:
        try:
            raise ValueError("total sales of the canary")
        except ValueError:
            lines.log.exception("a request failed", extra={"event": "request_failed"})
    (line,) = lines.records
    assert '"message": "a request failed"' in line.body
    assert "canary" not in str(line.__dict__)
    assert (line.event_name, line.severity_text, line.severity_number.name) == ("request_failed", "ERROR", "ERROR")
    assert (f"{line.trace_id:032x}", f"{line.span_id:016x}") == (TRACE, root.id)
    assert list(recorded.spans) == ["POST query"]


def test_a_line_outside_of_spans_has_no_place(lines: Lines) -> None:
    """And one of an odd level no number."""
    lines.log.log(35, "x", extra={"event": 5})
    (line,) = lines.records
    assert (line.trace_id, line.event_name, line.severity_number) == (0, None, None)


def test_of_libraries_only_warnings_are_handed_on_and_nothing_of_an_export(lines: Lines) -> None:
    """Else a collector that is away would be told of that, again and again."""
    library = logging.getLogger("somelib")
    library.setLevel(logging.DEBUG)
    library.info("chatter")
    library.warning("trouble")

    def export() -> None:
        otel.attach(otel.set_value(otel._SUPPRESS_INSTRUMENTATION_KEY, True))
        library.error("of the export")
        lines.log.warning("telemetry cannot be exported")

    with ThreadPoolExecutor(1) as threads:
        threads.submit(copy_context().run, export).result()
    library.setLevel(logging.NOTSET)
    assert [line.body.count("trouble") for line in lines.records] == [1]
