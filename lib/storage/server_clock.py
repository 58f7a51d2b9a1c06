"""What time it is by Table Storage, for state that several instances share.

Each reply has a `Date` (RFC 9110 section 6.6.1), which resolves one second: an instance whose clock is right to two
seconds keeps its own, so that what remains of an error is at most 2 s, half a second for the header, and the time
that the reply took to come. A clock that is further off is corrected by the median of what the last replies said, so
that one odd reply, a cached one or one from 1970, does not move it. The first reply counts at once: a cold instance
reads before it writes. The time may step when a correction sets in; it is no clock to measure durations with.
"""

import time
from collections import deque
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from statistics import median

TOLERATED_SECONDS = 2.0
LAST_REPLIES = 5
_HALF_A_SECOND = 0.5
"""A header that was cut to the second was half a second ago, on average."""


class ServerClock:
    """The local clock `now` (seconds since the epoch), corrected where it is wrong."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._local = now
        self._offsets: deque[float] = deque(maxlen=LAST_REPLIES)
        self._offset = 0.0

    def hear(self, date: str) -> None:
        """Takes in the `Date` of a reply that has just come; one that cannot be read says nothing."""
        try:
            told = parsedate_to_datetime(date).timestamp()
        except (ValueError, TypeError, OverflowError):
            return
        self._offsets.append(told + _HALF_A_SECOND - self._local())
        offset = median(self._offsets)
        self._offset = offset if abs(offset) > TOLERATED_SECONDS else 0.0

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._local() + self._offset
