"""JSON bodies, read strictly and cheaply: everything doubtful is refused before anything is done with it.

Python's own reader takes duplicate keys, NaN, UTF-16 and any depth; none of them is JSON that two readers agree on
(RFC 8259 sections 4, 6 and 8.1).
"""

import json
from typing import Any, NoReturn

from lib.errors import InvalidRequest, UnsupportedMediaType
from lib.web.request import Request

MAX_DEPTH = 8


def json_object(request: Request) -> dict[str, Any]:
    """The body of `request`, a JSON object. Raises `UnsupportedMediaType` or `InvalidRequest`."""
    media_type, _, parameters = request.header("content-type").partition(";")
    charset = parameters.strip().lower()
    if media_type.strip().lower() != "application/json" or charset not in {"", "charset=utf-8", 'charset="utf-8"'}:
        raise UnsupportedMediaType
    if request.header("content-encoding").lower() not in {"", "identity"}:
        raise UnsupportedMediaType
    value = _parse(request.body)
    if not isinstance(value, dict):
        raise InvalidRequest("The body must be a JSON object.")
    return value


def _parse(body: bytes) -> Any:
    try:
        text = body.decode("utf-8")
        _refuse_depth(text)
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate is text that cannot be encoded
    except (ValueError, RecursionError) as fault:
        raise InvalidRequest("The body must be valid JSON in UTF-8.") from fault
    return value


def _refuse_depth(text: str) -> None:
    """Refuses brackets that nest too deep outside of strings; counted without recursion."""
    depth = 0
    in_string = escaped = False
    for character in text:
        if in_string:
            in_string = escaped or character != '"'
            escaped = character == "\\" and not escaped
        elif character == '"':
            in_string = True
        elif character in "[{":
            depth += 1
        elif character in "]}":
            depth -= 1
        if depth > MAX_DEPTH:
            raise InvalidRequest(f"The body must not nest deeper than {MAX_DEPTH} levels.")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise InvalidRequest("The body names a field twice.")
    return value


def _refuse_constant(_: str) -> NoReturn:
    raise InvalidRequest("The body must not hold NaN or Infinity.")


def _finite(text: str) -> float:
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        _refuse_constant(text)
    return number
