"""What stands before an agent, so that one that is down, slow or exhausted is spared, and nobody waits for it in vain.

From outside in: what the agent said about coming back (`Cooldown`), the circuit, the bulkhead. A refusal here costs no
call. What Fabric says to one caller alone (429 `RequestBlocked`: its quota is each identity's own) holds that caller
back and nobody else, or one person could take an agent from everybody.
"""

import math
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from lib.agents.failures import Blocked, ServerFault, Throttled, Unreached
from lib.errors import AgentBusy, AgentPaused, CapacityExceeded, DeadlineExceeded, UpstreamError
from lib.traffic.bulkhead import Bulkhead, BulkheadFull
from lib.traffic.circuit import Circuit
from lib.traffic.cooldown import EVERYBODY, Cooldown

BUSY_SECONDS = 2
CAPACITY_SECONDS = 30
"""How long an exhausted capacity is left alone that does not say when to come back."""
OUTAGES = (ServerFault, Unreached, DeadlineExceeded, CapacityExceeded)
_OVERLOADS = (DeadlineExceeded, CapacityExceeded)
_TELLS_WHEN = (CapacityExceeded, Unreached)
"""Failures whose `Retry-After` is about the agent, and not about the gateway."""


class Guard:
    """Lets calls to the agent `name` through, `width` at once at the most. `clock` is in seconds."""

    def __init__(
        self,
        name: str,
        width: int,
        *,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self.cooldown = Cooldown(clock)
        self._circuit = Circuit(name, clock=clock, uniform=uniform)
        self._bulkhead = Bulkhead(width, clock=clock)

    @property
    def state(self) -> str:
        """What readiness tells: `closed`, `open` or `half_open`, or `cooling_down`."""
        return "cooling_down" if self.cooldown.remaining() else self._circuit.state

    def refuse(self, caller: str) -> None:
        """Raises what a call of `caller` would meet here now, without making one: `CapacityExceeded`, `AgentPaused`."""
        if wait := self.cooldown.remaining(caller):
            raise CapacityExceeded(retry_after=math.ceil(wait))
        if wait := self._circuit.closed_for():
            raise AgentPaused(retry_after=math.ceil(wait))

    @asynccontextmanager
    async def call(self, caller: str) -> AsyncIterator[None]:
        """Holds one question. Raises `CapacityExceeded`, `AgentPaused` or `AgentBusy` instead of letting it through."""
        self.refuse(caller)  # so that the circuit, which is asked in the same moment, has nothing left to refuse
        try:
            with self._circuit.attempt(*OUTAGES, neutral=(Throttled,)):
                async with self._bulkhead.place(*_OVERLOADS, neutral=(Blocked,)):
                    yield
        except BulkheadFull as fault:
            raise AgentBusy(retry_after=BUSY_SECONDS) from fault
        except _TELLS_WHEN as fault:
            self._hold(fault, caller)
            raise

    def _hold(self, fault: UpstreamError, caller: str) -> None:
        if isinstance(fault, CapacityExceeded):
            fault.retry_after = fault.retry_after or CAPACITY_SECONDS
        if fault.retry_after:
            self.cooldown.hold(fault.retry_after, caller if isinstance(fault, Blocked) else EVERYBODY)
