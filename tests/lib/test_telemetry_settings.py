"""Rules for where telemetry may go."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.environ import EnvironReader
from lib.settings import Settings
from lib.telemetry_settings import TelemetrySettings, read_telemetry
from tests.lib.test_settings import DEVELOPMENT, IDENTITY, PRODUCTION, problems

KEY = "7a1f6e9c-2f43-4a58-9d0b-6c1d2e3f4a5b"
CONNECTION = f"InstrumentationKey={KEY};IngestionEndpoint=https://westeurope-5.in.applicationinsights.azure.com/"
MONITOR = {"APPLICATIONINSIGHTS_CONNECTION_STRING": CONNECTION}


def read(**environ: str) -> TelemetrySettings:
    """What a gateway in production reads."""
    return Settings.read(PRODUCTION | environ).telemetry


def test_without_a_word_nothing_leaves() -> None:
    """Log lines aside, which the host has."""
    assert read() == TelemetrySettings("fabric-data-agent-gateway", 1, 60)
    assert not read().is_on


def test_azure_monitor_is_reached_as_azure_functions_says() -> None:
    """By the key in the string alone, or by a managed identity."""
    assert read(**MONITOR).connection_string == CONNECTION
    assert read(**MONITOR).is_on
    user = {"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": f"ClientId={IDENTITY};Authorization=AAD"}
    system = {"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Authorization=AAD"}
    found = [read(**MONITOR, **way) for way in ({}, user, system)]
    assert [(one.by_identity, one.client_id) for one in found] == [(False, None), (True, IDENTITY), (True, None)]


@pytest.mark.parametrize(
    "connection",
    [
        "nonsense",
        f"InstrumentationKey={KEY}",
        "IngestionEndpoint=https://westeurope-5.in.applicationinsights.azure.com/",
        CONNECTION.replace(KEY, "7a1f6e9c"),
        CONNECTION.replace("https://", "http://"),
        CONNECTION.replace("applicationinsights.azure.com", "applicationinsights.azure.com.evil.example"),
        f"InstrumentationKey={KEY};IngestionEndpoint=https://evil.example/",
        f"InstrumentationKey={KEY};IngestionEndpoint=https://localhost:4443/",
        f"{CONNECTION};AADAudience=https://evil.example",
    ],
)
def test_a_token_for_azure_monitor_goes_to_azure_monitor(connection: str) -> None:
    """Whoever could name another host would get the identity's token there. The string is in no message."""
    found = problems(PRODUCTION | {"APPLICATIONINSIGHTS_CONNECTION_STRING": connection})
    assert found
    assert all(problem.startswith("APPLICATIONINSIGHTS_CONNECTION_STRING ") for problem in found)
    assert KEY not in str(found)


def test_other_clouds_have_addresses_and_audiences_of_their_own() -> None:
    """As their connection strings name them."""
    connection = (
        f"InstrumentationKey={KEY};IngestionEndpoint=https://usgovvirginia-1.in.applicationinsights.azure.us/;"
        f"LiveEndpoint=https://x.example/;AADAudience=https://monitor.azure.us"
    )
    assert read(APPLICATIONINSIGHTS_CONNECTION_STRING=connection).is_on


@pytest.mark.parametrize(
    "authentication",
    ["AAD", "Authorization=aad", f"ClientId={IDENTITY}", "Authorization=AAD;ClientId=me", "Authorization=AAD;Secret=x"],
)
def test_another_way_to_be_known_is_refused(authentication: str) -> None:
    """Rather than none being used in silence."""
    found = problems(PRODUCTION | MONITOR | {"APPLICATIONINSIGHTS_AUTHENTICATION_STRING": authentication})
    assert [problem.split()[0] for problem in found] == ["APPLICATIONINSIGHTS_AUTHENTICATION_STRING"]


@pytest.mark.parametrize(
    "endpoint",
    [
        "https://collector.contoso.com:4318",
        "https://otlp-gateway.grafana.net/Otlp/",
        "http://localhost:4318",
        "http://127.0.0.1:4318/",
    ],
)
def test_a_collector_is_anywhere_with_tls_and_beside_the_gateway_without(endpoint: str) -> None:
    """A sidecar shares the machine; its path stays as it is written."""
    found = read(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint)
    assert (found.otlp_endpoint, found.is_on) == (endpoint.rstrip("/"), True)


@pytest.mark.parametrize(
    "endpoint",
    ["collector:4318", "http://collector:4318", "https://user:key@collector.example", "https://c.example/?key=x", "x"],
)
@pytest.mark.parametrize("environ", [PRODUCTION, DEVELOPMENT], ids=["production", "development"])
def test_who_asks_when_does_not_cross_a_network_in_the_clear(endpoint: str, environ: dict[str, str]) -> None:
    """Nor does a key stand in an address, from where it would go into logs."""
    found = problems(environ | {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint})
    assert [problem.split()[0] for problem in found] == ["OTEL_EXPORTER_OTLP_ENDPOINT"]


def test_headers_are_read_as_opentelemetry_writes_them() -> None:
    """Percent-encoded, by commas; they are in no description of the settings."""
    found = read(OTEL_EXPORTER_OTLP_HEADERS="Authorization=Basic%20a2V5, x-scope=a=b ,")
    assert found.otlp_headers == {"authorization": "Basic a2V5", "x-scope": "a=b"}
    assert "a2V5" not in repr(found)
    assert KEY not in repr(read(**MONITOR))


@pytest.mark.parametrize("headers", ["=x", "a b=x", "a=x%0D%0Ab: y", "a=%C3%A4", "ä=x"])
def test_headers_that_cannot_be_sent_are_refused(headers: str) -> None:
    """Without being quoted."""
    found = problems(PRODUCTION | {"OTEL_EXPORTER_OTLP_HEADERS": headers})
    assert found == ("OTEL_EXPORTER_OTLP_HEADERS must list name=value, comma-separated and percent-encoded",)


@pytest.mark.parametrize(("text", "part"), [("0", 0), ("1", 1), ("0.25", 0.25), (".5", 0.5), ("1.0", 1)])
def test_a_part_of_all_traces_is_told(text: str, part: float) -> None:
    """From none to all."""
    assert read(OTEL_TRACES_SAMPLER_ARG=text).sampled == part


@pytest.mark.parametrize("text", ["2", "1.5", "-1", "1e-3", "nan", "all", "25%", "0,5"])
def test_what_is_no_part_is_refused(text: str) -> None:
    """It would be all, or none, by chance."""
    assert problems(PRODUCTION | {"OTEL_TRACES_SAMPLER_ARG": text}) == (
        "OTEL_TRACES_SAMPLER_ARG must be a number from 0 to 1",
    )


def test_a_name_and_an_interval_are_read() -> None:
    """The interval is in milliseconds, as everywhere in OpenTelemetry."""
    found = read(OTEL_SERVICE_NAME="ask", OTEL_METRIC_EXPORT_INTERVAL="15000")
    assert (found.service_name, found.interval_seconds) == ("ask", 15)
    assert problems(PRODUCTION | {"OTEL_METRIC_EXPORT_INTERVAL": "1"})[0].startswith("OTEL_METRIC_EXPORT_INTERVAL ")


NAMES = [
    "APPLICATIONINSIGHTS_CONNECTION_STRING",
    "APPLICATIONINSIGHTS_AUTHENTICATION_STRING",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_SERVICE_NAME",
    "OTEL_METRIC_EXPORT_INTERVAL",
]


@given(st.dictionaries(st.sampled_from(NAMES), st.text(max_size=40)))
def test_whatever_is_written_is_taken_or_refused_by_name(environ: dict[str, str]) -> None:
    """Nothing raises on the way, and no message holds more than is known beforehand."""
    reader = EnvironReader(environ)
    read_telemetry(reader)
    assert all(problem.split()[0] in environ for problem in reader.problems)
