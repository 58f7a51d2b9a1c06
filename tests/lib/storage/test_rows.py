"""Rows: what a log or an assertion shows of one."""

from lib.storage.rows import Row


def test_a_rows_values_are_not_part_of_its_repr() -> None:
    """It shows the row's place alone."""
    row = Row("p", "k", {"sealed": b"secret"}, "an etag")
    assert repr(row) == "Row(partition='p', key='k')"
