"""Rules for the composition root."""

import asyncio
import json
import logging
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from azure.identity import ManagedIdentityCredential as BlockingIdentity
from azure.identity.aio import ManagedIdentityCredential
from starlette.responses import Response

from lib import gateway as module
from lib.answers.cursors import TIMER
from lib.errors import NotReady
from lib.gateway import SETTLE_SECONDS, SWEEP_LEASE_SECONDS, SWEEP_SECONDS, SWEPT_TABLES, Gateway
from lib.storage.azure_sdk import CALL_SECONDS
from lib.storage.leases import ATTEMPTS
from lib.storage.tables import SEARCH_SECONDS, Tables
from lib.web.serve import Site
from tests.lib.storage.front import Front
from tests.lib.test_settings import PRODUCTION

if TYPE_CHECKING:
    from functools import partial

    from starlette.types import Receive, Scope, Send

    from lib.storage.properties import Value
    from lib.storage.sealing import Sealer

ROOT = Path(__file__).parent.parent.parent
HEAVY = (
    "markdown_it",
    "opentelemetry",
    "azure.monitor",
    "tenacity",
    "msal",
    "azure.identity",
    "azure.keyvault",
    "azure.data",
    "azure.storage",
    "azure.core",
    "aiohttp",
    "cryptography",
    "jwt",
    "httpx",
)


def test_wrong_settings_are_told_once_and_leave_a_gateway_that_is_not_ready(caplog: pytest.LogCaptureFixture) -> None:
    """The boundary goes on with nothing allowed; whoever needs a part learns that it is not ready."""
    gateway = Gateway({"TENANT_ID": "common"})
    with caplog.at_level(logging.INFO):
        for _ in range(3):
            assert gateway.site == Site()
            with pytest.raises(NotReady):
                _ = gateway.agents
    told = [record.problem for record in caplog.records if record.name == "lib.parts"]  # type: ignore[attr-defined]
    assert len(told) == len(set(told)) >= 5
    assert any(line.startswith("TENANT_ID") for line in told)


def test_settings_are_read_when_they_are_needed_and_not_before() -> None:
    """Azure fills the environment in only after a worker has loaded the app."""
    environ: dict[str, str] = {}
    gateway = Gateway(environ)
    environ.update(PRODUCTION)
    assert gateway.settings.public_base_url == "https://ask.contoso.com"


def test_the_boundary_knows_the_origins_and_where_claims_go() -> None:
    """The gateway's own pages may call it too."""
    gateway = Gateway(PRODUCTION | {"ALLOWED_ORIGINS": "https://app.contoso.com"})
    assert gateway.site.origins == {"https://app.contoso.com", "https://ask.contoso.com"}
    tenant = PRODUCTION["TENANT_ID"]
    assert gateway.site.authorization_uri == f"https://login.microsoftonline.com/{tenant}/oauth2/v2.0/authorize"


def test_an_old_address_of_an_agent_is_translated_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever moves here from an older backend learns what to put into the settings."""
    old = PRODUCTION["DATA_AGENT_URL"].replace("/v1/mcp/", "/v1/").replace("/agent", "/aiassistant/openai")
    with caplog.at_level(logging.WARNING):
        gateway = Gateway(PRODUCTION | {"DATA_AGENT_URL": old})
        assert gateway.settings.agents["default"].address.url == PRODUCTION["DATA_AGENT_URL"]
    (record,) = (record for record in caplog.records if record.name == "lib.parts")
    assert record.agent == "default"  # type: ignore[attr-defined]


async def test_storage_may_have_an_identity_of_its_own() -> None:
    """As identity-based connections of Azure Functions allow: `STATE_STORAGE__clientId`."""
    gateway = Gateway(PRODUCTION | {"STATE_STORAGE__clientId": "d4c0b8e6-5a19-47f3-8d72-9be6a3f0d004"})
    async with gateway.azure_credential:
        storage = gateway.tables._service.credential
        assert isinstance(storage, ManagedIdentityCredential)
        assert storage is not gateway.azure_credential
        await storage.close()
    await gateway.tables.close()


def test_nothing_heavy_is_imported_before_it_is_needed() -> None:
    """The first request of a cold start waits for every import that the app makes by itself."""
    code = "import lib.gateway, function_app, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {name for name in HEAVY if name in loaded.split()}
    assert found == set()


def test_a_sweep_is_over_before_its_lease_and_its_lease_before_the_next_sweep() -> None:
    """Were every call as slow as it may be: the last page of each table, its deletions, and what is remembered.

    Before that the last operation that is settled, and the search for it.
    """
    settling = SETTLE_SECONDS + SEARCH_SECONDS + 2 * CALL_SECONDS
    late = len(SWEPT_TABLES) * (SEARCH_SECONDS + 2 * CALL_SECONDS)
    lease_and_cursors = (2 * ATTEMPTS + 1) * CALL_SECONDS
    assert lease_and_cursors + settling + SWEEP_SECONDS + late < SWEEP_LEASE_SECONDS < 15 * 60


def test_no_function_outlives_a_lease() -> None:
    """The host ends it first, whatever it is doing."""
    limit = time.strptime(json.loads((ROOT / "host.json").read_text(encoding="utf-8"))["functionTimeout"], "%H:%M:%S")
    assert 3600 * limit.tm_hour + 60 * limit.tm_min + limit.tm_sec <= SWEEP_LEASE_SECONDS


def sweeping(tables: Tables, table: str, monkeypatch: pytest.MonkeyPatch) -> Gateway:
    """A gateway with these tables, of which it sweeps that one; its operations, in the same, need no key to end."""
    monkeypatch.setattr(module, "SWEPT_TABLES", (table,))
    monkeypatch.setattr("lib.answers.operations.TABLE", table)
    gateway = Gateway({})
    gateway.tables = tables
    gateway.sealer = cast("Sealer", None)
    return gateway


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What was logged of sweeps and leases."""
    loggers = {"lib.answers.sweeper", "lib.storage.leases", "lib.gateway"}
    return [record.message for record in caplog.records if record.name in loggers]


@pytest.mark.stack
async def test_of_two_sweeps_at_once_one_works(
    tables: Tables,
    fronted: Tables,
    front: Front,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The other one does nothing, and says so."""
    first, second = (sweeping(which, table, monkeypatch) for which in (fronted, tables))
    async with second.leases.hold("another", 1):
        await tables.insert(table, "p", "k", {"expires": 1})
    searching, go_on = threading.Event(), threading.Event()

    async def slow(scope: "Scope", receive: "Receive", send: "Send") -> None:
        searching.set()
        await asyncio.to_thread(go_on.wait, 20)
        await front.pass_on(scope, receive, send)

    front.planned.extend([*[front.pass_on] * 4, slow])
    with caplog.at_level(logging.INFO, "lib"):
        sweep = asyncio.create_task(first.sweep())
        assert await asyncio.to_thread(searching.wait, 20)
        await second.sweep()
        assert told(caplog) == ["operations were settled", "another run has the lease"]
        assert await tables.read(table, "p", "k")
        go_on.set()
        await sweep
        assert told(caplog)[2:] == ["expired rows were deleted"]
        assert await tables.read(table, "p", "k") is None
        await second.sweep()
    assert told(caplog)[3:] == ["operations were settled", "expired rows were deleted"]


@pytest.mark.stack
async def test_a_sweep_while_storage_is_away_fails_in_the_log_alone(
    fronted: Tables, front: Front, table: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The host would write the exception down as it is, with all that the SDK put into it."""
    gateway = sweeping(fronted, table, monkeypatch)
    front.planned.extend([Response(status_code=403)] * ATTEMPTS)
    await gateway.sweep()
    assert told(caplog) == ["a lease could not be had"]
    assert TIMER in [record.__dict__.get("timer") for record in caplog.records]


def overdue(now: float, *, expires: float) -> dict[str, "Value"]:
    """The row of an operation that nobody has come back for."""
    row: dict[str, Value] = {"state": "asked", "agent": "sales", "created": now - 900, "deadline": now - 600}
    return row | {"expires": int(expires)}


@pytest.mark.stack
async def test_a_sweep_ends_the_operations_that_nobody_has_come_back_for(
    tables: Tables, table: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And says how many."""
    gateway = sweeping(tables, table, monkeypatch)
    now = tables.clock.now()
    for key in ("one", "two"):
        await tables.insert(table, "p", key, overdue(now, expires=now + 3600))
    with caplog.at_level(logging.INFO, "lib"):
        await gateway.sweep()
    assert [vars(record)["settled"] for record in caplog.records if record.name == "lib.gateway"] == [2]
    assert {row.values["state"] async for row in tables.rows(table, "p")} == {"failed"}


@pytest.mark.stack
async def test_where_operations_cannot_be_settled_the_sweep_goes_on(
    tables: Tables,
    fronted: Tables,
    front: Front,
    table: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Their readers end them; what has expired goes all the same."""
    gateway = sweeping(fronted, table, monkeypatch)
    await tables.insert(table, "p", "k", overdue(tables.clock.now(), expires=1))
    lease = 2
    front.planned.extend([*[front.pass_on] * lease, Response(status_code=403)])
    with caplog.at_level(logging.INFO, "lib"):
        await gateway.sweep()
    assert told(caplog) == ["operations could not be settled", "expired rows were deleted"]
    assert await tables.read(table, "p", "k") is None


@pytest.mark.stack
async def test_without_the_lease_no_operation_is_settled(
    tables: Tables, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever has it is at it."""
    gateway, other = (sweeping(tables, table, monkeypatch) for _ in range(2))
    now = tables.clock.now()
    await tables.insert(table, "p", "k", overdue(now, expires=now + 3600))
    async with other.leases.hold(TIMER, 60) as held:
        assert held
        await gateway.sweep()
    row = await tables.read(table, "p", "k")
    assert row
    assert row.values["state"] == "asked"


async def test_the_timer_runs_the_warmer_as_the_gateway_itself() -> None:
    """With its own token for Fabric, its own identity for what is shared, and every agent of the settings."""
    gateway = Gateway(PRODUCTION)
    async with gateway.azure_credential:
        warmer = gateway.warmer
        token = cast("partial[object]", warmer._token)
        assert (token.func, token.args) == (gateway.on_behalf_of.token_for_app, (gateway.settings.fabric_scope,))
        assert warmer._identity == (PRODUCTION["TENANT_ID"], PRODUCTION["CLIENT_ID"])
        assert warmer._settings.keys() == warmer._agents.keys() == {"default"}
        runs: list[None] = []

        async def run() -> None:
            runs.append(None)

        warmer.run = run  # type: ignore[method-assign]
        await gateway.warm()
        assert len(runs) == 1


def test_what_leaves_is_decided_by_the_settings_and_nothing_leaves_without_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Wrong settings are told to the host's log, which needs no exporter. The identity is the one named for it."""
    assert Gateway({"TENANT_ID": "common"}).exporting._settings is None
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1/msi")
    identity = "d4c0b8e6-5a19-47f3-8d72-9be6a3f0d004"
    environ = PRODUCTION | {
        "OTEL_EXPORTER_OTLP_ENDPOINT": "https://collector.contoso.com",
        "APPLICATIONINSIGHTS_AUTHENTICATION_STRING": f"ClientId={identity};Authorization=AAD",
    }
    gateway = Gateway(environ)
    assert gateway.exporting is gateway.exporting
    assert gateway.exporting._settings == gateway.settings.telemetry
    with gateway.exporting._credential() as credential:
        assert isinstance(credential, BlockingIdentity)
