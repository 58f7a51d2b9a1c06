"""Rules for what leaves for Azure Monitor, as an ingestion endpoint of our own receives it."""

import gzip
import json
import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from azure.core.credentials import AccessToken
from azure.monitor.opentelemetry.exporter._configuration._state import get_configuration_manager
from azure.monitor.opentelemetry.exporter.statsbeat._state import is_statsbeat_enabled
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from lib.settings import Settings
from lib.telemetry import metrics
from lib.telemetry.azure_monitor import QUIET, exporters
from lib.telemetry.export import Exports
from lib.telemetry.http_calls import http_call
from lib.telemetry.signals import count, span
from lib.telemetry.traces import trace_id
from local.certificates import Certificates
from local.serving import Server
from tests.lib.test_settings import DEVELOPMENT

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
KEY = "7a1f6e9c-2f43-4a58-9d0b-6c1d2e3f4a5b"
TOKEN = "a-token-for-azure-monitor"


@dataclass
class Ingestion:
    """Takes what comes, and keeps it with the headers it came with."""

    items: list[dict[str, Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    paths: set[str] = field(default_factory=set)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.paths.add(request.url.path.lstrip("/"))
        self.headers.append(dict(request.headers))
        found = json.loads(body)
        self.items += found
        reply = {"itemsReceived": len(found), "itemsAccepted": len(found), "errors": []}
        await JSONResponse(reply)(scope, receive, send)


class Identity:
    """A managed identity that is there."""

    def __init__(self) -> None:
        self.scopes: list[str] = []

    def get_token(self, *scopes: str, **_: object) -> AccessToken:
        """What the SDK calls."""
        self.scopes += scopes
        return AccessToken(TOKEN, int(time.time()) + 3600)


@pytest.fixture
def ingestion() -> Ingestion:
    """The endpoint."""
    return Ingestion()


@pytest.fixture
def identity() -> Identity:
    """The identity."""
    return Identity()


@pytest.fixture
def exports(
    certificates: Certificates, ingestion: Ingestion, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Exports]:
    """What leaves for it, by settings as Azure Functions has them."""
    for name in QUIET:
        monkeypatch.setenv(name, "false")  # it is switched off all the same, and as before afterwards
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca))
    logging.getLogger("azure").setLevel(logging.WARNING)
    with Server(ingestion, certificates=certificates) as server:
        environ = DEVELOPMENT | {
            "APPLICATIONINSIGHTS_CONNECTION_STRING": f"InstrumentationKey={KEY};IngestionEndpoint={server.url}/",
            "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": "Authorization=AAD",
        }
        made = Exports(Settings.read(environ).telemetry, lambda: identity)
        scope = trace_id.set(TRACE)
        yield made
        trace_id.reset(scope)
        made.close()


@pytest.mark.stack
def test_spans_and_numbers_arrive_under_the_managed_identity(
    exports: Exports, ingestion: Ingestion, identity: Identity
) -> None:
    """As dependencies and metrics of the trace that the host's own telemetry belongs to, and nothing beside them."""
    with span("POST query", parent=PARENT), http_call("fabric", "POST"):
        count(metrics.LOOKUPS, {"result": "none"})
    exports.flush()
    assert {header["authorization"] for header in ingestion.headers} == {f"Bearer {TOKEN}"}
    assert set(identity.scopes) == {"https://monitor.azure.com//.default"}
    assert ingestion.paths == {"v2.1/track"}
    spans = {
        item["data"]["baseData"]["name"]: item
        for item in ingestion.items
        if item["data"]["baseType"] == "RemoteDependencyData"
    }
    root, call = spans["POST query"], spans["POST fabric"]
    assert root["tags"]["ai.operation.id"] == call["tags"]["ai.operation.id"] == TRACE
    assert root["tags"]["ai.operation.parentId"] == PARENT
    assert call["tags"]["ai.operation.parentId"] == root["data"]["baseData"]["id"]
    assert root["tags"]["ai.cloud.role"] == "fabric-data-agent-gateway"
    assert call["data"]["baseData"]["target"] == "fabric"
    numbers = [item["data"]["baseData"] for item in ingestion.items if item["data"]["baseType"] == "MetricData"]
    (number,) = [one for one in numbers if one["metrics"][0]["name"] == "gateway.answers.lookups"]
    assert (number["properties"], number["metrics"][0]["value"]) == ({"result": "none"}, 1)
    assert {one["metrics"][0]["name"] for one in numbers} == {
        "gateway.answers.lookups",
        "http.client.request.duration",
    }


def test_it_tells_nobody_of_itself_and_leaves_nothing_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an identity the key in the connection string is all there is; its own statistics are off."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for name in QUIET:
        monkeypatch.setenv(name, "false")
    connection = f"InstrumentationKey={KEY};IngestionEndpoint=https://localhost:1/"
    settings = Settings.read(DEVELOPMENT | {"APPLICATIONINSIGHTS_CONNECTION_STRING": connection}).telemetry
    made = exporters(settings, lambda: pytest.fail("no identity is wanted"))
    assert [(one._credential, one.storage) for one in made] == [(None, None)] * 2
    for one in cast("Any", made):
        assert not one._should_collect_stats()
        assert not one._should_collect_customer_sdkstats()
    assert get_configuration_manager() is None
    assert not is_statsbeat_enabled()  # type: ignore[no-untyped-call]
    assert {name: os.environ[name] for name in QUIET} == QUIET
    assert list(tmp_path.iterdir()) == []
