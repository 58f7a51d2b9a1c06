"""A bulkhead: how many calls to one peer may be under way on this instance, so that a slow peer cannot take it whole.

It starts at what the instance may serve at once, which bounds nothing while all is well. A call that was throttled or
timed out shrinks it to seven tenths, and as many good calls as it is wide let it grow by one, never past its start
(additive increase, multiplicative decrease: RFC 5681, section 3.1). It shrinks once in a while and not below an eighth,
or one caller's slow questions would take it from everybody. Who finds no place waits for a moment, in a queue no
longer than the bulkhead is wide.
"""

import asyncio
import math
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

WAIT_SECONDS = 2.0
SHRINK = 0.7
SHRINK_SECONDS = 10.0
LEAST_PART = 8


class BulkheadFull(Exception):
    """The call was not made: no place came free in time."""


class Bulkhead:
    """At most `width` calls at once. All methods belong to one event loop. `clock` is in seconds."""

    def __init__(
        self, width: int, *, wait_seconds: float = WAIT_SECONDS, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        self._start = width
        self._width = width
        self._wait_seconds = wait_seconds
        self._taken = 0
        self._successes = 0
        self._shrunk_at = -math.inf
        self._queue: deque[asyncio.Future[None]] = deque()

    @property
    def width(self) -> int:
        """How many calls may be under way now."""
        return self._width

    @asynccontextmanager
    async def place(
        self, *overloads: type[Exception], neutral: tuple[type[Exception], ...] = ()
    ) -> AsyncIterator[None]:
        """Holds a place for one call: one of `overloads` shrinks the bulkhead, unless it is `neutral`.

        A call that ends well lets it grow. Raises `BulkheadFull` instead of letting the call be made.
        """
        await self._enter()
        try:
            yield
        except neutral:
            raise
        except overloads:
            self._shrink()
            raise
        else:
            self._grow()
        finally:
            self._taken -= 1
            self._admit()

    async def _enter(self) -> None:
        if self._taken < self._width and not self._queue:
            self._taken += 1
            return
        if len(self._queue) >= self._width:
            raise BulkheadFull
        turn = asyncio.get_running_loop().create_future()
        self._queue.append(turn)
        try:
            async with asyncio.timeout(self._wait_seconds):
                await turn
        except BaseException as fault:
            self._leave(turn)
            if isinstance(fault, TimeoutError):
                raise BulkheadFull from fault
            raise

    def _leave(self, turn: asyncio.Future[None]) -> None:
        """Gives up waiting, or the place where one was given in the same moment."""
        if turn.done() and not turn.cancelled():
            self._taken -= 1
            self._admit()
        elif turn in self._queue:
            self._queue.remove(turn)

    def _admit(self) -> None:
        while self._queue and self._taken < self._width:
            turn = self._queue.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)

    def _shrink(self) -> None:
        self._successes = 0
        if self._clock() - self._shrunk_at >= SHRINK_SECONDS:
            self._width = max(1, self._start // LEAST_PART, int(self._width * SHRINK))
            self._shrunk_at = self._clock()

    def _grow(self) -> None:
        self._successes += 1
        if self._successes >= self._width:
            self._width = min(self._start, self._width + 1)
            self._successes = 0
