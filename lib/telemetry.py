"""Logs: one JSON object per line, tied together by the trace id of the request they belong to.

A line holds fixed texts, codes, counts and durations. Exceptions are told by their types and the places they passed,
never by their texts: a library's text may quote a token or a question.
"""

import json
import logging
import re
import traceback
from contextvars import ContextVar
from typing import Any

trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace id of the request under way, 32 hex digits."""

CHATTY = ("azure", "azure_functions_runtime", "msal", "httpx", "httpcore", "aiohttp", "urllib3", "asyncio")
_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_TOKEN = re.compile(r"eyJ[A-Za-z0-9_.-]{16,}")
_LONGEST_MESSAGE = 2_000


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object on one line."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. Facts given by `extra` become members of the object."""
        fields: dict[str, Any] = {
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _TOKEN.sub("[token]", record.getMessage())[:_LONGEST_MESSAGE],
        }
        if current := trace_id.get():
            fields["trace_id"] = current
        fields |= {name: value for name, value in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[1]:
            fields["exception"] = describe(record.exc_info[1])
        return json.dumps(fields, default=lambda value: type(value).__name__)


def describe(fault: BaseException) -> list[str]:
    """The exceptions behind `fault`, outermost first: type and the last places passed, without any text of theirs."""
    told: list[str] = []
    current: BaseException | None = fault
    while current is not None:
        frames = traceback.extract_tb(current.__traceback__)[-6:]
        places = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames))
        told.append(f"{type(current).__module__}.{type(current).__qualname__} at {places}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return told


def configure_logging(level: str) -> None:
    """Sets levels and gives every handler of the host the JSON form. May be called again."""
    root = logging.getLogger()
    for handler in root.handlers:
        handler.setFormatter(JsonFormatter())
    logging.getLogger("lib").setLevel(level)
    for name in CHATTY:  # they log addresses and headers below WARNING
        logging.getLogger(name).setLevel(logging.WARNING)
