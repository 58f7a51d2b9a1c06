"""A gateway of real parts: Azurite behind fronts that fail as they are told, Entra and three agents on the wire."""

import json
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import httpx
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import TextBase64DecodePolicy
from azure.storage.queue.aio import QueueClient

from lib.answers.by_queue import QUEUE
from lib.gateway import Gateway
from lib.identity.auth import principal_of_session
from lib.identity.credentials import ClientCredential
from lib.identity.entra import EntraClient
from lib.identity.on_behalf_of import OnBehalfOf
from lib.identity.principal import Assertion, Principal
from lib.identity.sessions import SignedIn
from lib.limits.usage import Usage
from lib.storage.key_vault import KeyVault
from lib.storage.server_clock import ServerClock
from lib.storage.standings import ROW, TABLE
from lib.storage.tables import Tables
from tests.clock import Clock
from tests.lib.agents.recorded import recorded
from tests.lib.agents.upstream import URL, Upstream
from tests.lib.identity.authority import TENANT, TokenEndpoint, granted, settings
from tests.lib.identity.client import Identity, Vault
from tests.lib.storage.front import Front
from tests.lib.test_settings import DEVELOPMENT

if TYPE_CHECKING:
    from collections.abc import Mapping

AGENTS = {"sales": {"url": URL}, "thinker": {"url": URL}, "company": {"url": URL, "identity": "app"}}
SETTINGS = {name: value for name, value in DEVELOPMENT.items() if name != "DATA_AGENT_URL"} | {
    "DATA_AGENTS": json.dumps(AGENTS),
    "LIMIT_PER_MINUTE": "6000",
    "LIMIT_BURST": "1000",
    "LIMIT_IN_FLIGHT": "100",
}


class _Still(ServerClock):
    """A clock that believes no reply."""

    def hear(self, date: str) -> None:
        """Takes nothing in."""


class Whole:
    """One person's gateway, of which there may be several instances over the same storage and the same agents."""

    def __init__(self, vault: KeyVault, storage: str, tables: Front, queues: Front, clock: Clock) -> None:
        """`storage` is a connection string that leads through the fronts."""
        self.vault = vault
        self.tables = tables
        self.queues = queues
        self.clock = clock
        self.entra = TokenEndpoint(self._grant)
        self.refusal: httpx.Response | None = None
        self.token_seconds = 4200
        self.upstreams = {name: Upstream() for name in AGENTS}
        self.upstreams["thinker"].plan("initialize", *[recorded("initialize.tasks")] * 9)
        self.upstreams["thinker"].plan("tools/list", *[recorded("tools-list.tasks")] * 9)
        self._storage = storage
        self._client: EntraClient | None = None
        self._opened: list[Gateway] = []

    def _grant(self, form: dict[str, str]) -> httpx.Response:
        who = form.get("assertion") or form.get("refresh_token") or "app"
        return self.refusal or granted(f"{who} {len(self.entra.requests)}", expires_in=self.token_seconds)

    def instance(self, **environ: str) -> Gateway:
        """Another instance of the gateway."""
        gateway = Gateway(SETTINGS | {"STATE_STORAGE": self._storage} | environ)
        gateway.key_vault = self.vault
        gateway.tables = Tables(gateway.settings.state_storage, clock=_Still(self.clock))
        gateway.on_behalf_of = OnBehalfOf(self._entra(), self.clock)
        known = gateway.settings.agents
        gateway.data_agents = {name: each.agent(self.clock) for name, each in self.upstreams.items() if name in known}
        gateway.operations._sleep = self.clock.sleep
        self._opened.append(gateway)
        return gateway

    def _entra(self) -> EntraClient:
        if self._client is None:
            told = settings(CLIENT_CREDENTIAL="secret")
            credential = ClientCredential(told, Identity(self.clock), Vault(client_secret="hush"), self.clock)
            self._client = EntraClient(told, credential, transport=self.entra.transport, now=self.clock)
        return self._client

    async def close(self) -> None:
        """Ends all connections."""
        for gateway in self._opened:
            await gateway.tables.close()
            await gateway.by_queue._queue.close()
        if self._client:
            self._client.close()
        for front in (self.tables, self.queues):
            assert not front.planned, "a fault was planned that nothing met"

    async def messages(self) -> list[dict[str, str]]:
        """What is in the queue, which is empty then."""
        async with QueueClient.from_connection_string(
            self._storage, QUEUE, message_decode_policy=TextBase64DecodePolicy()
        ) as reader:
            with suppress(ResourceExistsError):
                await reader.create_queue()
            messages = [message async for message in reader.receive_messages(messages_per_page=32)]
            for message in messages:
                await reader.delete_message(message)
        return [json.loads(message.content) for message in messages]

    async def taken(self, gateway: Gateway, principal: Principal) -> list[str]:
        """The places that a principal's questions have."""
        partition = await gateway.row_keys.partition(principal.tenant_id, principal.object_id)
        row = await gateway.tables.read(TABLE, partition, ROW)
        return [slot.id for slot in Usage.read(row.values).slots] if row else []


def by_token(clock: Clock, **more: Any) -> Principal:
    """Somebody new, who brings an access token."""
    described: Mapping[str, Any] = {"kind": "user", "signed_in": "bearer", "expires_at": clock.now + 4000}
    grant = Assertion(f"assertion {uuid.uuid4()}", clock.now + 4000, clock.now)
    return Principal(TENANT, str(uuid.uuid4()), **{**described, "grant": grant, **more})


async def signed_in(gateway: Gateway) -> tuple[str, Principal]:
    """The cookie of somebody new who has signed in, and who that is."""
    cookie, session = await gateway.sessions.open(SignedIn(TENANT, str(uuid.uuid4()), refresh_token="refresh"))
    return cookie, principal_of_session(session, gateway.sessions)
