"""Rules for JSON bodies."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import InvalidRequest, UnsupportedMediaType
from lib.web.bodies import MAX_DEPTH, json_object
from lib.web.request import Request

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**15), 10**15)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


def posted(body: bytes, **headers: str) -> Request:
    """A request with `body`, sent as JSON unless told otherwise."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Request("POST", {"content-type": "application/json"} | named, body=body)


def test_an_object_is_read_as_it_was_sent() -> None:
    """A valid object comes back with its values."""
    assert json_object(posted(b'{"question": "Wie viel?", "n": [1, 2.5, null, true]}')) == {
        "question": "Wie viel?",
        "n": [1, 2.5, None, True],
    }


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON", "application/json; charset=utf-8", 'application/json;charset="UTF-8"'],
)
def test_json_in_utf8_is_accepted_however_it_is_spelled(content_type: str) -> None:
    """Media types compare without regard to case (RFC 9110 section 8.3.1)."""
    assert json_object(posted(b"{}", content_type=content_type)) == {}


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": ""},
        {"content_type": "text/plain"},
        {"content_type": "application/x-www-form-urlencoded"},
        {"content_type": "application/json; charset=utf-16"},
        {"content_type": "application/jsonp"},
        {"content_encoding": "gzip"},
    ],
    ids=str,
)
def test_another_media_type_is_refused(headers: dict[str, str]) -> None:
    """A form, plain text or a compressed body is 415: pages elsewhere can send those without asking."""
    with pytest.raises(UnsupportedMediaType):
        json_object(posted(b"{}", **headers))


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="cut short"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'"text"', id="a text"),
        pytest.param(b"{} {}", id="two values"),
        pytest.param(b'{"a": 1, "a": 2}', id="a field twice"),
        pytest.param(b'{"a": {"b": 1, "b": 1}}', id="a nested field twice"),
        pytest.param(b'{"a": NaN}', id="NaN"),
        pytest.param(b'{"a": -Infinity}', id="infinity"),
        pytest.param(b'{"a": 1e999}', id="a number past all bounds"),
        pytest.param(b'{"a": ' + b"9" * 5000 + b"}", id="more digits than Python reads"),
        pytest.param(b'{"a": "\\ud800"}', id="a lone surrogate"),
        pytest.param(b'{"\\udfff": 1}', id="a lone surrogate as a name"),
        pytest.param(b'{"a": "\xff"}', id="not UTF-8"),
        pytest.param('{"a": 1}'.encode("utf-16"), id="UTF-16"),
        pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
        pytest.param(b'{"a":' * 9 + b"1" + b"}" * 9, id="nine levels"),
        pytest.param(b"[" * 30_000, id="a tower of brackets"),
    ],
)
def test_what_is_not_strictly_json_is_refused(body: bytes) -> None:
    """Anything that two readers might take differently is a 400."""
    with pytest.raises(InvalidRequest):
        json_object(posted(body))


def test_depth_is_counted_outside_of_strings() -> None:
    """Brackets within a text are text, an escaped quote does not end it."""
    deep = {"a": r"\"[[[[[[[[[[{{{{{{{{{{" + "\\"}
    assert json_object(posted(json.dumps(deep).encode())) == deep


def test_the_deepest_allowed_body_is_read() -> None:
    """Eight levels are fine."""
    body = b'{"a":' * MAX_DEPTH + b"1" + b"}" * MAX_DEPTH
    assert json_object(posted(body)).keys() == {"a"}


@given(st.binary(max_size=200))
def test_any_bytes_are_an_object_or_a_refusal(body: bytes) -> None:
    """No body whatever makes the reader fail in another way."""
    try:
        assert isinstance(json_object(posted(body)), dict)
    except InvalidRequest as refusal:
        assert refusal.status in {400, 415}


@given(st.dictionaries(st.text(), json_values, max_size=4))
def test_whatever_python_writes_strictly_is_read_back(value: dict[str, object]) -> None:
    """The reader is strict, not narrow."""
    body = json.dumps(value).encode()
    if body.count(b"{") + body.count(b"[") <= MAX_DEPTH:
        assert json_object(posted(body)) == value
