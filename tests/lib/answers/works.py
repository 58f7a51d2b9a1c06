"""Work, answers and notes for the tests of operations."""

import json
import secrets
from typing import TYPE_CHECKING, Any

from lib.answers.cache import AnswerKey, Kept
from lib.answers.given import Given
from lib.answers.wanted import Wanted
from lib.answers.work import Work

if TYPE_CHECKING:
    from lib.answers.operations import Operations

TOKEN = "a token of Fabric's"


def work(text: str = "How much?", *, payer: str = "", agent: str = "sales", **more: Any) -> Work:
    """A question of somebody who was never seen before; its answer is kept nowhere unless `fresh_seconds` say so."""
    payer = payer or secrets.token_hex(16)
    described: dict[str, Any] = {"caller": payer, "grant": "g", "fresh_seconds": 0}
    described |= {name: more.pop(name) for name in list(more) if name in {*described, "anew"}}
    wanted = Wanted(AnswerKey(payer, agent, secrets.token_hex(16)), payer, ("tenant", payer), **described)
    return Work(wanted, **{"text": text, "token": TOKEN, "question": text, **more})


def given(text: str = "42", *, asked_at: float = 1_800_000_000.0, stale_for: int = 0) -> Given:
    """An answer, fetched for its question; or one that is stale for so many seconds."""
    kept = Kept(body(text), asked_at)
    return Given(kept, "kept", stale_for, -stale_for) if stale_for else Given(kept, "fetched", 0, 300)


def body(text: str) -> bytes:
    """An answer as JSON."""
    return json.dumps({"markdown": text, "text": text, "tables": [], "queries": [], "blocks": []}).encode()


class Notes:
    """What was noted in conversations, and how each operation stood then."""

    def __init__(self) -> None:
        self.noted: list[tuple[str, str, bytes]] = []
        self.states: list[str] = []
        self.operations: Operations | None = None
        self.watched = ("", "")
        """Partition and id of the operation to look at."""

    async def __call__(self, work: Work, given: Given) -> None:
        """Notes one."""
        self.noted.append((work.conversation, work.question, given.json))
        if self.operations and (now := await self.operations.read(*self.watched)):
            self.states.append(now.state)
