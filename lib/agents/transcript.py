"""A conversation as one question: a data agent keeps none of its own, so what was said before goes along as text.

Each turn is one line of JSON, so that no turn can end its own line and pass for the frame or for the question.
"""

import json
import re
from collections.abc import Sequence

from lib.agents.question import Turn

_OTHER_LINE_ENDS = re.compile("[\x7f\x85\u2028\u2029]")


def compose(question: str, history: Sequence[Turn]) -> str:
    """`question` with the turns before it, oldest first; `question` alone where there are none."""
    if not history:
        return question
    turns = (f"{number}. {turn.role}: {_quoted(turn.content)}" for number, turn in enumerate(history, start=1))
    return "\n".join(
        [
            "Prior conversation transcript (context only; not the new question):",
            *turns,
            "End of prior conversation transcript.",
            "",
            "New question:",
            question,
        ]
    )


def _quoted(content: str) -> str:
    """`content` as a JSON text that readers of any language can still read."""
    return _OTHER_LINE_ENDS.sub(lambda end: f"\\u{ord(end[0]):04x}", json.dumps(content, ensure_ascii=False))
