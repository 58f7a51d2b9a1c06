"""What a check has found, and how that is told: some lines for people, JSON for machines.

Neither holds a token, a secret, a question or an answer: a check puts fixed words into its finding, names, numbers and
codes.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

type Status = Literal["ok", "failed", "skipped"]

NAME_WIDTH = 22
_SHOWN: dict[Status, str] = {"ok": "ok", "failed": "FAIL", "skipped": "skipped"}
_BELOW = " " * 9


@dataclass(frozen=True)
class Finding:
    """One check's outcome: what was seen, why it is so, and what mends it (a command where there is one)."""

    name: str
    status: Status
    detail: str = ""
    cause: str = ""
    cure: str = ""

    def told(self) -> str:
        """The finding for people: one line, and one each for cause and cure."""
        first = f"{_SHOWN[self.status]:<8} {self.name:<{NAME_WIDTH}} {self.detail}".rstrip()
        more = [f"{_BELOW}{label} {text}" for label, text in (("cause:", self.cause), ("cure: ", self.cure)) if text]
        return "\n".join((first, *more))


def ok(name: str, detail: str = "") -> Finding:
    """All is well."""
    return Finding(name, "ok", detail)


def failed(name: str, detail: str, cause: str, cure: str) -> Finding:
    """Something is wrong, and somebody has to do something."""
    return Finding(name, "failed", detail, cause, cure)


def skipped(name: str, detail: str, cure: str = "") -> Finding:
    """It was not looked at; `cure` is what has to be done so that it is."""
    return Finding(name, "skipped", detail, cure=cure)


def summary(findings: Iterable[Finding]) -> str:
    """The whole in one line."""
    count = Counter(finding.status for finding in findings)
    return f"{count['ok']} ok, {count['failed']} failed, {count['skipped']} skipped"


def as_json(subject: str, findings: Iterable[Finding]) -> str:
    """The whole for machines; `subject` is what was checked."""
    listed = list(findings)
    whole = {"subject": subject, "ok": exit_code(listed) == 0, "checks": [asdict(finding) for finding in listed]}
    return json.dumps(whole, indent=2)


def exit_code(findings: Iterable[Finding]) -> int:
    """What the program ends with: 1 where anything failed."""
    return int(any(finding.status == "failed" for finding in findings))
