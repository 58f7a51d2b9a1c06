"""The generic cell rate algorithm (ITU-T I.371, annex A): one number for each key says all there is to remember.

That number is the theoretical arrival time, `tat`: the moment at which what was let through so far would have come,
had it come evenly. Requests may run ahead of it by a burst. In any window of length W, at most W / interval + burst of
them are let through, and nothing has to be reset.
"""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

MOST_KEYS = 10_000
MINUTE_MS = 60_000


@dataclass(frozen=True)
class Rate:
    """One every `interval` milliseconds, up to `burst` of them at once. All times are whole milliseconds."""

    interval: int
    burst: int

    @classmethod
    def per_minute(cls, count: int, burst: int) -> Self:
        """At most `count` in a minute beside the burst; where they do not divide a minute evenly, a little less."""
        return cls(math.ceil(MINUTE_MS / count), burst)

    def wait(self, tat: int, now: int) -> int:
        """How long until the next one is let through: 0 where it is now."""
        return max(0, tat - now - (self.burst - 1) * self.interval)

    def charged(self, tat: int, now: int) -> int:
        """The `tat` once one more was let through."""
        return max(tat, now) + self.interval

    def left(self, tat: int, now: int) -> int:
        """How many would be let through at once."""
        return max(0, (self.burst * self.interval - max(0, tat - now)) // self.interval)


class Meter:
    """Counts in this process alone, by key; of more than `most` keys it forgets the one unused for longest.

    `now` is in seconds.
    """

    def __init__(self, rate: Rate, *, most: int = MOST_KEYS, now: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._most = most
        self._now = now
        self._tats: OrderedDict[str, int] = OrderedDict()

    def hit(self, key: str) -> int:
        """Lets one of `key` through and returns 0, or returns the milliseconds until it would."""
        now = self._now_ms()
        tat = self._tats.pop(key, 0)
        wait = self._rate.wait(tat, now)
        self._tats[key] = tat if wait else self._rate.charged(tat, now)  # a refusal is a use: who floods is remembered
        if len(self._tats) > self._most:
            self._tats.popitem(last=False)
        return wait

    def wait(self, key: str) -> int:
        """The milliseconds until one of `key` would be let through, 0 where it would be now; counts nothing."""
        return self._rate.wait(self._tats.get(key, 0), self._now_ms())

    def _now_ms(self) -> int:
        return int(self._now() * 1000)
