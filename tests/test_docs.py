"""What the documents say is so, and what is so stands in the documents."""

import re
from collections import defaultdict
from pathlib import Path

import pytest

from lib.errors import GatewayError
from lib.gateway import SWEPT_TABLES

ROOT = Path(__file__).parent.parent
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")


def descendants(root: type[GatewayError]) -> list[type[GatewayError]]:
    """All classes below `root`."""
    return [found for child in root.__subclasses__() for found in (child, *descendants(child))]


def test_every_problem_is_documented_with_its_statuses_and_none_else() -> None:
    """Clients program against this table. A class without a code of its own has that of the one above it."""
    rows = re.findall(r"^\| `([a-z_]+)` \| ([0-9, ]+) \|", API, flags=re.MULTILINE)
    documented = {code: {int(status) for status in statuses.split(", ")} for code, statuses in rows}
    raised = defaultdict(set, {GatewayError.code: {GatewayError.status}})
    for error in descendants(GatewayError):
        if error.code != GatewayError.code:  # else it is a branch, which nobody raises
            raised[error.code].add(error.status)
    assert documented == raised


def test_every_setting_is_documented_and_none_else() -> None:
    """The reader's names are the table's names."""
    modules = ("settings.py", "agent_settings.py", "telemetry_settings.py")
    source = "".join((ROOT / "lib" / module).read_text(encoding="utf-8") for module in modules)
    read = set(re.findall(r'"([A-Z][A-Z_]{4,}(?:__[a-zA-Z]+)?)"', source)) - {"INFO", "DEBUG", "WARNING", "ERROR"}
    documented = set(re.findall(r"^\| `([A-Z][A-Za-z_]+)` \|", SETTINGS, flags=re.MULTILINE))
    assert documented == read - {"IDENTITY_ENDPOINT"}


def test_every_route_is_documented_and_none_else() -> None:
    """Each function's path stands in the table of routes."""
    source = (ROOT / "function_app.py").read_text(encoding="utf-8")
    routes = re.findall(r'@app\.route\("([^"]+)"\)', source)
    served = {"/" + re.sub(r"/\{[a-z]+\?\}", "", route) for route in routes if route != "{*path}"}
    documented = set(re.findall(r"^\| (?:GET|POST|DELETE) `(/[a-z/{}]+)", API, flags=re.MULTILINE))
    assert documented == served


def test_every_table_of_rows_is_documented_and_swept() -> None:
    """Rows that nobody sweeps stay for ever."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("\n## State\n")[2]
    assert sorted(re.findall(r"^\| `([a-z]+)` \|", page, flags=re.MULTILINE)) == sorted(SWEPT_TABLES)


def test_every_alert_has_its_section_and_none_else() -> None:
    """Whoever is woken by one finds what to do: its description leads there."""
    bicep = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "infra" / "modules").glob("*.bicep"))
    named = set(re.findall(r"operations\.md#alert-([a-z-]+)'", bicep))
    rules = bicep.partition("var rules = [")[2].partition("\n]\n")[0]
    named |= set(re.findall(r"^ +name: '([a-z-]+)'$", rules, flags=re.MULTILINE))
    page = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    sections = {title.replace(" ", "-") for title in re.findall(r"^### Alert: ([a-z -]+)$", page, flags=re.MULTILINE)}
    assert len(named) > 10
    assert sections == named | {"budget"}  # which has no description that could lead anywhere


COMMANDS = README + "".join(
    (ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("deploy.md", "operations.md")
)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"(?:`|^|\n)make (?:-s )?([a-z]+)", COMMANDS))))
def test_every_command_of_the_readme_exists(target: str) -> None:
    """A newcomer types what stands there."""
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), flags=re.MULTILINE)


@pytest.mark.parametrize(
    "document", sorted(ROOT.glob("*.md")) + sorted((ROOT / "docs").rglob("*.md")), ids=lambda path: path.name
)
def test_links_lead_somewhere(document: Path) -> None:
    """Relative links name files that exist."""
    for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), target


def test_every_test_that_the_security_page_names_exists() -> None:
    """A control without its test is a claim."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    files = re.findall(r"`(tests/[a-z_/]+\.py)`", page)
    assert len(files) > 20
    assert [file for file in files if not (ROOT / file).is_file()] == []
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    names = re.findall(r"`(test_[a-z_]+)`", page)
    assert names
    assert [name for name in names if f"def {name}(" not in source] == []
