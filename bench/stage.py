"""What the measurements stand on: the local stack in this process, whatever is measured in processes of their own.

So nothing that is measured shares a process with an emulator, and what an emulator costs is in no figure of CPU.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import IO, Any
from urllib.parse import urlsplit

import httpx

from bench.agent import path
from local.people import Person
from local.serving import Server
from local.stack import Host, Stack, free_port
from tests.integration.callers import token_of
from tests.integration.people import newcomers
from tests.lib.storage.front import Front

ROOT = Path(__file__).parent.parent
APP = Path(__file__).parent / "app"
ROOMY = {  # limits are for people, and what is measured is not to meet them
    "LIMIT_PER_MINUTE": "6000",
    "LIMIT_BURST": "1000",
    "LIMIT_PER_DAY": "1000000",
    "LIMIT_IN_FLIGHT": "100",
    "FAILURES_PER_MINUTE": "60000",
    "INSTANCE_CONCURRENCY": "128",
    "LOG_LEVEL": "INFO",
}
MINUTES = 10
"""No process of a benchmark is waited for any longer."""


@dataclass(frozen=True)
class Agent:
    """The canned agent's process: where it is asked in plain text, and where over TLS."""

    plain: str
    secure: str

    def calls(self) -> int:
        """How many questions have reached it."""
        told: dict[str, int] = httpx.get(f"{self.plain}/calls", trust_env=False).json()
        return told.get("tools/call", 0)


class Stage:
    """A running stack without a host, and what a benchmark wants of it."""

    def __init__(self, stack: Stack, folder: Path) -> None:
        self.stack = stack
        self.folder = folder

    @contextmanager
    def people(self, count: int) -> Iterator[list[Person]]:
        """So many people who may ask."""
        with newcomers(self.stack, count) as made:
            yield made

    def token(self, person: Person) -> str:
        """An access token of theirs for the gateway."""
        return token_of(self.stack, person)

    @contextmanager
    def agent(self) -> Iterator[Agent]:
        """The canned agent, for as long as it is wanted."""
        certificates = self.stack.certificates
        command = [sys.executable, "-m", "bench.agent", "--certificate", str(certificates.certificate)]
        with started([*command, "--key", str(certificates.key)], stdout=subprocess.PIPE) as process:
            plain, secure = _line(process.stdout).split()
            yield Agent(f"http://127.0.0.1:{plain}", f"https://localhost:{secure}")

    @contextmanager
    def storage_front(self) -> Iterator[tuple[Front, str]]:
        """A server before Azurite that counts, and the connection string that leads through it."""
        parts = urlsplit(self.stack.azurite.table_url)
        front = Front(f"{parts.scheme}://{parts.netloc}")
        account = self.stack.azurite.connection_string.partition("TableEndpoint=")[0]
        with Server(front, host="127.0.0.1") as server:
            queues = f"QueueEndpoint={self.stack.azurite.queue_url}"
            yield front, f"{account}TableEndpoint={server.url}/devstoreaccount1;{queues}"

    @contextmanager
    def host(self, settings: Mapping[str, str]) -> Iterator[Host]:
        """The gateway behind the local host, as a process of its own; its log goes nowhere."""
        with Path(os.devnull).open("wb") as log:
            host = Host(free_port(), self.stack.environment | ROOMY | dict(settings), log)
            try:
                yield host
            finally:
                host.stop()

    def inside(self, what: str, given: Any, settings: Mapping[str, str] | None = None) -> Any:
        """What `bench.inside` measures in a process with nothing but Microsoft's runtime and the app in it."""
        return json.loads(self.run_inside(what, given, settings or {}).stdout.splitlines()[-1])

    def run_inside(
        self, what: str, given: Any, settings: Mapping[str, str], *options: str
    ) -> subprocess.CompletedProcess[str]:
        """That process, run with these options of Python's."""
        environment = {**os.environ, **self.stack.environment, **ROOMY, **settings}
        command = [sys.executable, *options, "-m", "bench.inside", what]
        return subprocess.run(
            command,
            cwd=ROOT,
            env=environment,
            input=json.dumps(given),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if options else None,
            text=True,
            check=True,
            timeout=60 * MINUTES,
        )


def agents(agent: Agent, *milliseconds: int) -> str:
    """The setting that names the canned agent once for each time that it may think."""
    return json.dumps({f"after-{each}": {"url": agent.secure + path(each)} for each in milliseconds})


@contextmanager
def stage() -> Iterator[Stage]:
    """The stack, with agents that answer at once."""
    with ExitStack() as running:
        folder = Path(running.enter_context(TemporaryDirectory(prefix="bench-")))
        yield Stage(running.enter_context(Stack(folder, delay_seconds=0)), folder)


@contextmanager
def started(command: list[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """A program that ends with the block."""
    with subprocess.Popen(command, cwd=ROOT, text=True, **options) as process:
        try:
            yield process
        finally:
            process.terminate()


def _line(stream: IO[str] | None) -> str:
    if stream is None:
        raise RuntimeError("the program has no output to read")
    return stream.readline()
