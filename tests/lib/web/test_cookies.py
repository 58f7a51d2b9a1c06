"""Rules for cookies."""

from http.cookies import SimpleCookie

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.web.cookies import cookie, expire_cookie, set_cookie


@pytest.mark.parametrize(
    ("header", "value"),
    [
        ("a=1; __Host-session=x.y; b=2", "x.y"),
        ("__Host-session=x.y", "x.y"),
        ("__Host-session=", ""),
        ("", ""),
        ("__host-session=x", ""),
        ("x__Host-session=x", ""),
        ("__Host-session=a; __Host-session=b", ""),
        ('__Host-session="x"', ""),
        ("__Host-session=a b", ""),
        ("__Host-session=ä", ""),
    ],
)
def test_a_cookie_is_found_by_its_exact_name_and_only_once(header: str, value: str) -> None:
    """Names are exact; a cookie that is malformed or there twice counts as absent."""
    assert cookie(header, "__Host-session") == value


@given(st.text())
def test_any_header_is_read_without_failing(header: str) -> None:
    """A browser, or an attacker, may send anything."""
    assert isinstance(cookie(header, "__Host-session"), str)


@pytest.mark.parametrize("same_site", ["Strict", "None"])
def test_a_cookie_has_what_its_host_prefix_demands(same_site: str) -> None:
    """Secure, path / and no domain (RFC 6265bis section 4.1.3.2); scripts cannot read it."""
    name, header = set_cookie("__Host-session", "x.y", same_site=same_site, max_age_seconds=60)  # type: ignore[arg-type]
    morsel = SimpleCookie(header)["__Host-session"]
    assert name == "Set-Cookie"
    assert (morsel.value, morsel["path"], morsel["secure"], morsel["httponly"]) == ("x.y", "/", True, True)
    assert (morsel["samesite"], morsel["max-age"], morsel["domain"]) == (same_site, "60", "")


def test_an_expired_cookie_is_forgotten_at_once() -> None:
    """Max-Age 0 makes the browser drop it."""
    _, header = expire_cookie("__Host-session", same_site="Strict")
    morsel = SimpleCookie(header)["__Host-session"]
    assert (morsel.value, morsel["max-age"]) == ("", "0")
