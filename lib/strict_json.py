"""JSON of which two readers cannot make two things (RFC 8259 sections 4, 6 and 8.1; RFC 8725 section 3.12).

Python's own reader takes duplicate names, NaN, numbers past all bounds, lone surrogates, UTF-16 and any depth.
"""

import json
from typing import Any, NoReturn


def parse_object(raw: bytes) -> dict[str, Any]:
    """The JSON object in `raw`: UTF-8, each name once, numbers finite. Raises ValueError for anything else."""
    try:
        text = raw.decode("utf-8")
        value = _DECODER.decode(text)
        if "\\u" in text:  # a lone surrogate comes by an escape alone, and is text that cannot be encoded
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise ValueError("nests too deep") from None
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004  # readers of bad input expect one kind of error
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name twice")
    return value


def _refuse_constant(_: str) -> NoReturn:
    raise ValueError("not a number of JSON")


def _finite(text: str) -> float:
    number = float(text)
    if number in {float("inf"), float("-inf")}:
        raise ValueError("a number past all bounds")
    return number


_DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_refuse_constant, parse_float=_finite)
