"""The limits hold in a simulated world, and break there where what they stand on is taken away."""

from dataclasses import replace

import pytest

from tests.lib.limits.simulation import LIMITS, SCENARIOS, Scenario, bound, run


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_no_window_lets_more_through_than_the_bound(scenario: Scenario) -> None:
    """Sixty seconds anywhere, over all instances, by true time; and nobody starves."""
    outcome = run(scenario)
    print(f"{scenario.name}: worst window {outcome.worst}, bound {bound(scenario):.1f}")  # noqa: T201  # the figure itself is of interest
    assert outcome.worst <= bound(scenario)
    away = scenario.instances if scenario.outage[1] else 0
    assert outcome.most_under_way <= (LIMITS.in_flight or 0) + away
    served = (scenario.seconds - sum(scenario.outage[1:])) / 60 * LIMITS.per_minute
    # storage that fails every tenth call refuses some, and lost replies hold places until they end by themselves
    assert len(outcome.admitted) >= (0.9 if not (scenario.lost or scenario.outage[1]) else 0.3) * served


def test_a_lost_reply_is_charged_once() -> None:
    """What the row counts is what was let through, where no call but replies of writes were lost."""
    outcome = run(Scenario("lost replies", 5, 1, lost=0.1))
    assert outcome.recorded >= len(outcome.admitted)
    assert outcome.recorded - len(outcome.admitted) <= 0.05 * len(outcome.admitted)


def test_without_etags_the_bound_breaks() -> None:
    """The simulation can fail: it is the comparison with what was read that keeps instances together."""
    flood = next(scenario for scenario in SCENARIOS if scenario.name == "a flood, 40 instances")
    assert run(replace(flood, ignores_etags=True)).worst > 2 * bound(flood)
