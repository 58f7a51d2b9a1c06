"""Faults: what an emulator does instead of its work, for the next requests of one endpoint; and how often it was asked.

A fault is any ASGI application: a Starlette `Response` is a canned reply, a `RedirectResponse` a redirect; `hang` and
`drop` are the two ways of not replying.
"""

from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable
from typing import Any, cast

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

type Handler = Callable[[Request], Awaitable[ASGIApp]]


class Faults:
    """The planned faults and the request counts of one emulator, by endpoint name."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self._planned: defaultdict[str, deque[ASGIApp]] = defaultdict(deque)

    def plan(self, endpoint: str, *faults: ASGIApp) -> None:
        """The next requests of `endpoint` meet these faults, one each, in this order; later ones are served."""
        self._planned[endpoint].extend(faults)

    def clear(self) -> None:
        """Forgets the faults not met yet."""
        self._planned.clear()

    def guard(self, endpoint: str, handler: Handler) -> Handler:
        """`handler` with its requests counted as `endpoint`, and the planned faults in front of it."""

        async def guarded(request: Request) -> ASGIApp:
            self.calls[endpoint] += 1
            planned = self._planned[endpoint]
            return planned.popleft() if planned else await handler(request)

        return guarded


async def hang(_scope: Scope, receive: Receive, _send: Send) -> None:
    """Never replies; ends when the client gives up."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def drop(scope: Scope, receive: Receive, send: Send) -> None:
    """Cuts the connection without one byte of reply."""
    # ASGI has no word for this: uvicorn's own request object, behind `receive`, has the connection.
    cast("Any", receive).__self__.transport.abort()
    await hang(scope, receive, send)
