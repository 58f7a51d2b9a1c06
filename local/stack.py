"""The whole local stack as one value: Azurite and the emulators in this process, the gateway's host in its own.

The gateway is pointed at the emulators by settings and by the variables that name a certificate authority, as it
would be pointed at any cloud: nothing in it knows that they are emulators.
"""

import base64
import json
import os
import secrets
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Self

import httpx
from azure.core.exceptions import ResourceExistsError
from azure.storage.queue import QueueClient

from local import certificates, entra, fabric, graph, key_vault, managed_identity
from local.azurite import Azurite
from local.entra import Entra
from local.fabric import SALES_AGENT, Fabric
from local.graph import Graph
from local.issuer import Issuer
from local.key_vault import KeyVault
from local.managed_identity import ManagedIdentity
from local.people import GATEWAY_CLIENT_ID, MANAGED_IDENTITY_CLIENT_ID, SCRIPT_CLIENT_ID, TENANT_ID
from local.serving import Server, listen
from local.vault import Vault

ROOT = Path(__file__).parent.parent
START_SECONDS = 60
STOP_SECONDS = 10
FABRIC_AUDIENCE = "https://api.fabric.microsoft.com"
QUEUE = "questions"
"""What the function `run_question` is triggered by."""
_OLD_ENOUGH_SECONDS = 3600
"""A sealing key seals once it is ten minutes old: the stack's first one is born older, so that it can at once."""
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Trusts nobody: a host speaks HTTP, and to read whom the world trusts takes longer than to ask it."""


class StackError(RuntimeError):
    """The stack cannot be started; the text says what to do."""


@dataclass(frozen=True)
class Ports:
    """The ports of the stack; 0 takes a free one."""

    host: int = 0
    entra: int = 0
    key_vault: int = 0
    fabric: int = 0
    graph: int = 0
    managed_identity: int = 0
    table: int = 0
    queue: int = 0


WELL_KNOWN_PORTS = Ports(7071, 8443, 8444, 8445, 8446, 8447, 10002, 10001)


class Stack:
    """Everything the gateway needs, and the gateway; `with Stack(folder) as stack:` starts and ends it.

    State is kept in `folder`: certificates, keys, the vault and Azurite's tables outlive a restart.
    """

    def __init__(self, folder: Path, ports: Ports | None = None, *, delay_seconds: float = 1.5) -> None:
        """A stack on `ports` (free ones if None), whose agents think for `delay_seconds` over each question."""
        self.folder = folder
        self.ports = ports or Ports()
        self._delay_seconds = delay_seconds
        self._running = ExitStack()
        self.host: Host | None = None

    def start(self) -> None:
        """Starts Azurite and the emulators; the host is started by `start_host`."""
        folder, ports = self.folder, self.ports
        folder.mkdir(parents=True, exist_ok=True)
        self.certificates = certificates.issue(folder)
        self.azurite = self._running.enter_context(
            Azurite(folder=folder / "azurite", table_port=ports.table, queue_port=ports.queue)
        )
        self._make_queue()
        servers = {
            "entra": Server(port=ports.entra, certificates=self.certificates),
            "key_vault": Server(port=ports.key_vault, host="127.0.0.1", certificates=self.certificates),
            "fabric": Server(port=ports.fabric, certificates=self.certificates),
            "graph": Server(port=ports.graph, certificates=self.certificates),
            "managed_identity": Server(port=ports.managed_identity),
        }
        self.urls = {name: server.url for name, server in servers.items()}
        self.host_port = ports.host or free_port()
        self.public_url = f"http://localhost:{self.host_port}"
        self._make_peers()
        servers["entra"].app = entra.build(self.entra)
        servers["key_vault"].app = key_vault.build(self.key_vault)
        servers["graph"].app = graph.build(self.graph)
        servers["managed_identity"].app = managed_identity.build(self.managed_identity)
        servers["fabric"].app = fabric.build(
            self.fabric,
            claims_of=lambda token: self.issuer.verify(token, FABRIC_AUDIENCE),
            delay_seconds=self._delay_seconds,
        )
        for server in servers.values():
            self._running.enter_context(server)

    def _make_queue(self) -> None:
        """As a deployment does it: the gateway would make its queue with the first message alone."""
        with (
            QueueClient.from_connection_string(self.azurite.connection_string, QUEUE, use_env_settings=False) as queue,
            suppress(ResourceExistsError),
        ):
            queue.create_queue()

    def _make_peers(self) -> None:
        self.issuer = Issuer(self.urls["entra"], self.folder)
        self.vault = Vault(self.folder)
        self._fill_vault()
        self.key_vault = KeyVault(self.vault, self.issuer, self.urls["key_vault"])
        redirect_uris = [f"{self.public_url}/api/login/callback", f"{self.public_url}/api/app"]
        registrations = entra.registrations(
            redirect_uris=redirect_uris,
            secret=self.vault.get("client-secret").value,
            certificate=self.vault.get("client-certificate").value,
        )
        self.entra = Entra(self.issuer, registrations)
        self.graph = Graph(self.issuer, self.urls["graph"])
        self.managed_identity = ManagedIdentity(self.issuer, secrets.token_urlsafe(16))
        self.fabric = Fabric()

    def _fill_vault(self) -> None:
        """What the vault holds from the start: the gateway's keys, and each kind of client credential."""
        born = time.time() - _OLD_ENOUGH_SECONDS
        contents: dict[str, Callable[[], str]] = {
            "index-key": _random_key,
            "sealing-key": _random_key,
            "client-secret": _random_key,
            "client-certificate": certificates.client_certificate,
        }
        for name, content in contents.items():
            if not self.vault.has(name):
                self.vault.put(name, content(), created=born)

    @property
    def environment(self) -> dict[str, str]:
        """The settings that point a gateway at this stack."""
        agents = {
            "sales": {
                "url": self.urls["fabric"] + SALES_AGENT.path,
                "description": SALES_AGENT.description,
            }
        }
        ca = str(self.certificates.ca)
        return {
            "ENVIRONMENT": "development",
            "TENANT_ID": TENANT_ID,
            "CLIENT_ID": GATEWAY_CLIENT_ID,
            "CLIENT_CREDENTIAL": "managed-identity",
            "AZURE_CLIENT_ID": MANAGED_IDENTITY_CLIENT_ID,
            "ALLOWED_CLIENTS": f"{GATEWAY_CLIENT_ID},{SCRIPT_CLIENT_ID}",
            "DATA_AGENTS": json.dumps(agents),
            "KEY_VAULT_URL": self.urls["key_vault"],
            "STATE_STORAGE": self.azurite.connection_string,
            "PUBLIC_BASE_URL": self.public_url,
            "ENTRA_AUTHORITY_HOST": self.urls["entra"],
            "GRAPH_URL": self.urls["graph"],
            "IDENTITY_ENDPOINT": self.urls["managed_identity"] + managed_identity.PATH,
            "IDENTITY_HEADER": self.managed_identity.header,
            "SSL_CERT_FILE": ca,
            "REQUESTS_CA_BUNDLE": ca,
        }

    def start_host(self, log: IO[bytes] | None = None, settings: Mapping[str, str] | None = None) -> "Host":
        """Starts the gateway on Microsoft's runtime and waits until it answers; `settings` override the stack's."""
        listen(self.host_port).close()
        self._start_host = partial(Host, self.host_port, self.environment | dict(settings or {}), log)
        self.host = self._start_host()
        return self.host

    def restart_host(self) -> None:
        """Ends the gateway's process and starts another, with the same settings on the same port."""
        if self.host:
            self.host.stop()
        self.host = self._start_host()

    def stop(self) -> None:
        """Ends the host, the emulators and Azurite."""
        if self.host:
            self.host.stop()
        self._running.close()

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


class Host:
    """The gateway's own process, under this one's environment with `settings` on top.

    Its output goes to `log`, or to where this process's goes.
    """

    def __init__(self, port: int, settings: Mapping[str, str], log: IO[bytes] | None = None) -> None:
        self.url = f"http://127.0.0.1:{port}"
        command = [sys.executable, "-m", "local.host", "--port", str(port)]
        self.process = subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **settings}, stdout=log, stderr=subprocess.STDOUT if log else None
        )
        try:
            self._wait_until_alive()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the process as Azure does, and, where it does not listen, without asking."""
        self.process.terminate()
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait_until_alive(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while not _answers(self.url):
            if self.process.poll() is not None:
                raise StackError("the gateway's host ended at once: its output says why")
            if time.monotonic() > deadline:
                raise StackError(f"the gateway's host does not answer within {START_SECONDS} seconds")
            time.sleep(0.05)


def _random_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
    return port


def _answers(url: str) -> bool:
    try:
        return httpx.get(f"{url}/api/health", timeout=1, trust_env=False, verify=_NO_TLS).is_success
    except httpx.TransportError:
        return False
