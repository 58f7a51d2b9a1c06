"""Rules for questions."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.agents.question import MAX_CHARACTERS, accepted_text
from lib.errors import InvalidRequest


@pytest.mark.parametrize(
    "text", ["x", "Umsatz je Region?", "売上は？", "a\tb\nc", "👩\u200d💻 sales", "x" * MAX_CHARACTERS]
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
        pytest.param("a\ufffeb", "holds characters that are not allowed", id="noncharacter"),
        pytest.param("a" + "\u0301" * 9, "has letters with more marks than any language", id="a pile of marks"),
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
