"""What a million questions cost, and a month without any: the formula of `docs/operations.md`, with counted calls.

The letters are those of its section "What it costs"; the prices are in `prices.json`, for others to put in theirs.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bench.calls import counts
from bench.row import Row
from bench.stage import Stage

PRICES = Path(__file__).parent / "prices.json"
MILLION = 1_000_000
MONTH_SECONDS = 2_630_000
TIMER_RUNS, TIMER_SECONDS = 11_520, 2
"""A month's runs of both timers, and how long each is billed for."""

type Prices = Mapping[str, float]


@dataclass(frozen=True)
class Assumed:
    """What is not counted: `m` questions of a million reach an agent, which takes `T` seconds over each."""

    m: float = 1.0
    T: float = 40.0
    c: float = 32.0
    """Questions that an instance really has under way at once."""
    h: float = 0.1
    """Seconds of an instance for one that does not reach the agent."""
    M: float = 2.0
    """Gigabytes of an instance."""
    cu_seconds: float = 400.0
    log_kilobytes: float = 15.0
    """What is told of a question: 3 as lines, 12 more as spans."""


def million(prices: Prices, assumed: Assumed, *, missed: int, kept: int) -> dict[str, float]:
    """Dollars for a million questions; `missed` storage calls for one that reaches an agent, `kept` for another."""
    reach = MILLION * assumed.m
    answered = MILLION - reach
    seconds = reach * assumed.T / assumed.c + answered * assumed.h
    calls = missed * reach + kept * answered
    return {
        "Fabric": reach * assumed.cu_seconds * prices["fabric_cu_second"],
        "compute": seconds * assumed.M * prices["flex_gb_second"],
        "executions": prices["flex_million_executions"],
        "state": calls * prices["storage_ten_thousand_transactions"] / 10_000,
        "logs": MILLION * assumed.log_kilobytes / 1_000_000 * prices["logs_gb"],
    }


def idle_month(prices: Prices, assumed: Assumed) -> dict[str, float]:
    """Dollars for a month in which nobody asks."""
    return {
        "timers": TIMER_RUNS * TIMER_SECONDS * assumed.M * prices["flex_gb_second"],
        "one instance always ready": MONTH_SECONDS * assumed.M * prices["always_ready_gb_second"],
    }


def rows(stage: Stage) -> Iterator[Row]:
    """A million questions in three kinds of life, and the idle month."""
    prices: Prices = {key: value for key, value in json.loads(PRICES.read_text()).items() if key != "about"}
    counted = counts(stage)
    missed, kept = counted["uncached, bearer"].storage, counted["cached, bearer"].storage
    lives = {
        "all reach an agent, full instances": Assumed(),
        "all reach an agent, one at a time": Assumed(c=1),
        "half are kept answers, full instances": Assumed(m=0.5),
    }
    for name, assumed in lives.items():
        parts = million(prices, assumed, missed=missed, kept=kept)
        method = f"m {assumed.m:g}, T {assumed.T:g} s, c {assumed.c:g}, h {assumed.h:g} s, M {assumed.M:g} GB, "
        method += f"{missed} storage calls a question that reaches an agent, {kept} of a kept answer: {_listed(parts)}."
        own = sum(parts.values()) - parts["Fabric"]
        yield Row(f"a million questions: {name}", own, "$ without Fabric", method, parts["Fabric"])
    parts = idle_month(prices, Assumed())
    yield Row("a month without questions", sum(parts.values()), "$", f"{_listed(parts)}.")


def _listed(parts: Mapping[str, float]) -> str:
    return ", ".join(f"{name} ${value:,.2f}" for name, value in parts.items())
