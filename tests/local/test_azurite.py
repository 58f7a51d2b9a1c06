"""Azurite as the local stack runs it: where it listens, what it keeps, and what it says when it cannot start."""

import socket
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from lib.settings import StateStorage
from lib.storage.tables import Tables
from local import azurite
from local.azurite import Azurite, AzuriteUnavailable
from local.certificates import Certificates

pytestmark = pytest.mark.stack

STUBBORN = """
process.on("SIGTERM", () => {})
for (const name of ["Blob", "Queue", "Table"])
  console.log(`Azurite ${name} service is successfully listening at http://127.0.0.1:1`)
setInterval(() => {}, 1000)
"""


def installed(folder: Path, script: str) -> Path:
    """A folder like `node_modules`, with another program in Azurite's place."""
    file = folder / "azurite" / "dist" / "src" / "azurite.js"
    file.parent.mkdir(parents=True)
    file.write_text(script)
    return folder


def accepts(url: str) -> bool:
    """Whether somebody listens there."""
    parts = urlsplit(url)
    with socket.socket() as probe:
        return probe.connect_ex((parts.hostname, parts.port)) == 0


async def test_azurite_serves_tables_and_queues_until_it_is_left() -> None:
    """On free ports of this machine; its process ends with the context."""
    with Azurite() as running:
        tables = Tables(StateStorage(connection_string=running.connection_string))
        await tables.insert("things", "p", "k", {"expires": 1})
        await tables.close()
        async with httpx.AsyncClient(trust_env=False) as client:
            assert (await client.get(running.queue_url)).headers["server"].startswith("Azurite-Queue/3.37.0")
        assert urlsplit(running.table_url).hostname == urlsplit(running.queue_url).hostname == "127.0.0.1"
    assert not accepts(running.table_url)
    assert not accepts(running.queue_url)


async def test_what_is_stored_in_a_folder_outlives_azurite(tmp_path: Path) -> None:
    """And a port that was asked for is the one it listens on."""
    with Azurite(folder=tmp_path / "azurite") as first:
        tables = Tables(StateStorage(connection_string=first.connection_string))
        row = await tables.insert("things", "p", "k", {"expires": 1})
        await tables.close()
    table_port, queue_port = urlsplit(first.table_url).port or 0, urlsplit(first.queue_url).port or 0
    with Azurite(folder=tmp_path / "azurite", table_port=table_port, queue_port=queue_port) as second:
        assert (second.table_url, second.queue_url) == (first.table_url, first.queue_url)
        tables = Tables(StateStorage(connection_string=first.connection_string))
        assert await tables.read("things", "p", "k") == row
        await tables.close()


@pytest.mark.usefixtures("trusted")
def test_azurite_speaks_tls_with_certificates(certificates: Certificates) -> None:
    """That is what it wants before it looks at an Entra token."""
    with Azurite(certificates=certificates) as running:
        assert running.table_url.startswith("https://127.0.0.1:")
        assert running.queue_url.startswith("https://127.0.0.1:")
        assert accepts(running.table_url)


def test_a_missing_azurite_says_what_to_do(tmp_path: Path) -> None:
    """Before anything is started."""
    with pytest.raises(AzuriteUnavailable, match="run make setup"):
        Azurite(node_modules=tmp_path).start()


def test_a_missing_node_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Node.js is the one thing that make does not install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AzuriteUnavailable, match=r"Node\.js.*run make setup"):
        Azurite().start()


def test_a_taken_port_is_told_in_azurites_words() -> None:
    """The error holds what Azurite said last."""
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(AzuriteUnavailable, match="EADDRINUSE"):
        Azurite(table_port=taken.getsockname()[1]).start()


def test_an_azurite_that_never_listens_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """It is given a while, then it is killed."""
    monkeypatch.setattr(azurite, "START_SECONDS", 0.5)
    modules = installed(tmp_path, "setInterval(() => {}, 1000)")
    with pytest.raises(AzuriteUnavailable, match="it said: nothing"):
        Azurite(node_modules=modules).start()


def test_an_azurite_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The context is left with the process gone; leaving it twice does no harm."""
    monkeypatch.setattr(azurite, "STOP_SECONDS", 0.2)
    running = Azurite(node_modules=installed(tmp_path, STUBBORN))
    running.start()
    process = running._process
    assert process is not None
    running.stop()
    assert process.poll() == -9
    running.stop()
