"""When a peer may be called again: what it said by `Retry-After`, to everybody or to one caller alone."""

import time
from collections import OrderedDict
from collections.abc import Callable

MOST_SECONDS = 300
"""A longer wait is not taken at its word: after so long somebody asks the peer again."""
MOST_CALLERS = 1_000
EVERYBODY = ""


class Cooldown:
    """Until when nobody, or one caller, calls a peer. `clock` is in seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: OrderedDict[str, float] = OrderedDict()

    def hold(self, seconds: float, caller: str = EVERYBODY) -> None:
        """Holds calls back for so long from now; a longer wait that is known already stays."""
        until = self._clock() + min(seconds, MOST_SECONDS)
        self._until[caller] = max(until, self._until.pop(caller, 0.0))
        while len(self._until) > MOST_CALLERS:
            self._until.popitem(last=False)

    def remaining(self, caller: str = EVERYBODY) -> float:
        """Seconds until `caller` may call; 0 where that is now."""
        until = max(self._until.get(EVERYBODY, 0.0), self._until.get(caller, 0.0))
        return max(0.0, until - self._clock())
