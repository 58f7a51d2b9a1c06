"""Rules for questions."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.agents.question import MAX_CHARACTERS, accepted_text
from lib.errors import InvalidRequest


@pytest.mark.parametrize(
    "text",
    [
        *("x", "?", "7", "Umsatz je Region?", "売上は？", "a\tb\nc", "x" * MAX_CHARACTERS),
        "पिछले महीने की कुल बिक्री क्षेत्र के अनुसार क्या थी?",
        "ยอดขายทั้งหมดของเดือนที่แล้วเป็นเท่าไรครับ ปี๊บ น้ำผึ้ง",
        "كَمْ بَلَغَتِ المَبِيعَاتُ الإِجْمَالِيَّةُ في الشَّهْرِ المَاضِي؟",
        "Tổng doanh thu của từng khu vực là bao nhiêu?",
        "בְּרֵאשִׁ֖ית בָּרָ֣א אֱלֹהִ֑ים",
        "ကြွှေ့းရောင်းအား",
        "மொத்த விற்பனை எவ்வளவு?",
        "\u0f67\u0f90\u0fb5\u0fa8\u0fb3\u0fba\u0fbc\u0fbb\u0f82",
        "می\u200cخواهم فروش را بدانم",
        "ක්\u200dරියා",
        "👩\u200d💻 👩🏽\u200d❤\ufe0f\u200d💋\u200d👨🏿 🏳\ufe0f\u200d🌈 1\ufe0f\u20e3 ☀\ufe0f",
        "שלום\u200f (2026) \u200esales",
    ],
)
def test_questions_in_any_language_are_accepted_as_they_are(text: str) -> None:
    """Letters of all scripts, emoji joined by a zero width joiner, tabs and line feeds."""
    assert accepted_text("question", text) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("", "must not be empty", id="empty"),
        pytest.param(" \n\t ", "must not be empty", id="white space"),
        pytest.param("x" * (MAX_CHARACTERS + 1), "must not be longer than 2000 characters", id="too long"),
        pytest.param("a\x00b", "holds characters that are not allowed", id="null"),
        pytest.param("a\x1b[2Jb", "holds characters that are not allowed", id="terminal escape"),
        pytest.param("a\x85b", "holds characters that are not allowed", id="C1 control"),
        pytest.param("a\u202eb", "holds characters that are not allowed", id="right-to-left override"),
        pytest.param("a\u2066b", "holds characters that are not allowed", id="isolate"),
        pytest.param("a\U000e0041b", "holds characters that are not allowed", id="invisible tag"),
        *(
            pytest.param(
                f"a{chr(plane + 0xFFFE + last)}b", "holds characters that are not allowed", id=f"{plane:x}-{last}"
            )
            for plane in range(0, 0x110000, 0x10000)
            for last in (0, 1)
        ),
        pytest.param("a\ufdd0b", "holds characters that are not allowed", id="noncharacter"),
        *(
            pytest.param(f"a{marks}b", "has letters with more marks than any language", id=f"marks-{ascii(marks)[1:9]}")
            for marks in (
                "\u0301" * 9,
                "\u0344" * 8,  # each is two in normal form C
                "\u20dd" * 50,
                "\u0301\u034f" * 100,
                "\u0301\u200d" * 100,
                "\u0301\u3164" * 100,
                "\u093e" * 9,
            )
        ),
        *(
            pytest.param(nothing, "must not be empty", id=f"nothing-{ascii(nothing)[1:9]}")
            for nothing in (
                *("\u200b\u200b", "\u200d", "\u2060", "\u200e", "\u3164", "\u115f\u1160", "\xad", "\u034f", "\ufeff"),
                *("\u2800", "\u3000\u200b\xa0", "\u0301", "\U0001d173", "\U000e0080", "\ufe0f"),
            )
        ),
        pytest.param("a\ud800b", "holds characters that are not allowed", id="surrogate"),
    ],
)
def test_text_that_hides_something_is_refused_by_the_name_of_its_field(text: str, reason: str) -> None:
    """What a reader of a log or a prompt could not see is not let in."""
    with pytest.raises(InvalidRequest) as refusal:
        accepted_text("question", text)
    assert refusal.value.members == {"errors": [{"field": "question", "reason": reason}]}


def test_text_is_normalised_and_trimmed() -> None:
    """The same question typed on two keyboards is the same question."""
    assert accepted_text("question", "  cafe\u0301 ") == "caf\u00e9"


def test_a_text_that_grows_past_the_limit_when_normalised_is_refused() -> None:
    """Some characters become three in normal form C."""
    with pytest.raises(InvalidRequest):
        accepted_text("question", "\u0958" * MAX_CHARACTERS)


def test_a_text_that_would_be_slow_to_normalise_is_refused_unread() -> None:
    """100,000 alternating combining marks take seconds to normalise; their length alone refuses them."""
    began = time.process_time()
    with pytest.raises(InvalidRequest):
        accepted_text("question", "a" + "\u0300\u0316" * 50_000)
    assert time.process_time() - began < 1


@given(st.text(max_size=3000))
def test_what_is_accepted_is_normal_and_stays_accepted(text: str) -> None:
    """Accepting is idempotent, and nothing is ever refused in another way."""
    try:
        accepted = accepted_text("question", text)
    except InvalidRequest:
        return
    assert unicodedata.is_normalized("NFC", accepted)
    assert accepted_text("question", accepted) == accepted
