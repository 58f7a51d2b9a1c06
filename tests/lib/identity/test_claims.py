"""Rules for reading what a token says."""

import base64
import json
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import TokenInvalid
from lib.identity.claims import Claims, decode_segment, json_object, refused

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.binary(min_size=1))
def test_a_segment_is_unpadded_base64url(raw: bytes) -> None:
    """What is encoded comes back."""
    assert decode_segment(base64.urlsafe_b64encode(raw).decode().rstrip("=")) == raw


@pytest.mark.parametrize("segment", ["", "a", "YQ==", "Y Q", "Y+8", "Y/8", "YQ\n", "é", "YQ.YQ"])
def test_any_other_segment_is_refused(segment: str) -> None:
    """No padding, no other alphabet, no white space, no impossible length."""
    with pytest.raises(ValueError):  # noqa: PT011  # any ValueError will do
        decode_segment(segment)


@given(st.dictionaries(st.text(), JSON))
def test_an_object_is_read_as_it_is(value: dict[str, object]) -> None:
    """Strictness loses nothing of well-formed JSON."""
    assert json_object(json.dumps(value, ensure_ascii=False).encode()) == value


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"text"', id="a text"),
        pytest.param(b'{"a":1,"a":2}', id="a name twice"),
        pytest.param(b'{"x":{"a":1,"a":2}}', id="a name twice inside"),
        pytest.param(b'{"a":NaN}', id="NaN"),
        pytest.param(b'{"a":-Infinity}', id="Infinity"),
        pytest.param('{"a":1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', id="a byte order mark"),
        pytest.param(b'{"a":"\xff"}', id="not UTF-8"),
        pytest.param(b'{"a":1}x', id="something behind"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", id="a number of 5,000 digits"),
        pytest.param(b'{"a":' * 200_000, id="nesting without end"),
    ],
)
def test_json_that_readers_disagree_on_is_refused(raw: bytes) -> None:
    """Python's own reader takes several of these in silence."""
    with pytest.raises(ValueError):  # noqa: PT011  # any ValueError will do
        json_object(raw)


def test_claims_of_the_right_type_are_read() -> None:
    """Each reader returns its claim."""
    guid = "3c9d5e0a-4b1f-4f62-9a57-0d2be1c7a001"
    claims = Claims({"text": "a", "guid": guid, "seconds": 5, "words": ["a", "b"]})
    assert (claims.text("text"), claims.optional_text("text"), claims.guid("guid")) == ("a", "a", guid)
    assert claims.seconds("seconds") == 5
    assert claims.words("words") == {"a", "b"}
    assert (claims.optional_text("none"), claims.words("none")) == ("", frozenset())
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
    ],
)
def test_a_claim_of_another_type_is_refused(reader: str, value: object) -> None:
    """Types are asserted, never converted."""
    with pytest.raises(TokenInvalid):
        getattr(Claims({"claim": value}), reader)("claim")


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
