"""Where a browser may be sent after a sign-in: whatever `checked_return_to` lets pass stays here, or with a friend."""

from contextlib import suppress
from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.errors import InvalidRequest
from lib.identity.sign_in import LONGEST_RETURN_TO, checked_return_to

BASE = "https://gateway.contoso.example"
APP, LOCAL = "https://app.contoso.example", "http://localhost:5173"
ORIGINS = frozenset({APP, LOCAL})
HERE = f"{BASE}/api/login/callback"


def where_a_browser_goes(location: str) -> str:
    """The origin that a browser takes `location` to, from the callback (WHATWG URL Standard, section 4.4).

    As far as it matters for an http address: the ends are trimmed, tabs and line ends vanish, a backslash is a slash,
    and any two of them begin a host, which any number may follow.
    """
    url = location.strip("".join(map(chr, range(0x21)))).translate(dict.fromkeys(map(ord, "\t\r\n")))
    head, mark, rest = url.partition("?")
    head = head.replace("\\", "/")
    scheme, colon, path = head.partition(":")
    if colon and "/" not in scheme:
        if scheme.lower() not in {"http", "https"}:
            return f"{scheme}:"
        return _origin(scheme.lower(), path.lstrip("/"))
    if head.startswith("//"):
        return _origin("https", head.lstrip("/"))
    return _origin("https", urlsplit(urljoin(HERE, head + mark + rest)).netloc)


def _origin(scheme: str, authority: str) -> str:
    return f"{scheme}://{authority.partition('/')[0].rpartition('@')[2].lower()}"


@pytest.mark.parametrize(
    ("location", "origin"),
    [
        ("/api/app", BASE),
        ("api/app", BASE),
        ("", BASE),
        ("?a=//evil.example", BASE),
        ("//evil.example/x", "https://evil.example"),
        ("/\\evil.example", "https://evil.example"),
        ("\\/evil.example", "https://evil.example"),
        ("/\t/evil.example", "https://evil.example"),
        (" //evil.example", "https://evil.example"),
        ("///evil.example", "https://evil.example"),
        ("https:evil.example", "https://evil.example"),
        ("https:/evil.example", "https://evil.example"),
        (f"{APP}@evil.example/", "https://evil.example"),
        (f"{APP}\\@evil.example/", APP),
        ("java\nscript:alert(1)", "javascript:"),
        (f"{LOCAL}/x", LOCAL),
    ],
    ids=ascii,
)
def test_the_yardstick_measures_as_a_browser_does(location: str, origin: str) -> None:
    """The properties below are worth what their idea of a browser is worth."""
    assert where_a_browser_goes(location) == origin


PIECES = st.sampled_from(
    [
        "/", "//", "\\", ".", "..", "/..", "/.", "%2f", "%2F", "%5c", "%252f", "%00", "%0a", "%09", "%20", "%40", "@",
        ":", "?", "#", "&", "=", "\t", "\n", "\r", " ", "\x00", "\u3002", "\uff0f", "evil.example", "https:",
        "javascript:", APP, LOCAL, BASE, APP.upper(), ".evil.example", ":8443", "api/app", "x", "%", "%zz", "é",
    ]
)  # fmt: skip
VALUES = st.lists(PIECES, max_size=8).map("".join)
STARTED = st.tuples(st.sampled_from(["/", f"{APP}/", LOCAL, APP]), st.text("/.%25cfF\\0azx-_?=&", max_size=12)).map(
    "".join
)


@given(st.text() | VALUES | STARTED)
@example("/%2e%2e//evil.example")
@example("/.//evil.example")
@example("/..%2f/evil.example")
@example("/%2f/evil.example")
@example("/%5cevil.example")
@example(f"{APP}%2f@evil.example")
@example(f"{APP}/../..//evil.example")
@example(f"{APP}//evil.example")
def test_whatever_passes_stays_here_or_goes_to_an_allowed_origin(value: str) -> None:
    """For Python's idea of an address and for a browser's, also when it is decoded once more on the way."""
    with suppress(InvalidRequest):
        passed = checked_return_to(value, ORIGINS)
        assert passed == value
        friends = {BASE, *ORIGINS}
        joined = urlsplit(urljoin(HERE, passed))
        assert f"{joined.scheme}://{joined.netloc}" in friends
        assert where_a_browser_goes(passed) in friends
        assert where_a_browser_goes(f"{passed}?error=login_failed") in friends


@given(st.text() | VALUES | STARTED)
def test_whatever_passes_can_stand_in_a_header(value: str) -> None:
    """It becomes a `Location` as it is: short, visible ASCII, and nothing that ends a line."""
    with suppress(InvalidRequest):
        passed = checked_return_to(value, ORIGINS)
        assert len(passed) <= LONGEST_RETURN_TO
        assert all("!" <= character <= "~" for character in passed)


@given(
    st.lists(st.text("abcXYZ019-_.", min_size=1, max_size=10), min_size=1, max_size=6),
    st.sampled_from(["", APP, LOCAL]),
)
def test_a_usual_path_passes(segments: list[str], origin: str) -> None:
    """The rules are not so strict that nothing gets through."""
    value = f"{origin}/{'/'.join(segments)}?tab=1&sort=a%20b"
    assert checked_return_to(value, ORIGINS) == value


@pytest.mark.parametrize(
    "value",
    [
        "", "api/app", "//evil.example", "/\\evil.example", "/%5cevil.example", "/%2f/evil.example", "/\t/evil.example",
        "https://evil.example/", f"{APP}.evil.example/", f"{APP}:8443/", f"{APP}@evil.example/", f"{APP}#x", f"{APP}?x",
        APP.upper(), f"{BASE}/api/app", "javascript:alert(1)", "/a\r\nSet-Cookie: x", "/%0d%0aSet-Cookie:%20x", "/a#b",
        "/" + "x" * LONGEST_RETURN_TO,
    ],
    ids=lambda value: ascii(value[:40]),
)  # fmt: skip
def test_an_address_that_could_lead_elsewhere_is_refused(value: str) -> None:
    """Each way that sign-ins have been led astray by before; the gateway's own address is written as a path."""
    with pytest.raises(InvalidRequest):
        checked_return_to(value, ORIGINS)
