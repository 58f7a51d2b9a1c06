"""Concurrent callers who want the same thing share one piece of work."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any


class SingleFlight[T]:
    """Joins callers by key: the first starts the work, all wait for it and get its result or its failure.

    The work belongs to nobody: a caller who is cancelled leaves it running for the others. Nothing is kept once it
    is done, so a failure reaches only those who waited for it.
    """

    def __init__(self) -> None:
        self._flights: dict[Hashable, asyncio.Task[T]] = {}

    async def run(self, key: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """The result of the work under way for `key`, started here where there is none."""
        flight = self._flights.get(key)
        if flight is None:
            flight = asyncio.create_task(work())
            self._flights[key] = flight
            flight.add_done_callback(lambda done: self._land(key, done))
        return await asyncio.shield(flight)

    def _land(self, key: Hashable, flight: asyncio.Task[T]) -> None:
        del self._flights[key]
        if not flight.cancelled():
            flight.exception()  # marks it as seen: where every caller has left, asyncio would complain
