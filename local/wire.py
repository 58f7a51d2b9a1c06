"""HTTP as the host hands it to a function, from and to ASGI messages.

The host's conversion loses things, and so does this one (`GrpcMessageConversionExtensions` in azure-functions-host):
repeated headers and query keys become one value joined by ",", cookies by "; ", as front ends do; the case of a query
key is the first one's; an empty query value is dropped; a body without `Content-Length` (chunked) is not passed on.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, urlsplit

from starlette.types import Receive, Scope, Send

_WITHOUT_BODY = (204, 304)


class BodyTooLarge(Exception):
    """The request's body is past the limit."""


class ClientGone(Exception):
    """The client left before its request was complete."""


@dataclass(frozen=True)
class HttpRequest:
    """A request as a function gets it: one value for each header (lower case), query key and route parameter."""

    method: str
    url: str = field(repr=False)
    headers: Mapping[str, str] = field(repr=False)
    query: Mapping[str, str] = field(repr=False)
    params: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True)
class HostResponse:
    """A response as it goes on the wire; only `Set-Cookie` repeats."""

    status: int
    headers: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    body: bytes = field(default=b"", repr=False)


def headers_of(scope: Scope) -> list[tuple[str, str]]:
    """Return the headers of an ASGI scope as text; values are UTF-8, as the host's server reads them."""
    return [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in scope["headers"]]


def url_of(scope: Scope, host: str) -> str:
    """Return the absolute URL of an ASGI scope, with the authority that the client asked for."""
    query = f"?{scope['query_string'].decode('latin-1')}" if scope["query_string"] else ""
    return f"{scope['scheme']}://{host}{scope['raw_path'].decode('latin-1')}{query}"


async def read_body(receive: Receive, content_length: str | None, limit: int) -> bytes:
    """Return the body that a function sees. Raises `BodyTooLarge` past `limit` bytes, without reading on."""
    if int(content_length or 0) > limit:
        raise BodyTooLarge
    body = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > limit:
            raise BodyTooLarge
    return b"" if content_length is None else bytes(body)


async def send_response(send: Send, response: HostResponse, *, with_body: bool) -> None:
    """Send a response whole; `with_body=False` is the answer to HEAD. The length is always the body's own."""
    headers = [(name.lower(), value) for name, value in response.headers if name.lower() != "content-length"]
    if response.status not in _WITHOUT_BODY:
        headers.append(("content-length", str(len(response.body))))
    encoded = [(name.encode("ascii"), value.encode("ascii")) for name, value in headers]
    await send({"type": "http.response.start", "status": response.status, "headers": encoded})
    await send({"type": "http.response.body", "body": response.body if with_body else b""})


def join_query(url: str) -> dict[str, str]:
    """Return the query of a URL with one value for each key."""
    spelling: dict[str, str] = {}
    pairs = parse_qsl(urlsplit(url).query, keep_blank_values=True)
    joined = _joined((spelling.setdefault(name.lower(), name), value) for name, value in pairs)
    return {name: value for name, value in joined.items() if value}


def join_headers(headers: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Return headers with one value for each lower-case name."""
    joined = _joined((name.lower(), value) for name, value in headers)
    cookies = [value for name, value in headers if name.lower() == "cookie"]
    return joined | {"cookie": "; ".join(cookies)} if cookies else joined


def _joined(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    joined: dict[str, str] = {}
    for name, value in pairs:
        joined[name] = f"{joined[name]},{value}" if name in joined else value
    return joined
