"""Rules for what a peer said about coming back."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from lib.traffic.cooldown import EVERYBODY, MOST_CALLERS, MOST_SECONDS, Cooldown
from tests.clock import Clock


@pytest.fixture
def cooldown(clock: Clock) -> Cooldown:
    """One that holds nobody back yet."""
    return Cooldown(clock)


def test_what_is_said_to_everybody_holds_everybody_back_until_then(cooldown: Cooldown, clock: Clock) -> None:
    """Those who were never seen before, too."""
    assert cooldown.remaining("alice") == 0
    cooldown.hold(30)
    clock.advance(10)
    assert cooldown.remaining() == cooldown.remaining("alice") == 20
    clock.advance(20)
    assert cooldown.remaining() == cooldown.remaining("alice") == 0


def test_what_is_said_to_one_caller_holds_back_that_one_alone(cooldown: Cooldown) -> None:
    """A quota of one's own is nobody else's."""
    cooldown.hold(30, "alice")
    assert cooldown.remaining("alice") == 30
    assert cooldown.remaining("bob") == cooldown.remaining() == 0
    cooldown.hold(40)
    assert cooldown.remaining("alice") == cooldown.remaining("bob") == 40


def test_a_longer_wait_that_is_known_stays(cooldown: Cooldown, clock: Clock) -> None:
    """A late reply that names a shorter one changes nothing."""
    cooldown.hold(60)
    clock.advance(1)
    cooldown.hold(5)
    assert cooldown.remaining() == 59


def test_no_wait_is_longer_than_five_minutes(cooldown: Cooldown) -> None:
    """After that somebody finds out."""
    cooldown.hold(86_400)
    assert cooldown.remaining() == MOST_SECONDS


def test_of_too_many_callers_it_forgets_who_was_told_longest_ago(cooldown: Cooldown) -> None:
    """Its memory is bounded; what everybody was told just now is not among it."""
    cooldown.hold(20, "first")
    cooldown.hold(10, "second")
    cooldown.hold(10, "first")
    for number in range(MOST_CALLERS - 1):
        cooldown.hold(10, str(number))
    assert cooldown.remaining("second") == 0
    assert cooldown.remaining("first") == 20
    assert len(cooldown._until) == MOST_CALLERS


class Against(RuleBasedStateMachine):
    """Beside a list of all that was said."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock(0.0)
        self.cooldown = Cooldown(self.clock)
        self.said: list[tuple[str, float]] = []

    @rule(seconds=st.integers(0, 400))
    def time_passes(self, seconds: int) -> None:
        """Up to past any wait."""
        self.clock.advance(seconds)

    @rule(caller=st.sampled_from([EVERYBODY, "a", "b"]), seconds=st.integers(0, 600))
    def a_peer_says_when(self, caller: str, seconds: int) -> None:
        """To everybody, or to one."""
        self.cooldown.hold(seconds, caller)
        self.said.append((caller, self.clock.now + min(seconds, MOST_SECONDS)))

    @invariant()
    def as_long_as_was_said(self) -> None:
        """The longest of what concerns one counts."""
        for caller in (EVERYBODY, "a", "b"):
            until = [at for told, at in self.said if told in {EVERYBODY, caller}]
            assert self.cooldown.remaining(caller) == max(0, max(until, default=0) - self.clock.now)


Against.TestCase.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)
TestAgainst = Against.TestCase
