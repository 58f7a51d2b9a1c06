"""What time it is by Table Storage, for state that several instances share.

Each reply has a `Date` (RFC 9110, section 6.6.1), which resolves one second. So an instance whose clock is right to
two seconds keeps its own, and a clock that is further off is corrected by the median of what the last replies said:
one odd reply among them, a cached one or one without sense, does not move it. The first reply counts at once: a cold
instance hears one before it writes.

While a local clock is wrong by a constant, whatever it is, what remains of the error is at most 2 s (what is
tolerated), half a second (the header's resolution) and the way of a reply from Table Storage to here, which is a part
of its round trip; two instances differ by twice that at most.

Not promised: that time only moves on. It steps by two seconds or so where a correction sets in or ends, and a clock
that is set right under way, or wrong, is corrected after three replies: what it has written by then has to be told from
what makes sense (`lib.limits.usage`, `lib.answers.board`). Durations are for the monotonic clock.
"""

import time
from collections import deque
from collections.abc import Callable
from datetime import UTC
from email.utils import parsedate_to_datetime
from functools import lru_cache
from statistics import median

TOLERATED_SECONDS = 2.0
LAST_REPLIES = 5
SENSIBLE_YEARS = range(2026, 2100)
"""No gateway ran before, and none runs after: a `Date` outside tells of a fault at its sender."""

_HALF_A_SECOND = 0.5
"""The header is cut to the second: it was written half a second after what it says, give or take as much."""


class ServerClock:
    """The local clock `now` (seconds since the epoch), corrected where it is wrong."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._local = now
        self._offsets: deque[float] = deque(maxlen=LAST_REPLIES)
        self._offset = 0.0
        self.heard = 0
        """How many replies have told a time that makes sense."""

    def hear(self, date: str) -> None:
        """Takes in the `Date` of a reply that has just come; one that is malformed or without sense says nothing."""
        written = _written(date)
        if written is None:
            return
        self.heard += 1
        self._offsets.append(written - self._local())
        if len(self._offsets) % 2:  # of an even number the median is a mean, which an odd reply would move
            offset = median(self._offsets)
            self._offset = offset if abs(offset) > TOLERATED_SECONDS else 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._local() + self._offset


@lru_cache(maxsize=1)
def _written(date: str) -> float | None:
    """When a reply was written that has this `Date`, as all others of its second have; None where that makes no sense.

    Whatever zone it names, it is always GMT.
    """
    try:
        told = parsedate_to_datetime(date)
    except (ValueError, TypeError):
        return None
    return told.replace(tzinfo=UTC).timestamp() + _HALF_A_SECOND if told.year in SENSIBLE_YEARS else None
