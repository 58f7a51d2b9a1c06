"""OpenTelemetry's providers, made from the settings: spans and metrics to Azure Monitor, these and logs to a collector.

Imported only where something is configured, and in a thread, since the imports take a while. A trace is told or not by
its id alone: a caller's or the host's word that it is not sampled counts for nothing. The host of Azure Functions says
so of most traces, and with a sampler that minds its parent there would be no spans at all.
"""

import logging
import secrets
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from lib.telemetry import signals
from lib.telemetry.recording import Ids, LineHandler, Recording
from lib.telemetry_settings import TelemetrySettings

SCOPE = "fabric-data-agent-gateway"
SPAN_SECONDS = 5.0
"""How long a span or a line waits for others to leave with."""
EXPORT_SECONDS = 5.0
"""How long one export may take, with its repeats."""

_log = logging.getLogger(__name__)


class Exports:
    """Everything that leaves, from when it is made until it is closed. Its methods wait: they are for threads."""

    def __init__(self, settings: TelemetrySettings, credential: Callable[[], Any]) -> None:
        """`credential` gives what Azure Monitor knows the gateway by, for threads; it is asked for where it is used."""
        resource = Resource({"service.name": settings.service_name, "service.instance.id": secrets.token_hex(16)})
        self._tracers = TracerProvider(
            TraceIdRatioBased(settings.sampled), resource, shutdown_on_exit=False, id_generator=Ids()
        )
        self._loggers = LoggerProvider(resource, shutdown_on_exit=False)
        self._lines: logging.Handler | None = None
        readers: list[PeriodicExportingMetricReader] = []
        if settings.connection_string:
            from lib.telemetry.azure_monitor import exporters  # noqa: PLC0415  # heavy, and not always wanted

            spans, numbers = exporters(settings, credential)
            self._add_spans(spans, settings)
            readers.append(_reader(numbers, settings))
        if settings.otlp_endpoint:
            self._add_spans(OTLPSpanExporter(**_collector(settings, "traces")), settings)
            readers.append(_reader(OTLPMetricExporter(**_collector(settings, "metrics")), settings))
            self._add_lines(OTLPLogExporter(**_collector(settings, "logs")), settings)
        self._meters = MeterProvider(readers, resource, AlwaysOffExemplarFilter(), shutdown_on_exit=False)
        signals.use(Recording(self._tracers.get_tracer(SCOPE), self._meters.get_meter(SCOPE)))

    def flush(self) -> None:
        """Sends what there is."""
        for provider in (self._tracers, self._loggers, self._meters):
            with suppress(Exception):  # a reader that could not: it has been told
                provider.force_flush()

    def close(self) -> None:
        """The same, and nothing after that."""
        signals.use(signals.Recorder())
        if self._lines:
            logging.getLogger().removeHandler(self._lines)
        for provider in (self._tracers, self._loggers, self._meters):
            with suppress(Exception):
                provider.shutdown()

    def _add_spans(self, exporter: Any, settings: TelemetrySettings) -> None:
        told = cast("Any", _Told(exporter, "spans"))
        self._tracers.add_span_processor(BatchSpanProcessor(told, schedule_delay_millis=_delay(settings)))

    def _add_lines(self, exporter: Any, settings: TelemetrySettings) -> None:
        told = cast("Any", _Told(exporter, "logs"))
        self._loggers.add_log_record_processor(BatchLogRecordProcessor(told, schedule_delay_millis=_delay(settings)))
        self._lines = LineHandler(self._loggers)
        logging.getLogger().addHandler(self._lines)


class _Told:
    """An exporter whose failures are told once, and its success after them. Its own words are not for our logs."""

    def __init__(self, exporter: Any, signal: str) -> None:
        self._exporter = exporter
        self._signal = signal
        self._failing = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._exporter, name)

    def export(self, batch: Any, **options: Any) -> Any:
        """Exports, and tells where that begins to fail, or to succeed again."""
        result = self._exporter.export(batch, **options)
        failing = result.name != "SUCCESS"
        if failing != self._failing:
            self._failing = failing
            level, text = (logging.WARNING, "cannot be") if failing else (logging.INFO, "can be")
            _log.log(level, "telemetry %s exported", text, extra={"signal": self._signal})
        return result


def _reader(exporter: Any, settings: TelemetrySettings) -> PeriodicExportingMetricReader:
    return PeriodicExportingMetricReader(
        cast("Any", _Told(exporter, "metrics")), export_interval_millis=1000 * settings.interval_seconds
    )


def _delay(settings: TelemetrySettings) -> float:
    return 1000 * min(SPAN_SECONDS, settings.interval_seconds)


def _collector(settings: TelemetrySettings, signal: str) -> dict[str, Any]:
    return {
        "endpoint": f"{settings.otlp_endpoint}/v1/{signal}",
        "headers": dict(settings.otlp_headers),
        "timeout": EXPORT_SECONDS,
        "compression": Compression.Gzip,
    }
