"""What a principal has used of their limits: a value, and the rules by which it changes. No I/O.

Three limits stand side by side: a rate for the minute (`lib.traffic.gcra`), a plain count for the UTC day, since a
rate that slow would either starve people or let twice as much through, and places for questions under way. Times are
whole milliseconds since the epoch.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Self

from lib.traffic.gcra import Rate

DAY_MS = 24 * 3600 * 1000
KEPT_SECONDS = 3600
"""For how long a row is kept after its day, and after its rate has come to rest."""
MARGIN_MS = 10_000
"""More than two clocks differ by that the time by Table Storage has set right (`lib.storage.server_clock`)."""
LONGEST_MS = 300_000
"""No question is under way for longer: replies are cut off before that."""


@dataclass(frozen=True)
class Limits:
    """What one principal may do; None where a limit does not apply. `name` is what clients read of the first."""

    per_minute: int
    burst: int
    per_day: int | None = None
    in_flight: int | None = None
    name: str = "minute"

    @cached_property
    def rate(self) -> Rate:
        """The limit for the minute as a rate."""
        return Rate.per_minute(self.per_minute, self.burst)


@dataclass(frozen=True)
class Refusal:
    """The limit (`minute` or another name for it, `day`, `in-flight`) that says no, and how long it will."""

    policy: str
    wait: int


@dataclass(frozen=True)
class Slot:
    """A question under way, until it is answered, or `until` where nobody tells."""

    id: str
    until: int


@dataclass(frozen=True)
class Debt:
    """What was let through while the row could not be written: a `tat` and a day's count of its own."""

    tat: int = 0
    day: int = 0
    asked: int = 0


@dataclass(frozen=True)
class Usage:
    """What has been used: `tat` of the minute's rate, how many were `asked` on that `day`, and the places taken.

    `last` is the id of whatever was let through last. Days are counted from the epoch. A clock that is behind meets
    a day that is ahead, and goes on counting there.
    """

    tat: int = 0
    day: int = 0
    asked: int = 0
    slots: tuple[Slot, ...] = field(default=())
    last: str = ""

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> Self:
        """What a row says; nothing used where it says nothing."""
        slots = tuple(Slot(name, until) for name, until, *_ in json.loads(values.get("slots") or "[]"))
        return cls(values.get("tat", 0), values.get("day", 0), values.get("asked", 0), slots, values.get("last", ""))

    def written(self, row_expires: int) -> dict[str, Any]:
        """The same as a row's values; `expires` never comes before that of the row, which holds more than this."""
        slots = json.dumps([[slot.id, slot.until] for slot in self.slots], separators=(",", ":"))
        ends = max((self.day + 1) * DAY_MS, self.tat) // 1000 + KEPT_SECONDS
        return {
            "tat": self.tat,
            "day": self.day,
            "asked": self.asked,
            "slots": slots,
            "last": self.last,
            "expires": max(row_expires, ends),
        }

    def sensible(self, limits: Limits, now: int) -> Self:
        """The same without what nobody can have written by now whose clock was right.

        One write by a clock that is years ahead would lock a person out for as long. So a `tat` further ahead than a
        whole burst just let through counts as such a burst but for one: the next question is let through, and writes a
        row that makes sense. Where a day is counted that has not begun, today's count is gone and begins anew. A place
        held for longer than any question is none.

        To a reader whose own clock is behind every row looks like that: it would let through what the limits forbid,
        and its writes would set everybody's usage back. So a reader makes certain of its own clock before it calls
        this, and believes the row where it cannot (`lib.limits.limiter`): then nobody is let through too early.
        """
        right = now + MARGIN_MS
        is_rate_ahead = self.tat > right + limits.burst * limits.rate.interval
        is_day_ahead = self.day * DAY_MS > right
        return replace(
            self,
            tat=now + (limits.burst - 1) * limits.rate.interval if is_rate_ahead else self.tat,
            day=now // DAY_MS if is_day_ahead else self.day,
            asked=0 if is_day_ahead else self.asked,
            slots=tuple(slot for slot in self.slots if slot.until <= right + LONGEST_MS),
        )

    def refusal(self, limits: Limits, now: int) -> Refusal | None:
        """Why one more may not go now; None where it may."""
        if wait := limits.rate.wait(self.tat, now):
            return Refusal(limits.name, wait)
        if self.left_today(limits, now) == 0:
            return Refusal("day", self.rest_of_day(now))
        taken = self._taken(now)
        if limits.in_flight is not None and len(taken) >= limits.in_flight:
            return Refusal("in-flight", min(slot.until for slot in taken) - now)
        return None

    def admitted(self, limits: Limits, now: int, slot: Slot) -> Self:
        """With one more let through, in a place where places are limited."""
        day, tat = self._day(now), limits.rate.charged(self.tat, now)
        slots = self._taken(now) if limits.in_flight is None else (*self._taken(now), slot)
        return replace(self, tat=tat, day=day, asked=self.asked_on(day) + 1, slots=slots, last=slot.id)

    def has_admitted(self, slot_id: str) -> bool:
        """Whether that one was let through, as far as can be seen: it has a place, or came last."""
        return slot_id == self.last or any(slot.id == slot_id for slot in self.slots)

    def released(self, slot_id: str) -> Self:
        """Without that question's place."""
        return replace(self, slots=tuple(slot for slot in self.slots if slot.id != slot_id))

    def owing(self, debt: Debt, now: int) -> Self:
        """With a debt on top: what of it has not yet passed by itself."""
        day = self._day(now)
        behind = max(0, debt.tat - now)
        tat = max(self.tat, now) + behind if behind else self.tat
        return replace(self, tat=tat, day=day, asked=self.asked_on(day) + (debt.asked if debt.day == day else 0))

    def asked_on(self, day: int) -> int:
        """How many were let through on that day."""
        return self.asked if self.day == day else 0

    def left_today(self, limits: Limits, now: int) -> int | None:
        """How many are left of the day; None without such a limit."""
        return None if limits.per_day is None else max(0, limits.per_day - self.asked_on(self._day(now)))

    def rest_of_day(self, now: int) -> int:
        """How long the day goes on that is counted."""
        return (self._day(now) + 1) * DAY_MS - now

    def _day(self, now: int) -> int:
        return max(self.day, now // DAY_MS)

    def _taken(self, now: int) -> tuple[Slot, ...]:
        return tuple(slot for slot in self.slots if slot.until > now)
