"""The alerts, tried on rows: what makes each of them fire, and what does not."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

import duckdb
import duckdb_kql
import pytest

from lib.answers.by_queue import QUEUE
from tests.infra.bicep import INFRA, ROOT, body, parsed, resource, resources

EVENTS = set(
    re.findall(
        r'"event": "([a-z_]+)"',
        "".join(path.read_text(encoding="utf-8") for path in sorted((ROOT / "lib").rglob("*.py"))),
    )
)
"""What lines of the log call themselves, for those who count them."""

TABLES = """
    CREATE TABLE AppTraces (TimeGenerated TIMESTAMPTZ, Message VARCHAR, SeverityLevel INT);
    CREATE TABLE AppRequests (
        TimeGenerated TIMESTAMPTZ, Name VARCHAR, ResultCode VARCHAR, DurationMs DOUBLE, AppRoleInstance VARCHAR
    );
    CREATE TABLE StorageQueueLogs (TimeGenerated TIMESTAMPTZ, OperationName VARCHAR, Uri VARCHAR, StatusCode VARCHAR);
    CREATE TABLE _LogOperation (TimeGenerated TIMESTAMPTZ, Category VARCHAR, Detail VARCHAR);
    CREATE TABLE Usage (TimeGenerated TIMESTAMPTZ, DataType VARCHAR, Quantity DOUBLE, IsBillable BOOLEAN);
"""
"""The tables of the workspace, with the columns that are read."""

RULES: Mapping[str, Mapping[str, Any]] = {
    rule["name"]: rule for rule in parsed(INFRA / "modules" / "alerts.bicep")["variables"]["rules"]["value"]
}
QUERIES = {path.stem: path.read_text(encoding="utf-8") for path in sorted((INFRA / "queries").glob("*.kql"))}
TILES = {
    item["name"]: item["content"]["query"]
    for item in json.loads((INFRA / "workbook.json").read_text(encoding="utf-8"))["items"]
    if item["type"] == 3
}

type Rows = Iterable[tuple[Any, ...]]


@pytest.fixture
def workspace() -> Iterator[duckdb.DuckDBPyConnection]:
    """Log Analytics in a process: Kusto queries over tables in memory."""
    with duckdb_kql.connect() as connection:
        connection.execute(TABLES)
        yield connection


def line(event: str, **members: object) -> tuple[str, str]:
    """A line of the app's own log."""
    return ("AppTraces", json.dumps({"level": "x", "event": event, "trace_id": "0" * 32, **members}))


def question(**members: object) -> tuple[str, str]:
    """A question's audit event."""
    return line("question", **{"version": 1, "who": "a" * 32, "agent": "sales", "code": "", "ms": 900.0, **members})


def request(name: str, status: int) -> tuple[str, str, str, float, str]:
    """A request as the host reports it."""
    return ("AppRequests", name, str(status), 12.5, "one")


def fires(workspace: duckdb.DuckDBPyConnection, name: str, rows: Rows) -> bool:
    """Whether the alert fires on these rows."""
    for table, *values in rows:
        places = ", ".join("?" * len(values))
        columns = {"AppTraces": "Message", "_LogOperation": "Category, Detail"}.get(table)
        columns = (
            columns
            or {
                "AppRequests": "Name, ResultCode, DurationMs, AppRoleInstance",
                "StorageQueueLogs": "OperationName, Uri, StatusCode",
            }[table]
        )
        workspace.execute(f"INSERT INTO {table} (TimeGenerated, {columns}) VALUES (now(), {places})", values)  # noqa: S608
    found = workspace.execute(translated(QUERIES[name])).fetchall()
    most: int = RULES[name]["rows"]
    return len(found) > most


@cache
def translated(query: str) -> str:
    """The query in the words of the tables in memory."""
    return str(duckdb_kql.to_sql(query))


POISON = f"https://statex.queue.core.windows.net/{QUEUE}-poison/messages"

FIRE: dict[str, list[Rows]] = {
    "settings-wrong": [[line("setting_wrong", problem="TENANT_ID is missing")]],
    "error-ratio": [[request("query_ask", 503)] * 2 + [request("query_ask", 200)] * 18],
    "no-answers": [
        [question(outcome="failed", cached="")] * 5,
        [question(outcome="failed", cached="")] * 3 + [line("operation", outcome="expired", ms=1.0)] * 2,
    ],
    "circuit-open": [[line("circuit_open", peer="fabric", failures=5)]],
    "storage-unavailable": [[line("state_unavailable", service="tables", operation="read")] * 6],
    "credential-trouble": [[line("credential_trouble", what="sealing-key")] * 3],
    "limits-degraded": [[line("limiter_degraded", refused=False)]],
    "upstream-throttled": [[line("upstream_throttled", peer="fabric", status=429)] * 11],
    "runs-failing": [[line("run_failed", function="warm", cause="X")] * 3],
    "poisoned-questions": [[("StorageQueueLogs", "PutMessage", POISON, "201")]],
    "slow-kept-answers": [[question(outcome="answered", cached="kept", ms=1500.0)] * 20],
    "logs-capped": [[("_LogOperation", "Ingestion", "OverQuota: the daily cap was reached")]],
    "slow-agents": [
        [question(outcome="answered", cached="fetched", ms=150_000.0)] * 10,
        [line("operation", outcome="done", ms=170_000.0)] * 10,
    ],
    "sign-ins-failing": [[line("sign_in_failed", code="access_denied")] * 21],
}

STAY: dict[str, list[Rows]] = {
    "settings-wrong": [[line("warmed", note="setting_wrong")]],
    "error-ratio": [
        [request("query_ask", 500)] * 19,
        [request("query_ask", 503)] + [request("query_ask", 200)] * 19,
        [request("health_ready", 503)] * 40,
        [request("query_ask", 429)] * 40,
    ],
    "no-answers": [
        [question(outcome="failed", cached="")] * 4,
        [question(outcome="failed", cached="")] * 50 + [question(outcome="answered", cached="fetched")],
        [question(outcome="accepted", cached="")] * 9 + [line("operation", outcome="done", ms=1.0)],
        [question(outcome="refused", cached="")] * 50,
    ],
    "circuit-open": [[line("circuit_closed", peer="fabric")]],
    "storage-unavailable": [[line("state_unavailable", service="tables")] * 5],
    "credential-trouble": [[line("credential_trouble", what="key_vault")] * 2],
    "limits-degraded": [[("AppTraces", "Executed 'Functions.warm' (Succeeded): limiter_degraded")]],
    "upstream-throttled": [[line("upstream_throttled", peer="fabric")] * 10],
    "runs-failing": [[line("run_failed", function="warm")] * 2],
    "poisoned-questions": [
        [("StorageQueueLogs", "PutMessage", POISON.replace("-poison", ""), "201")],
        [("StorageQueueLogs", "PutMessage", POISON, "403"), ("StorageQueueLogs", "DeleteMessage", POISON, "204")],
    ],
    "slow-kept-answers": [
        [question(outcome="answered", cached="kept", ms=1500.0)] * 19,
        [question(outcome="answered", cached="kept", ms=15.0)] * 40,
        [question(outcome="answered", cached="fetched", ms=60_000.0)] * 40,
    ],
    "logs-capped": [[("_LogOperation", "Ingestion", "Ingestion rate is high")]],
    "slow-agents": [[question(outcome="answered", cached="fetched", ms=60_000.0)] * 40],
    "sign-ins-failing": [[line("sign_in_failed", code="access_denied")] * 20],
}


def cases(rows: Mapping[str, list[Rows]]) -> list[Any]:
    """One test for each."""
    return [pytest.param(name, some, id=f"{name}-{at}") for name, all_ in rows.items() for at, some in enumerate(all_)]


@pytest.mark.parametrize(("name", "rows"), cases(FIRE))
def test_an_alert_fires_on_what_it_is_for(workspace: duckdb.DuckDBPyConnection, name: str, rows: Rows) -> None:
    """Just enough of it, among lines that are no JSON and events that it is not about."""
    others = [("AppTraces", "Host lock lease acquired by instance ID '0'."), line("served", route="health", status=200)]
    assert fires(workspace, name, [*others, *rows])


@pytest.mark.parametrize(("name", "rows"), cases(STAY))
def test_an_alert_stays_silent_below_its_line(workspace: duckdb.DuckDBPyConnection, name: str, rows: Rows) -> None:
    """Just too little, and what only looks alike."""
    assert not fires(workspace, name, rows)


def test_alerts_stay_silent_while_nothing_happens(workspace: duckdb.DuckDBPyConnection) -> None:
    """At night nobody asks anything."""
    assert [name for name in RULES if fires(workspace, name, [])] == []


def test_every_alert_has_its_query_and_is_tried() -> None:
    """One name for the rule, its file, its section in the document and its tests."""
    assert set(RULES) == set(QUERIES) == set(FIRE) == set(STAY)
    for name, rule in RULES.items():
        path, *_ = rule["query"]["function"]["parameters"].values()
        assert path == f"../queries/{name}.kql"
        assert set(rule) == {"name", "title", "severity", "query", "every", "window", "rows"}


def test_every_alert_names_its_section() -> None:
    """Whoever is woken by it is told where to read on."""
    alert = resource("alerts", "alert")["properties"]
    assert alert["description"] == "See docs/operations.md#alert-${rule.name}"
    for kind in ("Microsoft.Insights/metricAlerts", "Microsoft.Insights/activityLogAlerts"):
        for path, _, declaration in resources(kind):
            made = body(declaration)
            assert made["properties"]["description"].endswith(
                f"docs/operations.md#alert-{made['name'].removesuffix('-${name}')}"
            ), path


def test_alerts_and_workbook_know_only_events_that_exist() -> None:
    """A misspelt event is an alert that never fires."""
    read = "\n".join([*QUERIES.values(), *TILES.values()])
    compared = set(re.findall(r'event(?:\)|) == "(\w+)"', read))
    listed = {name for names in re.findall(r"event in \(([^)]+)\)", read) for name in re.findall(r'"(\w+)"', names)}
    assert len(compared) > 8
    assert compared | listed <= EVENTS


def test_every_trouble_has_an_alert() -> None:
    """Of the events that tell of a fault only `request_failed` has none: what it counts is in the ratio of errors."""
    read = "\n".join(QUERIES.values())
    told = {event for event in EVENTS if f'"{event}"' in read}
    assert EVENTS - told == {"served", "request_failed", "circuit_closed", "warmed", "swept"}


@pytest.mark.parametrize("name", sorted(TILES))
def test_every_tile_of_the_workbook_is_a_query(workspace: duckdb.DuckDBPyConnection, name: str) -> None:
    """Over a workspace with a few lines in it."""
    rows = [question(outcome="answered", cached="kept"), line("run_failed"), request("query_ask", 200)]
    fires(workspace, "circuit-open", rows)
    workspace.execute(translated(TILES[name])).fetchall()


def test_the_workbook_is_one() -> None:
    """The portal shows nothing at all where a part has no type or two have the same name."""
    workbook = json.loads((INFRA / "workbook.json").read_text(encoding="utf-8"))
    assert workbook["version"] == "Notebook/1.0"
    assert {item["type"] for item in workbook["items"]} == {1, 9, 3}
    names = [item["name"] for item in workbook["items"]]
    assert len(names) == len(set(names))
    assert [item["content"]["timeContextFromParameter"] for item in workbook["items"] if item["type"] == 3] == [
        "TimeRange"
    ] * len(TILES)


def test_what_alerts_count_is_never_sampled() -> None:
    """An audit event that is left out by chance is none."""
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    sampling = host["logging"]["applicationInsights"]["samplingSettings"]
    assert {"Request", "Exception", "Trace"} <= set(sampling["excludedTypes"].split(";"))
    assert "telemetryMode" not in host


def test_the_host_refuses_no_request_by_itself() -> None:
    """Its 429 has neither a code nor CORS headers; limits and the bulkhead have both."""
    http = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))["extensions"]["http"]
    assert (http["maxConcurrentRequests"], http["maxOutstandingRequests"]) == (-1, -1)
    assert http["dynamicThrottlesEnabled"] is False
