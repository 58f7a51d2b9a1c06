"""Rules for spans and numbers, before anybody listens and while nobody does."""

import re

import pytest

from lib.errors import StateUnavailable
from lib.telemetry import metrics, signals
from lib.telemetry.signals import MOST_WAITING, Recorder, count, error_type, measure, span, watch, watched
from lib.telemetry.traces import read_traceparent, trace_id
from tests.lib.telemetry.heard import Heard, hearing

TRACE = "0af7651916cd43dd8448eb211c80319c"


def test_where_nobody_listens_a_span_is_the_same_one_each_time() -> None:
    """It takes everything in, and lets every exception pass."""
    signals.use(Recorder())
    with span("admit") as first, span("ask", {"peer": "fabric"}, kind="client", parent="b7ad6b7169203331") as second:
        first.note({"result": "ok"})
        first.fail("state_unavailable")
        first.excuse()
        count(metrics.LOOKUPS, {"result": "none"})
    assert first is second
    assert first.id == ""
    with pytest.raises(KeyError), span("look"):
        raise KeyError


def test_numbers_wait_for_who_comes() -> None:
    """In the order they came; later ones are heard at once, and nothing is heard twice."""
    signals.reset()
    count(metrics.LOOKUPS, {"result": "none"})
    measure(metrics.STORAGE_DURATION, 0.25, {"service": "tables", "operation": "read"})
    with span("look") as untold:
        assert untold.id == ""
    heard = Heard()
    signals.use(heard)
    count(metrics.QUESTIONS_UNDER_WAY, {"agent": "sales"}, by=-1)
    assert heard.spans == []
    assert heard.numbers == [
        ("gateway.answers.lookups", 1, {"result": "none"}),
        ("gateway.storage.duration", 0.25, {"service": "tables", "operation": "read"}),
        ("gateway.questions.under_way", -1, {"agent": "sales"}),
    ]
    later = Heard()
    signals.use(later)
    assert later.numbers == []


def test_of_too_many_numbers_the_oldest_go() -> None:
    """An instance whose settings are wrong never learns whether anybody listens."""
    signals.reset()
    for index in range(MOST_WAITING + 5):
        measure(metrics.QUESTION_DURATION, index)
    heard = Heard()
    signals.use(heard)
    assert [value for _, value, _ in heard.numbers] == list(range(5, MOST_WAITING + 5))


class Peer:
    """Something with a state."""

    state = 2.0

    def told(self) -> float:
        return self.state


def test_a_gauge_is_read_when_somebody_wants_to_know() -> None:
    """Of each object the last one counts, and one that is gone is told no more."""
    first, second, other = Peer(), Peer(), Peer()
    watch(metrics.CIRCUIT_STATE, {"peer": "entra"}, first.told)
    watch(metrics.CIRCUIT_STATE, {"peer": "entra"}, second.told)
    watch(metrics.CIRCUIT_STATE, {"peer": "sales"}, other.told)
    second.state = 1.0
    assert sorted(watched(metrics.CIRCUIT_STATE), key=str) == [({"peer": "entra"}, 1.0), ({"peer": "sales"}, 2.0)]
    assert watched(metrics.LOOKUPS) == []
    del other
    assert watched(metrics.CIRCUIT_STATE) == [({"peer": "entra"}, 1.0)]


def test_who_goes_on_elsewhere_is_told_the_trace_and_its_span() -> None:
    """Where there is none a new one of each, as the standard has it."""
    trace, parent = read_traceparent(signals.traceparent())
    assert re.fullmatch("[0-9a-f]{32}", trace)
    assert re.fullmatch("[0-9a-f]{16}", parent)
    scope = trace_id.set(TRACE)
    assert read_traceparent(signals.traceparent())[0] == TRACE
    with hearing(), span("queue send") as sending:
        known = signals.current.set(sending)
        assert signals.traceparent() == f"00-{TRACE}-00f067aa0ba902b7-01"
        signals.current.reset(known)
    trace_id.reset(scope)


class _Theirs(Exception):
    code = "a text that quotes a question"


def test_a_failure_is_told_by_our_code_or_by_its_type() -> None:
    """What others call a code may be any text."""
    assert error_type(StateUnavailable()) == "state_unavailable"
    assert error_type(ValueError("total sales")) == "ValueError"
    assert error_type(_Theirs()) == "_Theirs"
