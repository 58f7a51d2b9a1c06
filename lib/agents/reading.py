"""Reading the reply to one message as its parts come in, within bounds, while others have their turn."""

from collections.abc import Iterator, Mapping
from typing import Any

from lib.agents import mcp
from lib.agents.wire import STEP, Body, EventStream
from lib.errors import AgentFailed

PART_COST = 256
"""Bytes that a part of a body counts for at least: many small ones may have come at once."""


class ReplyReader:
    """Reads the reply to one call from its status, its headers (names in lower case) and its body in parts."""

    def __init__(self, call: mcp.Call, status: int, headers: Mapping[str, str]) -> None:
        self._call = call
        self._status = status
        self._headers = headers
        self._parts: list[bytes] = []
        self._messages: list[Any] = []
        self._taken = 0
        media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
        self._events = EventStream() if media_type == "text/event-stream" else None
        try:
            self._body = Body(headers.get("content-encoding", "").strip().lower())
        except ValueError as fault:
            raise AgentFailed from fault

    @property
    def is_complete(self) -> bool:
        """Whether the answer is there and the rest need not be read."""
        return bool(self._messages)

    def feed(self, part: bytes) -> Iterator[None]:
        """Takes in a part of the body; pauses after each `STEP`, so that its reader may let others have their turn."""
        try:
            for piece in self._body.feed(part):
                self._take(piece)
                if self.is_complete:
                    return
                self._taken += max(len(piece), PART_COST)
                if self._taken >= STEP:
                    self._taken = 0
                    yield
        except ValueError as fault:
            raise AgentFailed from fault

    def _take(self, piece: bytes) -> None:
        if self._events is None:
            self._parts.append(piece)
            return
        for event in self._events.feed(piece):
            self._messages += [message for message in mcp.messages_in(event) if mcp.answers(message, self._call.id)]

    def reply(self) -> mcp.Reply:
        """The reply as far as it was read."""
        messages = self._messages if self._events else mcp.messages_in(b"".join(self._parts))
        return mcp.Reply(self._call.id, self._status, self._headers, tuple(messages))
