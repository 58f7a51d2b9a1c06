"""A row's values as the properties of a table entity, and back.

A property holds 64 KiB, an entity 1 MiB
(https://learn.microsoft.com/rest/api/storageservices/understanding-the-table-service-data-model). Longer bytes go
into several properties: `name`, `name_1`, `name_2`. A piece shorter than 64 KiB ends the value, so what an earlier,
longer value left behind it is never read.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

type Value = bool | int | float | str | bytes

PIECE_BYTES = 64 * 1024
ROW_BYTES = 1024 * 1024 - 4096
"""What the values of a row may take; the rest of its 1 MiB is left to its keys and the names of pieces."""
EXPIRES = "expires"

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,200}")
_PIECE = re.compile(r".+_[0-9]+")
_KEYS = {"PartitionKey", "RowKey", "Timestamp"}
_INT64 = range(-(2**63), 2**63)
_NUMBER_BYTES = 8


def to_properties(values: Mapping[str, Value], before: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The properties to write for `values`; an int is a pair of itself and its type.

    `before` is what the row held: pieces of a longer value in it are emptied. Raises `ValueError` for a name, a type
    or a size that Table Storage does not take, and where the row's end of life is not a whole number of seconds.
    """
    before = before or {}
    after = {**before, **values}
    if type(after.get(EXPIRES)) is not int:
        raise ValueError("every row expires: `expires` must be there, in whole seconds since the epoch")
    if _size(after) > ROW_BYTES:
        raise ValueError("the row is longer than 1 MiB")
    properties: dict[str, Any] = {}
    for name, value in values.items():
        if not _NAME.fullmatch(name) or name in _KEYS:
            raise ValueError(f"{name!r} cannot name a value")
        if isinstance(value, bytes):
            properties |= _pieces(name, value, before.get(name))
        else:
            properties[name] = _single(name, value)
    return properties


def to_values(entity: Mapping[str, Any]) -> dict[str, Any]:
    """The values of an entity that was read, keys left out and pieces put together."""
    plain = {name: value[0] if isinstance(value, tuple) else value for name, value in entity.items()}
    return {
        name: b"".join(_joined(plain, name)) if isinstance(value, bytes) else value
        for name, value in plain.items()
        if name not in _KEYS and not (isinstance(value, bytes) and _PIECE.fullmatch(name))
    }


def _single(name: str, value: bool | float | str) -> Any:
    if isinstance(value, str) and len(value.encode("utf-16-le")) > PIECE_BYTES:
        raise ValueError(f"the text {name!r} is longer than 64 KiB")
    if isinstance(value, bool) or not isinstance(value, int):
        return value
    if value not in _INT64:
        raise ValueError(f"the number {name!r} has more than 64 bits")
    return value, "Edm.Int64"  # the SDK's own choice is Int32, which ends in the year 2038


def _pieces(name: str, value: bytes, before: Any) -> dict[str, bytes]:
    if _PIECE.fullmatch(name):
        raise ValueError(f"{name!r} ends like the piece of a longer value")
    longest = max(len(value), len(before) if isinstance(before, bytes) else 0)
    count = longest // PIECE_BYTES + 1
    return {_piece(name, index): value[index * PIECE_BYTES :][:PIECE_BYTES] for index in range(count)}


def _joined(properties: Mapping[str, Any], name: str) -> Iterator[bytes]:
    index = 0
    while True:
        piece = properties.get(_piece(name, index), b"")
        yield piece
        if len(piece) < PIECE_BYTES:
            return
        index += 1


def _piece(name: str, index: int) -> str:
    return f"{name}_{index}" if index else name


def _size(values: Mapping[str, Any]) -> int:
    """What the values count against the cap, as the data model's page reckons it; without keys and pieces."""
    return sum(8 + 2 * len(name) + _length(value) for name, value in values.items())


def _length(value: Any) -> int:
    if isinstance(value, bytes):
        return len(value)
    return 2 * len(value) if isinstance(value, str) else _NUMBER_BYTES
