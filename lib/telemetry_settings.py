"""Where telemetry goes, by the names that OpenTelemetry and Application Insights have for that.

The addresses of Azure Monitor are on a list, for they get tokens of the gateway's identity. A collector may be
anywhere that speaks TLS; plain http is for one on the same machine alone, for what it gets tells who asks when.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

from lib.environ import EnvironReader, host_of
from lib.hosts import is_loopback

INGESTION_SUFFIXES = (
    ".applicationinsights.azure.com",
    ".applicationinsights.azure.us",
    ".applicationinsights.azure.cn",
    ".applicationinsights.us",
    ".services.visualstudio.com",
)
AUDIENCES = ("monitor.azure.com", "monitor.azure.us", "monitor.azure.cn")

_HEADER = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")
_CONNECTION = "APPLICATIONINSIGHTS_CONNECTION_STRING"
_AUTHENTICATION = "APPLICATIONINSIGHTS_AUTHENTICATION_STRING"
_ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_HEADERS = "OTEL_EXPORTER_OTLP_HEADERS"


@dataclass(frozen=True)
class TelemetrySettings:
    """Where spans and metrics go: to Azure Monitor, to a collector, both, or nowhere.

    `sampled` is the part of all traces that is told. `by_identity` says that Azure Monitor knows the gateway by a
    managed identity, `client_id` which one where it is not the system-assigned one.
    """

    service_name: str
    sampled: float
    interval_seconds: float
    connection_string: str = field(default="", repr=False)
    by_identity: bool = False
    client_id: str | None = None
    otlp_endpoint: str = ""
    otlp_headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def is_on(self) -> bool:
        """Whether anything leaves the gateway but log lines."""
        return bool(self.connection_string or self.otlp_endpoint)


def read_telemetry(reader: EnvironReader) -> TelemetrySettings:
    """The settings for telemetry; what is wrong is remembered by the reader."""
    by_identity, client_id = _identity(reader)
    return TelemetrySettings(
        service_name=reader.word("OTEL_SERVICE_NAME", "fabric-data-agent-gateway"),
        sampled=_part(reader, "OTEL_TRACES_SAMPLER_ARG"),
        interval_seconds=reader.number("OTEL_METRIC_EXPORT_INTERVAL", 60_000, 100, 3_600_000) / 1000,
        connection_string=_connection_string(reader),
        by_identity=by_identity,
        client_id=client_id,
        otlp_endpoint=_endpoint(reader),
        otlp_headers=dict(_headers(reader)),
    )


def _connection_string(reader: EnvironReader) -> str:
    text = reader.get(_CONNECTION)
    if not text:
        return ""
    parts = {name.strip().lower(): value for name, value in _pairs(text, ";")}
    if not parts.get("instrumentationkey"):
        reader.problem(_CONNECTION, "has no InstrumentationKey")
    else:
        reader.as_guid(_CONNECTION, parts["instrumentationkey"])
    if not parts.get("ingestionendpoint"):
        reader.problem(_CONNECTION, "has no IngestionEndpoint")
    else:
        reader.as_url(_CONNECTION, parts["ingestionendpoint"], suffixes=INGESTION_SUFFIXES)
    if "aadaudience" in parts:
        reader.as_url(_CONNECTION, parts["aadaudience"], hosts=AUDIENCES)
    return text


def _identity(reader: EnvironReader) -> tuple[bool, str | None]:
    """Whether Azure Monitor is reached by a managed identity, and its client id."""
    text = reader.get(_AUTHENTICATION)
    if not text:
        return False, None
    parts = {name.strip().lower(): value for name, value in _pairs(text, ";")}
    if parts.get("authorization") != "AAD" or parts.keys() - {"authorization", "clientid"}:
        reader.problem(_AUTHENTICATION, "must be Authorization=AAD, with ClientId=… before it or not")
        return False, None
    return True, reader.as_guid(_AUTHENTICATION, parts["clientid"]) if "clientid" in parts else None


def _endpoint(reader: EnvironReader) -> str:
    """The collector's base address, which may have a path."""
    value = reader.get(_ENDPOINT).rstrip("/")
    if not value:
        return ""
    host = host_of(value)
    if host is None:
        reader.problem(_ENDPOINT, "must be an absolute address without user, query or fragment")
    elif urlsplit(value).scheme != "https" and not is_loopback(host):
        reader.problem(_ENDPOINT, "must start with https://, unless the collector is on this machine")
    return value


def _headers(reader: EnvironReader) -> list[tuple[str, str]]:
    """What a collector wants to see: `name=value`, percent-encoded, by commas.

    https://opentelemetry.io/docs/specs/otel/protocol/exporter/#specifying-headers-via-environment-variables
    """
    headers = [(name.strip().lower(), unquote(value).strip()) for name, value in _pairs(reader.get(_HEADERS), ",")]
    if not all(_HEADER.fullmatch(name) and value.isascii() and value.isprintable() for name, value in headers):
        reader.problem(_HEADERS, "must list name=value, comma-separated and percent-encoded")
    return headers


def _part(reader: EnvironReader, name: str) -> float:
    value = reader.get(name) or "1"
    if not re.fullmatch(r"0|1|[01]?\.[0-9]{1,6}", value) or float(value) > 1:
        reader.problem(name, "must be a number from 0 to 1")
        return 1
    return float(value)


def _pairs(text: str, separator: str) -> list[tuple[str, str]]:
    parts = [part.partition("=") for part in text.split(separator) if part.strip()]
    return [(name, value) for name, _, value in parts]
