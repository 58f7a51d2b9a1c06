"""A value from a service that may be away: asked for anew when it has grown old, kept when that fails."""

import asyncio
import math
from collections.abc import Awaitable, Callable

from lib.errors import StateUnavailable
from lib.telemetry import metrics
from lib.telemetry.signals import count

MAX_AGE_SECONDS = 3600
LONGEST_PAUSE_SECONDS = 16


class LastKnownGood[T]:
    """What `fetch` returned last. One fetch runs at a time; after a failure none for 1, 2, 4, 8, then 16 seconds.

    Those are the pauses Key Vault asks for (https://learn.microsoft.com/azure/key-vault/general/overview-throttling).
    """

    def __init__(self, fetch: Callable[[], Awaitable[T]], now: Callable[[], float]) -> None:
        """`fetch` fails with `StateUnavailable`."""
        self._fetch = fetch
        self._now = now
        self._lock = asyncio.Lock()
        self._value: T
        self._fetched_at = -math.inf
        self._failures = 0
        self._paused_until = -math.inf

    async def get(self) -> T:
        """The value, at most an hour old, or older while the service is away.

        Raises `StateUnavailable` where there never was one. While somebody fetches, the others take what there is.
        """
        if self._is_younger(MAX_AGE_SECONDS):
            return self._value
        known = self._is_younger(math.inf)
        if known and self._lock.locked():
            return self._value
        try:
            return await self.younger_than(MAX_AGE_SECONDS)
        except StateUnavailable:
            if not known:
                raise
            count(metrics.DEGRADED, {"mode": "keys_kept"})
            return self._value

    async def younger_than(self, seconds: float) -> T:
        """The value as it was at most `seconds` ago. Raises `StateUnavailable` where it cannot be had."""
        if not self._is_younger(seconds):
            async with self._lock:
                if not self._is_younger(seconds):
                    await self._refresh()
        return self._value

    def _is_younger(self, seconds: float) -> bool:
        return self._now() - self._fetched_at < seconds

    async def _refresh(self) -> None:
        if self._now() < self._paused_until:
            raise StateUnavailable
        try:
            self._value = await self._fetch()
        except StateUnavailable:
            self._paused_until = self._now() + min(2**self._failures, LONGEST_PAUSE_SECONDS)
            self._failures += 1
            raise
        self._fetched_at = self._now()
        self._failures = 0
