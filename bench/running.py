"""What answers questions on a port: the gateway on the local host, and an empty function on the same host."""

import asyncio
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path

import httpx

from bench.agent import path
from bench.load import Target, drive, request
from bench.stage import Agent, Stage, started
from local.stack import free_port

DELAYS = (0, 50, 2000)
"""Milliseconds that the agent may think."""
SHARED, SHARED_DELAY = -1, 50
"""Stands for an agent whose answers are everybody's, and how long that one thinks."""
EMPTY = Path(__file__).parent / "empty"
START_SECONDS = 60


class NotRun(Exception):
    """What was to be measured cannot be run here; the text says why."""


@dataclass(frozen=True)
class Running:
    """One that runs: where its questions go, by how long the agent thinks over them, and what it takes."""

    targets: Mapping[int, Target]
    process_ids: Sequence[int]
    start_seconds: float

    def processor_seconds(self) -> float:
        """What that process has taken of the processor; 0 where the system does not tell."""
        told = Path(f"/proc/{self.process_ids[0]}/stat")
        ticks = told.read_text().rpartition(")")[2].split()[11:13] if told.is_file() else []
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> float:
        """MiB of memory in use, of the process that answers one delay's questions; 0 where the system tells none."""
        told = Path(f"/proc/{self.process_ids[0]}/status")
        lines = told.read_text().splitlines() if told.is_file() else []
        return sum(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


@contextmanager
def gateway(stage: Stage, agent: Agent, clients: int) -> Iterator[Running]:
    """The gateway on the local host, warm; each client is another person."""
    described: dict[str, dict[str, object]] = {
        f"after-{delay}": {"url": agent.secure + path(delay)} for delay in DELAYS
    }
    described["shared"] = {"url": agent.secure + path(SHARED_DELAY), "identity": "app", "shared": True}
    settings = {"DATA_AGENTS": json.dumps(described), "APP_CALLS_PER_MINUTE": "6000"}
    with stage.people(clients) as people:
        tokens = [stage.token(person) for person in people]
        began = time.monotonic()
        with stage.host(settings) as host:
            seconds = time.monotonic() - began
            headers = [{"content-type": "application/json", "authorization": f"Bearer {token}"} for token in tokens]
            port = int(host.url.rpartition(":")[2])

            def target(name: str) -> Target:
                return Target(
                    port,
                    lambda who, question: request("/api/query", headers[who], {"question": question, "agent": name}),
                )

            targets = {delay: target(f"after-{delay}") for delay in DELAYS} | {SHARED: target("shared")}
            for each in targets.values():
                asyncio.run(drive(each, repeat("Is anybody there?", clients), clients, 0))
            yield Running(targets, [host.process.pid], seconds)


@contextmanager
def nothing() -> Iterator[Running]:
    """An app with one empty function on the same local host: faster than that is nothing on it."""
    port = free_port()
    command = [sys.executable, "-m", "local.host", "--app", str(EMPTY), "--port", str(port)]
    with program(command, port) as (process_id, seconds):
        target = Target(port, lambda _, question: request("/api/empty", {}, {"question": question}))
        yield Running({0: target}, [process_id], seconds)


@contextmanager
def program(command: list[str], port: int, **environment: str) -> Iterator[tuple[int, float]]:
    """A server that listens on that port: its process, and how long it took."""
    began = time.monotonic()
    with (
        Path(os.devnull).open("wb") as nowhere,
        started(command, env={**os.environ, **environment}, stdout=nowhere, stderr=nowhere) as process,
    ):
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > began + START_SECONDS:
                raise NotRun(f"{Path(command[0]).name} does not answer on its port")
            time.sleep(0.05)
        yield process.pid, time.monotonic() - began


def _answers(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/", timeout=2, trust_env=False)
    except httpx.TransportError:
        return False
    return True
