"""Bytes off the wire: whatever comes, it is read within bounds or refused with `ValueError`."""

import gzip
import itertools
import json
import tracemalloc

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.agents.wire import (
    MAX_BODY,
    MAX_EVENTS,
    MAX_LINES,
    MAX_VALUES,
    STEP,
    Body,
    EventStream,
    at,
    read_json,
    text_of,
    write_json,
)


def events(*parts: bytes) -> list[bytes]:
    """All events of a stream that comes in these parts."""
    stream = EventStream()
    return [event for part in parts for event in stream.feed(part)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"], ids=["LF", "CRLF", "CR"])
def test_lines_may_end_in_three_ways(end: bytes) -> None:
    """LF, CRLF and CR all end a line, and an empty line ends an event."""
    assert events(end.join([b"data: one", b"", b"data: two", b"", b""])) == [b"one", b"two"]


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"data: a\ndata:b\n\n", [b"a\nb"]),
        (b"data:  two blanks\n\n", [b" two blanks"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b": comment\n\ndata: a\n: another\n\n", [b"a"]),
        (b"event: message\nid: 1\nretry: 9\ndata: a\n\n", [b"a"]),
        (b"datax: no\nno colon\ndata: a\n\n", [b"a"]),
        (b"data\n\n", [b""]),
        (b"id: 1\ndata:\n\ndata: a\n\n", [b"", b"a"]),
        (b"data: a\n\ndata: cut off\n", [b"a"]),
        (b"\n\n\ndata: a\n\n\n", [b"a"]),
        ("data: \u2028 stays\u0085\n\n".encode(), ["\u2028 stays\u0085".encode()]),
        (b"", []),
    ],
    ids=[
        "lines-joined",
        "one-blank-dropped",
        "byte-order-mark",
        "comments",
        "other-fields",
        "unknown-fields",
        "field-without-colon",
        "priming-event",
        "unfinished-event",
        "empty-lines",
        "unicode-line-ends",
        "nothing",
    ],
)
def test_only_data_counts(stream: bytes, expected: list[bytes]) -> None:
    """Data lines are joined, everything else is passed over, an event without its empty line is not one."""
    assert events(stream) == expected


LINES = st.lists(st.sampled_from([b"data: a", b"data:b", b"", b": c", b"id: 1", b"\xef\xbb\xbfdata: d"]))
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(lines=LINES, end=ENDS, cuts=st.lists(st.integers(0, 120)))
def test_how_a_stream_is_cut_makes_no_difference(lines: list[bytes], end: bytes, cuts: list[int]) -> None:
    """Any portions of the same bytes give the same events, even where a CRLF is torn apart."""
    stream = end.join(lines)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    parts = [stream[start:stop] for start, stop in itertools.pairwise(places)]
    assert events(*parts) == events(stream)


def test_an_event_is_there_as_soon_as_its_last_byte() -> None:
    """A server that ends lines in CR and then waits is understood without another byte."""
    stream = EventStream()
    assert stream.feed(b"data: a\r\r") == [b"a"]
    assert stream.feed(b"\ndata: b\r\n\r") == [b"b"]


@pytest.mark.parametrize(
    ("stream", "fits"),
    [
        (b"data: {}\n\n" * MAX_EVENTS, True),
        (b"data: {}\n\n" * (MAX_EVENTS + 1), False),
        (b"\n" * MAX_BODY, False),
        (b"data:[]\n\n" * 466_000, False),
        (b": ping\n\n" * (MAX_EVENTS + 1), False),
        (b"data\n" * MAX_LINES, True),
        (b"data\n" * (MAX_LINES + 1), False),
        (b"data: " + b"x" * STEP * 4 + b"\n\n", True),
    ],
    ids=["most", "one-more", "empty-lines", "tiny", "comments", "most-lines", "one-line-more", "long"],
)
def test_a_stream_has_an_end(stream: bytes, fits: bool) -> None:
    """An answer is one event among a few: who sends a thousand sends no answer."""
    if fits:
        assert len(events(stream)) <= MAX_EVENTS
    else:
        with pytest.raises(ValueError, match="too many"):
            events(stream)


@pytest.mark.parametrize("encoding", ["gzip", "identity"])
@pytest.mark.parametrize("length", [0, 1, STEP - 1, STEP, STEP + 1, 3 * STEP, MAX_BODY])
@pytest.mark.parametrize("size", [10, 2**20], ids=["in-portions", "whole"])
def test_a_body_is_taken_in_step_by_step(encoding: str, length: int, size: int) -> None:
    """Of a few bytes that stand for many no more than a step is there at once; and none is lost."""
    content = bytes(length)
    packed = gzip.compress(content) if encoding == "gzip" else content
    size = size if encoding == "gzip" or length < STEP else 2**20
    body = Body(encoding)
    pieces = [piece for at in range(0, len(packed), size) for piece in body.feed(packed[at : at + size])]
    assert max(map(len, pieces), default=0) <= STEP
    assert b"".join(pieces) == content


@given(content=st.binary(max_size=300), cuts=st.integers(1, 40))
@example(content=b"x" * STEP + b"y", cuts=3)
def test_a_body_may_be_gzip(content: bytes, cuts: int) -> None:
    """A compressed body is unfolded as it comes, in any portions; what comes behind its end is nothing."""
    packed = gzip.compress(content) + b"behind"
    body = Body("gzip")
    portions = (packed[at : at + cuts] for at in range(0, len(packed), cuts))
    assert b"".join(piece for portion in portions for piece in body.feed(portion)) == content


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_no_other_coding_is_read(encoding: str) -> None:
    """What was not asked for is refused."""
    with pytest.raises(ValueError, match="encoding"):
        Body(encoding)


def test_a_body_that_claims_to_be_gzip_and_is_not_is_refused() -> None:
    """Broken compression is a fault of the peer."""
    with pytest.raises(ValueError, match="gzip"):
        list(Body("gzip").feed(b"plain"))


@pytest.mark.parametrize("encoding", ["", "identity"])
def test_a_body_ends_at_4_mib(encoding: str) -> None:
    """The last byte allowed is read, one more is not."""
    body = Body(encoding)
    assert sum(map(len, body.feed(bytes(MAX_BODY)))) == MAX_BODY
    with pytest.raises(ValueError, match="long"):
        list(body.feed(b"x"))


def test_a_bomb_is_not_unfolded() -> None:
    """A body of 16 MiB in 16 KiB of gzip is refused in its first portion, before it takes up memory."""
    bomb = gzip.compress(bytes(4 * MAX_BODY))
    tracemalloc.start()
    try:
        with pytest.raises(ValueError, match="long"):
            for _ in Body("gzip").feed(bomb):
                pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 * STEP


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe[\x00]\x00",
        b"NaN",
        b"[Infinity]",
        b"-Infinity",
        b"[" * 100_000 + b"]" * 100_000,
        b'{"a":' * 100_000 + b"1" + b"}" * 100_000,
        b"1" * 5_000,
        b'"\xff"',
        b"[" + b"[]," * MAX_VALUES + b"[]]",
        b"[" + b"0," * MAX_VALUES + b"0]",
    ],
    ids=[
        "nothing",
        "cut",
        "utf-16",
        "nan",
        "infinity",
        "minus",
        "deep-list",
        "deep-object",
        "long-number",
        "bytes",
        "lists",
        "numbers",
    ],
)
def test_json_that_is_none_is_refused(data: bytes) -> None:
    """Everything that is not JSON, or would break its reader, is one kind of failure."""
    with pytest.raises(ValueError):  # noqa: PT011  # its text is the library's
        read_json(data)


def test_as_many_values_as_any_answer_has_are_read() -> None:
    """The bound counts what reading takes, not bytes: one long text is one value."""
    assert len(read_json(b"[" + b"0," * (MAX_VALUES - 1) + b"0]")) == MAX_VALUES
    assert len(read_json(b'"' + b"x" * (MAX_BODY - 2) + b'"')) == MAX_BODY - 2


@given(st.binary())
def test_no_bytes_break_the_json_reader(data: bytes) -> None:
    """Any bytes are JSON or a `ValueError`."""
    try:
        value = read_json(data)
    except ValueError:
        return
    assert json.loads(write_json(value)) == value


def test_what_nests_too_deep_to_write_is_refused() -> None:
    """Values nested without end are refused on the way out too."""
    value: list[object] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(ValueError, match="deep"):
        write_json(value)


def test_json_is_written_in_one_way() -> None:
    """Equal values are equal texts, whatever the order of their keys."""
    assert write_json({"b": 1, "a": "\u00e9"}) == write_json({"a": "\u00e9", "b": 1}) == '{"a":"\\u00e9","b":1}'


@pytest.mark.parametrize(
    ("value", "found"),
    [({"a": {"b": 1}}, 1), ({"a": {}}, None), ({"a": [1]}, None), ({"a": None}, None), ("ab", None), (None, None)],
    ids=["there", "empty", "a-list", "null", "a-text", "nothing"],
)
def test_what_lies_deep_is_found_or_none(value: object, found: object) -> None:
    """A path through what is no object leads nowhere, and breaks nothing."""
    assert at(value, "a", "b") == found


def test_a_text_can_be_encoded() -> None:
    """A lone surrogate, which JSON can smuggle in, does not get any further; every other character does."""
    assert text_of(read_json(b'"a\\ud800b"')) == "a?b"
    assert text_of("caf\u00e9 \U0001f600") == "caf\u00e9 \U0001f600"


@pytest.mark.parametrize("value", [None, 1, [], {}, True])
def test_what_is_no_text_is_refused(value: object) -> None:
    """Nothing is turned into text that is none."""
    with pytest.raises(ValueError, match="text"):
        text_of(value)
