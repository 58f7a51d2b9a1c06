"""Rules for reading what a token says."""

import base64
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import TokenInvalid
from lib.identity.claims import Claims, decode_segment, refused


@given(st.binary(min_size=1))
def test_a_segment_is_unpadded_base64url(raw: bytes) -> None:
    """What is encoded comes back."""
    assert decode_segment(base64.urlsafe_b64encode(raw).decode().rstrip("=")) == raw


@pytest.mark.parametrize("segment", ["", "a", "YQ==", "Y Q", "Y+8", "Y/8", "YQ\n", "é", "YQ.YQ"])
def test_any_other_segment_is_refused(segment: str) -> None:
    """No padding, no other alphabet, no white space, no impossible length."""
    with pytest.raises(ValueError):  # noqa: PT011  # any ValueError will do
        decode_segment(segment)


def test_claims_of_the_right_type_are_read() -> None:
    """Each reader returns its claim."""
    guid = "3c9d5e0a-4b1f-4f62-9a57-0d2be1c7a001"
    claims = Claims({"text": "a", "guid": guid, "seconds": 5, "words": ["a", "b"], "one": 1, "text one": "1"})
    assert (claims.text("text"), claims.optional_text("text"), claims.guid("guid")) == ("a", "a", guid)
    assert claims.seconds("seconds") == 5
    assert claims.words("words") == {"a", "b"}
    assert (claims.optional_text("none"), claims.words("none")) == ("", frozenset())
    assert [claims.flag(name) for name in ("one", "text one", "none")] == [True, True, False]
    assert "text" in claims
    assert "none" not in claims


@pytest.mark.parametrize(
    ("reader", "value"),
    [
        ("text", None),
        ("text", ""),
        ("text", ["a"]),
        ("text", 5),
        ("optional_text", 5),
        ("optional_text", None),
        ("guid", "3C9D5E0A-4B1F-4F62-9A57-0D2BE1C7A001"),
        ("guid", "3c9d5e0a-4b1f-4f62-9a57-0d2be1c7a001\n"),
        ("guid", "common"),
        ("seconds", "1800000000"),
        ("seconds", 1e308),
        ("seconds", True),
        ("seconds", None),
        ("words", "a b"),
        ("words", [1]),
        ("words", {"a": 1}),
        ("words", None),
        ("flag", None),
        ("flag", True),
        ("flag", 1.0),
        ("flag", 2),
        ("flag", "guest"),
        ("flag", [1]),
    ],
)
def test_a_claim_of_another_type_is_refused(reader: str, value: object) -> None:
    """Types are asserted, never converted."""
    with pytest.raises(TokenInvalid):
        getattr(Claims({"claim": value}), reader)("claim")


@pytest.mark.parametrize("value", [0, "0"])
def test_a_flag_of_zero_is_down(value: object) -> None:
    """As a number or as text."""
    assert not Claims({"claim": value}).flag("claim")


@pytest.mark.parametrize(
    ("value", "words"),
    [(["a", "b"], {"a", "b"}), ([], set()), ("a b", set()), (["a", 1], set()), (None, set()), ({"a": 1}, set())],
)
def test_words_that_only_add_are_read_or_passed_over(value: object, words: set[str]) -> None:
    """What cannot be read grants nothing, and takes nothing away."""
    assert Claims({"claim": value}).extra_words("claim") == words
    assert Claims({}).extra_words("claim") == frozenset()


@pytest.mark.parametrize("reader", ["text", "guid", "seconds"])
def test_a_required_claim_must_be_there(reader: str) -> None:
    """Absence is as bad as another type."""
    with pytest.raises(TokenInvalid):
        getattr(Claims({}), reader)("claim")


def test_a_refusal_names_its_check_to_those_who_operate_alone(caplog: pytest.LogCaptureFixture) -> None:
    """The log tells which check failed; the error tells the caller nothing."""
    with caplog.at_level(logging.INFO):
        error = refused("audience")
    assert [record.__dict__["check"] for record in caplog.records] == ["audience"]
    assert "audience" not in error.detail
