"""What a JWT says, read strictly: base64url without slack, JSON without duplicates, claims of the right type.

Two readers that understand one token differently are how checks are passed by (RFC 8725 sections 2.8 and 3.12): what
Python's own readers let through in silence is refused here.
"""

import base64
import logging
import re
from collections.abc import Mapping
from typing import Any

from lib.environ import GUID
from lib.errors import TokenInvalid

_log = logging.getLogger(__name__)
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")


def refused(check: str) -> TokenInvalid:
    """The error for a token that fails `check`. Those who operate the gateway read the check's name, callers do not."""
    _log.info("a token is refused", extra={"check": check})
    return TokenInvalid()


def decode_segment(segment: str) -> bytes:
    """The bytes of unpadded base64url (RFC 7515 section 2). Raises ValueError."""
    if not _BASE64URL.fullmatch(segment):
        raise ValueError("not base64url")
    return base64.b64decode(segment + "=" * (-len(segment) % 4), altchars="-_", validate=True)


class Claims:
    """The claims of a token whose signature is already proven. Each reader raises `TokenInvalid` on another type."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def __contains__(self, name: str) -> bool:
        return name in self._values

    def text(self, name: str) -> str:
        """A claim that must be there and be text."""
        value = self._values.get(name)
        if not isinstance(value, str) or not value:
            raise refused(name)
        return value

    def optional_text(self, name: str) -> str:
        """A claim that is text where it is there; else empty."""
        value = self._values.get(name, "")
        if not isinstance(value, str):
            raise refused(name)
        return value

    def flag(self, name: str) -> bool:
        """A claim that is 0 or 1, as a number or as text, where it is there; else False."""
        value = self._values.get(name, 0)
        if type(value) not in {int, str} or value not in {0, 1, "0", "1"}:
            raise refused(name)
        return value in {1, "1"}

    def guid(self, name: str) -> str:
        """A claim that must be a GUID, in small letters as Entra writes them."""
        value = self.text(name)
        if not GUID.fullmatch(value):
            raise refused(name)
        return value

    def seconds(self, name: str) -> int:
        """A claim that must be a time: whole seconds since the epoch. `True` and `1e9` are none."""
        value = self._values.get(name)
        if type(value) is not int:
            raise refused(name)
        return value

    def words(self, name: str) -> frozenset[str]:
        """A claim that is a list of texts where it is there; else nothing."""
        if name in self and not self._has_words(name):
            raise refused(name)
        return self.extra_words(name)

    def extra_words(self, name: str) -> frozenset[str]:
        """A claim that can only add to what its bearer may do: anything but a list of texts adds nothing."""
        return frozenset(self._values[name]) if self._has_words(name) else frozenset()

    def _has_words(self, name: str) -> bool:
        value = self._values.get(name)
        return isinstance(value, list) and all(isinstance(word, str) for word in value)
