"""A table as CSV that is safe to open in a spreadsheet (RFC 4180; OWASP, "CSV Injection").

An agent's cells hold what anybody may have written into the data behind it, and a spreadsheet runs a cell that begins
like a formula. Such a cell gets an apostrophe in front, which makes it a text for every spreadsheet.
"""

import csv
import io
import re
import unicodedata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lib.agents.markdown import Table

_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # every end of a line among them
_SIGNS = frozenset("=+-@\N{MINUS SIGN}")
_NUMBER = re.compile(
    "[-\N{MINUS SIGN}]"  # alone it stands where there is no number
    "|[-+\N{MINUS SIGN}]?[$€£¥]?"
    "[0-9.][0-9.,'\N{RIGHT SINGLE QUOTATION MARK} \xa0\u202f]*(?:[eE][-+]?[0-9]+)?"
    "[ \xa0\u202f]?[%$€£¥]?"
)


def write_csv(table: "Table") -> str:
    """`table` as CSV: a line of its columns, then one for each row."""
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\r\n")
    lines.writerows([_safe(cell) for cell in row] for row in (table.columns, *table.rows))
    return text.getvalue()


def _safe(cell: str) -> str:
    """`cell` on one line, with no beginning of a formula in it.

    A spreadsheet whose list separator is the semicolon, as in much of Europe, opens CSV by that: each part counts.
    """
    line = _CONTROLS.sub(" ", cell)
    return ";".join(f"'{part}" if _runs(part) else part for part in line.split(";"))


def _runs(part: str) -> bool:
    """Whether a spreadsheet could take `part` for a formula, by the first sign in it that one sees.

    Full-width signs are signs to a spreadsheet as well; numbers with a sign are none.
    """
    seen = next((character for character in part if character.isprintable() and character not in ' "'), "")
    return unicodedata.normalize("NFKC", seen) in _SIGNS and not _NUMBER.fullmatch(part.strip())
