"""Readiness: the peers without which no question can be served, and those whose loss only degrades."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal

from lib.traffic.single_flight import SingleFlight

REPORT_SECONDS = 10
AGENT_SECONDS = 30
PING_SECONDS = 3

_log = logging.getLogger(__name__)

type Ping = Callable[[], Awaitable[None]]


@dataclass(frozen=True)
class Report:
    """What the pings said: `checks` decide, `agents` only degrade. True is a peer that answered as it should."""

    checks: Mapping[str, bool]
    agents: Mapping[str, bool]

    @property
    def ready(self) -> bool:
        """Whether requests can be served."""
        return all(self.checks.values())

    @property
    def status(self) -> Literal["ready", "degraded", "unavailable"]:
        """The whole in one word."""
        if not self.ready:
            return "unavailable"
        return "ready" if all(self.agents.values()) else "degraded"


class Readiness:
    """Pings every peer, at most every 10 s (agents: 30 s), however many callers ask at once."""

    def __init__(
        self,
        checks: Mapping[str, Ping],
        agents: Mapping[str, Ping],
        clock: Callable[[], float] = time.monotonic,
        *,
        ping_seconds: float = PING_SECONDS,
    ) -> None:
        self._pings = {"checks": (checks, REPORT_SECONDS), "agents": (agents, AGENT_SECONDS)}
        self._clock = clock
        self._ping_seconds = ping_seconds
        self._known: dict[str, tuple[float, Mapping[str, bool]]] = {}
        self._flights = SingleFlight[Mapping[str, bool]]()

    async def report(self) -> Report:
        """The latest report, made anew where it is too old."""
        checks, agents = await asyncio.gather(self._latest("checks"), self._latest("agents"))
        return Report(checks, agents)

    async def _latest(self, group: str) -> Mapping[str, bool]:
        pings, lifetime = self._pings[group]
        known = self._known.get(group)
        if known and self._clock() - known[0] < lifetime:
            return known[1]
        return await self._flights.run(group, lambda: self._ping_all(group, pings))

    async def _ping_all(self, group: str, pings: Mapping[str, Ping]) -> Mapping[str, bool]:
        passed = await asyncio.gather(*(self._passes(name, ping) for name, ping in pings.items()))
        result = dict(zip(pings, passed, strict=True))
        self._known[group] = (self._clock(), result)
        return result

    async def _passes(self, name: str, ping: Ping) -> bool:
        try:
            async with asyncio.timeout(self._ping_seconds):
                await ping()
                return True
        except Exception:  # noqa: BLE001  # whatever a peer's failure looks like, it is a failed ping
            _log.warning("a readiness check fails", extra={"check": name})
            return False
