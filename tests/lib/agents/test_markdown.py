"""Blocks of markdown: written anew in one form, with the tables and queries in them as values, and code untouched."""

from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from markdown_it.token import Token

from lib.agents.markdown import (
    CUT,
    MAX_CELLS,
    MAX_COLUMNS,
    MAX_LENGTH,
    MAX_ROWS,
    MAX_SOURCE,
    Query,
    Table,
    parse,
    read_markdown,
)


@pytest.mark.parametrize(
    ("source", "markdown", "text"),
    [
        ("# One #\n\nTwo\n===\n\n### ~", "# One\n\n# Two\n\n### \\~", "One\n\nTwo\n\n~"),
        ("Two\nlines\n===", "# Two lines", "Two lines"),
        ("#\n\na", "a", "a"),
        ("* a\n* b", "- a\n- b", "• a\n• b"),
        ("+ a\n\n+ b", "- a\n\n- b", "• a\n• b"),
        ("- a\n  - b\n    - c\n- d", "- a\n  - b\n    - c\n- d", "• a\n  • b\n    • c\n• d"),
        ("3) a\n4) b", "3. a\n4. b", "3. a\n4. b"),
        ("1. a\n\n   b\n2. c", "1. a\n\n   b\n\n2. c", "1. a\n   b\n2. c"),
        ("999999999. a\n1. b", "999999998. a\n999999999. b", "999999998. a\n999999999. b"),
        ("- + *", "-\n  - -", "• • •"),
        ("1. - + *", "1. -\n     - -", "1. • • •"),
        ("- - - a", "- - - a", "• • • a"),
        ("- a\n  #\n  -", "- a\n\n  -", "• a\n  •"),
        ("- a\n  #\n  1.\n  2. b", "- a\n\n  1.\n  2. b", "• a\n  1.\n  2. b"),
        ("- a\n  3. b", "- a\n  3\\. b", "• a\n  3. b"),
        ("- a\n\n  3. b", "- a\n\n  3. b", "• a\n  3. b"),
        ("-\n- a", "-\n- a", "•\n• a"),
        ("> a\n> b\n>\n> c", "> a\n> b\n>\n> c", "a\nb\n\nc"),
        (">", "", ""),
        ("a\n\n---\n\nb", "a\n\n***\n\nb", "a\n\nb"),
        ("- > a\n  > b", "- > a\n  > b", "• a\n  b"),
        ("a\n\n\n\n\nb", "a\n\nb", "a\n\nb"),
        ("", "", ""),
    ],
)
def test_blocks_have_one_form(source: str, markdown: str, text: str) -> None:
    """Each block is written in its plainest form, which reads the same again; its text has no marks."""
    document = read_markdown(source)
    assert document.markdown == markdown
    assert document.text == text
    assert read_markdown(markdown).markdown == markdown


def test_a_table_becomes_columns_and_rows() -> None:
    """Cells are texts; escaped bars belong to them, the alignment does not."""
    source = (
        "| Product | Sales |\n|:--|--:|\n| **Desk** \\| oak | `66 \\| 080` |\n| <b>Lamp</b> | [1](https://x.example) |"
    )
    document = read_markdown(source)
    expected = Table(("Product", "Sales"), (("Desk | oak", "66 | 080"), ("Lamp", "1 (https://x.example)")))
    assert document.tables == (expected,)
    assert document.markdown == (
        "| Product | Sales |\n| :--- | ---: |\n| **Desk** &#124; oak | 66 &#124; 080 |\n"
        "| Lamp | 1 (`https://x.example`) |"
    )
    assert document.text == "Product\tSales\nDesk | oak\t66 | 080\nLamp\t1 (https://x.example)"
    assert read_markdown(document.markdown).tables == (expected,)


def test_ragged_rows_are_made_even() -> None:
    """A short row is filled up, a long one cut, as every reader of such tables does."""
    document = read_markdown("a | b\n:-: | -\n1\n1 | 2 | 3\n\n| c |\n|---|")
    assert document.tables == (Table(("a", "b"), (("1", ""), ("1", "2"))), Table(("c",), ()))
    assert document.markdown == "| a | b |\n| :---: | --- |\n| 1 |  |\n| 1 | 2 |\n\n| c |\n| --- |"


def test_tables_within_other_blocks_are_found() -> None:
    """A table in a list or a quotation is a table."""
    document = read_markdown("- x\n\n  | a |\n  |---|\n  | 1 |\n\n> | b |\n> |---|\n> | 2 |")
    assert document.tables == (Table(("a",), (("1",),)), Table(("b",), (("2",),)))
    assert read_markdown(document.markdown).tables == document.tables


def test_a_table_has_at_most_200_rows_of_50_columns() -> None:
    """What a client gets as values is bounded; the markdown keeps the rest."""
    width, height = MAX_COLUMNS + 1, MAX_ROWS + 1
    source = "\n".join(["|x" * width, "|-" * width, *["|1" * width] * height])
    (table,) = read_markdown(source).tables
    assert (len(table.columns), len(table.rows), {len(row) for row in table.rows}) == (50, 200, {50})


def padded(columns: int, rows: int, prefix: str = "") -> str:
    """A table whose rows are one letter each, and are filled up to the columns by every reader."""
    lines = ["|" * (columns + 1), "|-" * columns + "|", *["x"] * rows, ""]
    return "".join(f"{prefix}{line}\n" for line in lines)


def cells_of(document_tokens: Iterable[Token]) -> int:
    """How many cells the parser made."""
    return sum(token.type in {"th_open", "td_open"} for token in document_tokens)


def size_of(tokens: Iterable[Token]) -> int:
    """How many tokens there are, with those within others."""
    return sum(1 + size_of(token.children or ()) for token in tokens)


@pytest.mark.parametrize(
    ("columns", "rows", "tables", "prefix"),
    [
        (50, 200, 60, ""),
        (50, 200, 60, "> "),
        (50, 200, 60, "  "),
        (50, 6, 240, ""),
        (1000, 1000, 1, ""),
        (1, 25_000, 1, ""),
        (15_000, 2, 1, ""),
        (20_001, 1, 1, ""),
    ],
)
def test_all_tables_together_have_20000_cells(columns: int, rows: int, tables: int, prefix: str) -> None:
    """A few bytes that stand for millions of cells cost no more than as many bytes of anything else."""
    source = ("- a\n\n" if prefix == "  " else "") + padded(columns, rows, prefix) * tables
    tokens, _ = parse(source[:MAX_LENGTH])
    assert cells_of(tokens) <= MAX_CELLS
    document = read_markdown(source)
    assert document.markdown.endswith(f"*{CUT}*")
    assert len(document.markdown) <= MAX_LENGTH
    assert sum(len(table.columns) * (1 + len(table.rows)) for table in document.tables) <= MAX_CELLS


@pytest.mark.parametrize(("columns", "tables"), [(50, 1), (250, 4)])
def test_the_last_cell_that_may_be_is_there_and_no_other(columns: int, tables: int) -> None:
    """Tables that fit are whole; of one that does not the first rows are there, and nothing behind them."""
    rows = MAX_CELLS // columns // tables - 1
    whole = padded(columns, rows) * tables
    tokens, is_whole = parse(f"{whole}behind\n")
    assert (cells_of(tokens), is_whole) == (MAX_CELLS, True)
    tokens, is_whole = parse(f"{padded(columns, rows) * (tables - 1)}{padded(columns, rows + 1)}\nbehind\n")
    assert (cells_of(tokens), is_whole) == (MAX_CELLS, False)
    assert tokens[-1].type == "table_close"
    tokens, is_whole = parse(f"{whole}before\n{padded(1, 0)}behind\n")
    assert (cells_of(tokens), is_whole) == (MAX_CELLS, False)
    assert tokens[-1].type == "paragraph_close"


@pytest.mark.parametrize(
    "pattern",
    ["a|b\n-|-\n# h\n", "a|b\n-|-\n1|2\n\n", "- > 1. a|b\n     -|-\n", "1. a\n", "*_", "[](x)", "![](x)", "`a`", ">\n"],
)
def test_tokens_are_no_more_than_the_text_is_long(pattern: str) -> None:
    """Reading costs as much as the text is long, and never as much as it claims to be."""
    tokens, _ = parse((pattern * MAX_LENGTH)[:MAX_LENGTH])
    assert size_of(tokens) <= 2 * MAX_LENGTH


@given(st.text(st.sampled_from(" \ta1!#$&()*-.:;<=>[\\]_`{|}~\n\xa0"), max_size=40))
@example("# a-b: 1.5 % {c} ~d~ (e)!\n\n|f]|$g|\n|-|-|\n||=h|\n")
def test_words_without_a_mark_are_read_as_the_parser_reads_them(source: str) -> None:
    """They go past its rules, which would make one text of them."""
    assert parse(source)[0] == MarkdownIt("commonmark").enable("table").disable("html_block").parse(source)


def test_what_is_cut_is_in_no_list_of_values() -> None:
    """Tables and queries are those of the markdown, within other blocks as well."""
    shown = "> | a |\n> |---|\n> | 1 |\n\n- b\n\n  ```sql\n  SELECT 1\n  ```\n\n"
    hidden = "<" * (MAX_LENGTH // 4) + "\n\n" + shown
    document = read_markdown(shown + hidden)
    assert document.tables == (Table(("a",), (("1",),)),)
    assert document.queries == (Query("sql", "SELECT 1"),)
    assert document.markdown.endswith(f"*{CUT}*")


def test_a_source_that_goes_on_unseen_is_cut() -> None:
    """Not even characters that nobody sees are read without end."""
    assert read_markdown("a\n" + "\u200b" * MAX_SOURCE + "b").markdown == f"a\n\n*{CUT}*"
    assert read_markdown("a" + "\u200b" * (MAX_SOURCE - 2) + "b").markdown == "ab"


@pytest.mark.parametrize(
    ("info", "language"),
    [("sql", "sql"), ("SQL title=x", "sql"), ("dax", "dax"), ("KQL", "kql"), ("kusto", "kql")],
)
@pytest.mark.parametrize("fence", ["```", "~~~~"])
def test_queries_are_found_by_their_language(info: str, language: str, fence: str) -> None:
    """Fenced code in one of the three query languages is a query, whatever fence and case it has."""
    assert read_markdown(f"{fence}{info}\nEVALUATE x\n{fence}").queries == (Query(language, "EVALUATE x"),)


@pytest.mark.parametrize("source", ["```\nSELECT 1\n```", "```python\nx\n```", "    SELECT 1", "`SELECT 1`"])
def test_other_code_is_no_query(source: str) -> None:
    """Code that does not say it is a query is left as code alone."""
    document = read_markdown(source)
    assert document.queries == ()
    assert document.text in {"SELECT 1", "x"}


def test_queries_within_other_blocks_are_found() -> None:
    """A query in a list or a quotation is a query, without the marks around it."""
    document = read_markdown("1. So:\n   ```sql\n   SELECT 1\n     FROM x\n   ```\n\n> ```kql\n> T\n> | take 1\n> ```")
    assert document.queries == (Query("sql", "SELECT 1\n  FROM x"), Query("kql", "T\n| take 1"))
    assert read_markdown(document.markdown).queries == document.queries


def test_the_name_of_a_language_is_a_word() -> None:
    """What follows a fence cannot carry anything else into the markdown."""
    assert read_markdown("```<script>\nx\n```").markdown == "```\nx\n```"
    assert read_markdown("```c++ <b>\nx\n```").markdown == "```c++\nx\n```"


CODE = st.lists(
    st.sampled_from(
        ["`", "```", "````", "~~~", "<img src=x>", "![a](b)", "\n", "\n\n", "  ", "\t", "x", "|", "> ", "- "]
    )
).map("".join)


@given(code=CODE, quoted=st.booleans())
@example(code="\n```\n<img src=x>\n````\n", quoted=False)
def test_code_survives_as_it_is(code: str, quoted: bool) -> None:
    """Fenced code comes out with every character, however much it looks like the end of itself."""
    fence = "`" * 20
    lines = f"before\n\n{fence}sql\nx{code}x\n{fence}\n\nafter"
    source = "\n".join(f"> {line}" for line in lines.split("\n")) if quoted else lines
    document = read_markdown(source)
    assert document.queries == (Query("sql", f"x{code}x"),)
    assert document.text.startswith("before\n\n")
    assert document.text.endswith("\n\nafter")
    assert read_markdown(document.markdown) == document


def test_characters_that_nobody_sees_are_removed() -> None:
    """Controls, overrides of direction, tags and their like go, even from code; scripts keep their joiners."""
    seen = "a\u200d\u200cb \U0001f469\u200d\U0001f4bb"
    unseen = "\x00\x1b\x7f\x9f\u200b\ufeff\u202e\u2066\U000e0041\U000e0101"
    document = read_markdown(f"{seen}{unseen}\n\n```sql\nx{unseen}y\n```")
    assert document.markdown == f"{seen}\n\n```sql\nxy\n```"


@pytest.mark.parametrize("reference", ["&#x202e;", "&#8238;", "&#xE0041;", "&ZeroWidthSpace;", "&#xFEFF;", "&NoBreak;"])
def test_characters_that_nobody_sees_are_removed_also_where_they_are_spelled_out(reference: str) -> None:
    """A reader of markdown makes the character of its reference; so do we, and it goes."""
    document = read_markdown(f"a{reference}b\n\n| d{reference}e |\n|---|")
    assert document.text == "ab\n\nde"
    assert document.markdown == "ab\n\n| de |\n| --- |"


@pytest.mark.parametrize("end", ["\r", "\r\n", "\x0b", "\x0c", "\x85", "\u2028", "\u2029"])
def test_every_line_end_is_one(end: str) -> None:
    """No line can end for one reader and go on for another."""
    assert read_markdown(f"a{end}{end}b").markdown == "a\n\nb"


def test_a_long_text_is_cut_and_says_so() -> None:
    """What lies past 64 KiB is left out, with a notice."""
    document = read_markdown(("word " * 500 + "\n\n") * 120)
    assert document.markdown.endswith(f"word\n\n*{CUT}*")
    assert document.text.endswith(f"word\n\n{CUT}")
    assert MAX_LENGTH * 0.9 < len(document.markdown) <= MAX_LENGTH


def test_a_block_that_does_not_fit_is_left_out_whole() -> None:
    """A block is never cut in its middle, where code could turn into text."""
    document = read_markdown("before\n\n" + "<" * (MAX_LENGTH // 2))
    assert document.markdown == f"before\n\n*{CUT}*"


@pytest.mark.parametrize("pattern", [">", "- ", "[", "![", "*a ", "`", "<", "| a ", "1. "])
def test_hostile_nesting_is_survived(pattern: str) -> None:
    """Marks nested without end are read in the end, without an error."""
    assert isinstance(read_markdown(pattern * 5_000).markdown, str)


@given(st.text())
def test_any_text_is_read(source: str) -> None:
    """Every text is a document, and its markdown is one too."""
    read_markdown(read_markdown(source).markdown)
