"""Rules for cookies."""

import re
import string
from http.cookies import SimpleCookie
from typing import Literal

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.web.cookies import MOST_CANDIDATES, cookie, cookie_names, expire_cookie, session_cookies, set_cookie
from lib.web.request import Request

NAME = "__Host-session"
TOKEN = st.text(f"!#$%&'*+.^_`|~-{string.ascii_letters}{string.digits}", min_size=1)
VALUE = st.text([chr(code) for code in range(0x21, 0x7F) if chr(code) not in '",;\\'])  # RFC 6265 section 4.1.1
PIECES = st.sampled_from(
    [NAME, f"{NAME}=", "=", ";", "; ", ",", '"', "x", " ", "\t", "\r\n", "\0", "\x1f", "\x85", "ä", "\ud800", "\\"]
)
HEADERS = st.text() | st.lists(PIECES).map("".join)


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
        ('__Host-session=a; __Host-session="x"', ""),
        ("__Host-session=b c; __Host-session=a", ""),
        ("__Host-session=a; __Host-session", ""),
        ("__Host-session =b; __Host-session=a", ""),
        ("__Host-session=a; __Host-session=", ""),
        ("__Host-session=a=b", "a=b"),
    ],
)
def test_a_cookie_is_found_by_its_exact_name_and_only_once(header: str, value: str) -> None:
    """Names are exact; a cookie that is malformed or there twice, in whatever form, counts as absent."""
    assert cookie(header, "__Host-session") == value


@given(HEADERS)
@example(f"{NAME}=x\r\nSet-Cookie: y")
def test_any_header_is_read_without_failing(header: str) -> None:
    """A browser, or an attacker, may send anything; what is found is a value that a cookie can have."""
    assert re.fullmatch("[!-~]*", found := cookie(header, NAME))
    assert not set(found) & set('";,\\')
    for name in cookie_names(header, "__Host-"):
        assert re.fullmatch("__Host-[!-~]*", name)
        assert not set(name) & set('";,=\\')


@given(st.lists(st.tuples(TOKEN, VALUE), max_size=6, unique_by=lambda pair: pair[0]), VALUE, st.data())
def test_a_cookie_is_found_among_others_and_only_once(
    others: list[tuple[str, str]], value: str, data: st.DataObject
) -> None:
    """Wherever it stands; a second one of the same name, whatever its value, and neither is believed."""
    pairs = [pair for pair in others if pair[0] != NAME]
    pairs.insert(data.draw(st.integers(0, len(pairs))), (NAME, value))
    header = "; ".join(f"{name}={text}" for name, text in pairs)
    assert cookie(header, NAME) == value
    assert set(cookie_names(header, "")) == {name for name, _ in pairs}
    second = f"{NAME}={data.draw(VALUE)}"
    assert cookie(f"{header}; {second}", NAME) == ""
    assert cookie(f"{second}; {header}", NAME) == ""
    assert session_cookies(Request("POST", {"cookie": f"{header}; {second}"})) == [
        text for text in dict.fromkeys((value, second.partition("=")[2])) if text
    ]


@given(st.lists(PIECES).map("".join), st.lists(PIECES).map("".join), VALUE.filter(bool))
def test_no_twin_of_any_form_is_passed_over(before: str, twin: str, value: str) -> None:
    """Whatever stands beside it under its name, the good one is not believed."""
    twins = f"{before}; {NAME}{twin}; {NAME}={value}"
    if any(part.partition("=")[0].strip() == NAME for part in twins.split(";")[:-1]):
        assert cookie(twins, NAME) == ""
    else:
        assert cookie(twins, NAME) == value


def test_a_few_session_cookies_are_candidates_for_ending() -> None:
    """Each once, malformed ones not, and not as many as somebody likes."""
    values = [f"v{number}" for number in range(9)]
    header = "; ".join(f"{NAME}={value}" for value in ("", "a b", values[0], *values))
    assert session_cookies(Request("POST", {"cookie": header})) == values[:MOST_CANDIDATES]
    assert session_cookies(Request("POST")) == []


@given(TOKEN.map("__Host-".__add__), VALUE, st.integers(0, 10**9), st.sampled_from(["Strict", "None"]))
def test_a_cookie_that_is_set_comes_back(
    name: str, value: str, seconds: int, same_site: Literal["Strict", "None"]
) -> None:
    """The host reads our header as `SimpleCookie` does, and a browser sends back what it was given."""
    _, header = set_cookie(name, value, same_site=same_site, max_age_seconds=seconds)
    ((read, morsel),) = SimpleCookie(header).items()
    assert (read, morsel.value, morsel["max-age"], morsel["samesite"]) == (name, value, str(seconds), same_site)
    assert (morsel["path"], morsel["secure"], morsel["httponly"], morsel["domain"]) == ("/", True, True, "")
    assert cookie(f"{read}={morsel.value}", name) == value


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
