"""What a caller prefers about waiting: the `Prefer` header (RFC 7240), as far as it is about that.

`respond-async` asks for a reply at once, `wait=N` for one within so many seconds. Whatever else is preferred, and
whatever cannot be read, is passed over: a preference is never an error (section 2).
"""

import re
from dataclasses import dataclass

MAX_LENGTH = 1024

_PART = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*+")++')  # commas in a quoted value separate nothing
_WAIT = re.compile(r'wait\s*=\s*(?:([0-9]+)|"([0-9]+)")')


@dataclass(frozen=True)
class Preference:
    """How long to wait for an answer, in seconds; 0 is not at all."""

    wait: int
    applied: str
    """What `Preference-Applied` tells."""


def preference(header: str, *, longest: int) -> Preference | None:
    """What is preferred; None where nothing is said about waiting. Nobody waits for more than `longest` seconds.

    Of a preference that is stated twice the first one counts. `wait` alone means an asynchronous reply as well: it
    says how long until then.
    """
    stated: dict[str, str] = {}
    for part in _PART.findall(header[:MAX_LENGTH]):
        text = part.partition(";")[0].strip().lower()
        stated.setdefault(text.partition("=")[0].strip(), text)
    wait = _WAIT.fullmatch(stated.get("wait", ""))
    if wait:
        seconds = min(int(wait[1] or wait[2]), longest)
        applied = "respond-async, wait" if "respond-async" in stated else "wait"
        return Preference(seconds, f"{applied}={seconds}")
    return Preference(0, "respond-async") if "respond-async" in stated else None
