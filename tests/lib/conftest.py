"""What the tests of lib share: one Azurite, tables of their own in it, and a vault behind a managed identity."""

import asyncio
import base64
import secrets
import ssl
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from azure.identity.aio import ManagedIdentityCredential

from lib.settings import StateStorage
from lib.storage.key_vault import KeyVault
from lib.storage.tables import Tables
from local import key_vault, managed_identity
from local.azurite import Azurite
from local.certificates import Certificates, issue
from local.faults import Faults
from local.issuer import Issuer
from local.people import MANAGED_IDENTITY_CLIENT_ID
from local.serving import Server
from local.vault import Vault
from tests.clock import Clock
from tests.lib.storage.front import Front
from tests.lib.whole import Whole

if TYPE_CHECKING:
    from selectors import BaseSelector


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """The authority and the server certificate of this run."""
    return issue(tmp_path_factory.mktemp("certificates"))


@pytest.fixture
async def farewells() -> AsyncIterator[None]:
    """Ends with the test's last connection: TLS says goodbye after a client's `close` has returned."""
    yield
    selector: BaseSelector = asyncio.get_running_loop()._selector  # type: ignore[attr-defined]
    async with asyncio.timeout(5):
        while len(selector.get_map()) > 1:  # noqa: ASYNC110  # the loop's own pipe stays; nothing tells of the others
            await asyncio.sleep(0)


@pytest.fixture
def trusted(certificates: Certificates, monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the Azure SDK trust the authority: aiohttp makes its context at import, too early for the environment."""
    context = ssl.create_default_context(cafile=certificates.ca)
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", context)


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """One Azurite for all tests here."""
    with Azurite() as running:
        yield running


@pytest.fixture
def table() -> str:
    """The name of a table that does not exist yet."""
    return f"t{secrets.token_hex(8)}"


@pytest.fixture
async def tables(azurite: Azurite) -> AsyncIterator[Tables]:
    """Azurite's tables."""
    opened = Tables(StateStorage(connection_string=azurite.connection_string))
    yield opened
    await opened.close()


@pytest.fixture(scope="session")
def front_server(azurite: Azurite) -> Iterator[tuple[Front, Server]]:
    """The server in front of Azurite, for the whole run."""
    parts = urlsplit(azurite.table_url)
    front = Front(f"{parts.scheme}://{parts.netloc}")
    with Server(front, host="127.0.0.1") as server:
        yield front, server


@pytest.fixture
def front(front_server: tuple[Front, Server]) -> Iterator[Front]:
    """The front with nothing planned and nothing counted."""
    front, _ = front_server
    front.methods.clear()
    yield front
    front.planned.clear()


@pytest.fixture
def fronted_state(azurite: Azurite, front_server: tuple[Front, Server]) -> StateStorage:
    """Where Azurite is reached through the front."""
    account = azurite.connection_string.partition("TableEndpoint=")[0]
    return StateStorage(connection_string=f"{account}TableEndpoint={front_server[1].url}/devstoreaccount1")


@pytest.fixture
async def fronted(fronted_state: StateStorage, front: Front) -> AsyncIterator[Tables]:
    """Azurite's tables, reached through the front."""
    opened = Tables(fronted_state)
    yield opened
    await opened.close()
    assert not front.planned, "a fault was planned that nothing met"


@pytest.fixture(scope="session")
def queue_server(azurite: Azurite) -> Iterator[tuple[Front, Server]]:
    """A server in front of Azurite's queues, for the whole run."""
    parts = urlsplit(azurite.queue_url)
    front = Front(f"{parts.scheme}://{parts.netloc}")
    with Server(front, host="127.0.0.1") as server:
        yield front, server


@pytest.fixture
def clock() -> Clock:
    """A clock that moves when told to."""
    return Clock()


@dataclass
class RunningVault:
    """The emulated vault and its content."""

    url: str
    content: Vault
    faults: Faults = field(default_factory=Faults)


@pytest.fixture(scope="session")
def issuer() -> Issuer:
    """The issuer of the managed identity's tokens, under a name that Azurite accepts as well."""
    return Issuer("https://sts.windows.net")


@pytest.fixture
def vault(certificates: Certificates, issuer: Issuer, clock: Clock) -> Iterator[RunningVault]:
    """An emulated vault that holds the keys the gateway needs."""
    content = Vault(now=clock)
    for name in ("index-key", "sealing-key"):
        content.put(name, new_key(), created=clock.now - 3600)
    server = Server(host="127.0.0.1", certificates=certificates)
    running = RunningVault(server.url, content)
    server.app = key_vault.build(key_vault.KeyVault(content, issuer, server.url, running.faults))
    with server:
        yield running


@pytest.fixture(scope="session")
def identity_server(issuer: Issuer) -> Iterator[Server]:
    """The managed identity's endpoint."""
    app = managed_identity.build(managed_identity.ManagedIdentity(issuer, "a-header"))
    with Server(app) as server:
        yield server


@pytest.fixture
async def credential(
    identity_server: Server,
    monkeypatch: pytest.MonkeyPatch,
    farewells: None,  # noqa: ARG001  # ends after this
) -> AsyncIterator[ManagedIdentityCredential]:
    """The real credential of a managed identity, against the emulator."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", identity_server.url + managed_identity.PATH)
    monkeypatch.setenv("IDENTITY_HEADER", "a-header")
    opened = ManagedIdentityCredential(client_id=MANAGED_IDENTITY_CLIENT_ID)
    yield opened
    await opened.close()


@pytest.fixture
async def key_vault_client(
    vault: RunningVault,
    credential: ManagedIdentityCredential,
    clock: Clock,
    trusted: None,  # noqa: ARG001  # begins before this
) -> AsyncIterator[KeyVault]:
    """Our own `KeyVault` on the emulated vault."""
    opened = KeyVault(vault.url, credential, now=clock)
    yield opened
    await opened.close()


@pytest.fixture
async def whole(
    key_vault_client: KeyVault,
    azurite: Azurite,
    front_server: tuple[Front, Server],
    front: Front,
    queue_server: tuple[Front, Server],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Whole]:
    """A gateway of real parts, which looks often while it waits."""
    monkeypatch.setattr("lib.asking.FIRST_PAUSE", 0.001)
    monkeypatch.setattr("lib.asking.LONGEST_PAUSE", 0.001)
    account, path = azurite.connection_string.partition("TableEndpoint=")[0], "devstoreaccount1"
    storage = f"{account}TableEndpoint={front_server[1].url}/{path};QueueEndpoint={queue_server[1].url}/{path}"
    made = Whole(key_vault_client, storage, front, queue_server[0], clock)
    await made.messages()
    yield made
    await made.close()


def new_key() -> str:
    """A fresh key as the vault holds it."""
    return base64.b64encode(secrets.token_bytes(32)).decode()
