"""The recorder that hands spans and numbers to OpenTelemetry, and the handler that hands it log lines.

Spans find their parents by our own context, and the trace id is the one that log lines have, so that all three are
joined by it. Nothing here is made the process's own provider: a library that looks for one finds none, and tells
nothing in our name.
"""

import logging
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self, override

from opentelemetry._logs import LogRecord, SeverityNumber
from opentelemetry.context import _SUPPRESS_INSTRUMENTATION_KEY, Context, get_value
from opentelemetry.metrics import Meter, Observation
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace import Span as OtelSpan

from lib.telemetry import signals
from lib.telemetry.logs import JsonFormatter
from lib.telemetry.metrics import METRICS, Metric
from lib.telemetry.signals import Attributes, Kind, error_type
from lib.telemetry.traces import trace_id

_KINDS = {"internal": SpanKind.INTERNAL, "client": SpanKind.CLIENT}
_SEVERITIES = {
    logging.DEBUG: SeverityNumber.DEBUG,
    logging.INFO: SeverityNumber.INFO,
    logging.WARNING: SeverityNumber.WARN,
    logging.ERROR: SeverityNumber.ERROR,
    logging.CRITICAL: SeverityNumber.FATAL,
}
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 180, 240)
"""Bounds of histograms: calls to storage take milliseconds, questions a minute."""

type _Instrument = Callable[[float, Attributes], None]


class Ids(IdGenerator):
    """Ids of spans by chance, and of a trace that begins here the one that the logs have."""

    def __init__(self) -> None:
        self._by_chance = RandomIdGenerator()

    @override
    def generate_span_id(self) -> int:
        return self._by_chance.generate_span_id()

    @override
    def generate_trace_id(self) -> int:
        known = trace_id.get()
        return int(known, 16) if known else self._by_chance.generate_trace_id()


class Recording(signals.Recorder):
    """Hands on spans and numbers."""

    def __init__(self, tracer: Tracer, meter: Meter) -> None:
        self._tracer = tracer
        self._instruments = {metric: made for metric in METRICS if (made := _instrument(meter, metric))}

    @override
    def span(self, name: str, attributes: Attributes, kind: Kind, parent: str) -> signals.Span:
        return _Span(lambda context: self._tracer.start_span(name, context, _KINDS[kind], attributes), parent)

    @override
    def measure(self, metric: Metric, value: float, attributes: Attributes) -> None:
        self._instruments[metric](value, attributes)


class _Span(signals.Span):
    """A span that begins where it is entered, as a child of what is under way there, or of the `parent` elsewhere."""

    def __init__(self, start: Callable[[Context], OtelSpan], parent: str) -> None:
        self._start = start
        self._parent = parent
        self._excused = False

    @override
    def note(self, attributes: Attributes) -> None:
        self.otel.set_attributes(attributes)

    @override
    def fail(self, error: str) -> None:
        self.otel.set_attribute("error.type", error)
        self.otel.set_status(StatusCode.ERROR)

    @override
    def excuse(self) -> None:
        self._excused = True

    @override
    def __enter__(self) -> Self:
        self._before = signals.current.get()
        self.otel = self._start(_context(self._before, self._parent))
        context = self.otel.get_span_context()
        self.id = f"{context.span_id:016x}" if context.trace_flags.sampled else ""
        signals.current.set(self)
        return self

    @override
    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if fault is not None and not self._excused:
            self.fail(error_type(fault))
        self.otel.end()
        signals.current.set(self._before)


class LineHandler(logging.Handler):
    """Hands log lines on, as they stand in the host's log: all of ours, and libraries' warnings.

    What is logged by an export itself stays there, or each would bring about the next.
    """

    def __init__(self, provider: LoggerProvider) -> None:
        super().__init__()
        self._logger = provider.get_logger("lib")
        self.setFormatter(JsonFormatter())

    @override
    def filter(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        is_wanted = record.levelno >= logging.WARNING or record.name.startswith("lib.")
        return is_wanted and not get_value(_SUPPRESS_INSTRUMENTATION_KEY) and super().filter(record)

    @override
    def emit(self, record: logging.LogRecord) -> None:
        event = record.__dict__.get("event")
        self._logger.emit(
            LogRecord(
                timestamp=int(record.created * 1e9),
                context=_context(signals.current.get(), ""),
                severity_number=_SEVERITIES.get(record.levelno),
                severity_text=record.levelname,
                body=self.format(record),
                event_name=event if isinstance(event, str) else None,
            )
        )


def _context(span: signals.Span, parent: str) -> Context:
    """The context of a span of ours; else that of somebody else's span in the trace under way; else an empty one."""
    if isinstance(span, _Span):
        return set_span_in_context(span.otel, Context())
    trace = trace_id.get()
    if not trace or not parent:
        return Context()
    remote = SpanContext(int(trace, 16), int(parent, 16), is_remote=True, trace_flags=TraceFlags(TraceFlags.SAMPLED))
    return set_span_in_context(NonRecordingSpan(remote), Context())


def _instrument(meter: Meter, metric: Metric) -> _Instrument | None:
    """What takes a metric's numbers; None for a gauge, which is read instead."""
    name, unit, description = metric.name, metric.unit, metric.description
    if metric.kind == "histogram":
        return meter.create_histogram(name, unit, description, explicit_bucket_boundaries_advisory=_SECONDS).record
    if metric.kind == "counter":
        return meter.create_counter(name, unit, description).add
    if metric.kind == "up_down_counter":
        return meter.create_up_down_counter(name, unit, description).add
    meter.create_observable_gauge(name, [lambda _: _observed(metric)], unit, description)
    return None


def _observed(metric: Metric) -> Iterable[Observation]:
    return [Observation(value, attributes) for attributes, value in signals.watched(metric)]
