"""Audit lines: who asked which agent when, and what came of it. Never what was asked, or answered.

`who` is a pseudonym: the same for the same person at all times, and of use only to who has the key it was made with.
Lines of this logger are counted on, so members are added and never changed; `version` says how they are to be read.
"""

import logging
from dataclasses import dataclass

from lib.telemetry import metrics
from lib.telemetry.signals import count, measure

VERSION = 1
_FAILURES = 500

_log = logging.getLogger(__name__)


@dataclass
class Asked:
    """What is told of one question; filled in on its way. `cached` and `age` are those of the answer."""

    kind: str
    who: str = ""
    agent: str = ""
    outcome: str = "failed"
    code: str = ""
    cached: str = ""
    age: int = 0
    operation: str = ""

    def answered(self, how: str, age: int) -> None:
        """It was."""
        self.outcome, self.cached, self.age = "answered", how, age

    def accepted(self, operation: str) -> None:
        """It will be, by an operation."""
        self.outcome, self.operation = "accepted", operation

    def ended_by(self, code: str, status: int) -> None:
        """It was not: refused for what the caller has to mend or to wait for, or failed."""
        self.outcome, self.code = "failed" if status >= _FAILURES else "refused", code

    def tell(self, milliseconds: float) -> None:
        """The line, and the numbers."""
        line = {
            "event": "question",
            "version": VERSION,
            "who": self.who,
            "kind": self.kind,
            "agent": self.agent,
            "outcome": self.outcome,
            "code": self.code,
            "cached": self.cached,
            "age": self.age,
            "ms": round(milliseconds, 1),
            "operation": self.operation,
        }
        _log.info("a question was put", extra=line)
        told = {"agent": self.agent, "outcome": self.outcome, "cached": self.cached}
        count(metrics.QUESTIONS, {**told, "code": self.code})
        measure(metrics.QUESTION_DURATION, milliseconds / 1000, told)


def tell_operation(*, who: str, agent: str, outcome: str, code: str, milliseconds: float, operation: str) -> None:
    """The line of an operation that has come to its final state, `outcome`."""
    line = {
        "event": "operation",
        "version": VERSION,
        "who": who,
        "agent": agent,
        "outcome": outcome,
        "code": code,
        "ms": round(milliseconds, 1),
        "operation": operation,
    }
    _log.info("an operation has ended", extra=line)
