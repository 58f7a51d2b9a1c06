"""A tenant without a server, its clock, and the gateway as its client."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import trustme

from local.entra import Entra, build, registrations
from local.issuer import Issuer
from tests.local.entra.gateway import CALLBACK, SECRET, Gateway


@pytest.fixture
def clock() -> list[float]:
    """The time now, for a test to set."""
    return [1_800_000_000.0]


@pytest.fixture
def issuer(keys: Path, clock: list[float]) -> Issuer:
    """The tenant's issuer, which reads `clock`."""
    return Issuer("https://login.test", keys, now=lambda: clock[0])


@pytest.fixture(scope="session")
def own_certificate() -> trustme.LeafCert:
    """The certificate that the gateway's registration knows."""
    return trustme.CA().issue_cert("gateway.test", key_type=trustme.KeyType.RSA)


@pytest.fixture
def entra(issuer: Issuer, own_certificate: trustme.LeafCert) -> Entra:
    """The tenant; the gateway may prove itself in every way."""
    certificate = own_certificate.cert_chain_pems[0].bytes().decode()
    return Entra(issuer, registrations(redirect_uris=[CALLBACK], secret=SECRET, certificate=certificate))


@pytest.fixture
async def client(entra: Entra) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of the tenant's, in process."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build(entra)), base_url=entra.authority) as client:
        yield client


@pytest.fixture
def gateway(client: httpx.AsyncClient) -> Gateway:
    """The gateway, spoken by hand."""
    return Gateway(client)
