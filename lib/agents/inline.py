"""The words of an answer, inside one block, written anew as markdown that can do no harm.

The danger is what a reader's browser fetches or runs by itself: images, raw HTML, links under a harmless label. So
nothing of the source is passed on: text is escaped, so that it can only be read as text; images leave their
description, tags nothing; a link stays one only to an allowed host, any other shows its target as code, which no
reader turns into a link again.
"""

import re
from collections.abc import Iterable
from typing import TYPE_CHECKING
from urllib.parse import quote

from lib.agents.bare_links import split_links
from lib.agents.characters import UNSEEN

if TYPE_CHECKING:
    from markdown_it.token import Token

_GAP = re.compile("[\t-\r\x1c-\x1f\x85\u2028\u2029]")  # ends of lines, spelled out as references
_SPACE = re.compile(r"\s")
_SPECIAL = re.compile(
    r"(?=[\\*\[\]~`|_<&#:])(?:"  # any other character is passed over by this alone
    r"[\\*\[\]~`|]"
    r"|(?<![^\W_])_|_(?![^\W_])"  # an underscore within a word is no emphasis
    r"|<(?![\s\d=])"  # no tag begins with a blank, a digit or an equals sign
    r"|&(?=\#?\w+;)"
    r"|(?<!\S)\#"
    r"|(?<=script):)",  # javascript: and vbscript:
    re.IGNORECASE,
)
_ENTITIES = {  # where there are readers that do not heed a backslash
    "<": "&lt;",
    "&": "&amp;",
    "[": "&#91;",
    "]": "&#93;",
    "`": "&#96;",
    "|": "&#124;",
}
_BLOCK_START = re.compile(
    r"\A(?:(?=[-+=:](?:[-=:\s]|\Z)|>)|(\d{1,9})(?=[.)](?:\s|\Z)))"
)  # of a list, a rule, a quotation
_HTTPS = re.compile(r"https://([a-z0-9.-]+)(?=[/?#]|\Z)")
_STRAY = re.compile(r"^\*+(?!\S)", re.MULTILINE)  # marks around what is gone: they would begin a list or be a rule
_MARKS = {"em_open": "*", "em_close": "*", "strong_open": "**", "strong_close": "**"}
_BREAKS = {"softbreak": "\n", "hardbreak": "  \n"}


def on_one_line(words: str) -> str:
    """`words` on one line, without what nobody sees."""
    return UNSEEN.sub("", _GAP.sub(" ", words))


class InlineWriter:
    """Writes the tokens of one block, as markdown and as plain text. In a table's `cell` no bar may appear."""

    def __init__(self, link_hosts: frozenset[str], *, cell: bool = False) -> None:
        self._link_hosts = link_hosts
        self._cell = cell
        self._markdown: list[str] = []
        self._text: list[str] = []
        self._words = ""  # text not yet written: what surrounds a removed tag is one text, and escaped as one
        self._link = ("", 0, 0)  # target, and where its label begins in both

    def write(self, tokens: Iterable["Token"]) -> tuple[str, str]:
        """The safe markdown and the plain text of `tokens`."""
        for token in tokens:
            if token.type == "html_inline":
                self._words += " " if token.content.lower().startswith("<br") else ""
            elif token.type == "text":
                self._words += token.content
            elif token.type == "image":
                self._words += _described(token.children or ())
            else:
                self._flush()
                self._mark(token)
        self._flush()
        markdown = "".join(self._markdown).strip()
        return _STRAY.sub(lambda found: r"\*" * len(found[0]), markdown), "".join(self._text).strip()

    def _mark(self, token: "Token") -> None:
        """Writes a token that is not text."""
        if token.type in _MARKS:
            self._markdown.append(_MARKS[token.type])
        elif token.type in _BREAKS:
            self._markdown.append(_BREAKS[token.type])
            self._text.append("\n")
        elif token.type == "code_inline":
            self._write_code(token.content)
        elif token.type == "link_open":
            self._link = (str(token.attrs["href"]), len(self._markdown), len(self._text))
        else:  # the end of a link: CommonMark knows nothing more
            self._close_link()

    def _flush(self) -> None:
        self._write_words(on_one_line(self._words))
        self._words = ""

    def _write_words(self, words: str) -> None:
        """Writes text. An address in it becomes code: a reader would link it, and take what follows into the link."""
        self._text.append(words)
        for piece, address in split_links(words):
            if piece:
                self._markdown.append(self._escape(piece))
            if address:
                self._write_span(address)

    def _write_code(self, code: str) -> None:
        """Writes inline code, as text where the marks of a span could be misread."""
        if "`" in code or (self._cell and "|" in code):
            self._write_words(code)
        else:
            self._text.append(code)
            self._write_span(code)

    def _write_span(self, code: str) -> None:
        touches = self._markdown and self._markdown[-1].endswith("`")
        self._markdown.append(f" `{code}`" if touches else f"`{code}`")

    def _escape(self, text: str) -> str:
        """Markdown that reads as `text` and as nothing else."""
        escaped = _SPECIAL.sub(lambda found: _ENTITIES.get(found[0], f"\\{found[0]}"), _SPACE.sub(" ", text))
        begins_line = not self._markdown or self._markdown[-1].endswith("\n")
        return _BLOCK_START.sub(r"\1\\", escaped.lstrip()) if begins_line else escaped

    def _close_link(self) -> None:
        target, markdown_start, text_start = self._link
        label, words = "".join(self._markdown[markdown_start:]), "".join(self._text[text_start:])
        if self._is_allowed(target):
            if markdown_start and self._markdown[markdown_start - 1].endswith("!"):  # else this becomes an image
                self._markdown[markdown_start - 1] = self._markdown[markdown_start - 1][:-1] + "&#33;"
            safe = quote(target, safe=":/?#@!$&',;=%~+-._").replace("&", "&amp;")
            self._markdown[markdown_start:] = [f"[{label or 'link'}]({safe})"]
        elif target.startswith(("https://", "http://")) and target.rstrip("/") != words.rstrip("/"):
            self._write_words(f" ({target})")

    def _is_allowed(self, target: str) -> bool:
        begins = _HTTPS.match(target)
        return begins is not None and begins[1] in self._link_hosts


def _described(tokens: Iterable["Token"]) -> str:
    """The words of an image's description: its text and code, and those of images in it."""
    return "".join(_described(token.children) if token.children else _spoken(token) for token in tokens)


def _spoken(token: "Token") -> str:
    if token.type in _BREAKS:
        return " "
    return token.content if token.type in {"text", "code_inline"} else ""
