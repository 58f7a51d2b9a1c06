"""Replies of a data agent as bytes: recorded ones from tests/samples/mcp, and ones made up on the spot."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lib.agents.mcp import Call, Reply
from lib.agents.reading import ReplyReader

SAMPLES = Path(__file__).parents[2] / "samples" / "mcp"

type Wire = tuple[int, dict[str, str], bytes]
"""Status, headers with names in lower case, body."""


def sample(name: str) -> Wire:
    """The recorded reply called `name`."""
    head, _, body = (SAMPLES / f"{name}.http").read_bytes().partition(b"\r\n\r\n")
    status, *lines = head.decode("ascii").split("\r\n")
    pairs = (line.split(": ", 1) for line in lines)
    return int(status.split()[1]), {key.lower(): value for key, value in pairs}, body


def recorded(name: str) -> Callable[[str], Wire]:
    """The same as the reply to a call of any id."""

    def reply(call_id: str) -> Wire:
        status, headers, body = sample(name)
        known = {name: text for name, text in headers.items() if name != "content-length"}
        return status, known, re.sub(rb'"id":"u\d"', b'"id":' + json.dumps(call_id).encode(), body)

    return reply


def refused(code: int, message: str) -> Callable[[str], Wire]:
    """A JSON-RPC error as the reply to a call of any id."""
    return lambda call_id: in_json(refusal(call_id, code, message))


def answer(call_id: str, result: Any) -> dict[str, Any]:
    """A JSON-RPC response."""
    return {"jsonrpc": "2.0", "id": call_id, "result": result}


def refusal(call_id: str | None, code: int, message: str) -> dict[str, Any]:
    """A JSON-RPC error."""
    return {"jsonrpc": "2.0", "id": call_id, "error": {"code": code, "message": message}}


def in_json(value: Any, status: int = 200, **headers: str) -> Wire:
    """A reply with `value` as its JSON body; an underscore in a header's name stands for a hyphen."""
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return status, {"content-type": "application/json", **named}, json.dumps(value).encode()


def in_events(*values: Any, line_end: str = "\n") -> Wire:
    """A reply with one event for each of `values`."""
    events = (f"event: message{line_end}data: {json.dumps(value)}{line_end}{line_end}" for value in values)
    return 200, {"content-type": "text/event-stream"}, "".join(events).encode()


def read(wire: Wire, call_id: str = "u3", size: int = 7) -> Reply:
    """What the reader makes of a reply to the call `call_id`, whose body comes `size` bytes at a time."""
    status, headers, body = wire
    reader = ReplyReader(Call(call_id, {}, b""), status, headers)
    for start in range(0, len(body), size):
        for _ in reader.feed(body[start : start + size]):
            pass
        if reader.is_complete:
            break
    return reader.reply()
