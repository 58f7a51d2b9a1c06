"""What somebody whom nobody knows can make the gateway do: little, and the less the more they try."""

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from local.faults import drop
from local.serving import Server
from local.stack import Host, Stack, free_port
from tests.lib.storage.front import Front

type Start = Callable[..., "Instance"]


class Instance:
    """A gateway of its own, and somebody who has no part in it."""

    def __init__(self, host: Host, log: Path) -> None:
        self._http = httpx.Client(base_url=f"{host.url}/api", trust_env=False, timeout=30)
        self._log = log

    def front_channel(self, sid: str) -> None:
        """Tells that a sign-in has ended; the reply is always the same."""
        reply = self._http.get("/logout/frontchannel", params={"sid": sid})
        assert (reply.status_code, reply.content) == (200, b"")

    def logged(self) -> list[str]:
        """The codes of the failures that the gateway has logged."""
        lines = (json.loads(line) for line in self._log.read_text("utf-8").splitlines() if line.startswith("{"))
        return [line["code"] for line in lines if line["message"] == "a request failed"]

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()


@pytest.fixture
def storage(stack: Stack) -> Iterator[tuple[Front, str]]:
    """A server before Azurite that counts and can fail, and the connection string that leads through it."""
    parts = urlsplit(stack.azurite.table_url)
    front = Front(f"{parts.scheme}://{parts.netloc}")
    account = stack.azurite.connection_string.partition("TableEndpoint=")[0]
    with Server(front, host="127.0.0.1") as server:
        yield front, f"{account}TableEndpoint={server.url}/devstoreaccount1"


@pytest.fixture
def start(stack: Stack, storage: tuple[Front, str], tmp_path: Path) -> Iterator[Start]:
    """Starts an instance before that storage, with these settings."""
    with ExitStack() as running:

        def instance(**settings: str) -> Instance:
            path = tmp_path / uuid.uuid4().hex
            log = running.enter_context(path.open("wb"))
            host = Host(free_port(), stack.environment | {"STATE_STORAGE": storage[1]} | settings, log)
            running.callback(host.stop)
            started = Instance(host, path)
            running.callback(started.close)
            return started

        yield instance


def test_a_logout_at_entra_is_answered_alike_while_storage_is_away(start: Start, storage: tuple[Front, str]) -> None:
    """Entra's page can do nothing about it; those who operate the gateway read of it."""
    instance, (front, _) = start(), storage
    front.planned.extend([drop] * 1000)
    instance.front_channel(str(uuid.uuid4()))
    assert instance.logged() == ["state_unavailable"]
    front.planned.clear()
    instance.front_channel(str(uuid.uuid4()))
    assert instance.logged() == ["state_unavailable"]


def test_a_logout_at_entra_costs_nothing_where_there_are_no_sessions(start: Start, storage: tuple[Front, str]) -> None:
    """Nor where nothing can be meant."""
    bearers_alone, usual = start(SESSIONS="off"), start()
    bearers_alone.front_channel(str(uuid.uuid4()))
    for nonsense in ("", "../x", "x" * 129, "a b"):
        usual.front_channel(nonsense)
    assert storage[0].methods == []
