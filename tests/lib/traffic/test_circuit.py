"""Rules for the circuit breaker."""

import asyncio
import logging
from contextlib import ExitStack

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from lib.telemetry import metrics
from lib.telemetry.signals import watched
from lib.traffic.circuit import (
    LEAST_OUTCOMES,
    MOST_OUTCOMES,
    RESET_JITTER,
    RESET_SECONDS,
    WINDOW_SECONDS,
    Circuit,
    CircuitOpen,
)
from tests.clock import Clock


class Down(Exception):
    """The peer failed."""


@pytest.fixture
def circuit(clock: Clock) -> Circuit:
    """A circuit whose reset timeout does not vary."""
    return Circuit("peer", clock=clock, uniform=lambda low, high: (low + high) / 2)


def call(circuit: Circuit, fault: Exception | None = None) -> None:
    """One call that succeeds, or ends in `fault`."""
    with circuit.attempt(Down):
        if fault:
            raise fault


def fail(circuit: Circuit, times: int = 1) -> None:
    """So many calls that fail."""
    for _ in range(times):
        with pytest.raises(Down):
            call(circuit, Down())


def state(circuit: Circuit) -> str:
    """Its state; asked for again each time, which a type checker does not expect of an attribute."""
    return circuit.state


def test_it_opens_once_half_of_enough_calls_failed(circuit: Circuit, clock: Clock) -> None:
    """Four failures say nothing yet, the fifth does."""
    fail(circuit, LEAST_OUTCOMES - 1)
    assert state(circuit) == "closed"
    fail(circuit)
    assert state(circuit) == "open"
    assert circuit.away_since == clock.now
    with pytest.raises(CircuitOpen) as refusal:
        call(circuit)
    assert refusal.value.retry_after == RESET_SECONDS


def test_fewer_than_half_failing_is_no_outage(circuit: Circuit) -> None:
    """One in three, for long."""
    for _ in range(50):
        call(circuit)
        call(circuit)
        fail(circuit)
    assert state(circuit) == "closed"


def test_what_is_older_than_the_window_is_forgotten(circuit: Circuit, clock: Clock) -> None:
    """Four failures, and a fifth too late to be counted with them."""
    fail(circuit, LEAST_OUTCOMES - 1)
    clock.advance(WINDOW_SECONDS)
    fail(circuit)
    assert state(circuit) == "closed"


def test_a_neutral_outcome_is_not_counted(circuit: Circuit) -> None:
    """Neither as a failure nor as a success."""
    fail(circuit, LEAST_OUTCOMES - 1)
    for _ in range(20):
        with pytest.raises(ValueError, match="mine"):
            call(circuit, ValueError("mine"))
    assert state(circuit) == "closed"
    fail(circuit)
    assert state(circuit) == "open"


def test_after_the_reset_timeout_two_good_probes_close_it(circuit: Circuit, clock: Clock) -> None:
    """And what was before is forgotten."""
    fail(circuit, LEAST_OUTCOMES)
    clock.advance(RESET_SECONDS - 0.001)
    with pytest.raises(CircuitOpen):
        call(circuit)
    clock.advance(0.001)
    assert state(circuit) == "half_open"
    call(circuit)
    assert state(circuit) == "half_open"
    call(circuit)
    assert state(circuit) == "closed"
    assert circuit.away_since is None
    fail(circuit, LEAST_OUTCOMES - 1)
    assert state(circuit) == "closed"


def test_a_failed_probe_opens_it_again_and_it_has_been_away_since_the_first_time(
    circuit: Circuit, clock: Clock
) -> None:
    """One good probe before it does not count either."""
    fail(circuit, LEAST_OUTCOMES)
    began = clock.now
    clock.advance(RESET_SECONDS)
    call(circuit)
    fail(circuit)
    assert state(circuit) == "open"
    assert circuit.away_since == began
    clock.advance(RESET_SECONDS)
    call(circuit)
    assert state(circuit) == "half_open"


async def test_of_fifty_callers_at_once_one_goes_through_as_a_probe(circuit: Circuit, clock: Clock) -> None:
    """Everybody else is refused while it is under way, and told to come back."""
    fail(circuit, LEAST_OUTCOMES)
    clock.advance(RESET_SECONDS)
    through, go_on = 0, asyncio.Event()

    async def slow() -> None:
        nonlocal through
        with circuit.attempt(Down):
            through += 1
            await go_on.wait()

    calls = [asyncio.create_task(slow()) for _ in range(50)]
    await asyncio.sleep(0)
    assert through == 1
    go_on.set()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    refusals = [outcome for outcome in outcomes if isinstance(outcome, CircuitOpen)]
    assert len(refusals) == 49
    assert all(refusal.retry_after >= 1 for refusal in refusals)


def test_a_probe_with_a_neutral_end_leaves_its_place_to_the_next(circuit: Circuit, clock: Clock) -> None:
    """A cancelled one, too."""
    fail(circuit, LEAST_OUTCOMES)
    clock.advance(RESET_SECONDS)
    for fault in (ValueError(), asyncio.CancelledError()):
        with pytest.raises(type(fault)), circuit.attempt(Down):
            raise fault
    call(circuit)
    call(circuit)
    assert state(circuit) == "closed"


def test_a_call_from_before_it_opened_says_nothing_to_the_probes(circuit: Circuit, clock: Clock) -> None:
    """Neither its success nor its failure, however late they come."""
    with ExitStack() as late:
        late.enter_context(circuit.attempt(Down))
        fail(circuit, LEAST_OUTCOMES)
        clock.advance(RESET_SECONDS)
        call(circuit)
    assert state(circuit) == "half_open"


def test_calls_from_before_an_outage_do_not_open_it_again_after_it(circuit: Circuit, clock: Clock) -> None:
    """They may take longer than the outage, and what they tell of is known."""
    late = [circuit.attempt(Down) for _ in range(LEAST_OUTCOMES)]
    for one in late:
        one.__enter__()
    fail(circuit, LEAST_OUTCOMES)
    clock.advance(RESET_SECONDS)
    call(circuit)
    call(circuit)
    clock.advance(RESET_SECONDS)
    for one in late:
        assert not one.__exit__(Down, Down(), None)
    assert circuit.state == "closed"


def test_it_tells_when_it_opens_and_when_it_closes(
    circuit: Circuit, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """Once each, by the peer's name; what is refused or probed meanwhile adds nothing."""
    with caplog.at_level("INFO"):
        fail(circuit, LEAST_OUTCOMES)
        for _ in range(3):
            with pytest.raises(CircuitOpen):
                call(circuit)
        clock.advance(RESET_SECONDS)
        fail(circuit)
        clock.advance(RESET_SECONDS)
        call(circuit)
        call(circuit)
    assert [(record.levelname, record.message, record.__dict__["peer"]) for record in caplog.records] == [
        ("WARNING", "a circuit is open", "peer"),
        ("INFO", "a circuit is closed again", "peer"),
    ]


def test_the_reset_timeout_varies_by_three_tenths(clock: Clock) -> None:
    """Instances do not probe in the same moment."""
    for chosen, factor in ((min, 1 - RESET_JITTER), (max, 1 + RESET_JITTER)):
        circuit = Circuit("peer", clock=clock, uniform=chosen)
        fail(circuit, LEAST_OUTCOMES)
        with pytest.raises(CircuitOpen) as refusal:
            call(circuit)
        assert refusal.value.retry_after == pytest.approx(RESET_SECONDS * factor)


class OneOwn(Down):
    """A failure that is one caller's own."""


def test_a_failure_that_is_one_callers_own_counts_as_nothing(circuit: Circuit, clock: Clock) -> None:
    """Neither while it is closed nor for a probe, which leaves its place to the next."""
    for _ in range(LEAST_OUTCOMES):
        with pytest.raises(OneOwn), circuit.attempt(Down, neutral=(OneOwn,)):
            raise OneOwn
    assert state(circuit) == "closed"
    fail(circuit, LEAST_OUTCOMES)
    clock.advance(RESET_SECONDS)
    with pytest.raises(OneOwn), circuit.attempt(Down, neutral=(OneOwn,)):
        raise OneOwn
    assert state(circuit) == "half_open"
    call(circuit)


def test_it_tells_for_how_long_no_call_would_be_let_through(circuit: Circuit, clock: Clock) -> None:
    """Nothing while a call would be; while another one is probing, a second at the least."""
    assert circuit.closed_for() == 0
    fail(circuit, LEAST_OUTCOMES)
    clock.advance(1)
    assert circuit.closed_for() == RESET_SECONDS - 1
    clock.advance(RESET_SECONDS)
    assert circuit.closed_for() == 0
    with circuit.attempt(Down):
        assert circuit.closed_for() == 1
    assert circuit.closed_for() == 0


def test_many_outcomes_take_no_more_room(circuit: Circuit) -> None:
    """The window is bounded by count as well."""
    for _ in range(3 * MOST_OUTCOMES):
        call(circuit)
    assert len(circuit._outcomes) == MOST_OUTCOMES


class Machine(RuleBasedStateMachine):
    """Any order of calls and times, beside a list of all outcomes."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.circuit = Circuit("peer", clock=self.clock, uniform=lambda low, high: (low + high) / 2)
        self.outcomes: list[tuple[float, bool]] = []
        self.good_probes = 0
        self.probe: ExitStack | None = None
        self.late: ExitStack | None = None

    @rule(seconds=st.floats(0, 20))
    def time_passes(self, seconds: float) -> None:
        """Up to past the reset timeout."""
        self.clock.advance(seconds)

    @precondition(lambda self: self.circuit.state == "closed")
    @rule(success=st.booleans())
    def a_call(self, success: bool) -> None:
        """The circuit opens exactly where the list says so."""
        now = self.clock.now
        self.outcomes.append((now, success))
        recent = [good for at, good in self.outcomes if at > now - WINDOW_SECONDS]
        call(self.circuit) if success else fail(self.circuit)
        opens = not success and len(recent) >= LEAST_OUTCOMES and recent.count(False) * 2 >= len(recent)
        assert (self.circuit.state != "closed") == opens
        self.good_probes = 0

    @precondition(lambda self: self.circuit.state == "closed")
    @rule()
    def a_neutral_call(self) -> None:
        """It leaves no trace."""
        with pytest.raises(ValueError, match="mine"):
            call(self.circuit, ValueError("mine"))
        assert self.circuit.state == "closed"

    @precondition(lambda self: self.circuit.state == "closed" and self.late is None)
    @rule()
    def a_late_call_begins(self) -> None:
        """And stays under way until the circuit is open."""
        self.late = ExitStack()
        self.late.enter_context(self.circuit.attempt(Down))

    @precondition(lambda self: self.circuit.state != "closed" and self.late is not None)
    @rule(success=st.booleans())
    def a_late_call_ends(self, success: bool) -> None:
        """It changes nothing, however it ends."""
        before, away_since = self.circuit.state, self.circuit.away_since
        late, self.late = self.late, None
        assert late is not None
        late.close() if success else late.__exit__(Down, Down(), None)
        assert (self.circuit.state, self.circuit.away_since) == (before, away_since)

    @precondition(lambda self: self.circuit.state == "open")
    @rule()
    def a_refused_call(self) -> None:
        """It is not made."""
        with pytest.raises(CircuitOpen):
            call(self.circuit)

    @precondition(lambda self: self.circuit.state == "half_open" and self.probe is None)
    @rule()
    def a_probe_begins(self) -> None:
        """And stays under way."""
        self.probe = ExitStack()
        self.probe.enter_context(self.circuit.attempt(Down))

    @precondition(lambda self: self.probe is not None)
    @rule(fault=st.sampled_from([None, Down(), ValueError()]))
    def the_probe_ends(self, fault: Exception | None) -> None:
        """It closes with the second good one, opens with a bad one, and leaves its place to the next with neither."""
        probe, self.probe = self.probe, None
        assert probe is not None
        probe.__exit__(type(fault) if fault else None, fault, None)
        if fault is None:
            self.good_probes += 1
        elif isinstance(fault, Down):
            self.good_probes = 0
            assert self.circuit.state == "open"
        if self.good_probes == 2:
            self.outcomes.clear()
        assert (self.circuit.state == "closed") == (self.good_probes == 2)

    @invariant()
    def away_as_long_as_it_is_not_closed(self) -> None:
        """And since a moment that is past."""
        away_since = self.circuit.away_since
        assert (away_since is None) == (self.circuit.state == "closed")
        assert away_since is None or away_since <= self.clock.now

    @invariant()
    def it_says_beforehand_whom_it_refuses(self) -> None:
        """Exactly those for whom it is closed."""
        waits = self.circuit.closed_for()
        refuses = self.circuit.state == "open" or self.probe is not None
        assert (waits > 0) == refuses

    @invariant()
    def no_second_probe(self) -> None:
        """Whoever comes while one is under way is refused."""
        if self.probe is not None:
            with pytest.raises(CircuitOpen):
                call(self.circuit)


Machine.TestCase.settings = settings(max_examples=100, stateful_step_count=40, deadline=None)
TestMachine = Machine.TestCase


def test_its_state_can_be_read_at_any_time(circuit: Circuit, clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """As a number, by the peer's name; lines tell of its changes."""
    caplog.set_level(logging.INFO)
    seen = [watched(metrics.CIRCUIT_STATE)]
    fail(circuit, LEAST_OUTCOMES)
    seen.append(watched(metrics.CIRCUIT_STATE))
    clock.advance(RESET_SECONDS)
    seen.append(watched(metrics.CIRCUIT_STATE))
    call(circuit)
    call(circuit)
    seen.append(watched(metrics.CIRCUIT_STATE))
    assert seen == [[({"peer": "peer"}, number)] for number in (0, 2, 1, 0)]
    told = [(vars(record)["event"], vars(record)["peer"]) for record in caplog.records]
    assert told == [("circuit_open", "peer"), ("circuit_closed", "peer")]
