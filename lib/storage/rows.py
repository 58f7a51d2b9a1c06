"""Rows of Table Storage, apart from the SDK that fetches them: who only handles rows need not load it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


class Conflict(Exception):
    """Somebody was faster: the row to insert exists, or the row to change is no longer as it was read."""


@dataclass(frozen=True)
class Row:
    """One row as it was read or written; `etag` names this state of it."""

    partition: str
    key: str
    values: Mapping[str, Any] = field(repr=False)
    etag: str = field(repr=False)


@dataclass(frozen=True)
class Position:
    """Where a search through a table goes on, in Table Storage's own words: they mean something to nobody else."""

    partition: str
    key: str


@dataclass(frozen=True)
class Page:
    """The rows that one step of a search found; None follows the last."""

    rows: list[Row]
    following: Position | None
