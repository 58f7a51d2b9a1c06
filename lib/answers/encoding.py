"""An answer as JSON, made once: as it is kept, sealed and sent, so that giving it again costs no encoding.

Where it has to be looked into (a table as CSV, a turn of a conversation) it is read back.
"""

import json
import zlib
from dataclasses import dataclass, field
from typing import Any

from lib.agents.answer import Answer
from lib.agents.markdown import Query, Table
from lib.agents.mcp import Block

MOST_BYTES = 8 * 2**20
"""More than any answer: bytes that unfold to more are none."""


@dataclass(frozen=True)
class Encoded:
    """An answer as JSON; `is_clarifying` where the agent asks back."""

    json: bytes = field(repr=False)
    is_clarifying: bool = False


def encode(answer: Answer) -> Encoded:
    """The answer as the API gives it."""
    # all that a dataclass has is its fields, so `vars` is `asdict` without the copy
    text = json.dumps(answer, separators=(",", ":"), allow_nan=False, default=vars)
    return Encoded(text.encode(), answer.is_clarifying)


def decode(data: bytes) -> Answer:
    """The answer in JSON that `encode` made. Raises `ValueError` where that is something else."""
    try:
        value: dict[str, Any] = json.loads(data)
        tables = tuple(Table(tuple(each["columns"]), tuple(map(tuple, each["rows"]))) for each in value["tables"])
        queries = tuple(Query(each["language"], each["text"]) for each in value["queries"])
        blocks = tuple(
            Block(each["kind"], each["content"], each["media_type"], each["title"]) for each in value["blocks"]
        )
        return Answer(value["markdown"], value["text"], tables, queries, blocks)
    except (LookupError, TypeError, RecursionError) as fault:
        raise ValueError("not an answer") from fault


def pack(data: bytes) -> bytes:
    """`data` for a row, where space counts."""
    return zlib.compress(data)


def unpack(packed: bytes) -> bytes:
    """What was packed. Raises `ValueError` where that is something else."""
    inflater = zlib.decompressobj()
    try:
        data = inflater.decompress(packed, MOST_BYTES)
    except zlib.error as fault:
        raise ValueError("not packed") from fault
    if not inflater.eof:
        raise ValueError("cut off, or too long")
    return data
