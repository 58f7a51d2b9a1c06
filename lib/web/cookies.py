"""Cookies in and out (RFC 6265bis).

Ours carry the `__Host-` prefix: Secure, Path=/, no Domain, so that no other host can set or read them.
Azure Functions hands cookies to its host as typed values: attributes it has no field for would lose the whole
cookie, so only Secure, HttpOnly, SameSite, Path and Max-Age are ever used.
"""

import re
from typing import Literal

from lib.web.request import Request

SESSION_COOKIE = "__Host-session"

MOST_CANDIDATES = 5
"""A browser has one session cookie. Somebody sends more: of so many each one is looked at where that does no harm."""

_PAIR = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([!#-+\--:<-\[\]-~]*)")


def cookie(header: str, name: str) -> str:
    """The value of cookie `name` in a `Cookie` header; empty where it is absent, malformed or there twice.

    A malformed one counts as one: whoever has put it beside a good one must not choose which of them is believed.
    """
    values = _values(header, name)
    return values[0] if len(values) == 1 else ""


def cookie_names(header: str, prefix: str) -> list[str]:
    """The names in a `Cookie` header that begin so, each once, oldest first as browsers send them (RFC 6265bis 5.7)."""
    pairs = (_PAIR.fullmatch(part.strip()) for part in header.split(";"))
    return list(dict.fromkeys(pair[1] for pair in pairs if pair and pair[1].startswith(prefix)))


def session_cookie(request: Request) -> str:
    """The value of the session cookie; empty where there is none."""
    return cookie(request.header("cookie"), SESSION_COOKIE)


def session_cookies(request: Request) -> list[str]:
    """All values that session cookies of the request have, each once, the first few of them: for ending sessions."""
    values = dict.fromkeys(_values(request.header("cookie"), SESSION_COOKIE))
    return [value for value in values if value][:MOST_CANDIDATES]


def _values(header: str, name: str) -> list[str]:
    """The value of each part of a `Cookie` header that has this name, whatever its form; empty for a malformed one."""
    parts = [part.strip() for part in header.split(";")]
    pairs = [_PAIR.fullmatch(part) for part in parts if part.partition("=")[0].strip() == name]
    return [pair[2] if pair else "" for pair in pairs]


def set_cookie(name: str, value: str, *, same_site: Literal["Strict", "None"], max_age_seconds: int) -> tuple[str, str]:
    """The `Set-Cookie` header for a `__Host-` cookie that scripts cannot read."""
    attributes = f"Path=/; Secure; HttpOnly; SameSite={same_site}; Max-Age={max_age_seconds}"
    return "Set-Cookie", f"{name}={value}; {attributes}"


def expire_cookie(name: str, *, same_site: Literal["Strict", "None"]) -> tuple[str, str]:
    """The `Set-Cookie` header that makes a browser forget the cookie."""
    return set_cookie(name, "", same_site=same_site, max_age_seconds=0)
