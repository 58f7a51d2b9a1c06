"""Rules for JSON of which two readers cannot make two things."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.strict_json import parse_object

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(), JSON))
def test_an_object_is_read_as_it_is(value: dict[str, object]) -> None:
    """Strictness loses nothing of well-formed JSON."""
    assert parse_object(json.dumps(value, ensure_ascii=False).encode()) == value


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
        pytest.param(b'{"a":1e999}', id="a number past all bounds"),
        pytest.param(b'{"a":"\\ud800"}', id="a lone surrogate"),
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
        parse_object(raw)
