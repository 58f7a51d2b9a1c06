"""The cost is the formula of `docs/operations.md`, worked out by hand."""

import json

import pytest

from bench.cost import PRICES, Assumed, idle_month, million

ROUND = {
    "fabric_cu_second": 0.0001,
    "flex_gb_second": 0.00001,
    "flex_million_executions": 0.5,
    "always_ready_gb_second": 0.000001,
    "storage_ten_thousand_transactions": 0.001,
    "logs_gb": 2.0,
}


def test_a_million_questions_cost_what_the_formula_says() -> None:
    """Half of them reach an agent for 40 s, 10 at a time; the others take a tenth of a second."""
    assumed = Assumed(m=0.5, T=40, c=10, h=0.1, M=2, cu_seconds=100, log_kilobytes=10)
    assert million(ROUND, assumed, missed=4, kept=0) == pytest.approx(
        {"Fabric": 5_000, "compute": 41, "executions": 0.5, "state": 0.2, "logs": 20}
    )


def test_a_month_without_questions_costs_its_timers_and_what_is_always_ready() -> None:
    """Nothing else runs."""
    assert idle_month(ROUND, Assumed(M=2)) == pytest.approx({"timers": 0.4608, "one instance always ready": 5.26})


def test_the_prices_have_the_names_of_the_formula() -> None:
    """Who puts in their own has to find each once."""
    prices = json.loads(PRICES.read_text(encoding="utf-8"))
    assert prices.keys() - {"about"} == ROUND.keys()
