"""Trying again: exponential back-off with full jitter, bounded by the caller's deadline and by a budget.

Full jitter spreads the callers of a peer that has just recovered
(https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter). The budget keeps retries a small part of
all calls, so that they never become the load that keeps a peer down
(https://sre.google/sre-book/handling-overload, "per-client retry budget"). What may be tried again is for the caller
to know: only it can tell whether the first try had an effect. `tenacity` keeps the loop, from the first failure on:
most calls have none, and a loop costs as much as a small call.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from lib.errors import GatewayError
from lib.telemetry import metrics
from lib.telemetry.signals import count
from lib.traffic.deadline import Deadline

if TYPE_CHECKING:
    from tenacity import RetryCallState

FIRST_WAIT = 0.5
LONGEST_WAIT = 8.0
LONGEST_RETRY_AFTER = 10.0

BUDGET_MOST = 10.0
BUDGET_PER_CALL = 0.1
BUDGET_PER_SECOND = 1.0

_log = logging.getLogger(__name__)


class RetryBudget:
    """How many retries one peer may still be given here: one for ten calls, and one a second. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._left = BUDGET_MOST
        self._at = clock()

    def earn(self) -> None:
        """Counts a call that was made."""
        self._refill(BUDGET_PER_CALL)

    def spend(self) -> bool:
        """Takes one retry; False where none is left."""
        self._refill()
        if self._left < 1:
            return False
        self._left -= 1
        return True

    def _refill(self, more: float = 0) -> None:
        now = self._clock()
        self._left = min(BUDGET_MOST, self._left + (now - self._at) * BUDGET_PER_SECOND + more)
        self._at = now


async def retry[T](  # noqa: PLR0913  # its clockwork has defaults
    call: Callable[[], Awaitable[T]],
    *,
    on: tuple[type[Exception], ...],
    attempts: int,
    deadline: Deadline,
    budget: RetryBudget | None = None,
    peer: str = "",
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    uniform: Callable[[float, float], float] = random.uniform,
) -> T:
    """The result of `call`, which is made up to `attempts` times while it raises one of `on`.

    Between two attempts it waits up to 0.5 s, then 1 s, doubling to 8 s, and never less than the `retry_after` of the
    failure. The failure is raised as it is where that wait would take more than 10 s, or half of the time that is left,
    and where the `budget` has no retry left. Cancellation always passes. `peer` is whom metrics name.
    """
    if budget:
        budget.earn()
    try:
        return await call()
    except on as fault:
        failures = [fault]

    from tenacity import AsyncRetrying, retry_if_exception_type  # noqa: PLC0415  # takes 15 ms, which most need not

    async def attempt() -> T:  # the first one is told as it went
        if failures:
            raise failures.pop()
        return await call()

    def stop(state: "RetryCallState") -> bool:
        pays = state.upcoming_sleep <= LONGEST_RETRY_AFTER and state.upcoming_sleep < deadline.remaining() / 2
        if state.attempt_number >= attempts or not pays:
            return True
        if budget and not budget.spend():
            count(metrics.RETRIES, {"peer": peer, "result": "suppressed"})
            _log.warning("a retry was suppressed", extra={"fault": type(_fault(state)).__name__})
            return True
        return False

    retrying = AsyncRetrying(
        sleep=sleep,
        wait=partial(_wait, uniform),
        stop=stop,
        retry=retry_if_exception_type(on),
        before_sleep=partial(_tell, peer),
        reraise=True,
    )
    return await retrying(attempt)


def _wait(uniform: Callable[[float, float], float], state: "RetryCallState") -> float:
    longest = min(LONGEST_WAIT, FIRST_WAIT * 2 ** (state.attempt_number - 1))
    return max(uniform(0, longest), _retry_after(state))


def _tell(peer: str, state: "RetryCallState") -> None:
    count(metrics.RETRIES, {"peer": peer, "result": "tried"})
    _log.info("trying again", extra={"fault": type(_fault(state)).__name__, "attempt": state.attempt_number})


def _fault(state: "RetryCallState") -> BaseException | None:
    return state.outcome.exception() if state.outcome else None


def _retry_after(state: "RetryCallState") -> float:
    fault = _fault(state)
    return (fault.retry_after or 0) if isinstance(fault, GatewayError) else 0
