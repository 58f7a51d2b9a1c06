"""Bytes as they come off the wire, taken apart within bounds: compressed bodies, event streams, JSON.

Whatever a peer sends, these raise `ValueError` and nothing else.
"""

import json
import zlib
from collections.abc import Iterator
from typing import Any, NoReturn

MAX_BODY = 4 * 2**20
STEP = 64 * 1024
"""So much of a body is unfolded and taken apart at a time: between two steps others get their turn."""
MAX_EVENTS = 1_000
MAX_LINES = 10_000
MAX_VALUES = 100_000
"""In one JSON text. Reading it cannot be interrupted, and takes as long as there are values to make."""

_BOM = b"\xef\xbb\xbf"


class Body:
    """A body as its parts come in, decompressed; `MAX_BODY` counts decompressed bytes, so a bomb never unfolds."""

    def __init__(self, encoding: str) -> None:
        if encoding not in {"", "identity", "gzip"}:
            raise ValueError("a content encoding nobody asked for")
        self._inflater = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS) if encoding == "gzip" else None
        self._left = MAX_BODY

    def feed(self, part: bytes) -> Iterator[bytes]:
        """What `part` stands for, in pieces of at most `STEP` bytes."""
        piece = b""
        while part or len(piece) == STEP:  # then more may wait within the inflater
            piece, part = self._unfold(part)
            self._left -= len(piece)
            if self._left < 0:
                raise ValueError("too long")
            yield piece

    def _unfold(self, part: bytes) -> tuple[bytes, bytes]:
        """The first piece of what `part` stands for, and the rest of `part`; what comes behind the end is nothing."""
        if self._inflater is None:
            return part[:STEP], part[STEP:]
        if self._inflater.eof:
            return b"", b""
        try:
            return self._inflater.decompress(part, STEP), self._inflater.unconsumed_tail
        except zlib.error as fault:
            raise ValueError("not gzip") from fault


class EventStream:
    """Server-sent events, from bytes in any portions; `ValueError` once they are more than an answer has.

    Lines end in LF, CRLF or CR; comments and fields other than `data` carry nothing for us
    (https://html.spec.whatwg.org/multipage/server-sent-events.html#parsing-an-event-stream).
    """

    def __init__(self) -> None:
        self._line: list[bytes] = []
        self._data: list[bytes] = []
        self._begun = False
        self._after_cr = False
        self._lines = 0
        self._events = 0

    def feed(self, part: bytes) -> list[bytes]:
        """The data of each event that `part` completes."""
        if self._after_cr and part:
            part = part.removeprefix(b"\n")
            self._after_cr = False
        events = []
        for piece in part.splitlines(keepends=True):
            self._line.append(piece)
            if piece.endswith((b"\r", b"\n")):
                self._after_cr = piece.endswith(b"\r")
                events += self._take(b"".join(self._line).rstrip(b"\r\n"))
                self._line.clear()
        return events

    def _take(self, line: bytes) -> list[bytes]:
        """Takes in one line; an empty one completes an event."""
        self._lines += 1
        self._events += not line
        if self._lines > MAX_LINES or self._events > MAX_EVENTS:
            raise ValueError("too many events")
        if not self._begun:
            line, self._begun = line.removeprefix(_BOM), True
        if line:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._data.append(value.removeprefix(b" "))
            return []
        events = [b"\n".join(self._data)] if self._data else []
        self._data.clear()
        return events


def read_json(data: bytes) -> Any:
    """JSON in UTF-8. NaN and Infinity are refused, as is what nests too deep, or holds too many values or digits."""
    if sum(data.count(mark) for mark in (b",", b"[", b"{")) > MAX_VALUES:
        raise ValueError("too many values")
    try:
        return json.loads(data.decode("utf-8-sig"), parse_constant=_refuse)
    except RecursionError as fault:
        raise ValueError("nested too deep") from fault


def write_json(value: Any) -> str:
    """`value` as compact JSON with sorted keys, in ASCII."""
    try:
        return json.dumps(value, separators=(",", ":"), sort_keys=True)
    except RecursionError as fault:
        raise ValueError("nested too deep") from fault


def at(value: Any, *path: str) -> Any:
    """What lies at `path` in objects within objects; None where nothing does."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def text_of(value: Any) -> str:
    """`value`, which must be a text; a lone surrogate, which no encoding can carry, becomes a question mark."""
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004  # one kind of failure for whatever comes off the wire
    return value.encode("utf-8", "replace").decode("utf-8")


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")
