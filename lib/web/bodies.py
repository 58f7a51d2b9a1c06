"""JSON bodies, read strictly and cheaply: everything doubtful is refused before anything is done with it."""

from typing import Any

from lib.errors import InvalidRequest, UnsupportedMediaType
from lib.strict_json import parse_object
from lib.web.request import Request

JSON = "application/json"
MAX_DEPTH = 8

_QUOTE, _BACKSLASH = b'"\\'


def json_object(request: Request) -> dict[str, Any]:
    """The body of `request`, a JSON object. Raises `UnsupportedMediaType` or `InvalidRequest`."""
    charset = request.header("content-type").partition(";")[2].strip().lower()
    if request.media_type != JSON or charset not in {"", "charset=utf-8", 'charset="utf-8"'}:
        raise UnsupportedMediaType
    if request.header("content-encoding").lower() not in {"", "identity"}:
        raise UnsupportedMediaType
    _refuse_depth(request.body)
    try:
        return parse_object(request.body)
    except ValueError as fault:
        raise InvalidRequest("The body must be one JSON object in UTF-8, with each name once.") from fault


def _refuse_depth(body: bytes) -> None:
    """Refuses brackets that nest too deep outside of strings; counted without recursion, before anything is read."""
    if body.count(b"[") + body.count(b"{") <= MAX_DEPTH:
        return
    depth = 0
    in_string = escaped = False
    for byte in body:
        if in_string:
            in_string = escaped or byte != _QUOTE
            escaped = byte == _BACKSLASH and not escaped
        elif byte == _QUOTE:
            in_string = True
        elif byte in b"[{":
            depth += 1
        elif byte in b"]}":
            depth -= 1
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"The body must not nest deeper than {MAX_DEPTH} levels.")
