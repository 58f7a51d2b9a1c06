"""Addresses in plain text: nothing is lost where they are found, and words stay words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.agents.bare_links import split_links

PARTS = [
    "a",
    "evil",
    ".",
    ":",
    "/",
    "//",
    "@",
    "?",
    "-",
    "_",
    "$",
    " ",
    ",",
    "é",
    ".com",
    ".de",
    "www.",
    "http",
    "mailto:",
    "1.2.3.4",
]


def addresses(text: str) -> list[str]:
    """Those in `text`."""
    return [address for _, address in split_links(text) if address]


@given(st.lists(st.sampled_from(PARTS)).map("".join) | st.text())
def test_the_pieces_are_the_text(text: str) -> None:
    """In their order, with nothing between and no address left in what stands before another."""
    pieces = list(split_links(text))
    assert "".join(before + address for before, address in pieces) == text
    assert [before for before, _ in pieces if addresses(before)] == []
    assert [address for _, address in pieces if set(address) & set(" <>`|\n")] == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("http:// and https://", ["http://", "https://"]),
        ("a.de.b, x.io!", ["a.de.b", "x.io"]),
        ("evil.com_ evil.com. (evil.com)", ["evil.com", "evil.com", "evil.com"]),
        ("东京。evil.com/x", ["evil.com/x"]),
        ("a@1.2.3.4 1.2.3.4 1.2.3.4:80/", ["a@1.2.3.4", "1.2.3.4:80/"]),
        ("xn--e1aybc.xn--p1ai", ["xn--e1aybc.xn--p1ai"]),
        ("EVIL.COM MAILTO:x WWW.", ["EVIL.COM", "MAILTO:x", "WWW."]),
        ("view-source:x ms-excel:ofe intent:x tel:1", ["view-source:x", "ms-excel:ofe", "intent:x", "tel:1"]),
    ],
)
def test_addresses_are_found_in_all_their_forms(text: str, found: list[str]) -> None:
    """With a scheme or without, in any case and next to any mark."""
    assert addresses(text) == found


@pytest.mark.parametrize(
    "pattern",
    ["a", "a.", "a@", "a-", "://", "//", "//,", "www.,", "ms-", "data:,", "a.bcd?,", "a.de ", "1.1.1.1?,", "é.a"],
)
def test_a_long_text_is_read_once(pattern: str) -> None:
    """No form makes the search start over and over: 64 KiB take milliseconds, where their square would take minutes."""
    text = (pattern * 2**16)[: 2**16]
    assert "".join(before + address for before, address in split_links(text)) == text
