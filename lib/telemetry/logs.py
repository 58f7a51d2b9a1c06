"""Logs: one JSON object per line, tied together by the trace id of the request they belong to.

A line holds fixed texts, codes, counts and durations. Exceptions are told by their types and the places they passed,
never by their texts: a library's text may quote a token or a question. So of what a library logs only the words of its
own code are told: a template with its numbers, every other argument by its type; and of a text that was put together
before it came here the beginning, up to where it quotes something ("Task exception was never retrieved"). That still
says what happened and where to look; the exception's type and places come with it. Below lies a net: every text, ours
or a library's, is cut and rid of whatever looks like a credential.
"""

import json
import logging
import re
import traceback
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from lib.telemetry.traces import trace_id

CHATTY = ("azure", "azure_functions_runtime", "msal", "httpx", "httpcore", "aiohttp", "urllib3", "asyncio")
MUTE = ("opentelemetry", "azure.monitor")
"""They tell of every export that fails; `lib.telemetry.export` tells once."""
LONGEST_TEXT = 2_000
KNOWN_NAMES = 512
MOST_ITEMS = 20
"""Of a list; and of exceptions behind one another."""

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_LARGEST_NUMBER = 2**63
_REMOVED = "[removed]"
_BEGINS = r"(?:(?<!\w)|(?<=%[0-9a-f]{2}))"  # a parameter of an address or a form, or a member of an object
_VALUE = r"(?:\\*\"(?:[^\"\\]|\\.)*|\\*'[^']*'?[^\s&\"]*|[^\s&\"]+)"  # a quoted one may hold blanks
_CREDENTIAL = re.compile(
    r"eyJ[\w.-]{16,}"  # a JWT, wherever it stands
    r"|\b[01]\.A[\w.-]{20,}"  # a code or a refresh token of Entra's
    r"|PRIVATE KEY-----[\w\s+/=]*"
    r"|\b(?:Authorization|Cookie)\\*['\"]?\s*[:=][^\r\n]*"
    r"|\bBearer\s+(?!tokens?\b)[^\s\",]+"
    r"|\bBasic\s+(?!auth)[\w+/=.~-]{8,}"
    rf"|{_BEGINS}(?:\w{{0,40}}(?:token|assertion|secret|password|passwd|pwd|(?:account|access|api|secret)[_-]?key)"
    rf"|code_verifier|__Host-[\w-]{{1,40}})\\*['\"]?\s*(?:[:=]|%3[ad])\s*{_VALUE}"
    rf"|{_BEGINS}(?:code|state|sid|sig|nonce|session_state|\w{{0,40}}hint)"  # usual words, so more has to tell
    rf"(?:(?:=|%3d|\\*['\"]\s*:\s*){_VALUE}|\s*[:=]\s*[^\s&\"]{{16,}})",
    re.IGNORECASE | re.ASCII,
)
_HARMLESS = re.compile(r"[\w.-]{0,18}|[0-9a-f]{32}|(?:(?!b)[a-z]{1,18}(?: |\Z)){2,9}", re.ASCII)
"""Too short for any of those, an id, or short words: so is most of what is told, and it needs no net."""
_QUOTING = re.compile(r":\s|[\r\n'\"`(\[{<=]")


class JsonFormatter(logging.Formatter):
    """A log record as one JSON object on one line. Never raises: what cannot be told is told by its type."""

    def format(self, record: logging.LogRecord) -> str:
        """The line. Facts given by `extra` become members of the object, except under a name of ours."""
        is_ours = record.name.partition(".")[0] == "lib"
        fields: dict[str, Any] = {
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record, is_ours=is_ours),
        }
        if current := trace_id.get():
            fields["trace_id"] = current
        if record.exc_info and record.exc_info[1]:
            fields["exception"] = describe(record.exc_info[1])
        told = _told if is_ours else _typed
        for name, value in record.__dict__.items():
            if name not in _STANDARD:
                fields.setdefault(_name(name), told(value))
        return json.dumps(fields)


def describe(fault: BaseException) -> list[str]:
    """The exceptions behind `fault`, outermost first: type and the last places passed, without any text of theirs."""
    told: list[str] = []
    current: BaseException | None = fault
    while current is not None and len(told) < MOST_ITEMS:  # an exception may be its own cause
        frames = traceback.extract_tb(current.__traceback__, limit=-6)
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
    for name in MUTE:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _message(record: logging.LogRecord, *, is_ours: bool) -> str:
    """The record's text; without its arguments where they do not fit it, and no text of an object that is none."""
    if not isinstance(record.msg, str):
        return type(record.msg).__name__
    try:
        return _clean(record.getMessage() if is_ours else _own_words(record.msg, record.args))
    except Exception:  # noqa: BLE001  # an argument's own code runs here, and logging would tell of it on stderr
        return _clean(record.msg)


def _own_words(text: str, args: tuple[object, ...] | Mapping[str, object] | None) -> str:
    """What a library's code says in `text`, and nothing of what it quotes."""
    if not args:
        return _QUOTING.split(text, maxsplit=1)[0].strip()
    if isinstance(args, Mapping):
        return text % {name: _typed(value) for name, value in args.items()}
    return text % tuple(map(_typed, args))


@lru_cache(KNOWN_NAMES)
def _name(name: object) -> str:
    """A fact's name, which is part of the code."""
    return str(_plain(name))


def _told(value: Any) -> Any:
    """`value` as JSON takes it: texts, numbers, and lists of them; anything else is told by its type."""
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value[:MOST_ITEMS]]
    return _plain(value)


def _typed(value: Any) -> Any:
    """A number as it is; anything else by its type, texts and lists too."""
    return type(value).__name__ if isinstance(value, str) else _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return _clean(value)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int | float) and abs(value) < _LARGEST_NUMBER:  # no NaN is
        return value
    return type(value).__name__


def _clean(text: str) -> str:
    """`text` without credentials and lone surrogates, at its usual length."""
    if _HARMLESS.fullmatch(text):
        return text
    usual = text[: 2 * LONGEST_TEXT].encode(errors="replace").decode()
    return _CREDENTIAL.sub(_REMOVED, usual)[:LONGEST_TEXT]
