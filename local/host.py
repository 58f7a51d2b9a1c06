"""The local host: serves the function app of a directory over HTTP, with Microsoft's own Python runtime inside.

`python -m local.host --port 7071` stands in for `func start`. What a function sees and what a client gets follow the
Azure Functions host, version 4, its losses included: see `local.routing`, `local.wire` and `local.runtime`.

Functions with a queue trigger get the messages of Azurite's queues (`local.queues`). Timers and other triggers are
indexed, not scheduled: `POST /admin/functions/{name}` runs one, as in the cloud.
"""

import argparse
import asyncio
import json
import logging
import os
import re
import secrets
import signal
import socket
import sys
import traceback
import uuid
from collections.abc import Awaitable, Callable, Coroutine, Mapping, MutableMapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import Receive, Scope, Send

from local import runtime, wire
from local.messages import Message
from local.queue_options import QueueOptions
from local.queues import listener_of
from local.routing import Route, find, path_of, route
from local.serving import PortTaken, listen
from local.wire import HostResponse

__all__ = ["FunctionHost", "HostResponse", "load_local_settings", "main"]

BODY_LIMIT_SETTING = "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT"
BODY_LIMIT = 104_857_600
"""Bytes; what the host takes where the setting says nothing."""
CLIENT_ADDRESS = "client-ip"
"""The header that Azure's front end sets, whatever a client sends (Azure/app-service-linux-docs, headers.md)."""
SHUTDOWN_SECONDS = 5

_ADMIN = "/admin/functions/"
_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]*)(:[0-9]{1,5})?")
_TRACE_PARENT = re.compile("[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
_log = logging.getLogger("local.host")
_runtime_log = logging.getLogger("azure.functions")


class FunctionHost:
    """The function app of a directory as an ASGI application, also callable without a socket.

    One app in a process: the runtime's registry and the imported `function_app` module live as long as the process.
    """

    def __init__(
        self, app_directory: Path, *, body_limit: int = BODY_LIMIT, random_hex: Callable[[int], str] = secrets.token_hex
    ) -> None:
        self._app_directory = app_directory.resolve()
        self._body_limit = body_limit
        self._random_hex = random_hex
        self._custom_headers: Mapping[str, str] = {}
        self._functions: dict[str, runtime.Function] = {}
        self._queue_options = QueueOptions()
        self._runs: set[asyncio.Task[object]] = set()
        self.routes: tuple[Route, ...] = ()

    async def start(self) -> None:
        """Read host.json and index the app. Raises whatever the app raises while it is imported."""
        extensions = _read_json(self._app_directory / "host.json").get("extensions", {})
        http: dict[str, Any] = extensions.get("http", {})
        prefix = http.get("routePrefix", "api")
        self._custom_headers = http.get("customHeaders", {})
        self._queue_options = QueueOptions.read(extensions.get("queues", {}))
        functions = sorted(runtime.load(self._app_directory), key=lambda function: function.name)
        self._functions = {function.name.lower(): function for function in functions}
        self.routes = tuple(
            route(function.name, function.trigger.get("route") or function.name, _methods(function), prefix)
            for function in functions
            if function.is_http
        )

    def watch_queues(self, environ: Mapping[str, str]) -> None:
        """Begin to deliver the messages of queues whose trigger names, in `environ`, a connection to Azurite."""
        for function in self._functions.values():
            if function.trigger["type"] == "queueTrigger":
                deliver = partial(self._deliver, function)
                if listener := listener_of(function.trigger, environ, deliver, self._queue_options):
                    self._begin(listener.listen())

    async def stop(self) -> None:
        """Cancel what was started by hand or by a message, and end the runtime's threads."""
        for run in self._runs:
            run.cancel()
        await asyncio.gather(*self._runs, return_exceptions=True)
        await asyncio.to_thread(runtime.unload)

    async def invoke_http(
        self, method: str, url: str, headers: Sequence[tuple[str, str]] = (), body: bytes = b""
    ) -> HostResponse:
        """Answer one request as the host would; `url` is absolute. A function that fails is a 500 without a body."""
        path = path_of(url)
        if method == "POST" and path.lower().startswith(_ADMIN):
            response = self._accept_run(path[len(_ADMIN) :], body)
        elif (found := find(self.routes, method, path)) is None:
            response = HostResponse(404)
        else:
            name, params = found
            request = wire.HttpRequest(method, url, wire.join_headers(headers), wire.join_query(url), params, body)
            response = await self._call(self._functions[name.lower()], request)
        return self._with_custom_headers(response)

    async def run(self, name: str, text: str = "") -> None:
        """Run a timer, or another trigger that brings `text`, and wait for its end.

        Raises `KeyError` for an unknown name and `runtime.InvocationFailed`.
        """
        await runtime.run(self._functions[name.lower()], text, self._invocation({}))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one HTTP request (ASGI 3)."""
        if scope["type"] != "http":
            raise ValueError(f"the local host speaks HTTP only, not {scope['type']}")
        headers = [pair for pair in wire.headers_of(scope) if pair[0] != CLIENT_ADDRESS]
        if client := scope.get("client"):
            headers.append((CLIENT_ADDRESS, f"{client[0]}:{client[1]}"))
        first = dict(reversed(headers))
        if not _HOST.fullmatch(first.get("host", "")):  # as Kestrel does
            await wire.send_response(send, HostResponse(400), with_body=True)
            return
        try:
            body = await wire.read_body(receive, first.get("content-length"), self._body_limit)
        except wire.ClientGone:
            return
        except wire.BodyTooLarge:
            response = self._with_custom_headers(HostResponse(413, (("Connection", "close"),)))
        else:
            url = wire.url_of(scope, first.get("host", ""))
            response = await self.invoke_http(scope["method"], url, headers, body)
        await wire.send_response(send, response, with_body=scope["method"] != "HEAD")

    async def _call(self, function: runtime.Function, request: wire.HttpRequest) -> HostResponse:
        try:
            return await runtime.invoke_http(function, request, self._invocation(request.headers))
        except runtime.InvocationFailed as failure:
            _log.error("%s", failure)
            return HostResponse(500)

    def _accept_run(self, name: str, body: bytes) -> HostResponse:
        if name.lower() not in self._functions:
            return HostResponse(404)
        try:
            text = json.loads(body or b"{}").get("input") or ""
        except (ValueError, AttributeError):
            text = None
        if not isinstance(text, str):
            return HostResponse(400)
        self._begin(self._succeeds(self.run(name, text)))
        return HostResponse(202)

    async def _deliver(self, function: runtime.Function, message: Message) -> bool:
        return await self._succeeds(runtime.run_message(function, message, self._invocation({})))

    def _begin(self, work: Coroutine[Any, Any, object]) -> None:
        run = asyncio.create_task(work)
        self._runs.add(run)
        run.add_done_callback(self._runs.discard)

    async def _succeeds(self, run: Awaitable[None]) -> bool:
        try:
            await run
        except runtime.InvocationFailed as failure:
            _log.error("%s", failure)
            return False
        return True

    def _invocation(self, headers: Mapping[str, str]) -> runtime.Invocation:
        parent, state = headers.get("traceparent", ""), headers.get("tracestate", "")
        if not _TRACE_PARENT.fullmatch(parent):
            # Sampled, because spans are what a local trace is looked at for.
            parent, state = f"00-{self._random_hex(16)}-{self._random_hex(8)}-01", ""
        return runtime.Invocation(str(uuid.UUID(self._random_hex(16))), parent, state)

    def _with_custom_headers(self, response: HostResponse) -> HostResponse:
        present = {name.lower() for name, _ in response.headers}
        added = tuple((name, value) for name, value in self._custom_headers.items() if name.lower() not in present)
        return HostResponse(response.status, response.headers + added, response.body)


class _Server(uvicorn.Server):
    """Says what it serves once it does, and ends with 0 when it is told to stop."""

    def __init__(self, config: uvicorn.Config, announcement: Sequence[str]) -> None:
        super().__init__(config)
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print(*self._announcement, sep="\n", flush=True)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        # Once it has stopped, uvicorn raises the signal again; ignored there, it does not become the exit code.
        _handle_signals(signal.SIG_IGN)
        await super().serve(sockets)
        _handle_signals(signal.SIG_DFL)


def _handle_signals(handler: signal.Handlers) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handler)


def load_local_settings(app_directory: Path, environ: MutableMapping[str, str]) -> None:
    """Set the `Values` of local.settings.json where the environment has no such variable, as `func start` does."""
    for name, value in _read_json(app_directory / "local.settings.json").get("Values", {}).items():
        environ.setdefault(name, str(value))


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a function app in the foreground until SIGINT or SIGTERM; return the exit code."""
    options = _options(arguments)
    load_local_settings(options.app, os.environ)
    level = logging.getLevelNamesMapping().get(os.environ.get("LOG_LEVEL", "INFO").upper(), logging.INFO)
    logging.basicConfig(level=level, format="%(message)s")
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    return asyncio.run(_serve(options))


async def _serve(options: argparse.Namespace) -> int:
    limit = os.environ.get(BODY_LIMIT_SETTING, "")
    host = FunctionHost(options.app, body_limit=int(limit) if limit.isdecimal() else BODY_LIMIT)
    try:
        _runtime_log.setLevel(logging.CRITICAL)  # it would tell the error that is told below, at greater length
        await host.start()
        _runtime_log.setLevel(logging.WARNING)
        listener = listen(options.port, options.host)
    except PortTaken as fault:
        print(f"cannot start: {fault}", file=sys.stderr)
        return 1
    except Exception as error:  # noqa: BLE001 - an app may raise anything while it is imported
        traceback.print_exception(error)
        print(f"cannot start {options.app}: {type(error).__name__}: {error}", file=sys.stderr)
        return 1
    host.watch_queues(os.environ)
    url = f"{'https' if options.certificate else 'http'}://{options.host}:{listener.getsockname()[1]}"
    await _Server(_server_config(host, options), _announcement(host, url)).serve([listener])
    await host.stop()
    # Azure ends a worker without a word to the app, so that apps cannot close what they hold: no noise about that
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)
    return 0


def _announcement(host: FunctionHost, url: str) -> list[str]:
    lines = [f"{','.join(sorted(r.methods)) or 'ANY'} {url}/{r.template} -> {r.function}" for r in host.routes]
    return [*lines, f"ready on {url}"]


def _server_config(host: FunctionHost, options: argparse.Namespace) -> uvicorn.Config:
    return uvicorn.Config(
        host,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=SHUTDOWN_SECONDS,
        ssl_certfile=options.certificate,
        ssl_keyfile=options.key,
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.host", description="Run a function app locally.")
    parser.add_argument("--app", type=Path, default=Path.cwd(), help="its directory (default: the current one)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=7071, help="port to listen on; 0 takes a free one")
    parser.add_argument("--certificate", type=Path, help="PEM file: speak TLS with this certificate")
    parser.add_argument("--key", type=Path, help="PEM file: the certificate's key")
    return parser.parse_args(arguments)


def _methods(function: runtime.Function) -> list[str]:
    methods: list[str] = function.trigger.get("methods") or []
    return methods


def _read_json(file: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    return content


if __name__ == "__main__":
    sys.exit(main())
