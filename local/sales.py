"""The data behind the emulated data agent: a year's sales, of which each caller sees one region.

Row-level security is absolute: the database that a question meets holds the caller's rows and no others. The text of
a question is only searched for known words; the SQL is put together from the constants of this module.
"""

import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from typing import NamedTuple

REGIONS = ("North", "South", "East", "West")
MONTHS = tuple(f"2026-{month:02}" for month in range(1, 13))
PRICES = {"Armchair": 420, "Bookcase": 310, "Desk": 560, "Lamp": 75, "Stool": 95}
"""Whole euros for one unit of each product."""

ROW_LIMIT = 25
"""Rows in one answer: what a Fabric data agent returns at most."""

CLARIFICATION = (
    "I can report the total sales, the units sold or the number of orders: in total, by month, by product or by "
    "region.\n\nCould you clarify which of these figures you need?"
)


class Order(NamedTuple):
    """One order of one product; `amount` is in whole euros."""

    month: str
    region: str
    product: str
    units: int
    amount: int


@dataclass(frozen=True)
class Measure:
    """A figure that can be asked for: the words that ask for it, and how SQL computes it."""

    words: re.Pattern[str]
    column: str
    expression: str
    phrase: str


def _pattern(words: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{words})\b", re.IGNORECASE)


_ORDERS = Measure(_pattern("orders"), "orders", "COUNT(*)", "number of orders")
_UNITS = Measure(_pattern("units"), "units_sold", "SUM(units)", "units sold")
_SALES = Measure(_pattern("sales|sold|revenue|turnover"), "total_sales", "SUM(amount)", "total sales")
# "Units sold" means units: the more specific word comes first.
_MEASURES = (_ORDERS, _UNITS, _SALES)

_GROUPINGS = {"month": _pattern("months?|monthly"), "product": _pattern("products?"), "region": _pattern("regions?")}
_TOP = _pattern(r"top(?: (?P<count>\d{1,2}))?")
_DEFAULT_TOP = 3

_TRANSCRIPT = "Prior conversation transcript"
_NEW_QUESTION = "\nEnd of prior conversation transcript.\n\nNew question:\n"
_USER_TURN = re.compile(r"^\d+\. user: (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Query:
    """A question as it was understood; every part of it is one of this module's own constants or a small number."""

    measure: Measure
    grouping: str | None = None
    regions: tuple[str, ...] = ()
    top: int | None = None

    def sql(self) -> str:
        """The query in SQLite's SQL. It says nothing of row-level security: that lies beneath it, as in Fabric."""
        figure = f"{self.measure.expression} AS {self.measure.column}"
        places = ", ".join(f"'{region}'" for region in self.regions)
        where = [f"WHERE region IN ({places})"] if places else []
        if self.grouping is None:
            return "\n".join([f"SELECT {figure}", "FROM sales", *where])
        in_time = self.grouping == "month" and self.top is None
        order = self.grouping if in_time else f"{self.measure.column} DESC, {self.grouping}"
        return "\n".join(
            [
                f"SELECT {self.grouping}, {figure}",
                "FROM sales",
                *where,
                f"GROUP BY {self.grouping}",
                f"ORDER BY {order}",
                f"LIMIT {self.top or ROW_LIMIT}",
            ]
        )

    def heading(self) -> str:
        """The sentence that introduces the table."""
        grouping = f" by {self.grouping}" if self.grouping else ""
        top = f" (top {self.top})" if self.top else ""
        places = f" in {' and '.join(self.regions)}" if self.regions else ""
        return f"The table shows the {self.measure.phrase}{grouping}{places}{top}, based on the data that you can see:"


def understand(text: str) -> Query | None:
    """What a question asks for, or None where it cannot be told.

    The question may follow a transcript of the conversation. The new question counts; where it asks for a breakdown
    but names no figure ("and by month?"), the figure is the one asked for last.
    """
    question, earlier = _split(text)
    top = _TOP.search(question)
    grouping = next((name for name, words in _GROUPINGS.items() if words.search(question)), "product" if top else None)
    regions = tuple(region for region in REGIONS if _pattern(region).search(question))
    measure = _measure_in(question)
    if measure is None and (grouping or regions):
        measure = next(filter(None, map(_measure_in, reversed(earlier))), _SALES if top else None)
    if measure is None:
        return None
    return Query(measure, grouping, regions, _count(top) if top else None)


def _split(text: str) -> tuple[str, Sequence[str]]:
    """The new question, and the user's earlier ones in their order."""
    transcript, marker, question = text.partition(_NEW_QUESTION)
    if not (marker and transcript.startswith(_TRANSCRIPT)):
        return text, ()
    return question, _USER_TURN.findall(transcript)


def _measure_in(question: str) -> Measure | None:
    return next((measure for measure in _MEASURES if measure.words.search(question)), None)


def _count(top: re.Match[str]) -> int:
    return min(max(int(top["count"] or _DEFAULT_TOP), 1), ROW_LIMIT)


def orders_of_2026() -> Iterator[Order]:
    """The data set: the same few hundred orders each time, a different mix in every region."""
    places = product(enumerate(MONTHS), enumerate(REGIONS), enumerate(PRICES.items()))
    for (month, month_name), (region, region_name), (item, (item_name, price)) in places:
        for order in range(1 + (month + region * item) % 3):
            units = 1 + (7 * month + 5 * region + 3 * item + 11 * order) % 9
            yield Order(month_name, region_name, item_name, units, units * price)


class Sales:
    """The sales of every region, to be asked one region at a time."""

    def __init__(self, orders: Iterable[Order] | None = None) -> None:
        self._orders = tuple(orders_of_2026() if orders is None else orders)

    def answer(self, question: str, region: str) -> str:
        """The markdown answer to a question, computed from the rows of one region.

        It has a sentence, a table and the SQL that made the table. A question that cannot be understood is answered
        with a question.
        """
        query = understand(question)
        if query is None:
            return CLARIFICATION
        sql = query.sql()
        columns, rows = self._run(sql, region)
        if all(row[-1] is None for row in rows):
            found = "I found no data for this question among the data that you can see."
        else:
            found = f"{query.heading()}\n\n{_table(columns, rows)}"
        return f"{found}\n\nThis is the query that was used:\n\n```sql\n{sql}\n```"

    def _run(self, sql: str, region: str) -> tuple[list[str], list[tuple[str | int | None, ...]]]:
        """Column names and rows of a query over a database with the rows of one region."""
        visible = [order for order in self._orders if order.region == region]
        with closing(sqlite3.connect(":memory:")) as database:
            database.execute(
                "CREATE TABLE sales (month TEXT, region TEXT, product TEXT, units INTEGER, amount INTEGER)"
            )
            database.executemany("INSERT INTO sales VALUES (?, ?, ?, ?, ?)", visible)
            cursor = database.execute(sql)
            return [column[0] for column in cursor.description], cursor.fetchall()


def _table(columns: Sequence[str], rows: Iterable[Sequence[str | int | None]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)
