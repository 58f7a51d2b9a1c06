"""How findings are told."""

import json

import pytest

from scripts.findings import Finding, as_json, exit_code, failed, ok, skipped, summary

FINDINGS = [
    ok("alive", "0.1 s"),
    failed("ready", "503", "storage is away", "az login"),
    skipped("token", "none", "get"),
]


def test_a_failure_is_told_with_its_cause_and_its_cure() -> None:
    """One line each, so that a command can be copied."""
    assert FINDINGS[1].told().splitlines() == [
        "FAIL     ready                  503",
        "         cause: storage is away",
        "         cure:  az login",
    ]


def test_what_is_well_takes_one_line() -> None:
    """Without trailing blanks."""
    assert [finding.told() for finding in (FINDINGS[0], ok("ready"))] == [
        "ok       alive                  0.1 s",
        "ok       ready",
    ]


def test_the_whole_is_told_in_one_line_and_in_json() -> None:
    """Machines read each finding as it is."""
    assert summary(FINDINGS) == "1 ok, 1 failed, 1 skipped"
    told = json.loads(as_json("the gateway", FINDINGS))
    assert (told["subject"], told["ok"]) == ("the gateway", False)
    assert [Finding(**check) for check in told["checks"]] == FINDINGS


@pytest.mark.parametrize(("findings", "code"), [(FINDINGS, 1), (FINDINGS[::2], 0), ([], 0)])
def test_a_failure_alone_is_an_exit_code(findings: list[Finding], code: int) -> None:
    """What was skipped is none."""
    assert exit_code(findings) == code
