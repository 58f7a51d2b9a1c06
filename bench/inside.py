"""The gateway in this process alone, on Microsoft's runtime, without a host or a socket before it.

`python -m bench.inside` takes what it is to use as JSON on its input, and tells what it has measured as the last line
of its output. Log lines are formed as they are in Azure, and written to nowhere.
"""

import asyncio
import json
import logging
import os
import sys
import uuid
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from local import runtime
from local.runtime import Function, Invocation
from local.wire import HostResponse, HttpRequest

APP = Path(__file__).parent / "app"
URL = "http://localhost/api"
JSON: Mapping[str, str] = {
    "content-type": "application/json",
    "accept": "application/json",
    "host": "localhost",
    "user-agent": "bench",
}


class Inside:
    """The functions by name, and requests for them."""

    def __init__(self, functions: list[Function]) -> None:
        self._functions = {function.name: function for function in functions}

    async def call(self, name: str, request: HttpRequest) -> HostResponse:
        """What the function replies."""
        parent = f"00-{uuid.uuid4().hex}-{uuid.uuid4().hex[:16]}-01"
        return await runtime.invoke_http(self._functions[name], request, Invocation(str(uuid.uuid4()), parent))

    async def expect(self, status: int, name: str, request: HttpRequest) -> HostResponse:
        """The same, where it has to have that status."""
        reply = await self.call(name, request)
        if reply.status != status:
            raise RuntimeError(f"{name} replied {reply.status} and not {status}: {reply.body[:500]!r}")
        return reply


def load() -> Inside:
    """The gateway's app with the empty function beside."""
    logging.basicConfig(filename=os.devnull, level="INFO", format="%(message)s")
    return Inside(runtime.load(APP))


def get(path: str, headers: Mapping[str, str]) -> HttpRequest:
    """A request without a body."""
    return HttpRequest("GET", URL + path, {**JSON, **headers}, {}, {}, b"")


def post(path: str, headers: Mapping[str, str], body: Any = None) -> HttpRequest:
    """A request with `body` as JSON."""
    content = json.dumps(body).encode() if body is not None else b""
    return HttpRequest("POST", URL + path, {**JSON, **headers}, {}, {}, content)


def ask(headers: Mapping[str, str], question: str, **fields: str) -> HttpRequest:
    """A question."""
    return post("/query", headers, {"question": question, **fields})


def bearer(token: str) -> dict[str, str]:
    """The header of who brings a token."""
    return {"authorization": f"Bearer {token}"}


def page(cookie: str) -> dict[str, str]:
    """What a page of the gateway's own sends in a session."""
    origin = os.environ["PUBLIC_BASE_URL"]
    return {"cookie": cookie, "x-csrf": "1", "origin": origin, "sec-fetch-site": "same-origin"}


async def session_of(gateway: Inside, token: str) -> str:
    """The cookie of a new session of who brings a token."""
    reply = await gateway.expect(201, "login_begin", post("/login", bearer(token)))
    return next(value for name, value in reply.headers if name == "Set-Cookie").partition(";")[0]


def main() -> int:
    """Measures what the argument names."""
    given, gateway = json.load(sys.stdin), load()
    measure = import_module(f"bench.{sys.argv[1]}").measure  # which stands on this module
    print(json.dumps(asyncio.run(measure(gateway, given))))  # this is how it tells
    return 0


if __name__ == "__main__":
    sys.exit(main())
