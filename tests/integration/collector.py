"""A collector of telemetry: takes what comes by OTLP over HTTP, and can fail, or keep a sender waiting."""

import asyncio
import gzip
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

_KINDS: dict[str, Callable[[], Any]] = {
    "/v1/traces": ExportTraceServiceRequest,
    "/v1/metrics": ExportMetricsServiceRequest,
    "/v1/logs": ExportLogsServiceRequest,
}

type Tree = tuple[str, list[Tree]]
"""A span's name, and the spans below it in the order they began."""


@dataclass
class Collector:
    """What has come in. `status` is what it answers, after `delay_seconds` or once it is `closing`."""

    status: int = 200
    delay_seconds: float = 0
    bodies: list[tuple[str, bytes]] = field(default_factory=list)
    closing: threading.Event = field(default_factory=threading.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.bodies.append((request.url.path, body))
        ends = time.monotonic() + self.delay_seconds
        while time.monotonic() < ends and not self.closing.is_set():  # noqa: ASYNC110  # set by another thread
            await asyncio.sleep(0.05)
        await Response(status_code=self.status)(scope, receive, send)

    def messages(self, path: str) -> Iterator[Any]:
        """What has come there, decoded."""
        for where, body in list(self.bodies):
            if where == path:
                message = _KINDS[path]()
                message.ParseFromString(body)
                yield message

    def each(self, signal: str, of_resources: str, of_scopes: str, things: str) -> Iterator[Any]:
        """Every single thing of a signal, whatever it came in."""
        for message in self.messages(f"/v1/{signal}"):
            for resource in getattr(message, of_resources):
                for scope in getattr(resource, of_scopes):
                    yield from getattr(scope, things)

    def spans(self, trace_id: str) -> list[Span]:
        """All spans of a trace."""
        told = self.each("traces", "resource_spans", "scope_spans", "spans")
        return [span for span in told if span.trace_id.hex() == trace_id]

    def tree(self, trace_id: str, parent_id: str) -> list[Tree]:
        """The spans below `parent_id`."""
        return [
            (span.name, self.tree(trace_id, span.span_id.hex()))
            for span in sorted(self.spans(trace_id), key=lambda one: one.start_time_unix_nano)
            if span.parent_span_id.hex() == parent_id
        ]

    def lines(self, trace_id: str) -> list[Any]:
        """The log lines of a trace."""
        told = self.each("logs", "resource_logs", "scope_logs", "log_records")
        return [line for line in told if line.trace_id.hex() == trace_id]

    def points(self) -> dict[str, list[tuple[dict[str, Any], float]]]:
        """Of each metric its points, as they came last: attributes, and how many or what."""
        found: dict[str, dict[Any, tuple[dict[str, Any], float]]] = {}
        for metric in self.each("metrics", "resource_metrics", "scope_metrics", "metrics"):
            kind = metric.WhichOneof("data")
            for point in getattr(metric, kind).data_points:
                names = attributes(point.attributes)
                value = point.count if kind == "histogram" else point.as_double or float(point.as_int)
                found.setdefault(metric.name, {})[frozenset(names.items())] = (names, value)
        return {name: list(points.values()) for name, points in found.items()}

    def until(self, is_so: Callable[[], bool], seconds: float = 30) -> None:
        """Returns once it is so."""
        ends = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < ends, "it never came to that"
            time.sleep(0.05)


def attributes(pairs: Any) -> dict[str, Any]:
    """Attributes as Python has them."""
    return {pair.key: getattr(pair.value, pair.value.WhichOneof("value")) for pair in pairs}
