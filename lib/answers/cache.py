"""Answers that were given, kept for a while for the same person to ask the same again.

An answer belongs to its owner: Fabric applies row and column security to each person, so nobody is given another's.
Here they are in the memory of this instance, and in `lib.answers.stored` for the others too. While an answer is fresh
it is given instead of asking; after that, and no longer than an hour, only where the agent cannot be asked.
"""

import time
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

MOST_ANSWERS = 2_000
MOST_BYTES = 64 * 1024 * 1024
MOST_OF_ONE = 0.25
"""The part of that which one owner's answers may take: beyond it their own oldest ones go, not other people's."""


@dataclass(frozen=True)
class Kept:
    """An answer as JSON, and when its question was asked (seconds since the epoch)."""

    json: bytes = field(repr=False)
    asked_at: float


@dataclass(frozen=True)
class AnswerKey:
    """Whose answer, of which agent, to what: `partition` and `question` are keyed hashes.

    The answer to a `configured` question takes no place that others want.
    """

    partition: str
    agent: str
    question: str
    configured: bool = False


class AnswerCache:
    """Keeps answers for `seconds`; of too many it forgets those unused for longest. `now` is in seconds."""

    def __init__(self, seconds: int, *, now: Callable[[], float] = time.time) -> None:
        self._seconds = seconds
        self._now = now
        self._kept: OrderedDict[AnswerKey, Kept] = OrderedDict()
        self._bytes: Counter[str] = Counter()

    def get(self, key: AnswerKey, *, at_most: float, valid_after: float) -> Kept | None:
        """The answer, if it is no older than `at_most` seconds and was asked for after `valid_after`; else None."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        age = self._now() - kept.asked_at
        if kept.asked_at < valid_after or not 0 <= age < self._seconds:
            self._drop(key)
            return None
        if age >= at_most:
            return None
        self._kept.move_to_end(key)
        return kept

    def put(self, key: AnswerKey, kept: Kept) -> None:
        """Keeps an answer, unless a later one is there."""
        known = self._kept.get(key)
        if known and known.asked_at > kept.asked_at:
            return
        self._drop(key)
        self._kept[key] = kept
        self._bytes[key.partition] += len(kept.json)
        while self._bytes[key.partition] > MOST_OF_ONE * MOST_BYTES:
            self._drop(next(each for each in self._kept if each.partition == key.partition))
        while len(self._kept) > MOST_ANSWERS or self._bytes.total() > MOST_BYTES:
            self._drop(next(iter(self._kept)))

    def forget(self, partition: str, agent: str | None = None) -> None:
        """Drops what is kept of one owner: of that agent, or all."""
        for key in [key for key in self._kept if key.partition == partition and agent in {None, key.agent}]:
            self._drop(key)

    def _drop(self, key: AnswerKey) -> None:
        if kept := self._kept.pop(key, None):
            self._bytes[key.partition] -= len(kept.json)
            if not self._bytes[key.partition]:
                del self._bytes[key.partition]
