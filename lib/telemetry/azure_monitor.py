"""Azure Monitor's exporters, which send to Application Insights and to nowhere else.

Left to itself the package reports on its own doings to Microsoft, asks a service of theirs for other settings, and
keeps what it could not send in files of the machine. The first two are switched off by the environment alone.
"""

import os
from collections.abc import Callable
from typing import Any

from azure.monitor.opentelemetry.exporter import AzureMonitorMetricExporter, AzureMonitorTraceExporter

from lib.telemetry_settings import TelemetrySettings

QUIET = {
    "APPLICATIONINSIGHTS_STATSBEAT_DISABLED_ALL": "true",
    "APPLICATIONINSIGHTS_SDKSTATS_DISABLED": "true",
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED": "true",
}
"""What these exporters look for in the environment, whoever makes them."""


class SpanExporter(AzureMonitorTraceExporter):
    """That of spans. It names calls as we do, and closes its connections in the end."""

    def _span_to_envelope(self, span: Any) -> Any:
        """What is sent for a span: a call over HTTP would be named by its path, which is told to nobody: by `/`."""
        envelope: Any = super()._span_to_envelope(span)
        told = envelope.data.base_data
        told.name = envelope.tags["ai.operation.name"] = span.name
        told.target = span.attributes.get("peer") or span.attributes.get("service") or told.target
        return envelope

    def shutdown(self) -> None:
        """Nothing is sent after this."""
        super().shutdown()
        self.client.close()


class MetricExporter(AzureMonitorMetricExporter):
    """That of metrics, likewise."""

    def shutdown(self, timeout_millis: float = 30_000, **options: Any) -> None:
        """Nothing is sent after this."""
        super().shutdown(timeout_millis, **options)
        self.client.close()


def exporters(settings: TelemetrySettings, credential: Callable[[], Any]) -> tuple[SpanExporter, MetricExporter]:
    """The exporter of spans and that of metrics."""
    os.environ.update(QUIET)
    options = {
        "connection_string": settings.connection_string,
        "credential": credential() if settings.by_identity else None,
        "disable_offline_storage": True,
        "instrumentation_collection": True,  # of its own doings: it collects nothing of them
        "retry_total": 1,
        "timeout": 5.0,
    }
    return SpanExporter(**options), MetricExporter(**options)
