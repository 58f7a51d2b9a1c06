"""Somebody who listens, for tests: hears spans and numbers, and that their attributes are those that are documented."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

from lib.telemetry import signals
from lib.telemetry.metrics import Metric
from lib.telemetry.signals import Attributes, Kind, Recorder, Span, error_type


class HeardSpan(Span):
    """A span that remembers what it was told."""

    id = "00f067aa0ba902b7"

    def __init__(self, name: str, attributes: Attributes, kind: Kind, parent: str) -> None:
        self.name, self.facts, self.kind, self.parent = name, dict(attributes), kind, parent
        self.failed = ""
        self.is_excused = False

    def note(self, attributes: Attributes) -> None:
        self.facts |= attributes

    def fail(self, error: str) -> None:
        self.failed = error

    def excuse(self) -> None:
        self.is_excused = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if fault is not None and not self.is_excused:
            self.failed = error_type(fault)


class Heard(Recorder):
    """All spans in the order they began, and all numbers."""

    def __init__(self) -> None:
        self.spans: list[HeardSpan] = []
        self.numbers: list[tuple[str, float, dict[str, Any]]] = []

    def span(self, name: str, attributes: Attributes, kind: Kind, parent: str) -> Span:
        self.spans.append(HeardSpan(name, attributes, kind, parent))
        return self.spans[-1]

    def measure(self, metric: Metric, value: float, attributes: Attributes) -> None:
        assert attributes.keys() <= metric.attributes, metric.name
        self.numbers.append((metric.name, value, dict(attributes)))

    def of(self, metric: Metric) -> list[dict[str, Any]]:
        """The attributes of each number of a metric."""
        return [names for name, _, names in self.numbers if name == metric.name]


@contextmanager
def hearing() -> Iterator[Heard]:
    """Listens."""
    heard = Heard()
    signals.use(heard)
    yield heard
    signals.reset()
