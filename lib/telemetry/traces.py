"""The trace that a piece of work belongs to: its id in every log line, and its parent as the W3C writes it."""

import re
from contextvars import ContextVar

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace id of the request under way, 32 hex digits."""

_TRACEPARENT = re.compile(  # https://www.w3.org/TR/trace-context, section 3.2: version 00 has nothing behind the flags
    "(?!ff|00.{54})[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}(?:-.*)?"
)


def read_traceparent(text: str) -> tuple[str, str]:
    """Trace id and span id in a `traceparent`; both empty where it breaks the standard."""
    parent = _TRACEPARENT.fullmatch(text)
    return (parent[1], parent[2]) if parent else ("", "")


def traceparent(trace: str, span: str) -> str:
    """The same as a text. That the trace is sampled is nothing that the gateway lets others decide, nor tells."""
    return f"00-{trace}-{span}-01"
