"""The emulator as one ASGI application."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial

from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local.fabric import front_door, mcp_server
from local.fabric.agents import Fabric


def build(
    fabric: Fabric,
    *,
    claims_of: front_door.ClaimsOf,
    delay_seconds: float = 1.5,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    new_id: Callable[[], str] = lambda: str(uuid.uuid4()),
) -> Starlette:
    """The application; an agent thinks over each question for `delay_seconds`, which `sleep` waits for."""
    server = mcp_server.build(fabric, think=partial(sleep, delay_seconds))
    whole = StreamableHTTPSessionManager(server, json_response=True, stateless=True)
    streamed = StreamableHTTPSessionManager(server, stateless=True)
    door = front_door.FrontDoor(fabric, claims_of, whole=whole.handle_request, streamed=streamed.handle_request)

    @asynccontextmanager
    async def lifespan(_app: Starlette) -> AsyncIterator[None]:
        async with whole.run(), streamed.run():
            yield
        await fabric.tasks.close()

    app = Starlette(
        routes=[Route(front_door.PATH, door.answer, methods=["POST"])],
        middleware=[Middleware(_RequestIds, new_id=new_id)],
        exception_handlers={404: _unknown_path},
        lifespan=lifespan,
    )
    app.router.redirect_slashes = False
    return app


async def _unknown_path(request: Request, _error: Exception) -> JSONResponse:
    return front_door.NOT_FOUND.reply(request)


@dataclass(frozen=True)
class _RequestIds:
    """Gives each request an id, and tells it in the headers of the response as Fabric does."""

    app: ASGIApp
    new_id: Callable[[], str]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = scope.setdefault("state", {})["request_id"] = self.new_id()

        async def stamp(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update({"x-ms-request-id": request_id, "requestid": request_id})
            await send(message)

        await self.app(scope, receive, stamp)
