"""One HTTP call to a peer: a span and a number, with the peer's name in the place of its address, which holds ids."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lib.telemetry import metrics
from lib.telemetry.signals import NONE, Attributes, Value, error_type, measure, span

_CLIENT_ERRORS = 400


@dataclass
class HttpCall:
    """One under way; `status` is the reply's, 0 while there is none."""

    status: int = 0


@contextmanager
def http_call(peer: str, method: str, attributes: Attributes = NONE) -> Iterator[HttpCall]:
    """Holds one call, the reading of its reply included; `attributes` are the span's alone.

    The names are those of https://opentelemetry.io/docs/specs/semconv/http/http-spans.
    """
    told: dict[str, Value] = {"http.request.method": method}
    call, began = HttpCall(), time.perf_counter()
    with span(f"{method} {peer}", {**told, "peer": peer, **attributes}, kind="client") as under_way:
        try:
            yield call
        except BaseException as fault:
            told["error.type"] = error_type(fault)
            raise
        finally:
            if call.status:
                told["http.response.status_code"] = call.status
            if call.status >= _CLIENT_ERRORS and "error.type" not in told:
                told["error.type"] = str(call.status)
                under_way.fail(str(call.status))
            under_way.note(told)
            measure(metrics.HTTP_CALLS, time.perf_counter() - began, {"peer": peer, **told})
