"""What may happen to a limit over many instances, what came of it, and the bounds that hold whatever happens."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.account import TAIL, Weather
from lib.limits.limiter import LOOKS
from lib.limits.usage import DAY_MS, Limits

WINDOW = 60.0
DAY = DAY_MS / 1000
MIDNIGHT = 20_820 * DAY
RECOVERY = 60.0
_LIMITS = Limits(per_minute=20, burst=5, in_flight=100)
_FAIR = Weather()


@dataclass(frozen=True)
class Scenario:
    """What happens, in seconds: `load` is how much is asked, as a multiple of the limit, `at_once` at a time.

    Each clock is off by up to `skew`, and that of the first instance by `wrong` on top, from when that `sets_in`; every
    so often one of `deaths` ends with all that is under way there, and a new one begins. `begins` is counted from
    midnight.
    """

    name: str
    limits: Limits = _LIMITS
    instances: int = 5
    max_instances: int = 40
    load: float = 3
    at_once: int = 1
    seconds: float = 900
    begins: float = DAY / 2
    answer: tuple[float, float] = (1, 5)
    skew: float = 0
    wrong: float = 0
    sets_in: float = 0
    deaths: int = 0
    weather: Weather = _FAIR

    @property
    def apart(self) -> float:
        """By how much a clock that counts may be wrong: a corrected one by half a second and a reply's way."""
        return max(self.skew, 0.5 + TAIL if self.wrong else 0)

    @property
    def away(self) -> float:
        """For how long storage is away, and what it takes until all have noticed that it is back."""
        begins, ends = self.weather.outage
        return min(self.seconds, ends + RECOVERY) - begins if begins < self.seconds else 0


@dataclass(frozen=True)
class Outcome:
    """What became of it. `times` are those at which questions let through set out, in order, since the epoch.

    `late` is the longest that one took from the moment for which it was let through until then. `by_share` counts
    those that an instance let through alone, `owed_twice` those of them that the row had counted before, and
    `most_by_one` is the part of all that one instance let through.
    """

    scenario: Scenario
    asked: int
    times: Sequence[float] = field(repr=False)
    by_share: int
    most_in_flight: int
    late: float
    calls: int
    lost_replies: int
    charged_twice: int
    owed_twice: int
    most_by_one: float

    @property
    def was_away(self) -> bool:
        """Whether circuits opened: in an outage, or since too many single calls failed."""
        return bool(self.scenario.away or self.by_share)

    @property
    def interval(self) -> float:
        """Seconds for each question at the rate of the limit."""
        return self.scenario.limits.rate.interval / 1000

    @property
    def most_in_window(self) -> int:
        """The most that were let through in any 60 seconds, both ends included."""
        return max((bisect_right(self.times, at + WINDOW) - i for i, at in enumerate(self.times)), default=0)

    @property
    def bound_of_window(self) -> int:
        """Q + b + (2δ + λ)/T, and N·(1 + Q/N_max) more where storage was away. λ is `late`.

        A clock that turns wrong under way lets through one more with each reply until it is right again, and whoever
        does not believe what it wrote another one.
        """
        scenario = self.scenario
        most = (WINDOW + 2 * scenario.apart + self.late) / self.interval + scenario.limits.burst
        if scenario.sets_in:
            most += LOOKS + 1
        if self.was_away:
            most += scenario.instances * (1 + WINDOW / self.interval / scenario.max_instances)
        return math.floor(most)

    @property
    def most_in_day(self) -> int:
        """The most that were let through in a true UTC day."""
        days = [int(at // DAY) for at in self.times]
        return max(map(days.count, set(days)), default=0)

    @property
    def bound_of_day(self) -> float:
        """The limit, what the instances may take while storage is away, and what comes around midnight.

        There a clock that is ahead counts for tomorrow already, and one that is behind for yesterday still.
        """
        scenario = self.scenario
        if (per_day := scenario.limits.per_day) is None:
            return math.inf
        around = 2 * (scenario.limits.burst + (3 * scenario.apart + 2 * self.late) / self.interval)
        shares = scenario.instances * max(1, per_day // scenario.max_instances) if self.was_away else 0
        return per_day + shares + math.floor(around)

    @property
    def bound_of_in_flight(self) -> float:
        """K, and one on each instance where storage was away."""
        places = self.scenario.limits.in_flight
        return math.inf if places is None else places + (self.scenario.instances if self.was_away else 0)

    @property
    def used(self) -> float:
        """What was let through, as a part of what the rate allows (and of what was asked) while storage was there."""
        scenario = self.scenario
        begins, ends = (MIDNIGHT + scenario.begins + at for at in scenario.weather.outage)
        there = sum(not begins <= at < ends + RECOVERY for at in self.times)
        allowed = (scenario.seconds - scenario.away) / self.interval
        return there / min(allowed, self.asked)

    @property
    def holds(self) -> bool:
        """Whether all bounds were kept."""
        return (
            self.most_in_window <= self.bound_of_window
            and self.most_in_day <= self.bound_of_day
            and self.most_in_flight <= self.bound_of_in_flight
            and not self.charged_twice
        )
