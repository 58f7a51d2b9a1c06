"""The smoke test against the stack's gateway: what a sound one looks like, and that nothing private is printed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lib.errors import TokenExpired
from local import addresses
from local.fabric import SALES_AGENT, faults
from local.people import ALICE, TENANT_ID
from local.stack import ROOT, Stack
from scripts import smoke
from tests.integration.callers import token_of

QUESTION = "What are the total sales by month?"


@pytest.fixture(autouse=True)
def _trusted(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stack's own authority is trusted here, as it is on its developer's machine."""
    monkeypatch.setenv("SSL_CERT_FILE", str(stack.certificates.ca))


def test_a_sound_gateway_passes(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Each line is ok, but TLS, which the stack's gateway does not speak."""
    token = token_of(stack, ALICE)
    arguments = ["--url", stack.public_url, "--tenant", TENANT_ID, "--question", QUESTION, "--json"]
    assert smoke.main(arguments, {"SMOKE_TOKEN": token}) == 0
    told = capsys.readouterr().out
    checks = {check["name"]: check["status"] for check in json.loads(told)["checks"]}
    assert checks.pop("tls only") == "skipped"
    assert set(checks.values()) == {"ok"}
    assert len(checks) == 11
    assert not [private for private in (token, QUESTION, "North", ALICE.name) if private in told]


def test_without_a_token_only_what_anybody_sees_is_looked_at(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """No question costs anything then."""
    asked = len(stack.fabric.asked)
    assert smoke.main(["--url", f"{stack.public_url}/"], {}) == 0
    assert "skipped  with a token" in capsys.readouterr().out
    assert len(stack.fabric.asked) == asked


def test_a_gateway_of_another_tenant_fails(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """Where browsers would sign in is seen from outside."""
    assert smoke.main(["--url", stack.public_url, "--tenant", "another"], {}) == 1
    assert "FAIL     sign-in                another tenant" in capsys.readouterr().out


def test_an_agent_that_fails_fails_the_test(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """With the problem's code; the same is not asked again then."""
    agent = stack.fabric.faults_at[SALES_AGENT.object_id]
    agent.plan("tools/call", faults.run_failed())
    arguments = ["--url", stack.public_url, "--question", "orders by product"]
    assert smoke.main(arguments, {"SMOKE_TOKEN": token_of(stack, ALICE)}) == 1
    told = capsys.readouterr().out
    assert "FAIL     question               502 agent_failed" in told
    assert "same question" not in told


def test_a_token_that_is_none_is_told_by_its_code(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """And the doctor is named, who tells why."""
    expired = stack.issuer.sign(
        stack.issuer.verify(token_of(stack, ALICE), stack.environment["CLIENT_ID"])
        | {"iat": 1_700_000_000, "nbf": 1_700_000_000, "exp": 1_700_003_600}
    )
    assert smoke.main(["--url", stack.public_url], {"SMOKE_TOKEN": expired}) == 1
    assert f"401 {TokenExpired.code}" in capsys.readouterr().out


def test_an_address_over_tls_is_looked_at_over_tls_alone(stack: Stack, capsys: pytest.CaptureFixture[str]) -> None:
    """What is not alive is not looked at any further: here another service answers."""
    assert smoke.main(["--url", stack.urls["graph"], "--wait", "0"], {}) == 1
    told = capsys.readouterr().out
    assert "FAIL     alive                  404" in told
    assert "skipped  everything else" in told


def test_the_commands_find_the_stack_that_runs_here(stack: Stack, tmp_path: Path) -> None:
    """Both, as programs of their own, from what `make run` has written; somebody is at hand to ask."""
    program = f"""
from pathlib import Path
from local import addresses
addresses.FILE = Path({str(tmp_path / "stack.json")!r})
addresses.ENVIRONMENT_FILE = Path({str(tmp_path / "environment.json")!r})
import runpy, sys
names = sys.argv[1:]
del sys.argv[1:]
codes = []
for name in names:
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        codes.append(end.code)
sys.exit(str(codes) if any(codes) else 0)
"""
    environ = {name: value for name, value in os.environ.items() if name not in stack.environment}
    with pytest.MonkeyPatch.context() as here:
        here.setattr(addresses, "FILE", tmp_path / "stack.json")
        here.setattr(addresses, "ENVIRONMENT_FILE", tmp_path / "environment.json")
        addresses.write(stack.public_url, stack.urls["entra"], stack.certificates.ca, stack.environment)
        assert addresses.environment() == stack.environment
        assert (tmp_path / "environment.json").stat().st_mode & 0o077 == 0
        run = subprocess.run(
            [sys.executable, "-c", program, "scripts.smoke", "scripts.doctor"],
            cwd=ROOT,
            env=environ,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        addresses.forget()
    assert (run.returncode, run.stderr) == (0, ""), run.stdout
    assert f"11 ok, 0 failed, 1 skipped: {stack.public_url}" in run.stdout
    assert "18 ok, 0 failed, 0 skipped: the local stack" in run.stdout
    assert list(tmp_path.iterdir()) == []
