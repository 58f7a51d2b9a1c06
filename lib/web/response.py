"""Replies: values turned into bytes, with the headers each kind needs."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

type HeaderPairs = tuple[tuple[str, str], ...]

_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)


@dataclass(frozen=True)
class Response:
    """One reply. `headers` are pairs, since `Set-Cookie` may come more than once."""

    status: int
    body: bytes = field(default=b"", repr=False)
    headers: HeaderPairs = field(default=(), repr=False)

    def with_headers(self, pairs: Iterable[tuple[str, str]]) -> "Response":
        """The same reply with more headers behind those it has."""
        return Response(self.status, self.body, (*self.headers, *pairs))


def compact_json(value: Any) -> bytes:
    """`value` as JSON without white space. ASCII only, so that no reader takes a line separator for an end of line."""
    return _ENCODER.encode(value).encode()


def json_response(
    value: Any, status: int = 200, *, headers: HeaderPairs = (), media_type: str = "application/json"
) -> Response:
    """`value` as compact JSON."""
    return Response(status, compact_json(value), (("Content-Type", media_type), *headers))


def redirect(location: str, status: int = 302, *, headers: HeaderPairs = ()) -> Response:
    """A redirect to `location`, which the caller has already checked."""
    return Response(status, b"", (("Location", location), *headers))


def empty(status: int = 204, *, headers: HeaderPairs = ()) -> Response:
    """A reply without a body."""
    return Response(status, b"", headers)


def problem_response(type_uri: str, status: int, title: str, detail: str, members: Mapping[str, Any]) -> Response:
    """A problem as RFC 9457 wants it, with the extension `members`."""
    value = {"type": type_uri, "title": title, "status": status, "detail": detail, **members}
    return json_response(value, status, media_type="application/problem+json")
