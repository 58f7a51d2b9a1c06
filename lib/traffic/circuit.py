"""A circuit breaker: a peer that fails is left alone for a while, and then asked by one call at a time.

Closed, it counts outcomes over a sliding window; where enough of them are failures it opens, and calls are refused
without being made. After the reset timeout it is half open: a single probe goes through, everybody else is refused.
Two probes in a row that succeed close it, one that fails opens it again; one that ends in neither gives its place
back. The reset timeout varies, so that many instances do not probe a peer in the same moment.
"""

import logging
import random
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from lib.telemetry import metrics
from lib.telemetry.signals import watch

WINDOW_SECONDS = 30
LEAST_OUTCOMES = 5
FAILURE_SHARE = 0.5
RESET_SECONDS = 15
RESET_JITTER = 0.3
SUCCESSES_TO_CLOSE = 2
MOST_OUTCOMES = 1_000
"""What the window holds at most: of a peer that is called more often, the latest outcomes count."""

_log = logging.getLogger(__name__)


class CircuitOpen(Exception):
    """The call was not made; `retry_after` is in how many seconds one may be."""

    def __init__(self, retry_after: float) -> None:
        super().__init__()
        self.retry_after = retry_after


class Circuit:
    """The breaker before the peer called `name`. `clock` is in seconds and only ever moves on."""

    def __init__(
        self,
        name: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._name = name
        self._clock = clock
        self._uniform = uniform
        self._outcomes: deque[tuple[float, bool]] = deque(maxlen=MOST_OUTCOMES)
        self._away_since: float | None = None
        self._closed_since = clock()
        self._probe_at = 0.0
        self._probing = False
        self._successes = 0
        watch(metrics.CIRCUIT_STATE, {"peer": name}, self._told)

    @property
    def state(self) -> Literal["closed", "open", "half_open"]:
        """Closed while calls are made; half open once a probe is due."""
        if self._away_since is None:
            return "closed"
        return "half_open" if self._clock() >= self._probe_at else "open"

    @property
    def away_since(self) -> float | None:
        """When it left `closed`, by its clock; a probe that fails does not change that. None while it is closed."""
        return self._away_since

    def closed_for(self) -> float:
        """Seconds for which no call would be let through; 0 where one would."""
        if self._away_since is None:
            return 0.0
        wait = self._probe_at - self._clock()
        return max(1.0, wait) if self._probing else max(0.0, wait)

    @contextmanager
    def attempt(self, *failures: type[Exception], neutral: tuple[type[Exception], ...] = ()) -> Iterator[None]:
        """Holds one call: one of `failures` counts as one, unless it is `neutral`; any other counts as nothing.

        Raises `CircuitOpen` instead of letting the call be made.
        """
        began, probe = self._clock(), self._admit()
        try:
            yield
        except neutral:
            raise
        except failures:
            self._count(success=False, began=began, probe=probe)
            raise
        else:
            self._count(success=True, began=began, probe=probe)
        finally:
            if probe:
                self._probing = False

    def _told(self) -> float:
        return ("closed", "half_open", "open").index(self.state)

    def _admit(self) -> bool:
        """Whether the call is a probe."""
        if self._away_since is None:
            return False
        if wait := self.closed_for():
            raise CircuitOpen(max(1.0, wait))
        self._probing = True
        return True

    def _count(self, *, success: bool, began: float, probe: bool) -> None:
        if probe:
            self._probed(success)
        elif self._away_since is None and began >= self._closed_since:  # else it tells of the outage that is known
            self._outcomes.append((self._clock(), success))
            if not success:
                self._judge()

    def _probed(self, success: bool) -> None:
        if not success:
            self._leave_alone()
            return
        self._successes += 1
        if self._successes == SUCCESSES_TO_CLOSE:
            self._away_since = None
            self._closed_since = self._clock()
            self._outcomes.clear()
            _log.info("a circuit is closed again", extra={"event": "circuit_closed", "peer": self._name})

    def _judge(self) -> None:
        now = self._clock()
        while self._outcomes[0][0] <= now - WINDOW_SECONDS:
            self._outcomes.popleft()
        failures = sum(not success for _, success in self._outcomes)
        if len(self._outcomes) >= LEAST_OUTCOMES and failures >= FAILURE_SHARE * len(self._outcomes):
            self._away_since = now
            self._leave_alone()
            facts = {"event": "circuit_open", "peer": self._name, "failures": failures}
            _log.warning("a circuit is open", extra=facts)

    def _leave_alone(self) -> None:
        self._successes = 0
        self._probe_at = self._clock() + RESET_SECONDS * self._uniform(1 - RESET_JITTER, 1 + RESET_JITTER)
