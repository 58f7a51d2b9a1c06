"""Shows that the limits hold over many instances: `python -m bench.limiter [--seed N]`.

Each scenario runs the real limiter, safe share, standings, clock and circuit of every instance over one account in
memory. Time is virtual and chance is seeded, so a run can be repeated exactly. Ends with 1 where a bound is broken.
"""

import argparse
import logging
import math
import sys

from bench.account import Weather
from bench.scenario import DAY, Outcome, Scenario
from bench.simulation import simulate
from lib.limits.usage import Limits

METHOD = """\
One principal asks all instances at random, by seed {seed}. Each question let through is noted by the true time at which
it sets out; the most in any closed window of 60 s, in a UTC day and under way at once stand beside their bounds.

used    what was let through of all that the rate allows, or of all that was asked, while storage was there: little,
        where questions come in bursts, or are so long or so many that places or the day are the limit
calls   storage calls for each question let through, those of refusals included
late    the longest, in seconds, from the time for which a question was let through until it set out
share   let through by single instances while storage was away for them
lost    replies to writes that were made and not heard; twice: questions that the row counted twice for it
owed    questions that were let through by a share although the row counted them (each is counted twice)
"""
_LONG = (25.0, 100.0)
_PLACES = Limits(per_minute=20, burst=5, in_flight=2)
_BUSY = Limits(per_minute=120, burst=10, in_flight=100)
_DAILY = Limits(per_minute=20, burst=5, per_day=60, in_flight=100)
_ALL = Limits(per_minute=60, burst=5, per_day=300, in_flight=3)

SCENARIOS = (
    Scenario("half the limit", instances=1, load=0.5),
    Scenario("20 times the limit, 50 at once", instances=1, load=20, at_once=50),
    Scenario("3 times the limit"),
    Scenario("20 times the limit", instances=40, load=20, seconds=600),
    Scenario("20 times the limit, 80 at once", instances=40, load=20, at_once=80, seconds=600),
    Scenario("clocks off by up to 2 s", load=5, skew=2),
    Scenario("clocks off by up to 2 s", instances=40, load=20, seconds=600, skew=2),
    Scenario("a clock off by an hour", load=5, wrong=3600),
    Scenario("a clock off by an hour, all by 2 s", instances=40, load=5, seconds=600, wrong=-3600, skew=2),
    Scenario("a clock jumps an hour ahead", load=5, wrong=3600, sets_in=450),
    Scenario("replies to writes are lost", load=5, weather=Weather(lost=0.1)),
    Scenario("so, and calls fail", instances=40, load=5, seconds=600, weather=Weather(failing=0.05, lost=0.05)),
    Scenario("storage away for 60 s", max_instances=5, load=5, weather=Weather(outage=(300, 360))),
    Scenario("storage away for 120 s", _BUSY, 40, seconds=600, weather=Weather(outage=(200, 320))),
    Scenario("and writes all the same", _BUSY, max_instances=5, weather=Weather(outage=(300, 420), half_done=1)),
    Scenario("long questions", _PLACES, 40, load=2, seconds=600, answer=_LONG, skew=2),
    Scenario("long questions, instances die", _PLACES, load=2, seconds=1800, answer=_LONG, deaths=10),
    Scenario(
        "long questions, storage away", _PLACES, max_instances=5, answer=_LONG, weather=Weather(outage=(300, 420))
    ),
    Scenario("across midnight, clocks off", _DAILY, 40, load=2, seconds=800, begins=DAY - 400, skew=2),
    Scenario(
        "all of it",
        _ALL,
        max_instances=5,
        at_once=5,
        begins=DAY - 400,
        answer=(1, 100),
        skew=2,
        wrong=3600,
        deaths=5,
        weather=Weather(failing=0.05, lost=0.1, outage=(300, 420), half_done=0.5),
    ),
)
CONTROL = Scenario("control: etags are ignored", instances=40, load=5, seconds=300, weather=Weather(ignores_etags=True))
"""Its bounds break, which shows that they can."""

_WIDTHS = (35, 5, 6, 6, 9, 9, 8, 5, 6, 5, 6, 5, 5, 5)
_HEADS = (
    "scenario",
    "inst.",
    "asked",
    "let in",
    "60 s",
    "day",
    "at once",
    "used",
    "calls",
    "late",
    "share",
    "lost",
    "twice",
    "owed",
)


def main() -> int:
    """Prints the table. 1 where a bound is broken that should hold, or the control's is not."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.limiter", description="Proves the limits over many instances."
    )
    parser.add_argument("--seed", type=int, default=1)
    seed = parser.parse_args().seed
    logging.disable()
    _tell(METHOD.format(seed=seed))
    _tell(_line(_HEADS))
    broken = 0
    for scenario in (*SCENARIOS, CONTROL):
        outcome = simulate(scenario, seed)
        is_wrong = outcome.holds == (scenario is CONTROL)
        broken += is_wrong
        _tell(_line(_cells(outcome)) + ("  BROKEN" if not outcome.holds else ""))
    return 1 if broken else 0


def _cells(outcome: Outcome) -> tuple[str, ...]:
    return (
        outcome.scenario.name,
        str(outcome.scenario.instances),
        str(outcome.asked),
        str(len(outcome.times)),
        _beside(outcome.most_in_window, outcome.bound_of_window),
        _beside(outcome.most_in_day, outcome.bound_of_day),
        _beside(outcome.most_in_flight, outcome.bound_of_in_flight),
        f"{outcome.used:.0%}",
        f"{outcome.calls / max(1, len(outcome.times)):.1f}",
        f"{outcome.late:.1f}",
        *(
            str(number)
            for number in (outcome.by_share, outcome.lost_replies, outcome.charged_twice, outcome.owed_twice)
        ),
    )


def _beside(most: int, bound: float) -> str:
    return "-" if math.isinf(bound) else f"{most}/{bound}"


def _line(cells: tuple[str, ...]) -> str:
    return "".join(
        cell.ljust(width) if index == 0 else cell.rjust(width + 1)
        for index, (cell, width) in enumerate(zip(cells, _WIDTHS, strict=True))
    )


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
