"""Answers that were given, kept for a while for the same person to ask the same again.

An answer belongs to a principal: Fabric applies row and column security to each one, so nobody is given another's.
Only complete answers are kept, in the memory of this instance, and no longer than the settings say: that is how long
a person may still read what Fabric would no longer show them.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

from lib.agents.answer import Answer

MOST_ANSWERS = 2_000
MOST_CHARACTERS = 32 * 1024 * 1024


@dataclass(frozen=True)
class Kept:
    """An answer, and when its question was asked (seconds since the epoch)."""

    answer: Answer = field(repr=False)
    asked_at: float
    size: int


@dataclass(frozen=True)
class AnswerKey:
    """Whose answer, of which agent, to what: `partition` and `question` are keyed hashes."""

    partition: str
    agent: str
    question: str


class AnswerCache:
    """Keeps answers for `seconds`; of too many it forgets those unused for longest. `now` is in seconds."""

    def __init__(self, seconds: int, *, now: Callable[[], float] = time.time) -> None:
        self._seconds = seconds
        self._now = now
        self._kept: OrderedDict[AnswerKey, Kept] = OrderedDict()
        self._characters = 0

    def get(self, key: AnswerKey, *, valid_after: float) -> Kept | None:
        """The answer, if it is fresh and was asked for after `valid_after`; else None."""
        kept = self._kept.get(key)
        if kept is None:
            return None
        if kept.asked_at < valid_after or not 0 <= self._now() - kept.asked_at < self._seconds:
            self._drop(key)
            return None
        self._kept.move_to_end(key)
        return kept

    def put(self, key: AnswerKey, answer: Answer, asked_at: float) -> None:
        """Keeps an answer, unless the agent only asked back."""
        if answer.is_clarifying or not self._seconds:
            return
        self._drop(key)
        kept = Kept(answer, asked_at, _size(answer))
        self._kept[key] = kept
        self._characters += kept.size
        while len(self._kept) > MOST_ANSWERS or self._characters > MOST_CHARACTERS:
            self._drop(next(iter(self._kept)))

    def forget(self, partition: str, agent: str | None = None) -> None:
        """Drops what is kept for a principal: of that agent, or all."""
        for key in [key for key in self._kept if key.partition == partition and agent in {None, key.agent}]:
            self._drop(key)

    def _drop(self, key: AnswerKey) -> None:
        if kept := self._kept.pop(key, None):
            self._characters -= kept.size


def _size(answer: Answer) -> int:
    """Characters, roughly: what stands in tables and queries stands in the text as well."""
    return 3 * (len(answer.markdown) + len(answer.text)) + sum(len(block.content) for block in answer.blocks)
