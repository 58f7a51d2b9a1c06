"""A server in front of Azurite that passes requests on, or does something worse."""

import ssl
from collections import deque
from functools import cache

import httpx
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from local.faults import drop

REST_SECONDS = 2
"""Azurite closes what has rested for five."""


@cache
def _tls() -> ssl.SSLContext:
    return ssl.create_default_context()  # dear to make, and every client wants one


class Front:
    """An ASGI application before `target`; the next requests meet the `planned` faults, one each."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._http: httpx.AsyncClient
        self.planned: deque[ASGIApp] = deque()
        self.methods: list[str] = []

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request; connections to the target last as long as the server."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
        else:
            await self.respond(scope, receive, send)

    async def respond(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, counted by its method."""
        self.methods.append(scope["method"])
        app = self.planned.popleft() if self.planned else self.pass_on
        await app(scope, receive, send)

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        limits = httpx.Limits(keepalive_expiry=REST_SECONDS)
        async with httpx.AsyncClient(verify=_tls(), trust_env=False, limits=limits) as self._http:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def pass_on(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The target's own reply."""
        await (await self._reply(scope, receive))(scope, receive, send)

    async def lose_reply(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The target does its work, and the connection is cut before a word of it comes back."""
        await self._reply(scope, receive)
        await drop(scope, receive, send)

    async def _reply(self, scope: Scope, receive: Receive) -> Response:
        request = Request(scope, receive)
        path, _, query = str(request.url).removeprefix(str(request.base_url)).partition("?")
        reply = await self._http.request(
            request.method,
            f"{self._target}/{path}{'?' if query else ''}{query}",
            headers=request.headers.raw,
            content=await request.body(),
        )
        kept = {name: value for name, value in reply.headers.items() if name not in {"transfer-encoding", "connection"}}
        return Response(reply.content, reply.status_code, kept)
