"""Gateways beside the one that the stack has: processes with settings of their own, which end with the test."""

import ssl
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from local.stack import Host, Stack, free_port

ORIGIN = "https://app.contoso.example"
QUESTION = "What are the total sales by month?"


class Instance:
    """A gateway of its own, and a client of it for each thread. Its log is the file `log`."""

    def __init__(self, host: Host, log: Path) -> None:
        self.host = host
        self.log = log
        self._tls = ssl.create_default_context()  # dear to make, and every client wants one
        self._own = threading.local()
        self._clients: list[httpx.Client] = []

    @property
    def http(self) -> httpx.Client:
        """The client of this thread.

        A pool that threads share may close a connection that rests just when one of them takes it; and what rests for
        longer may be closed by the host just then.
        """
        client: httpx.Client | None = getattr(self._own, "client", None)
        if client is None:
            limits = httpx.Limits(keepalive_expiry=2)
            client = self._own.client = httpx.Client(
                base_url=self.host.url, trust_env=False, timeout=60, limits=limits, verify=self._tls
            )
            self._clients.append(client)
        return client

    def ask(
        self, token: str, question: str = QUESTION, *, headers: Mapping[str, str] | None = None, **fields: str
    ) -> httpx.Response:
        """One question of whoever the token speaks for; nobody, if it is empty."""
        sent = {"Origin": ORIGIN, **bearer(token), **(headers or {})}
        return self.http.post("/api/query", json={"question": question, **fields}, headers=sent)

    def operation(self, token: str, location: str, **headers: str) -> httpx.Response:
        """What became of a question that was accepted."""
        return self.http.get(location, headers={**bearer(token), **headers})

    def close(self) -> None:
        """Closes the connections and ends the process."""
        for client in self._clients:
            client.close()
        self.host.stop()


@contextmanager
def instance_of(stack: Stack, log: Path, settings: Mapping[str, Any], *, port: int = 0) -> Iterator[Instance]:
    """An instance of the stack's gateway that runs with these settings on top."""
    environment = (
        stack.environment | {"ALLOWED_ORIGINS": ORIGIN} | {name: str(value) for name, value in settings.items()}
    )
    with log.open("ab") as lines:
        started = Instance(Host(port or free_port(), environment, lines), log)
        try:
            yield started
        finally:
            started.close()


def bearer(token: str) -> dict[str, str]:
    """The header of somebody who brings a token."""
    return {"Authorization": f"Bearer {token}"} if token else {}
