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
    "APPLICATIONINSIGHTS_CONTROLPLANE_DISABLED": "true",
    "APPLICATIONINSIGHTS_OPENTELEMETRY_RESOURCE_METRIC_DISABLED": "true",
}
"""What these exporters look for in the environment, whoever makes them."""


def exporters(settings: TelemetrySettings, credential: Callable[[], Any]) -> tuple[Any, Any]:
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
    return AzureMonitorTraceExporter(**options), AzureMonitorMetricExporter(**options)
