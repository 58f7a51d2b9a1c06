"""The safe share: what one instance lets through on its own while Table Storage is away.

However many instances there are, at most `instances` of them share each limit evenly, so together they let through
what the limit allows. A share starts empty when storage goes away, since nobody knows what was used of the limit just
then. What was let through is a debt, and is written into the row once there is one again (Doorman calls the idea safe
capacity: https://github.com/youtube/doorman/blob/master/doc/design.md).
"""

from collections import OrderedDict
from dataclasses import dataclass, field

from lib.limits.usage import DAY_MS, Debt, Limits, Refusal
from lib.traffic.gcra import MOST_KEYS, Rate

RETRY_MS = 2_000


@dataclass
class _Share:
    """One principal's: its own `tat` and count, when it was `seen` last, and what is owed."""

    seen: int = 0
    tat: int = 0
    day: int = 0
    asked: int = 0
    slots: set[str] = field(default_factory=set)
    debt: Debt = field(default_factory=Debt)


class SafeShare:
    """Lets questions through in memory, by partition. Times are milliseconds since the epoch."""

    def __init__(self, limits: Limits, instances: int) -> None:
        self._limits = limits
        self._rate = Rate(limits.rate.interval * instances, 1)
        self._per_day = None if limits.per_day is None else max(1, limits.per_day // instances)
        self._shares: OrderedDict[str, _Share] = OrderedDict()

    def admit(self, partition: str, slot_id: str, began: int, now: int) -> Refusal | None:
        """Lets one more through, or says why not. `began` is when storage went away."""
        share = self._share(partition, began, now)
        if wait := self._rate.wait(share.tat, now):
            return Refusal(self._limits.name, wait)
        if self._per_day is not None and share.asked >= self._per_day:
            return Refusal("day", (share.day + 1) * DAY_MS - now)
        if share.slots:
            return Refusal("in-flight", RETRY_MS)
        share.tat = self._rate.charged(share.tat, now)
        share.asked += 1
        if self._limits.in_flight is not None:
            share.slots.add(slot_id)
        owed = share.debt.asked if share.debt.day == share.day else 0
        share.debt = Debt(self._limits.rate.charged(share.debt.tat, now), share.day, owed + 1)
        return None

    def release(self, partition: str, slot_id: str) -> bool:
        """Gives a place back; False where it was not taken here."""
        share = self._shares.get(partition)
        if share is None or slot_id not in share.slots:
            return False
        share.slots.discard(slot_id)
        return True

    def debt(self, partition: str) -> Debt:
        """What is owed for a principal."""
        share = self._shares.get(partition)
        return share.debt if share else Debt()

    def repaid(self, partition: str, debt: Debt) -> None:
        """The debt stands in the row now, unless it has grown since."""
        share = self._shares.get(partition)
        if share and share.debt == debt:
            share.debt = Debt()

    def _share(self, partition: str, began: int, now: int) -> _Share:
        share = self._shares.setdefault(partition, _Share())
        if share.seen <= began:  # the first time in this outage
            share.tat = max(share.tat, began + self._rate.interval)
        share.seen = now
        if share.day != now // DAY_MS:
            share.day, share.asked = now // DAY_MS, 0
        self._shares.move_to_end(partition)
        if len(self._shares) > MOST_KEYS:
            self._shares.popitem(last=False)
        return share
