"""One deadline per request, handed to every hop, so that no hop waits longer than its caller will."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from lib.errors import DeadlineExceeded


@dataclass(frozen=True)
class Deadline:
    """A point on the monotonic clock."""

    at: float
    clock: Callable[[], float] = time.monotonic

    @classmethod
    def after(cls, seconds: float, clock: Callable[[], float] = time.monotonic) -> "Deadline":
        """The deadline that many seconds from now."""
        return cls(clock() + seconds, clock)

    def remaining(self) -> float:
        """Seconds left; never negative."""
        return max(0.0, self.at - self.clock())

    def timeout(self, at_most: float) -> float:
        """Seconds that a hop may take: its own limit or what is left. Raises `DeadlineExceeded` where nothing is."""
        remaining = self.remaining()
        if remaining <= 0:
            raise DeadlineExceeded
        return min(at_most, remaining)

    def within(self, seconds: float) -> "Deadline":
        """The earlier one of this and the one that many seconds from now. Raises `DeadlineExceeded` likewise."""
        return Deadline.after(self.timeout(seconds), self.clock)
