"""An answer, and the ways a data agent has of not giving one while it claims success.

The agent's words are somebody else's text, built from data that anybody may have written: everything in an `Answer`
has been made harmless (`lib.agents.inline`), so that a client may show it.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from lib.agents.characters import UNSEEN
from lib.agents.failures import failed_answer
from lib.agents.inline import on_one_line
from lib.agents.markdown import MAX_LENGTH, Query, Table, read_markdown
from lib.agents.mcp import Block, ToolResult
from lib.agents.wire import read_json
from lib.errors import AgentFailed

MAX_BLOCKS_LENGTH = 2 * MAX_LENGTH
MAX_TITLE = 200

_SAFE_MEDIA_TYPES = {
    "image": re.compile(r"image/(png|jpeg|gif|webp)"),
    "resource": re.compile(r"text/(csv|plain|tab-separated-values)|application/json"),
}
_DATA = {"image": re.compile(r"[A-Za-z0-9+/]*={0,2}")}
_RUN_FAILED = "the data agent run failed before producing a result"
_FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL | re.IGNORECASE)
_QUESTION_MARKS = ("?", "\uff1f", "\u061f", "\u037e")  # Latin, full-width, Arabic, Greek


@dataclass(frozen=True)
class Answer:
    """What an agent said.

    `markdown` is safe to render, `text` is the same without markup. `tables` and `queries` are those in the text;
    `blocks` are what came beside it: images (base64) and texts such as CSV, empty where they are no kind to pass on.
    """

    markdown: str = field(repr=False)
    text: str = field(repr=False)
    tables: tuple[Table, ...] = field(default=(), repr=False)
    queries: tuple[Query, ...] = field(default=(), repr=False)
    blocks: tuple[Block, ...] = field(default=(), repr=False)

    @property
    def is_clarifying(self) -> bool:
        """Whether the agent asks back instead of answering.

        It is where the first or the last line ends in a question mark and nothing but words came. The rule errs on
        this side: an answer that closes with an offer counts too, and costs no more than a place in the cache.
        """
        if self.tables or self.queries or self.blocks or not self.text:
            return False
        lines = self.text.splitlines()
        return lines[0].endswith(_QUESTION_MARKS) or lines[-1].endswith(_QUESTION_MARKS)


def parse_result(result: ToolResult, link_hosts: frozenset[str] = frozenset()) -> Answer:
    """The answer in what the tool said; only links to `link_hosts` stay links.

    Raises `AgentFailed`, or what the failure's own words mean, where it is none: by its flag, by the sentence of a run
    that died, by an error as JSON where the answer should be, or because nothing is there.
    """
    said = "\n\n".join(block.content for block in result.blocks if block.kind == "text").strip()
    if (error := _error_in(said)) is not None or result.is_error:
        raise failed_answer(error or said)
    if said[: len(_RUN_FAILED)].casefold() == _RUN_FAILED:
        raise AgentFailed
    document = read_markdown(said, link_hosts)
    blocks = tuple(_passed_on(block for block in result.blocks if block.kind != "text"))
    if not document.markdown and not any(block.content for block in blocks):
        raise AgentFailed
    return Answer(document.markdown, document.text, document.tables, document.queries, blocks)


def _error_in(said: str) -> Any:
    """The JSON object that is all of `said`, bare or fenced, if it tells of an error; none is longer than an answer."""
    if len(said) > MAX_LENGTH or not said.startswith(("{", "```")):
        return None
    fenced = _FENCED.fullmatch(said)
    try:
        value = read_json((fenced[1] if fenced else said).encode())
    except ValueError:
        return None
    return value if isinstance(value, dict) and value.get("error") else None


def _passed_on(blocks: Iterable[Block]) -> Iterator[Block]:
    """The blocks, with the contents of known kinds as long as they are not too much together."""
    left = MAX_BLOCKS_LENGTH
    for block in blocks:
        safe = _SAFE_MEDIA_TYPES.get(block.kind)
        data = _DATA.get(block.kind)
        is_safe = safe and safe.fullmatch(block.media_type) and (data is None or data.fullmatch(block.content))
        content = block.content if is_safe and len(block.content) <= left else ""
        left -= len(content)
        yield replace(block, content=UNSEEN.sub("", content), title=on_one_line(block.title[:MAX_TITLE]).strip())
