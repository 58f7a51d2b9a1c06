"""An answer's markdown, read once and written anew: safe markdown, plain text, the tables and the queries in it.

What is written is CommonMark with GitHub's tables (https://spec.commonmark.org, https://github.github.com/gfm), in the
plainest form of each construct, so that every reader sees the same blocks as we do: above all the same code, which is
the one thing that passes unchanged. `markdown-it-py` reads (docs/decisions/markdown-it-py.md); its import takes 35 ms
and waits for the first answer.
"""

import functools
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from lib.agents.characters import UNSEEN
from lib.agents.inline import InlineWriter

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_core import StateCore
    from markdown_it.token import Token

MAX_LENGTH = 64 * 1024
MAX_SOURCE = 4 * MAX_LENGTH
"""What is looked at of a source: most of what is more than is read could only be characters that nobody sees."""
MAX_CELLS = 20_000
"""Of all tables of a document together: rows are filled up to the columns, so that few bytes can mean many cells."""
MAX_ROWS = 200
MAX_COLUMNS = 50
MAX_NUMBER = 999_999_999
"""Of an item: with one more digit it is a text, and the code below it as well."""

QUERY_LANGUAGES = {"sql": "sql", "dax": "dax", "kql": "kql", "kusto": "kql"}
CUT = "The answer was too long and is cut here."

_RULES = {"text-align:left": ":---", "text-align:center": ":---:", "text-align:right": "---:"}
_LINE_ENDS = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
_MARK = re.compile(r"[\n\\`*_\[<&]")
"""With one of these begins whatever is no text within a block."""


@dataclass(frozen=True)
class Table:
    """A table's texts, at most 200 rows of 50 columns; every row is as long as `columns`."""

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Query:
    """A query that the answer shows; `language` is sql, dax or kql."""

    language: str
    text: str


@dataclass(frozen=True)
class Document:
    """What a markdown text holds."""

    markdown: str
    text: str
    tables: tuple[Table, ...]
    queries: tuple[Query, ...]


@dataclass(frozen=True)
class _Block:
    """One block in both forms; `packed` where it may follow another without a blank line."""

    markdown: str
    text: str
    packed: bool = False
    values: tuple[Table | Query, ...] = ()


def read_markdown(source: str, link_hosts: frozenset[str] = frozenset()) -> Document:
    """What `source` holds. Only links to `link_hosts`, by https, stay links.

    64 KiB and `MAX_CELLS` at most, past that it is cut.
    """
    visible = UNSEEN.sub("", _LINE_ENDS.sub("\n", source[:MAX_SOURCE]))
    tokens, is_whole = parse(_first_lines(visible, MAX_LENGTH))
    blocks = _Reader(tokens, link_hosts).blocks()
    kept = _within(blocks, MAX_LENGTH - len(CUT) - 4)
    values = [value for block in kept for value in block.values]
    if not is_whole or len(kept) < len(blocks) or len(visible) > MAX_LENGTH or len(source) > MAX_SOURCE:
        kept.append(_Block(f"*{CUT}*", CUT))
    tables = tuple(value for value in values if isinstance(value, Table))
    return Document(_markdown(kept), _text(kept), tables, tuple(value for value in values if isinstance(value, Query)))


def parse(source: str) -> tuple[list["Token"], bool]:
    """The parser's tokens for `source`, and whether they are for all of it: the last cell that may be ends it."""
    state = {"cells": MAX_CELLS, "cut": False}
    return _parser().parse(source, state), not state["cut"]


@functools.cache
def _parser() -> "MarkdownIt":
    """Reads tags only within text: as blocks of their own they would swallow the words around them."""
    from markdown_it import MarkdownIt  # noqa: PLC0415  # see above
    from markdown_it.rules_block import table  # noqa: PLC0415

    parser = MarkdownIt("commonmark").enable("table").disable("html_block")
    parser.block.ruler.at("table", functools.partial(_bounded_table, table), {"alt": ["paragraph", "reference"]})
    parser.core.ruler.at("inline", _inline)
    return parser


def _inline(state: "StateCore") -> None:
    """The parser's own rule for what is within a block, spared where that is words alone, as in most cells."""
    for token in state.tokens:
        if token.type == "inline" and token.content:
            if _MARK.search(token.content):
                token.children = state.md.inline.parse(token.content, state.md, state.env, [])
            else:
                token.children = [type(token)("text", "", 0, content=token.content)]


def _bounded_table(
    rule: Callable[["StateBlock", int, int, bool], bool], state: "StateBlock", start: int, end: int, silent: bool
) -> bool:
    """The parser's own `rule` for a table, given no more lines than there are cells left in the document for.

    It bounds by itself only the cells that it fills up, and those in each table anew.
    """
    if not rule(state, start, end, True):
        return False
    if silent:
        return True
    columns = len(re.findall("-+", state.src[state.bMarks[start + 1] : state.eMarks[start + 1]]))
    last = start + 1 + state.env["cells"] // columns
    if rule(state, start, min(end, last), False):
        state.env["cells"] -= columns * (state.line - start - 1)
    if last < end and state.line in {start, last} and not state.isEmpty(last):
        state.env["cut"], state.line = True, end
    return True


class _Reader:
    """Turns the parser's tokens into blocks."""

    def __init__(self, tokens: Iterable["Token"], link_hosts: frozenset[str]) -> None:
        self._tokens = iter(tokens)
        self._link_hosts = link_hosts

    def blocks(self, end: str = "") -> list[_Block]:
        """The blocks up to the token `end`; the parser nests at most 20 deep."""
        blocks = []
        for token in self._tokens:
            if token.type == end:
                break
            block = self._block(token)
            if block.markdown:
                blocks.append(block)
        return blocks

    def _block(self, token: "Token") -> _Block:
        match token.type:
            case "heading_open":
                block = self._heading(int(token.tag[1]))
            case "fence" | "code_block":
                block = self._code(token)
            case "hr":
                block = _Block("***", "")
            case "blockquote_open":
                block = _quoted(self.blocks("blockquote_close"))
            case "bullet_list_open" | "ordered_list_open":
                block = self._list(token)
            case "table_open":
                block = self._table()
            case _:
                block = _Block(*self._inline(), packed=token.hidden)
        return block

    def _inline(self) -> tuple[str, str]:
        """The words of the block that has just opened, and its end."""
        words, _ = next(self._tokens), next(self._tokens)
        return InlineWriter(self._link_hosts).write(words.children or ())

    def _heading(self, level: int) -> _Block:
        markdown, text = (" ".join(form.split()) for form in self._inline())
        return _Block(f"{'#' * level} {markdown}" if markdown else "", text)

    def _code(self, token: "Token") -> _Block:
        """Code as it is, between marks longer than any in it."""
        language = re.match(r"[\w+#.-]{0,20}", token.info.strip())
        name = language[0] if language else ""
        code = token.content.removesuffix("\n")
        kind = QUERY_LANGUAGES.get(name.lower())
        marks = "`" * max(3, 1 + max(map(len, re.findall("`+", code)), default=0))
        found = (Query(kind, code.strip()),) if kind else ()
        return _Block(f"{marks}{name}\n{code}\n{marks}", code, values=found)

    def _list(self, opening: "Token") -> _Block:
        items = []
        while next(self._tokens).type == "list_item_open":
            items.append(self.blocks("list_item_close"))
        start = min(int(opening.attrs.get("start", 1)), MAX_NUMBER + 1 - len(items))
        numbers = [f"{number}. " for number in range(start, start + len(items))]
        ordered = opening.type == "ordered_list_open"
        marks, bullets = (numbers, numbers) if ordered else (["- "] * len(items), ["• "] * len(items))
        packed = all(block.packed for item in items for block in item)
        gap = "\n" if packed else "\n\n"
        markdown = gap.join(map(_hung, marks, (gap.join(block.markdown for block in item) for item in items)))
        text = "\n".join(map(_hung, bullets, ("\n".join(block.text for block in item) for item in items)))
        interrupts = markdown.startswith(("- ", "1. "))  # else it is no list where a paragraph goes before
        values = tuple(value for item in items for block in item for value in block.values)
        return _Block(markdown, text, packed and interrupts, values)

    def _table(self) -> _Block:
        rows: list[list[tuple[str, str]]] = []
        rules: list[str] = []
        while (token := next(self._tokens)).type != "table_close":
            if token.type == "tr_open":
                rows.append([])
            elif token.type == "th_open":
                rules.append(_RULES.get(str(token.attrs.get("style", "")), "---"))
            elif token.type == "inline":
                rows[-1].append(InlineWriter(self._link_hosts, cell=True).write(token.children or ()))
        lines = [[markdown for markdown, _ in row] for row in rows]
        texts = [[text for _, text in row] for row in rows]
        names, *values = (tuple(row[:MAX_COLUMNS]) for row in texts[: 1 + MAX_ROWS])
        return _Block(
            "\n".join(f"| {' | '.join(line)} |" for line in (lines[0], rules, *lines[1:])),
            "\n".join(map("\t".join, texts)),
            values=(Table(names, tuple(values)),),
        )


def _quoted(blocks: Sequence[_Block]) -> _Block:
    lines = _markdown(blocks).split("\n") if blocks else []
    values = tuple(value for block in blocks for value in block.values)
    return _Block("\n".join(f"> {line}" if line else ">" for line in lines), _text(blocks), values=values)


def _markdown(blocks: Iterable[_Block]) -> str:
    return "\n\n".join(block.markdown for block in blocks)


def _text(blocks: Iterable[_Block]) -> str:
    return "\n\n".join(block.text for block in blocks if block.text)


def _hung(mark: str, block: str) -> str:
    """`block` behind a list's mark, its further lines as far in as the first."""
    first, *others = block.split("\n")
    beginning = [f"{mark}{first}".rstrip(" ")]
    if re.fullmatch("-( -){2,}", beginning[0]):  # would be a rule
        beginning = [mark.rstrip(" "), " " * len(mark) + first]
    return "\n".join([*beginning, *(" " * len(mark) + line if line else "" for line in others)])


def _first_lines(source: str, most: int) -> str:
    """The beginning of `source`, up to the last line end that fits."""
    if len(source) <= most:
        return source
    return source[: source.rfind("\n", 0, most) + 1] or source[:most]


def _within(blocks: Iterable[_Block], most: int) -> list[_Block]:
    """The first blocks, as many as fit whole: a block cut in its middle could be read as another."""
    kept, length = [], 0
    for block in blocks:
        length += 2 + max(len(block.markdown.encode()), len(block.text.encode()))
        if length > most:
            break
        kept.append(block)
    return kept
