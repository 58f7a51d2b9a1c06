"""Rules for characters that show nothing."""

import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.agents.characters import JOINERS, UNSEEN, is_visible, shows_nothing

ALL = [chr(point) for point in range(sys.maxunicode + 1)]
SEEN_FORMATS = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
"""Prepended_Concatenation_Mark: they stand around or below the digits that follow."""


def unseen(text: str) -> str:
    """`text` without what nobody sees."""
    return UNSEEN.sub("", text)


def test_of_format_characters_and_controls_only_those_that_are_seen_or_needed_are_left() -> None:
    """Joiners change how letters look, white space is space, and some signs are formats by name alone."""
    left = {one for one in ALL if unicodedata.category(one) in {"Cf", "Cc", "Cs"} and unseen(one)}
    assert left == {*JOINERS, *SEEN_FORMATS, *"\t\n\x0b\x0c\r\x85"}


def test_noncharacters_of_all_planes_are_unseen() -> None:
    """There are 66, two of them at the end of each plane."""
    ends = [chr(plane + end) for plane in range(0, 0x110000, 0x10000) for end in (0xFFFE, 0xFFFF)]
    assert unseen("".join([*ends, *map(chr, range(0xFDD0, 0xFDF0))])) == ""


@pytest.mark.parametrize(
    ("first", "last"),
    [
        (0xAD, 0xAD),
        (0x34F, 0x34F),
        (0x61C, 0x61C),
        (0x115F, 0x1160),
        (0x17B4, 0x17B5),
        (0x180B, 0x180F),
        (0x200B, 0x200B),
        (0x200E, 0x200F),
        (0x202A, 0x202E),
        (0x2060, 0x206F),
        (0x3164, 0x3164),
        (0xFE00, 0xFE0F),
        (0xFEFF, 0xFEFF),
        (0xFFA0, 0xFFA0),
        (0xFFF0, 0xFFFB),
        (0x1BCA0, 0x1BCA3),
        (0x1D173, 0x1D17A),
        (0xE0000, 0xE0FFF),
    ],
    ids=hex,
)
def test_default_ignorable_code_points_are_unseen(first: int, last: int) -> None:
    """The ranges of Unicode 15.1, and the three interlinear annotations."""
    assert unseen("".join(map(chr, range(first, last + 1)))) == ""
    assert all(shows_nothing(chr(point)) or point in {0xFE0E, 0xFE0F} for point in range(first, last + 1))


@pytest.mark.parametrize(
    "text",
    [
        "☀\ufe0f",
        "©\ufe0e",
        "1\ufe0f\u20e3",
        "#\ufe0f\u20e3",
        "🏳\ufe0f\u200d🌈",
        "क्\u200dष",
        "می\u200cخواهم",
        "a b\xa0\u3000",
    ],
)
def test_what_is_needed_to_write_stays(text: str) -> None:
    """Emoji have their selectors, keys their frames, scripts their joiners."""
    assert unseen(text) == text


@pytest.mark.parametrize("text", ["a\ufe0f", "a\ufe0f\ufe0f", "1\ufe0f", "1\ufe0fa", "\ufe0e", "☀\u200b\ufe0f"])
def test_a_selector_that_selects_nothing_goes(text: str) -> None:
    """Behind a letter it would be a bit of a message."""
    assert "\ufe0f" not in unseen(text)
    assert "\ufe0e" not in unseen(text)


@given(st.text())
def test_once_is_enough(text: str) -> None:
    """What is left holds nothing unseen, and nothing that was seen is gone."""
    left = unseen(text)
    assert unseen(left) == left
    assert is_visible(left) == is_visible(text)
