"""Cookies in and out (RFC 6265bis).

Ours carry the `__Host-` prefix: Secure, Path=/, no Domain, so that no other host can set or read them.
Azure Functions hands cookies to its host as typed values: attributes it has no field for would lose the whole
cookie, so only Secure, HttpOnly, SameSite, Path and Max-Age are ever used.
"""

import re
from typing import Literal

from lib.web.request import Request

SESSION_COOKIE = "__Host-session"

_PAIR = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+)=([!#-+\--:<-\[\]-~]*)")


def cookie(header: str, name: str) -> str:
    """The value of cookie `name` in a `Cookie` header; empty where it is absent, malformed or there twice."""
    values = [pair[2] for part in header.split(";") if (pair := _PAIR.fullmatch(part.strip())) and pair[1] == name]
    return values[0] if len(values) == 1 else ""


def cookie_names(header: str, prefix: str) -> list[str]:
    """The names in a `Cookie` header that begin so, each once, oldest first as browsers send them (RFC 6265bis 5.7)."""
    pairs = (_PAIR.fullmatch(part.strip()) for part in header.split(";"))
    return list(dict.fromkeys(pair[1] for pair in pairs if pair and pair[1].startswith(prefix)))


def session_cookie(request: Request) -> str:
    """The value of the session cookie; empty where there is none."""
    return cookie(request.header("cookie"), SESSION_COOKIE)


def set_cookie(name: str, value: str, *, same_site: Literal["Strict", "None"], max_age_seconds: int) -> tuple[str, str]:
    """The `Set-Cookie` header for a `__Host-` cookie that scripts cannot read."""
    attributes = f"Path=/; Secure; HttpOnly; SameSite={same_site}; Max-Age={max_age_seconds}"
    return "Set-Cookie", f"{name}={value}; {attributes}"


def expire_cookie(name: str, *, same_site: Literal["Strict", "None"]) -> tuple[str, str]:
    """The `Set-Cookie` header that makes a browser forget the cookie."""
    return set_cookie(name, "", same_site=same_site, max_age_seconds=0)
