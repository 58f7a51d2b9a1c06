"""Values as properties: what fits, what is cut into pieces, and that nothing else comes back."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.storage.properties import PIECE_BYTES, ROW_BYTES, Value, to_properties, to_values

ALIVE: dict[str, Value] = {"expires": 1}

NAMES = st.sampled_from(["a", "b", "a_b", "slot_", "x1"])
LENGTHS = st.sampled_from([0, 1, PIECE_BYTES - 1, PIECE_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES, 3 * PIECE_BYTES + 7])
LONG_BYTES = st.builds(lambda fill, length: bytes([fill]) * length, st.integers(0, 255), LENGTHS)
INTEGERS = st.integers(-(2**63), 2**63 - 1)
VALUES = st.one_of(st.booleans(), INTEGERS, st.floats(allow_nan=False), st.text(max_size=20), LONG_BYTES)


@given(st.lists(st.dictionaries(NAMES, VALUES, max_size=2), min_size=1, max_size=5))
def test_whatever_is_merged_is_read(writes: list[dict[str, Value]]) -> None:
    """After any writes, each merged into the entity as Table Storage does, the row holds the latest values."""
    values: dict[str, Any] = dict(ALIVE)
    entity: dict[str, Any] = {"PartitionKey": "p", "RowKey": "k", **to_properties(values)}
    for changes in writes:
        entity |= to_properties(changes, values)
        values |= changes
        assert to_values(entity) == values


@given(LONG_BYTES, LONG_BYTES)
def test_every_piece_fits_into_a_property(before: bytes, after: bytes) -> None:
    """No property is longer than Table Storage takes, and none of an earlier value keeps a byte of it."""
    entity = to_properties(ALIVE | {"x": before})
    pieces = to_properties({"x": after}, ALIVE | {"x": before})
    assert all(len(piece) <= PIECE_BYTES for piece in pieces.values())
    assert pieces.keys() >= entity.keys() - ALIVE.keys()
    assert b"".join(pieces.values()) == after


def test_an_int_is_written_with_64_bits() -> None:
    """Seconds since the epoch outgrow 32 bits in 2038, and a filter compares only like with like."""
    assert to_properties({"expires": 1, "yes": True}) == {"expires": (1, "Edm.Int64"), "yes": True}


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"a": 1}, "expires"),
        ({"expires": 1.5}, "expires"),
        ({"expires": True}, "expires"),
        ({"expires": 1, "a": 2**63}, "64 bits"),
        ({"expires": 1, "a": "\U0001f600" * 16_385}, "64 KiB"),
        ({"expires": 1, "a_1": b""}, "piece"),
        ({"expires": 1, "a": b"x" * ROW_BYTES}, "1 MiB"),
        ({"expires": 1, "RowKey": "k"}, "cannot name"),
        ({"expires": 1, "odata.etag": "k"}, "cannot name"),
        ({"expires": 1, "x@odata.type": "Edm.Guid"}, "cannot name"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_table_storage_does_not_take_is_refused(values: dict[str, Value], complaint: str) -> None:
    """A mistake in the gateway is told by name, not by a failed call."""
    with pytest.raises(ValueError, match=complaint):
        to_properties(values)


def test_the_cap_counts_what_the_row_holds_already() -> None:
    """A change that fits alone may be too long for its row."""
    half = b"x" * (ROW_BYTES // 2)
    with pytest.raises(ValueError, match="1 MiB"):
        to_properties({"b": half}, ALIVE | {"a": half})


def test_a_value_that_is_no_bytes_may_end_like_a_piece() -> None:
    """Only bytes are cut into pieces, so only their names are reserved."""
    entity = to_properties({"expires": 1, "slot_1": 5, "slot_2": "x"})
    assert to_values(entity) == {"expires": 1, "slot_1": 5, "slot_2": "x"}
