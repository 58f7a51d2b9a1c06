"""The table in `docs/performance.md`: written between two marks, so that what stands around it stays."""

import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime

from bench.row import Row, told

BEGIN, END = "<!-- written by make bench -->", "<!-- end of what make bench writes -->"
_HEAD = ("| what | measured | unit | beside | ratio | target | how |", "|---|---|---|---|---|---|---|")


def markdown(rows: Sequence[Row]) -> str:
    """The rows as one table."""
    return "\n".join([*_HEAD, *map(_line, rows)])


def conditions(now: datetime, seconds: float) -> str:
    """On what, when, and how long it took."""
    machine = f"{os.cpu_count()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}"
    busy = f", {os.getloadavg()[0]:.1f} processes busy at the end" if hasattr(os, "getloadavg") else ""
    return f"Measured on {now.astimezone(UTC):%Y-%m-%d}, {machine}{busy}, in {seconds / 60:.1f} minutes."


def put(page: str, written: str) -> str:
    """The page with `written` between the marks. Raises ValueError where they are not there."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no place for the table: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n\n{written}\n\n{END}{after}"


def _line(row: Row) -> str:
    cells = (row.name, told(row.value), row.unit, told(row.beside), told(row.ratio), row.target, row.method)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"
