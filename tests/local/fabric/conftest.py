"""The emulated Fabric behind a real socket, and a plain HTTP client in front of it."""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest

from local.fabric import SALES_AGENT, Fabric, build
from local.serving import Server
from tests.clock import Clock
from tests.local.fabric.callers import (
    ALICES_AGENT,
    DRAFT_AGENT,
    DRAFT_TASK_AGENT,
    REQUEST_ID,
    SHARED_AGENT,
    SHARED_TASK_AGENT,
    STREAMING_AGENT,
    STREAMING_TASK_AGENT,
    TASK_AGENT,
    THINKING_SECONDS,
    Caller,
    Thinking,
    claims_of,
)

AGENTS = (
    SALES_AGENT,
    STREAMING_AGENT,
    SHARED_AGENT,
    DRAFT_AGENT,
    ALICES_AGENT,
    TASK_AGENT,
    STREAMING_TASK_AGENT,
    SHARED_TASK_AGENT,
    DRAFT_TASK_AGENT,
)


@dataclass(frozen=True)
class Running:
    """A running Fabric, the clock and the thinking of its agents, and its address."""

    fabric: Fabric
    clock: Clock
    thinking: Thinking
    url: str


@pytest.fixture(scope="package")
def running() -> Iterator[Running]:
    """Fabric with one agent of each kind; one for all tests, because to start it takes longer than a test."""
    clock = Clock()
    thinking = Thinking(clock)
    fabric = Fabric(*AGENTS, now=clock)
    app = build(
        fabric, claims_of=claims_of, delay_seconds=THINKING_SECONDS, sleep=thinking.sleep, new_id=lambda: REQUEST_ID
    )
    with Server(app) as server:
        yield Running(fabric, clock, thinking, server.url)


@pytest.fixture
def clock(running: Running) -> Clock:
    """The clock of the agents, nothing waited for."""
    running.clock.slept.clear()
    return running.clock


@pytest.fixture
def thinking(running: Running) -> Thinking:
    """How the agents think, held up by nobody."""
    return running.thinking


@pytest.fixture
def fabric(running: Running) -> Fabric:
    """Fabric, nothing asked and nothing planned."""
    running.fabric.asked.clear()
    running.fabric.calls.clear()
    running.fabric.faults.clear()
    running.fabric.faults_at.clear()
    running.fabric.task_failures.clear()
    return running.fabric


@pytest.fixture
async def caller(running: Running, fabric: Fabric) -> AsyncIterator[Caller]:  # noqa: ARG001 - begins anew
    """A client of that Fabric."""
    async with httpx.AsyncClient(base_url=running.url, trust_env=False) as http:
        yield Caller(http)
