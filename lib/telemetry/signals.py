"""Spans and numbers, told to whatever listens: the one thing that the rest of the gateway knows of telemetry.

Nothing of OpenTelemetry is imported here. Until it is known whether anybody listens, numbers wait, as many as there is
room for, and spans go untold; where nobody does, both cost next to nothing. Like logging this belongs to the process.
"""

import secrets
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from types import MappingProxyType, TracebackType
from typing import Literal, Self
from weakref import WeakMethod

from lib.telemetry import traces
from lib.telemetry.metrics import Metric

type Value = str | int | float
type Attributes = Mapping[str, Value]
Kind = Literal["internal", "client"]

MOST_WAITING = 2_000
"""Of numbers, before anybody listens: what an instance tells until its first reply is out is far less."""
NONE: Attributes = MappingProxyType({})


class Span:
    """A step on the way; left by an exception it has failed. This one is told to nobody."""

    id = ""
    """16 hex digits, where it is told."""

    def note(self, attributes: Attributes) -> None:
        """Adds facts."""

    def fail(self, error: str) -> None:
        """Says that it failed, by a problem's code or an exception's type: never by a text."""

    def excuse(self) -> None:
        """Says that the exception it is left by is no failure."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None


class Recorder:
    """Who listens. This one does not."""

    def span(self, name: str, attributes: Attributes, kind: Kind, parent: str) -> Span:  # noqa: ARG002
        """A span, which begins where it is entered; `parent` is one of somebody else's in the same trace."""
        return _UNTOLD

    def measure(self, metric: Metric, value: float, attributes: Attributes) -> None:
        """A number: more of something that is counted, or one of many that are measured."""


class _Waiting(Recorder):
    """Keeps numbers for who comes."""

    def __init__(self) -> None:
        self.kept: deque[tuple[Metric, float, Attributes]] = deque(maxlen=MOST_WAITING)

    def measure(self, metric: Metric, value: float, attributes: Attributes) -> None:
        """Keeps it; of too many the oldest go."""
        self.kept.append((metric, value, attributes))


_UNTOLD = Span()
_recorder: Recorder = _Waiting()
_watched: dict[tuple[str, frozenset[tuple[str, Value]]], WeakMethod[Callable[[], float]]] = {}

current: ContextVar[Span] = ContextVar("span", default=_UNTOLD)
"""The span under way; tasks and threads that are started within have it too."""


def span(name: str, attributes: Attributes = NONE, *, kind: Kind = "internal", parent: str = "") -> Span:
    """A step of what is under way, for a `with`."""
    return _recorder.span(name, attributes, kind, parent)


def count(metric: Metric, attributes: Attributes = NONE, by: int = 1) -> None:
    """Counts."""
    _recorder.measure(metric, by, attributes)


def measure(metric: Metric, value: float, attributes: Attributes = NONE) -> None:
    """Tells one number of many."""
    _recorder.measure(metric, value, attributes)


def watch(metric: Metric, attributes: Attributes, read: Callable[[], float]) -> None:
    """Has a gauge read by `read`, a method, whenever somebody wants to know, for as long as its object lives."""
    _watched[metric.name, frozenset(attributes.items())] = WeakMethod(read)


def watched(metric: Metric) -> list[tuple[dict[str, Value], float]]:
    """What a gauge says now, by attributes."""
    readers = [(dict(names), method()) for (name, names), method in list(_watched.items()) if name == metric.name]
    return [(names, read()) for names, read in readers if read]


def use(recorder: Recorder) -> None:
    """From now on `recorder` hears everything, after the numbers that have waited for it."""
    global _recorder  # the process's, like the root logger
    before, _recorder = _recorder, recorder
    if isinstance(before, _Waiting):
        for metric, value, attributes in before.kept:
            recorder.measure(metric, value, attributes)


def reset() -> None:
    """Begins anew: nobody listens yet. For tests."""
    use(Recorder())
    use(_Waiting())
    _watched.clear()


def traceparent() -> str:
    """What is under way, as the W3C writes it, for who goes on with it elsewhere."""
    return traces.traceparent(traces.trace_id.get() or secrets.token_hex(16), current.get().id or secrets.token_hex(8))


def error_type(fault: BaseException) -> str:
    """A failure by its problem's code, where it is one of ours, else by its type."""
    code = getattr(fault, "code", "") if type(fault).__module__.startswith("lib.") else ""
    return code or type(fault).__name__
