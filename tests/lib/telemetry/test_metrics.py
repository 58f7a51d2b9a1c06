"""Rules for metrics and events: closed lists, as the document has them."""

import re
from pathlib import Path

from lib.telemetry.metrics import METRICS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "telemetry.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """One section of the document."""
    return PAGE.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def test_every_metric_is_documented_with_its_attributes_and_none_else() -> None:
    """Dashboards are made by that table."""
    rows = re.findall(r"^\| `([a-z_.]+)` \| ([a-z_]+), (\S+) \| (.*?) \|", section("Metrics"), flags=re.MULTILINE)
    documented = {name: (kind, unit, set(re.findall(r"`([^`]+)`", names))) for name, kind, unit, names in rows}
    assert documented == {metric.name: (metric.kind, metric.unit, set(metric.attributes)) for metric in METRICS}
    assert len({metric.name for metric in METRICS}) == len(METRICS)
    assert all(metric.description for metric in METRICS)


def test_every_event_is_documented_and_none_else() -> None:
    """Alerts and reports are made by that table."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "lib").rglob("*.py"))
    told = set(re.findall(r'"event": "([a-z_]+)"', source))
    assert told == set(re.findall(r"^\| `([a-z_]+)` \|", section("Events"), flags=re.MULTILINE))


def test_every_member_of_an_audit_line_is_documented_and_none_else() -> None:
    """Whoever keeps these lines keeps them for long."""
    source = (ROOT / "lib" / "telemetry" / "audit.py").read_text(encoding="utf-8")
    told = set(re.findall(r'^            "([a-z]+)": |^        "([a-z]+)": ', source, flags=re.MULTILINE))
    members = {name for pair in told for name in pair if name} - {"event"}
    assert members == set(re.findall(r"^\| `([a-z]+)` \|", section("Audit"), flags=re.MULTILINE))


def test_every_step_is_documented() -> None:
    """By the names that stand in the source."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "lib").rglob("*.py"))
    steps = set(re.findall(r'\bspan\("([a-z]+)"', source))
    rows = re.findall(r"^\| ((?:`[^`]+`(?:, )?)+) \|", section("Spans"), flags=re.MULTILINE)
    documented = {name for row in rows for name in re.findall(r"`([a-z]+)`", row)}
    assert documented == steps
