"""What the emulators' tests share: one certificate authority, one signing key, and clients that trust them."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import aiohttp.connector
import pytest

from local.azurite import Azurite
from local.certificates import Certificates, issue
from local.issuer import Issuer


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The authority and the server certificate of this run."""
    return issue(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
def trusted(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the real clients trust the authority, as the local stack does: by environment alone."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificates.ca))  # requests, under msal
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates.ca))  # the default context of aiohttp and httpx
    # aiohttp makes its context when it is imported, which some other test has done by now.
    monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context())


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """One Azurite for all tests here."""
    with Azurite() as running:
        yield running


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the signing key of this run."""
    return tmp_path_factory.mktemp("keys")


@pytest.fixture(scope="session")
def issuer(keys: Path) -> Issuer:
    """An issuer that no server stands behind."""
    return Issuer("https://login.test", keys)
