"""Rules for the composition root."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from azure.identity.aio import ManagedIdentityCredential

from lib.errors import NotReady
from lib.gateway import Gateway
from lib.web.serve import Site
from tests.lib.test_settings import PRODUCTION

ROOT = Path(__file__).parent.parent.parent
HEAVY = (
    "markdown_it",
    "opentelemetry",
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
    code = "import function_app, sys; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    found = {name for name in HEAVY if name in loaded.split()}
    assert found == set()
