"""The boundary: every request comes in and every reply goes out here, failures included.

Here, and nowhere else, a failure becomes a reply and is logged, and a reply gets the headers that all replies carry.
"""

import logging
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from lib.errors import GatewayError, MethodNotAllowed, PayloadTooLarge
from lib.telemetry import metrics
from lib.telemetry.logs import describe
from lib.telemetry.signals import Span, Value, measure, span
from lib.telemetry.traces import trace_id, traceparent
from lib.web.origins import cors_headers, preflight_headers
from lib.web.problems import problem
from lib.web.request import Request
from lib.web.response import Response, empty

MAX_BODY_BYTES = 32 * 1024
SECURITY_HEADERS = (
    ("Cache-Control", "no-store"),
    ("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'"),
    ("Cross-Origin-Resource-Policy", "same-origin"),
    ("Referrer-Policy", "no-referrer"),
    ("Strict-Transport-Security", "max-age=31536000; includeSubDomains"),
    ("Vary", "Accept, Authorization, Cookie, Origin"),
    ("X-Content-Type-Options", "nosniff"),
    ("X-Frame-Options", "DENY"),
)

_SECURITY = tuple((name.lower(), (name, value)) for name, value in SECURITY_HEADERS)
_FAILURES = 500
"""The class of status codes, RFC 9110 section 15.6."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})

_log = logging.getLogger(__name__)

type Handler[G] = Callable[[G, Request], Awaitable[Response]]


@dataclass(frozen=True)
class Site:
    """What the boundary has to know of the gateway: the pages that may call it, and where Entra takes claims."""

    origins: frozenset[str] = frozenset()
    authorization_uri: str = ""


async def serve[G](
    gateway: G, request: Request, route: str, handlers: Mapping[str, Handler[G]], site: Site
) -> Response:
    """The reply to `request`: that of the handler of its method, or a problem. Never raises.

    `route` names the endpoint in logs, since a path may hold what its sender likes.
    """
    began, code = time.perf_counter(), ""
    scope = trace_id.set(request.trace_id)
    with span(f"{_method(request)} {request.route}", parent=request.parent_id) as root:
        try:
            response = await _answer(gateway, request, handlers, site)
        except GatewayError as error:
            code = error.code
            tell_failure(error)
            response = problem(error, request.trace_id, site.authorization_uri)
        except Exception as error:
            code = GatewayError.code
            facts = {"event": "request_failed", "route": route, "code": code, "cause": describe(error)}
            _log.exception("a request failed unexpectedly", extra=facts)
            response = problem(GatewayError(), request.trace_id, site.authorization_uri)
        milliseconds = (time.perf_counter() - began) * 1000
        told = {"route": route, "method": request.method, "status": response.status, "ms": round(milliseconds, 1)}
        _log.info("served", extra={"event": "served"} | told | ({"code": code} if code else {}))
        _measure(request, root, response.status, code, milliseconds)
    trace_id.reset(scope)
    return _finished(request, response, site, milliseconds, root.id)


def tell_failure(error: GatewayError) -> None:
    """Logs what went wrong here or upstream, with its causes. What a caller can mend is no failure of ours."""
    if error.status >= _FAILURES:
        facts = {"event": "request_failed", "code": error.code, "cause": describe(error)}
        _log.warning("a request failed", extra=facts)


def _measure(request: Request, root: Span, status: int, code: str, milliseconds: float) -> None:
    told: dict[str, Value] = {
        "http.route": request.route,
        "http.request.method": _method(request),
        "http.response.status_code": status,
    }
    if status >= _FAILURES:
        root.fail(code)
        told["error.type"] = code
    root.note(told)
    measure(metrics.SERVED, milliseconds / 1000, told)


def _method(request: Request) -> str:
    """The method, unless it is one that a caller has made up."""
    return request.method if request.method in _METHODS else "_OTHER"


async def _answer[G](gateway: G, request: Request, handlers: Mapping[str, Handler[G]], site: Site) -> Response:
    methods = _methods(handlers)
    if request.method == "OPTIONS":
        return empty(headers=(("Allow", ", ".join(methods)), *preflight_headers(request, site.origins, methods)))
    handler = handlers.get("GET" if request.method == "HEAD" else request.method)
    if handler is None:
        raise MethodNotAllowed(methods)
    if len(request.body) > MAX_BODY_BYTES:
        raise PayloadTooLarge(f"The body must not be longer than {MAX_BODY_BYTES} bytes.")
    return await handler(gateway, request)


def _methods[G](handlers: Mapping[str, Handler[G]]) -> tuple[str, ...]:
    return (*handlers, *(("HEAD",) if "GET" in handlers else ()), "OPTIONS")


def _finished(request: Request, response: Response, site: Site, milliseconds: float, span_id: str) -> Response:
    own = {name.lower() for name, _ in response.headers}
    headers = [
        ("X-Request-Id", request.trace_id),
        ("traceparent", traceparent(request.trace_id, span_id or secrets.token_hex(8))),
        ("Server-Timing", f"total;dur={milliseconds:.1f}"),
        *cors_headers(request, site.origins),
        *(pair for name, pair in _SECURITY if name not in own),
    ]
    return response.with_headers(headers)
