"""Rules for an answer as JSON, and as bytes for a row."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.agents.answer import Answer
from lib.agents.markdown import Query, Table
from lib.agents.mcp import Block
from lib.answers import encoding as module
from lib.answers.encoding import decode, encode, pack, unpack

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=10)
TABLES = st.builds(Table, st.lists(TEXT).map(tuple), st.lists(st.lists(TEXT).map(tuple), max_size=3).map(tuple))
ANSWERS = st.builds(
    Answer,
    TEXT,
    TEXT,
    st.lists(TABLES, max_size=2).map(tuple),
    st.lists(st.builds(Query, TEXT, TEXT), max_size=2).map(tuple),
    st.lists(st.builds(Block, TEXT, TEXT, TEXT, TEXT), max_size=2).map(tuple),
)


def test_an_answer_is_written_as_the_api_gives_it() -> None:
    """Every part under its own name, and nothing beside them."""
    answer = Answer(
        "**5**", "5", (Table(("n",), (("5",),)),), (Query("sql", "SELECT 5"),), (Block("image", "AA==", "image/png"),)
    )
    assert json.loads(encode(answer).json) == {
        "markdown": "**5**",
        "text": "5",
        "tables": [{"columns": ["n"], "rows": [["5"]]}],
        "queries": [{"language": "sql", "text": "SELECT 5"}],
        "blocks": [{"kind": "image", "content": "AA==", "media_type": "image/png", "title": ""}],
    }


@given(ANSWERS)
def test_an_answer_is_read_back_as_it_was(answer: Answer) -> None:
    """Whatever it holds, in a row too."""
    encoded = encode(answer)
    assert decode(encoded.json) == answer
    assert decode(unpack(pack(encoded.json))) == answer
    assert encoded.is_clarifying == answer.is_clarifying
    assert encoded.json.isascii()


def test_an_answer_shows_in_no_log() -> None:
    """Nor does what holds it."""
    assert "North" not in repr(encode(Answer("North sold 5.", "North sold 5.")))


VALUES = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["markdown", "text", "tables", "queries", "blocks", "columns", "rows", "kind"]), inner
        )
    ),
)


@given(st.binary() | VALUES.map(json.dumps).map(str.encode))
def test_whatever_is_no_answer_is_refused_in_one_way(data: bytes) -> None:
    """Bytes, other JSON, and JSON that looks like one."""
    try:
        answer = decode(data)
    except ValueError:
        return
    assert isinstance(answer, Answer)


def without(name: str) -> dict[str, Any]:
    """An answer that lacks a part."""
    value: dict[str, Any] = json.loads(encode(Answer("a", "a")).json)
    del value[name]
    return value


INCOMPLETE = [json.dumps(without(name)).encode() for name in ("text", "tables", "blocks")]


@pytest.mark.parametrize(
    "data",
    [b"", b"\xff", b"null", b"[]", b"5", b"[" * 100_000, *INCOMPLETE],
    ids=["nothing", "no text", "null", "a list", "a number", "too deep", "without text", "tables", "blocks"],
)
def test_what_is_no_answer_is_a_value_error(data: bytes) -> None:
    """Whichever way it is none."""
    with pytest.raises(ValueError, match=r"."):
        decode(data)


@given(st.binary(max_size=1000))
def test_what_was_packed_is_unpacked(data: bytes) -> None:
    """And nothing less of it: bytes that are cut off are none."""
    packed = pack(data)
    assert unpack(packed) == data
    with pytest.raises(ValueError, match="cut off"):
        unpack(packed[:-1])


@given(st.binary())
def test_other_bytes_unfold_to_nothing(data: bytes) -> None:
    """Or, by chance, to what was packed so."""
    try:
        unpacked = unpack(data)
    except ValueError:
        return
    assert unpack(pack(unpacked)) == unpacked


def test_what_would_unfold_to_more_than_an_answer_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little room it takes; what is exactly as long is not."""
    monkeypatch.setattr(module, "MOST_BYTES", 1000)
    assert unpack(pack(bytes(1000))) == bytes(1000)
    with pytest.raises(ValueError, match="too long"):
        unpack(pack(bytes(1001)))
