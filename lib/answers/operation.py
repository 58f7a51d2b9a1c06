"""An operation: a question that outlives its request, and the states it goes through.

    queue way   accepted → asked → done | failed
    task way    asked → running → done | failed
    both        accepted | asked → cancelled;  running → cancelling → cancelled;  too late → expired

Each arrow is one conditional write, so that of two who see the same state one makes the move. Final states do not
change. A question is asked once: whoever brings it to `asked` asks it, and nobody after that. Where it is not known
what became of it then, it has failed with `outcome_unknown`.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from lib.storage.rows import Row

State = Literal["accepted", "asked", "running", "cancelling", "done", "failed", "cancelled", "expired"]

MOVES: Mapping[State, frozenset[State]] = {
    "accepted": frozenset({"asked", "cancelled", "expired"}),
    "asked": frozenset({"running", "done", "failed", "cancelled"}),
    "running": frozenset({"done", "failed", "cancelling", "expired"}),
    "cancelling": frozenset({"cancelled"}),
    "done": frozenset(),
    "failed": frozenset(),
    "cancelled": frozenset(),
    "expired": frozenset(),
}
FINAL: frozenset[State] = frozenset(state for state, moves in MOVES.items() if not moves)

PICK_UP_SECONDS = 120
"""A question that nobody has picked up by then is not asked any more."""
SEND_AGAIN_SECONDS = 30
"""A message that has not arrived by then is taken for lost."""


@dataclass(frozen=True)
class Operation:
    """One question under way, or what became of it. Times are in seconds since the epoch.

    `deadline` is when the state it is in has to be over: of `accepted` being picked up, of the others the answer.
    `sent` is when its message was sent last, `failure` a problem as `lib.answers.failures_kept` keeps it, `task` the
    agent's own name for the question, which may be looked at again from `look_at` on, `conversation` what the answer is
    noted in.
    """

    id: str
    state: State
    agent: str
    created: float
    deadline: float
    row: Row = field(repr=False)
    sent: float = 0
    failure: str = field(default="", repr=False)
    task: str = field(default="", repr=False)
    look_at: float = 0
    conversation: str = ""

    @property
    def is_final(self) -> bool:
        """Whether nothing more will happen."""
        return self.state in FINAL

    @property
    def failed_with(self) -> Mapping[str, Any]:
        """The problem, as `lib.answers.failures_kept` has it."""
        kept: Mapping[str, Any] = json.loads(self.failure)
        return kept

    @property
    def partition(self) -> str:
        """Whose it is."""
        return self.row.partition


def overdue(operation: Operation, now: float) -> State | None:
    """The state that time has brought: None where that is the one it is in.

    What was asked, and not answered in time, has failed: whoever asked may have died with the answer in hand.
    """
    if operation.is_final or now < operation.deadline:
        return None
    after: Mapping[State, State] = {
        "accepted": "expired",
        "asked": "failed",
        "running": "expired",
        "cancelling": "cancelled",
    }
    return after[operation.state]
