"""Alive, ready, and what is told to whom."""

import json
import secrets
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from azure.data.tables import TableServiceClient

from lib.gateway import SWEPT_TABLES
from local.fabric import SALES_AGENT
from local.people import ALICE
from local.stack import Host, Stack, free_port
from tests.integration.browser import Browser


def test_alive_says_so_to_anybody(browser: Browser) -> None:
    """Static, without a word about anything else."""
    reply = browser.call("GET", "/api/health")
    assert (reply.status_code, reply.json()) == (200, {"status": "alive"})


def test_ready_tells_anybody_the_whole_in_one_word(browser: Browser) -> None:
    """Which peers there are is nobody's business."""
    reply = browser.call("GET", "/api/health/ready")
    assert (reply.status_code, reply.json()) == (200, {"status": "ready"})


def operator_token(browser: Browser, stack: Stack) -> str:
    """A token of somebody with the role `Gateway.Operate`."""
    stack.entra.roles[ALICE.key] = ("Gateway.Operate",)
    try:
        return browser.token("alice")
    finally:
        del stack.entra.roles[ALICE.key]


def test_ready_tells_an_operator_each_peer(browser: Browser, stack: Stack) -> None:
    """With the role `Gateway.Operate`; without it a token is no key to the details."""
    plain = browser.call("GET", "/api/health/ready", headers={"Authorization": f"Bearer {browser.token('alice')}"})
    assert (plain.status_code, plain.json()["code"]) == (403, "insufficient_scope")
    token = operator_token(browser, stack)
    reply = browser.call("GET", "/api/health/ready", headers={"Authorization": f"Bearer {token}"})
    assert reply.json() == {
        "status": "ready",
        "checks": {"table_storage": "ok", "key_vault": "ok", "signing_keys": "ok"},
        "agents": {"sales": "ok"},
    }


def test_an_agent_that_is_away_degrades_and_operators_see_which(browser: Browser, stack: Stack, tmp_path: Path) -> None:
    """The others can be asked all the same. Of several instances one knocks: what it met stands on the board."""
    names = here, away = [f"{name}-{secrets.token_hex(4)}" for name in ("here", "away")]
    nowhere = f"https://127.0.0.1:{free_port()}"
    urls = [f"{origin}{SALES_AGENT.path}" for origin in (stack.urls["fabric"], nowhere)]
    agents = json.dumps({name: {"url": url} for name, url in zip(names, urls, strict=True)})
    operator = {"Authorization": f"Bearer {operator_token(browser, stack)}"}
    stack.fabric.faults.calls.clear()
    with ExitStack() as running:
        for instance in ("first", "second"):
            log = running.enter_context((tmp_path / instance).open("wb"))
            host = Host(free_port(), stack.environment | {"DATA_AGENTS": agents}, log)
            running.callback(host.stop)
            anybody = httpx.get(f"{host.url}/api/health/ready", trust_env=False)
            assert (anybody.status_code, anybody.json()) == (200, {"status": "degraded"})
            told = httpx.get(f"{host.url}/api/health/ready", headers=operator, trust_env=False).json()
            assert (told["status"], set(told["checks"].values())) == ("degraded", {"ok"})
            assert told["agents"] == {here: "ok", away: "failing"}
            assert stack.fabric.calls == {"initialize": 1}
        alice = {"Authorization": f"Bearer {browser.token('alice')}"}
        body = {"question": "total sales", "agent": here}
        reply = httpx.post(f"{host.url}/api/query", json=body, headers=alice, timeout=30, trust_env=False)
        assert reply.status_code == 200
    assert f'"check": "{away}"' in (tmp_path / "first").read_text(encoding="utf-8")


@pytest.fixture
def misconfigured(stack: Stack, tmp_path: Path) -> tuple[str, str]:
    """The address of a gateway whose settings are wrong, while it runs, and what it logged about them."""
    log = tmp_path / "log"
    settings = {"TENANT_ID": "common", "KEY_VAULT_URL": "http://vault.example", "ALLOWED_ORIGINS": "*"}
    with log.open("wb") as output:
        host = Host(free_port(), stack.environment | settings, output)
        try:
            replies = {
                path: httpx.get(f"{host.url}/api/{path}", trust_env=False)
                for path in ("health", "health/ready", "session")
            }
            assert replies["health"].status_code == 200
            assert (replies["health/ready"].status_code, replies["health/ready"].json()["code"]) == (503, "not_ready")
            assert (replies["session"].status_code, replies["session"].json()["code"]) == (503, "not_ready")
            assert "vault" not in replies["health/ready"].text.lower()
        finally:
            host.stop()
    return host.url, log.read_text(encoding="utf-8")


def test_wrong_settings_leave_the_app_alive_and_are_listed_once(misconfigured: tuple[str, str]) -> None:
    """Every problem by name, in the log alone."""
    _, log = misconfigured
    for name in ("TENANT_ID", "KEY_VAULT_URL", "ALLOWED_ORIGINS"):
        assert log.count(name) == 1, log


def test_the_sweeper_removes_expired_sessions(browser: Browser, stack: Stack) -> None:
    """The timer, run by hand as the host does it, deletes what has expired and nothing else."""
    browser.sign_in("alice")
    with TableServiceClient.from_connection_string(stack.azurite.connection_string) as service:
        table = service.get_table_client("sessions")
        expired = {"PartitionKey": "expired", "RowKey": "x", "expires": (1_000_000_000, "Edm.Int64")}
        table.upsert_entity(expired)
        reply = httpx.post(f"{stack.public_url}/admin/functions/sweep", json={}, trust_env=False)
        assert reply.status_code == 202
        deadline = time.monotonic() + 20
        while list(table.query_entities("PartitionKey eq 'expired'")):
            assert time.monotonic() < deadline, "the sweeper left an expired row"
    assert browser.call("GET", "/api/session").status_code == 200


def written(log: Path) -> list[str]:
    """The lines of a log, without one that is just being written."""
    return log.read_text(encoding="utf-8").rpartition("\n")[0].splitlines()


def test_a_sweep_is_one_line_of_the_log(stack: Stack, host_log: Path) -> None:
    """With what became of every table; and its lease is given back for the next one."""
    assert httpx.post(f"{stack.public_url}/admin/functions/sweep", json={}, trust_env=False).status_code == 202
    deadline = time.monotonic() + 20
    while not (lines := [line for line in written(host_log) if '"expired rows were deleted"' in line]):
        assert time.monotonic() < deadline, "no sweep has told of itself"
    told = json.loads(lines[0])
    assert {told[f"{table}_ended"] for table in SWEPT_TABLES} == {"complete"}
    with TableServiceClient.from_connection_string(stack.azurite.connection_string) as service:
        timers = service.get_table_client("timers")
        while timers.get_entity("sweep", "lease")["expires"].value > time.time():
            assert time.monotonic() < deadline, "the lease was not given back"


def test_the_timer_that_warms_probes_agents_and_asks_nothing(stack: Stack, host_log: Path) -> None:
    """The one agent is asked as people: its door is knocked at, at the most. A run is one line of the log."""
    stack.fabric.faults.calls.clear()
    assert httpx.post(f"{stack.public_url}/admin/functions/warm", json={}, trust_env=False).status_code == 202
    deadline = time.monotonic() + 20
    while '"agents were warmed"' not in (log := host_log.read_text(encoding="utf-8")):
        assert time.monotonic() < deadline, "no run has told of itself"
    *_, told = (json.loads(line) for line in log.splitlines() if '"agents were warmed"' in line)
    assert (told["warmed"] + told["away"], told["asked"], told["budget_ended"]) == (1, 0, False)
    assert stack.fabric.calls.keys() <= {"initialize"}


def test_a_preflight_of_an_allowed_page_is_answered(browser: Browser) -> None:
    """And a foreign page gets no leave."""
    wanted = {"Origin": "https://app.contoso.example", "Access-Control-Request-Method": "POST"}
    reply = browser.call("OPTIONS", "/api/query", headers=wanted)
    assert reply.status_code == 204
    assert reply.headers["access-control-allow-origin"] == "https://app.contoso.example"
    foreign = browser.call("OPTIONS", "/api/query", headers=wanted | {"Origin": "https://evil.example"})
    assert "access-control-allow-origin" not in foreign.headers


def test_a_trace_that_a_caller_began_goes_on(browser: Browser) -> None:
    """`traceparent` in, the same trace id out, in the reply and in its headers."""
    trace = "0af7651916cd43dd8448eb211c80319c"
    reply = browser.call("GET", "/api/session", headers={"traceparent": f"00-{trace}-b7ad6b7169203331-01"})
    assert reply.headers["x-request-id"] == trace
    assert reply.json()["trace_id"] == trace
    assert reply.headers["traceparent"].split("-")[1] == trace
