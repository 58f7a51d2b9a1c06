"""Somebody with a session who asks, through the boundary of the gateway."""

import json
from collections.abc import Mapping
from typing import Any

from lib.endpoints import operations, query
from lib.gateway import Gateway
from lib.identity.principal import Principal
from lib.web.request import Request
from lib.web.response import Response
from lib.web.serve import Handler, serve
from tests.lib.whole import signed_in

QUERY: Mapping[str, Handler[Gateway]] = {"POST": query.ask}
ONE: Mapping[str, Handler[Gateway]] = {"GET": operations.show, "DELETE": operations.cancel}
EVENTS: Mapping[str, Handler[Gateway]] = {"GET": operations.events}


class Caller:
    """A page of ours in which somebody new has signed in."""

    def __init__(self, gateway: Gateway, cookie: str, principal: Principal) -> None:
        self.gateway = gateway
        self.principal = principal
        origin = gateway.settings.public_base_url
        self._headers = {"x-csrf": "1", "origin": origin, "cookie": f"__Host-session={cookie}"}

    async def ask(
        self, question: str = "total sales", headers: Mapping[str, str] | None = None, **body: Any
    ) -> Response:
        """One question; of the sales agent, where nothing else is said."""
        value = {"question": question, "agent": "sales", **body}
        own = {"content-type": "application/json", **(headers or {})}
        return await self._call("POST", QUERY, own, body=json.dumps(value).encode())

    async def look(self, operation_id: str, **headers: str) -> Response:
        """One look at an operation."""
        return await self._call("GET", ONE, headers, {"id": operation_id})

    async def give_up(self, operation_id: str) -> Response:
        """Gives an operation up."""
        return await self._call("DELETE", ONE, {}, {"id": operation_id})

    async def listen(self, operation_id: str, last: str = "") -> Response:
        """One connection of an `EventSource`."""
        headers = {"last-event-id": last} if last else {}
        return await self._call("GET", EVENTS, headers, {"id": operation_id})

    async def _call(
        self,
        method: str,
        handlers: Mapping[str, Handler[Gateway]],
        headers: Mapping[str, str],
        params: Mapping[str, str] | None = None,
        body: bytes = b"",
    ) -> Response:
        request = Request(method, self._headers | dict(headers), params=params or {}, body=body, trace_id="0" * 32)
        return await serve(self.gateway, request, "query", handlers, self.gateway.site)


async def caller(gateway: Gateway) -> Caller:
    """Somebody new."""
    return Caller(gateway, *await signed_in(gateway))


def read(reply: Response, status: int = 200) -> Any:
    """The JSON of a reply with that status."""
    assert reply.status == status, reply.body
    return json.loads(reply.body)


def header(reply: Response, name: str) -> str | None:
    """A header of a reply."""
    return dict(reply.headers).get(name)
