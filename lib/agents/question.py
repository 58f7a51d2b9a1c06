"""A question as the gateway accepts it: bounded, normalised, and made of characters that mean what they show.

Length is checked before normalisation, which a crafted text can make slow (UAX #15 section 13; facts in
`docs/security.md`). The turns of `history` are held to the same rules.
"""

import re
import unicodedata
from dataclasses import dataclass, field

from lib.agents.characters import NONCHARACTERS, is_mark, is_visible, shows_nothing
from lib.errors import InvalidRequest

MAX_CHARACTERS = 2_000
MAX_TURN_CHARACTERS = 8_000
MAX_TURNS = 20
MAX_MARKS = 8
"""Behind one another. The longest that is written is a Tibetan sign for meditation, of eight."""

_FORBIDDEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # controls, but for tab and line feed
    "\u202a-\u202e\u2066-\u2069"  # overrides of writing direction
    "\ud800-\udfff"  # surrogates
    "\U000e0000-\U000e007f\U000e0100-\U000e01ef"  # tags and supplementary variation selectors: text nobody sees
    f"{NONCHARACTERS}]"
)


@dataclass(frozen=True)
class Turn:
    """One turn of an earlier conversation."""

    role: str
    content: str = field(repr=False)


@dataclass(frozen=True)
class Question:
    """What a caller asks, of which agent, and what was said before."""

    text: str = field(repr=False)
    agent: str | None = None
    history: tuple[Turn, ...] = field(default=(), repr=False)


def accepted_text(name: str, text: str, most: int = MAX_CHARACTERS) -> str:
    """`text` in normal form C, without white space around it. Raises `InvalidRequest` naming the field `name`."""
    if len(text) > most:
        raise refused(name, f"must not be longer than {most} characters")
    if _FORBIDDEN.search(text):
        raise refused(name, "holds characters that are not allowed")
    if _has_long_run(text):
        raise refused(name, "has letters with more marks than any language")
    normal = unicodedata.normalize("NFC", text.strip())
    if not is_visible(normal):
        raise refused(name, "must not be empty")
    if _has_long_run(normal):
        raise refused(name, "has letters with more marks than any language")
    if len(normal) > most:
        raise refused(name, f"must not be longer than {most} characters")
    return normal


def _has_long_run(text: str) -> bool:
    """Whether more marks follow each other than writing needs: those make normalising slow, and hide what is below.

    Normalising can make two marks of one. What nobody sees ends no run.
    """
    run = 0
    for character in "" if text.isascii() else text:
        if is_mark(character):
            run += 1
        elif not shows_nothing(character):
            run = 0
        if run > MAX_MARKS:
            return True
    return False


def refused(name: str, reason: str) -> InvalidRequest:
    """The error for a field that is not acceptable."""
    return InvalidRequest(f"`{name}` {reason}.", members={"errors": [{"field": name, "reason": reason}]})
