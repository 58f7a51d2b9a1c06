"""What the logs of a whole run hold, and what they must not. Runs last."""

import json
import re
from pathlib import Path

import pytest

from tests.conftest import LOGGED
from tests.integration.browser import Browser

TOKEN = re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}")


def test_no_token_cookie_code_question_or_answer_is_in_any_line(
    browser: Browser, host_log: Path, secrets_seen: set[str], pytestconfig: pytest.Config
) -> None:
    """Everything secret that passed through the tests is looked for in everything the gateway wrote.

    That is the log of the gateway's own process, and what its modules and the emulators logged in this one while all
    other tests ran.
    """
    browser.sign_in("alice")
    canary = "how many orders did the canary Zinzendorf-Quastenflosser place"
    assert browser.ask(canary).status_code == 200
    log = host_log.read_text(encoding="utf-8")
    assert log.count('"served"') >= 3
    log += "\n".join(pytestconfig.stash[LOGGED].lines)
    assert len(secrets_seen) >= 5
    found = [secret for secret in secrets_seen if len(secret) > 8 and secret in log]
    assert found == []
    assert not TOKEN.search(log)
    assert "Zinzendorf" not in log


def test_every_line_of_the_gateway_is_one_json_object_with_its_trace(host_log: Path) -> None:
    """A log that a machine can read, and that leads from a reply's trace id to its lines."""
    lines = host_log.read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines if line.startswith("{")]
    served = [record for record in records if record["message"] == "served"]
    assert served
    assert all(re.fullmatch("[0-9a-f]{32}", record["trace_id"]) for record in served)
    assert {record["route"] for record in served} >= {"query_ask", "login_callback"}
