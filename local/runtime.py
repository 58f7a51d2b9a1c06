"""Microsoft's Python worker without its host: every use of the private parts of `azure_functions_runtime` is here.

The worker speaks protobuf with its host, but indexing and cookies need only classes of the same shape, and
`native_invocation` takes `Datum` values instead of messages. Written for version 1.3.0 of the package, whose files
`handle_event.py`, `native_invocation.py` and `bindings/datumdef.py` are the reference.
"""

import calendar
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

from azure.functions.meta import Datum as Returned
from azure_functions_runtime import handle_event, start_threadpool_executor, stop_threadpool_executor
from azure_functions_runtime.bindings.datumdef import Datum, parse_to_rpc_http_cookie_list
from azure_functions_runtime.bindings.meta import load_binding_registry
from azure_functions_runtime.native_invocation import invocation_request_native

from local.messages import Message, by_hand
from local.wire import HostResponse, HttpRequest

SCRIPT = "function_app.py"

_datum: Callable[[Any, str], Datum] = Datum
_invoke_native: Callable[..., Awaitable[tuple[bool, Returned | None, list[Any], str | None, str | None]]] = (
    invocation_request_native
)

type TriggerInput = tuple[Datum, Mapping[str, Datum]]
"""What a trigger brings, and the trigger metadata beside it."""


class InvocationFailed(Exception):
    """A function raised, or what it returned cannot be sent; the runtime has logged the traceback."""


@dataclass(frozen=True)
class Function:
    """One indexed function; `trigger` is its trigger's binding, as `function.json` would have it."""

    name: str
    function_id: str
    trigger: Mapping[str, Any]

    @property
    def is_http(self) -> bool:
        """Whether requests call it."""
        return bool(self.trigger["type"] == "httpTrigger")


@dataclass(frozen=True)
class Invocation:
    """The identity of one call and the trace it belongs to (W3C `traceparent` and `tracestate`)."""

    invocation_id: str
    trace_parent: str = ""
    trace_state: str = ""


def load(app_directory: Path) -> list[Function]:
    """Import and index the function app of a directory, and start the threads for its `def` handlers.

    The runtime keeps its registry, and Python the imported app, for the whole process: one app, loaded once.
    Raises whatever the app raises while it is imported.
    """
    script = app_directory / SCRIPT
    if not script.is_file():
        raise FileNotFoundError(f"{script} does not exist")
    if str(app_directory) not in sys.path:
        sys.path.insert(0, str(app_directory))
    handle_event.protos = _MESSAGES  # type: ignore[assignment]  # untyped there, so None for mypy
    load_binding_registry()
    start_threadpool_executor()
    try:
        indexed = handle_event.index_functions(str(script), str(app_directory)) or []
    except ImportError as error:
        # The runtime wraps it in advice for the cloud and the whole of sys.path.
        raise (error.__context__ or error) from None
    return [Function(item.name, item.function_id, _trigger(item.raw_bindings)) for item in indexed]


def unload() -> None:
    """Stop the threads; waits for handlers that still run in them."""
    stop_threadpool_executor()


async def invoke_http(function: Function, request: HttpRequest, invocation: Invocation) -> HostResponse:
    """Call a function with an HTTP trigger. Raises `InvocationFailed`."""
    returned = await _invoke(function, (_request_datum(request), {}), invocation)
    try:
        return _response(returned)
    except Exception as error:
        raise InvocationFailed(f"function {function.name} returned what cannot be sent: {error!r}") from error


async def run_message(function: Function, message: Message, invocation: Invocation) -> None:
    """Call a function with a queue trigger. Raises `InvocationFailed`."""
    await _invoke(function, _message_input(message), invocation)


async def run(function: Function, text: str, invocation: Invocation) -> None:
    """Call a function with any other trigger, once and by hand; `text` is what the trigger would bring, if anything.

    Raises `InvocationFailed`.
    """
    trigger_input = _TRIGGER_INPUTS.get(function.trigger["type"])
    if trigger_input is None:
        raise InvocationFailed(f"function {function.name}: {function.trigger['type']} cannot be run by hand here")
    await _invoke(function, trigger_input(text), invocation)


async def _invoke(function: Function, trigger: TriggerInput, invocation: Invocation) -> Returned | None:
    value, metadata = trigger
    succeeded, returned, outputs, error, _traceback = await _invoke_native(
        invocation.invocation_id,
        function.function_id,
        [(function.trigger["name"], value)],
        metadata,
        trace_parent=invocation.trace_parent,
        trace_state=invocation.trace_state,
    )
    if not succeeded:
        raise InvocationFailed(f"function {function.name} failed: {error}")
    if outputs:
        raise InvocationFailed(f"function {function.name}: the local host delivers no output bindings")
    return returned


def _trigger(raw_bindings: list[str]) -> dict[str, Any]:
    bindings: list[dict[str, Any]] = [json.loads(raw) for raw in raw_bindings]
    return next(binding for binding in bindings if binding["type"].lower().endswith("trigger"))


def _timer_input(_text: str) -> TriggerInput:
    tick = {"Schedule": {"AdjustForDST": True}, "ScheduleStatus": None, "IsPastDue": False}
    return _datum(json.dumps(tick), "json"), {}


def _queue_input(text: str) -> TriggerInput:
    return _message_input(by_hand(text, datetime.now(UTC)))


_TRIGGER_INPUTS: dict[str, Callable[[str], TriggerInput]] = {
    "timerTrigger": _timer_input,
    "queueTrigger": _queue_input,
}


def _message_input(message: Message) -> TriggerInput:
    """The host sends texts as they are and everything else as JSON (`GrpcMessageConversionExtensions.ToRpc`)."""
    facts = {
        name: _datum(value, "string") if isinstance(value, str) else _datum(json.dumps(value), "json")
        for name, value in message.facts.items()
    }
    return _datum(message.text, "string"), facts


def _request_datum(request: HttpRequest) -> Datum:
    value = {
        "method": _datum(request.method, "string"),
        "url": _datum(request.url, "string"),
        "body": _datum(request.body, "bytes"),
        "headers": _strings(request.headers),
        "query": _strings(request.query),
        "params": _strings(request.params),
    }
    return _datum(value, "http")


def _strings(values: Mapping[str, str]) -> dict[str, Datum]:
    return {name: _datum(value, "string") for name, value in values.items()}


def _response(returned: Returned | None) -> HostResponse:
    if returned is None:
        return HostResponse(204)
    if returned.type == "string":
        return HostResponse(200, (("Content-Type", "text/plain; charset=utf-8"),), returned.value.encode())
    value = returned.value
    headers = [(name, datum.value) for name, datum in value["headers"].items()]
    cookies = parse_to_rpc_http_cookie_list(value["cookies"], _MESSAGES) or []
    headers += [("Set-Cookie", _set_cookie(cookie)) for cookie in cookies]
    if not all(f"{name}{value}".isascii() for name, value in headers):
        raise ValueError("a header is not ASCII, which the host's web server refuses")
    return HostResponse(int(value["status_code"].value), tuple(headers), value["body"].value)


def _set_cookie(cookie: SimpleNamespace) -> str:
    """Render a typed cookie as the host does, through ASP.NET Core's `ResponseCookies` and `SetCookieHeaderValue`.

    The value is percent-encoded, and an empty domain or path is written out: the runtime sends "" for an attribute
    that the function's header lacks. In the cloud the front end fills an empty domain in, which turns a
    `__Host-` cookie into one that browsers refuse.
    """
    attributes = [f"{cookie.name}={quote(cookie.value, safe='')}"]
    if cookie.expires is not None:
        attributes.append(f"expires={formatdate(cookie.expires, usegmt=True)}")
    if cookie.max_age is not None:
        attributes.append(f"max-age={int(cookie.max_age)}")
    attributes += [f"{name}={value}" for name in ("domain", "path") if (value := getattr(cookie, name)) is not None]
    attributes += ["secure"] if cookie.secure else []
    attributes += [f"samesite={cookie.same_site}"] if cookie.same_site else []
    attributes += ["httponly"] if cookie.http_only else []
    return "; ".join(attributes)


class _BindingInfo(SimpleNamespace):
    undefined = 0
    out = 1
    inout = 2


class _Cookie(SimpleNamespace):
    SameSite = SimpleNamespace(**{"None": "", "Lax": "lax", "Strict": "strict", "ExplicitNone": "none"})


def _nullable[T](value: T) -> T:
    return value


def _timestamp(seconds: int) -> int:
    # The runtime takes the GMT date of a cookie for local time, which is right only in UTC, as the cloud is.
    return calendar.timegm(time.localtime(seconds))


_MESSAGES = SimpleNamespace(
    BindingInfo=_BindingInfo,
    NullableBool=_nullable,
    NullableDouble=_nullable,
    NullableString=_nullable,
    NullableTimestamp=_nullable,
    RpcFunctionMetadata=SimpleNamespace,
    RpcHttpCookie=_Cookie,
    RpcRetryOptions=SimpleNamespace,
    Timestamp=_timestamp,
)
"""Stands in for the protobuf module: the runtime builds its messages from here."""
