"""The limits of scale: `python -m bench.scale` works them out and writes them into `docs/performance.md`.

What an instance, Table Storage and Fabric allow is arithmetic. What becomes of a crowd before one instance, and of one
principal who asks many, is simulated in virtual time with the gateway's own bulkhead and limiter, by seeded chance.
"""

import asyncio
import logging
import statistics
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from bench.scenario import Scenario
from bench.simulation import simulate
from bench.virtual_time import run
from lib.traffic.bulkhead import Bulkhead, BulkheadFull

PAGE = Path(__file__).parent.parent / "docs" / "performance.md"
BEGIN, END = "<!-- written by python -m bench.scale -->", "<!-- end of what python -m bench.scale writes -->"
SEED = 1

ACCOUNT_CALLS, PARTITION_CALLS = 20_000, 2_000
"""A second (https://learn.microsoft.com/azure/storage/tables/scalability-targets)."""
CALLS = {"never asked before": 4, "kept on this instance": 0, "kept, by session": 1, "kept by another instance": 1}
"""To Table Storage for one question on a warm instance, as `tests/bench/test_calls.py` holds them."""
FRESH_SECONDS = 30
"""For so long an instance believes a standing, and what is told of an agent."""
FABRIC_CALLS = 200
"""A minute for each identity (https://learn.microsoft.com/rest/api/fabric/articles/throttling)."""
ANSWER_UNITS = 400
"""Capacity units times seconds of one answer, in Microsoft's example (2,000 tokens in, 500 out), without the query's
own; use is spread over 24 hours (https://learn.microsoft.com/fabric/fundamentals/data-agent-consumption)."""
CAPACITIES = (2, 8, 64, 512, 2048)
"""Fabric's F SKUs, which are called by their units."""
QUESTIONS_A_DAY = 20
"""Of one person."""


@dataclass(frozen=True)
class Assumed:
    """Milliseconds of one core for a question, and how many an instance serves at once: put in your own."""

    uncached: float = 16.0
    kept: float = 0.6
    concurrency: int = 32


def waiting(instances: int, latency: float, assumed: Assumed, cores: float = 1.0) -> float:
    """Questions a second that wait for an agent: by places (Little's law), or by CPU where that is less."""
    places = instances * assumed.concurrency / latency
    return min(places, instances * cores * 1000 / assumed.uncached)


@dataclass(frozen=True)
class Crowd:
    """What became of those who came to one instance: seconds from coming to the answer, and how many had none."""

    asked: int
    refused: int
    seconds: Sequence[float]


def crowd(rate: float, latency: float, width: int = 32, seconds: float = 600, seed: int = SEED) -> Crowd:
    """Questions come by chance, `rate` a second, to an agent that takes between half and one and a half `latency`."""

    async def main() -> Crowd:
        loop, chance = asyncio.get_running_loop(), Random(seed)
        bulkhead, took, fates = Bulkhead(width, clock=loop.time), list[float](), Counter[str]()

        async def one() -> None:
            came = loop.time()
            try:
                async with bulkhead.place():
                    await asyncio.sleep(latency * chance.uniform(0.5, 1.5))
            except BulkheadFull:
                fates["refused"] += 1
            else:
                took.append(loop.time() - came)

        async with asyncio.TaskGroup() as tasks:
            while loop.time() < seconds:
                await asyncio.sleep(chance.expovariate(rate))
                fates["asked"] += 1
                tasks.create_task(one())
        return Crowd(fates["asked"], fates["refused"], took)

    return run(main())


def sections(assumed: Assumed) -> Iterator[str]:
    """The tables."""
    yield _instances(assumed)
    yield _storage()
    yield _fabric()
    yield _capacities()
    yield _crowds()
    yield _one_of_all()


def _instances(assumed: Assumed) -> str:
    latencies = (0.05, 2, 20, 60)
    head = ["instances", *(f"agent of {latency:g} s" for latency in latencies), "kept answers, one core each"]
    rows = [
        [count, *(waiting(count, latency, assumed) for latency in latencies), count * 1000 / assumed.kept]
        for count in (1, 5, 40, 100, 1000)
    ]
    return _titled(
        f"Questions a second, {assumed.concurrency} at once on an instance of one core (2,048 MB)", head, rows
    )


def _storage() -> str:
    head = ["question", "calls", "questions a second and account", "of one partition"]
    rows = [
        [name, calls, ACCOUNT_CALLS / calls if calls else "no limit", PARTITION_CALLS / 2 if calls > 1 else "–"]
        for name, calls in CALLS.items()
    ]
    shared = [[count, count / FRESH_SECONDS] for count in (5, 40, 1000)]
    heads = ["instances", "reads a second of an agent's partition, and of a tenant's"]
    return "\n\n".join(
        [
            _titled("Table Storage, by the question", head, rows),
            _titled("Rows that all instances read, whatever is asked", heads, shared),
        ]
    )


def _fabric() -> str:
    shares, people = (0, 0.5, 0.9, 0.99), (20, 200, 2000)
    head = ["people, one question a minute each", *(f"{share:.0%} kept" for share in shares)]
    rows = [[count, *(count * (1 - share) for share in shares)] for count in people]
    return _titled(f"Calls a minute to Fabric as one identity, which has {FABRIC_CALLS}", head, rows)


def _capacities() -> str:
    shares = (0, 0.5, 0.9)
    head = ["capacity", "questions a second", "questions a day", *(f"people, {share:.0%} kept" for share in shares)]
    rows = []
    for units in CAPACITIES:
        daily = units * 86_400 / ANSWER_UNITS
        people = (daily / QUESTIONS_A_DAY / (1 - share) for share in shares)
        rows.append([f"F{units}", units / ANSWER_UNITS, daily, *people])
    return _titled(f"What a Fabric capacity answers, by people who ask {QUESTIONS_A_DAY} questions a day", head, rows)


def _crowds() -> str:
    head = ["agent", "questions a second", "of what 32 places serve", "refused", "median", "95 of 100 within"]
    rows = []
    for latency in (2, 20):
        for load in (0.5, 0.9, 1.2, 2.0):
            rate = load * 32 / latency
            came = crowd(rate, latency)
            refused = f"{came.refused / came.asked:.1%}"
            middle, most = statistics.median(came.seconds), statistics.quantiles(came.seconds, n=20)[-1]
            rows.append([f"{latency} s", rate, f"{load:.0%}", refused, f"{middle:.1f} s", f"{most:.1f} s"])
    return _titled("One instance and a crowd, simulated for 10 minutes", head, rows)


def _one_of_all() -> str:
    head = ["instances", "asked", "let through", "most in 60 s", "bound", "storage calls for each let through"]
    rows = []
    for instances in (1, 5, 40):
        came = simulate(Scenario("", instances=instances, load=10, seconds=300), SEED)
        let_in = len(came.times)
        rows.append([instances, came.asked, let_in, came.most_in_window, came.bound_of_window, came.calls / let_in])
    return _titled("One principal who asks ten times what they may (20 a minute, 5 at once), for 5 minutes", head, rows)


def _titled(title: str, head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [f"**{title}**", "", f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(_told, row))} |" for row in rows)])


def _told(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"  # noqa: PLR2004
    return f"{value:,}" if isinstance(value, int) else str(value)


def written(page: str) -> str:
    """The page with the tables between their marks. Raises ValueError where those are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the tables: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{'\n\n'.join(sections(Assumed()))}\n\n{END}{after}"


def main() -> int:
    """Writes them."""
    logging.disable()
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
