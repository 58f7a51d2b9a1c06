"""Framing: no two lists of texts make the same bytes."""

from hypothesis import given
from hypothesis import strategies as st

from lib.storage.framing import framed

TEXTS = st.lists(st.text("ab\0", max_size=3), max_size=4)


@given(TEXTS, TEXTS)
def test_different_texts_make_different_bytes(one: list[str], other: list[str]) -> None:
    """Wherever the borders between the texts are."""
    assert (framed(*one) == framed(*other)) == (one == other)


def test_a_text_stands_behind_its_length() -> None:
    """In bytes of UTF-8, not in characters."""
    assert framed("ä", "") == b"\0\0\0\x02\xc3\xa4\0\0\0\0"
