"""Azurite: Microsoft's emulator of Azure Storage, run from `node_modules` on ports of this machine alone.

The one process also serves blobs, which nothing here uses. With certificates it speaks TLS and takes Entra tokens
besides its key (Azurite README, "OAuth"), so that the managed identity's way in can be walked as well.
"""

import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Self

from lib.settings import AZURITE
from local.certificates import Certificates

NODE_MODULES = Path(__file__).parent.parent / "node_modules"
ADDRESS = "127.0.0.1"
START_SECONDS = 60
STOP_SECONDS = 10

_ACCOUNT = AZURITE.partition("TableEndpoint=")[0]
_LISTENING = re.compile(r"Azurite (?P<service>\w+) service is successfully listening at (?P<url>https?://\S+)")
_SERVICES = {"Blob", "Queue", "Table"}


class AzuriteUnavailable(RuntimeError):
    """Azurite is not installed, or does not start; the text says what to do."""


class Azurite:
    """One Azurite; `with Azurite() as azurite:` starts it and ends it. Its addresses are known once it runs."""

    def __init__(
        self,
        *,
        folder: Path | None = None,
        table_port: int = 0,
        queue_port: int = 0,
        certificates: Certificates | None = None,
        node_modules: Path = NODE_MODULES,
    ) -> None:
        """Port 0 is any free one. What is stored stays in `folder`, or in memory without one."""
        self._folder = folder
        self._ports = {"table": table_port, "queue": queue_port, "blob": 0}
        self._certificates = certificates
        self._script = node_modules / "azurite" / "dist" / "src" / "azurite.js"
        self._process: subprocess.Popen[str] | None = None
        self.table_url = ""
        self.queue_url = ""

    @property
    def connection_string(self) -> str:
        """How to reach the running Azurite with its public account and key."""
        return f"{_ACCOUNT}TableEndpoint={self.table_url};QueueEndpoint={self.queue_url}"

    def start(self) -> None:
        """Returns once connections are accepted; raises AzuriteUnavailable where it does not come to that."""
        command = [_node(), str(self._installed()), *self._options()]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        watchdog = threading.Timer(START_SECONDS, self._process.kill)
        watchdog.start()
        try:
            urls = _announced(self._process)
        except AzuriteUnavailable:
            self.stop()
            raise
        finally:
            watchdog.cancel()
        self.table_url = f"{urls['Table']}/devstoreaccount1"
        self.queue_url = f"{urls['Queue']}/devstoreaccount1"

    def stop(self) -> None:
        """Ends the process; what it keeps in a folder is written by then."""
        if self._process is None:
            return
        process, self._process = self._process, None
        process.terminate()
        try:
            process.communicate(timeout=STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _installed(self) -> Path:
        if not self._script.is_file():
            raise AzuriteUnavailable("Azurite is not installed: run make setup")
        return self._script

    def _options(self) -> list[str]:
        options = ["--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        options += ["--location", str(self._folder)] if self._folder else ["--inMemoryPersistence"]
        for service, port in self._ports.items():
            options += [f"--{service}Host", ADDRESS, f"--{service}Port", str(port)]
        if self._certificates:
            certificate, key = str(self._certificates.certificate), str(self._certificates.key)
            options += ["--oauth", "basic", "--cert", certificate, "--key", key]
        return options


def _node() -> str:
    node = shutil.which("node")
    if node is None:
        raise AzuriteUnavailable("Azurite needs Node.js, which is not on the PATH: install it, then run make setup")
    return node


def _announced(process: subprocess.Popen[str]) -> dict[str, str]:
    """The address of each service, read from what Azurite says as it starts."""
    urls: dict[str, str] = {}
    said: list[str] = []
    for line in process.stdout or ():
        said.append(line.strip())
        if match := _LISTENING.search(line):
            urls[match["service"]] = match["url"]
        if urls.keys() == _SERVICES:
            return urls
    raise AzuriteUnavailable(f"Azurite did not start; it said: {' | '.join(said[-5:]) or 'nothing'}")
