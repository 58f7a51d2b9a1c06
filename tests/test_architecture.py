"""The rules that keep the rooms apart, read from the source itself."""

import ast
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
LIB = ROOT / "lib"
MODULES = sorted(LIB.rglob("*.py"))

OWNERS = {
    "azure.data": {"lib/storage/tables.py"},
    "azure.storage": {"lib/storage/queues.py"},
    "azure.keyvault": {"lib/storage/key_vault.py"},
    "azure.identity": {"lib/identity/credentials.py"},
    "azure.monitor": {"lib/telemetry/azure_monitor.py"},
    "opentelemetry": {"lib/telemetry/export.py", "lib/telemetry/recording.py"},
    "jwt": {"lib/identity/tokens.py"},
    "tenacity": {"lib/traffic/retries.py"},
    "markdown_it": {"lib/agents/markdown.py"},
    "pydantic": {"lib/question_body.py"},
}
"""Which modules alone may import a library."""

BELOW: dict[str, set[str]] = {
    "hosts": set(),
    "strict_json": set(),
    "telemetry_settings": {"environ", "hosts"},
    "telemetry": {"telemetry_settings"},
    "errors": set(),
    "environ": {"hosts"},
    "agent_settings": {"environ", "errors", "strict_json", "agents"},
    "settings": {"environ", "hosts", "agent_settings", "telemetry_settings"},
    "web": {"errors", "strict_json", "telemetry"},
    "traffic": {"errors", "telemetry"},
    "readiness": {"traffic"},
    "prefetch": set(),
    "storage": {"errors", "settings", "telemetry", "traffic"},
    "limits": {"errors", "storage", "telemetry", "traffic"},
    "agents": {"errors", "agent_settings", "hosts", "telemetry", "traffic"},
    "identity": {"errors", "settings", "environ", "strict_json", "storage", "telemetry", "traffic", "web"},
    "answers": {"errors", "agent_settings", "storage", "telemetry", "traffic", "limits", "agents", "identity"},
    "parts": {"errors", "prefetch", "settings", "telemetry", "web", "traffic", "storage", "identity"},
    "question_parts": {"parts", "errors", "traffic", "readiness", "limits", "agents", "answers", "storage", "identity"},
    "asking": {"question_parts", "agent_settings", "errors", "agents", "answers", "identity", "storage", "traffic"},
    "gateway": {"asking", "errors", "web", "answers", "identity", "telemetry", "traffic"},
    "replies": {"errors", "agents", "answers", "web"},
    "question_body": {"agents", "asking", "errors", "web"},
    "triggers": {"telemetry"},
    "endpoints": {
        "errors",
        "environ",
        "gateway",
        "asking",
        "question_body",
        "replies",
        "telemetry",
        "web",
        "traffic",
        "agents",
        "identity",
        "answers",
    },
}
"""Which rooms and modules a room, or a module at the root of lib, may know beside itself."""

PARTS = {
    "AgentRegistry", "AnswerCache", "AsyncClient", "AsyncHTTPTransport", "Board", "ByQueue", "ByTask",
    "ClientCredential", "Conversations", "DataAgent", "EntraClient", "Flows", "Idempotency", "KeyRing", "KeyVault",
    "KnownTokens", "Leases", "Limiter", "Meter", "OnBehalfOf", "Operations", "Prefetch", "Questions", "Queue",
    "Readiness", "Revocations", "RowKeys", "SafeShare", "Sealer", "Sessions", "SignIn", "SigningKeys", "Standings",
    "StoredAnswers", "Tables", "TokenValidator", "Warmer",
}  # fmt: skip
"""What is made once."""

BANNED_NAMES = {"utils", "util", "helpers", "common", "models", "misc"}


@cache
def tree_of(path: Path) -> ast.Module:
    """A module's source, parsed."""
    return ast.parse(path.read_text(encoding="utf-8"))


@cache
def imports(path: Path, *, with_types: bool = True) -> tuple[str, ...]:
    """The dotted names that a module imports; those for type checkers alone only `with_types`."""
    return tuple(_imports(path, with_types=with_types))


def _imports(path: Path, *, with_types: bool) -> Iterator[str]:
    tree = tree_of(path)
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in hidden and not with_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            assert node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def name_of(path: Path) -> str:
    """A module's path from the root of the project."""
    return path.relative_to(ROOT).as_posix()


def within(name: str, package: str) -> bool:
    """Whether a dotted name is `package` or lies in it."""
    return name == package or name.startswith(f"{package}.")


@pytest.mark.parametrize("library", OWNERS)
def test_a_library_is_imported_by_its_owner_alone(library: str) -> None:
    """One door to each library: what it does and how it fails is known in one place."""
    users = {
        name_of(path) for path in MODULES if any(within(name, library) for name in imports(path, with_types=False))
    }
    assert users == OWNERS[library]


def test_the_hosts_types_are_nowhere_in_lib() -> None:
    """Not even for a type checker."""
    assert [name_of(path) for path in MODULES if any(within(name, "azure.functions") for name in imports(path))] == []


def test_msal_stays_in_identity() -> None:
    """Msal keeps caches that could mix people up; the room that knows it keeps them empty."""
    users = {name_of(path) for path in MODULES if any(within(name, "msal") for name in imports(path))}
    assert users
    assert all(user.startswith("lib/identity/") for user in users)


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_room_knows_only_what_is_below_it(path: Path) -> None:
    """No step looks back: endpoints never import each other, and nothing but endpoints knows the gateway."""
    parts = path.relative_to(LIB).parts
    room = parts[0].removesuffix(".py")
    for name in imports(path):
        assert not within(name, "local"), name
        assert not within(name, "tests"), name
        if within(name, "lib") and room != "__init__":
            target = name.split(".")[1]
            own = target == room and room != "endpoints"
            assert own or target in BELOW[room], f"{name_of(path)} must not import {name}"


def test_no_room_may_know_what_it_does_not_need() -> None:
    """The table above is the map: a way that nobody goes is taken off it."""
    gone = {
        room: {
            name.split(".")[1]
            for path in MODULES
            for name in imports(path)
            if within(name, "lib") and path.relative_to(LIB).parts[0].removesuffix(".py") == room
        }
        for room in BELOW
    }
    assert {room: targets - {room} for room, targets in gone.items()} == BELOW


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_parts_are_made_in_one_place(path: Path) -> None:
    """A part that somebody else makes would be a second one, with a memory and connections of its own."""
    calls = (node.func for node in ast.walk(tree_of(path)) if isinstance(node, ast.Call))
    made = {call.attr if isinstance(call, ast.Attribute) else getattr(call, "id", "") for call in calls} & PARTS
    assert name_of(path) in {"lib/parts.py", "lib/question_parts.py"} or made == set()


def test_only_the_settings_read_the_environment() -> None:
    """One place says what the gateway is told from outside; function_app hands it over unread.

    One library can be quietened by the environment alone: its owner writes there, and reads nothing.
    """
    readers = [
        name_of(path)
        for path in MODULES
        if any(within(name, "os.environ") or name == "os.getenv" for name in imports(path))
    ]
    sources = {name_of(path): path.read_text() for path in MODULES}
    sources["lib/telemetry/azure_monitor.py"] = sources["lib/telemetry/azure_monitor.py"].replace(
        "os.environ.update(QUIET)", ""
    )
    readers += [name for name, source in sources.items() if "os.environ" in source or "getenv" in source]
    assert readers == []


def test_only_the_function_app_knows_azure_functions() -> None:
    """The host's types end at the edge."""
    assert any(within(name, "azure.functions") for name in imports(ROOT / "function_app.py"))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_a_module_is_one_thing(path: Path) -> None:
    """A module past 300 lines asks to be two (the error tree is a list, and one), and a grab bag has no name."""
    assert path.name == "errors.py" or len(path.read_text(encoding="utf-8").splitlines()) <= 300
    assert path.stem not in BANNED_NAMES


def test_git_keeps_lib() -> None:
    """The usual Python .gitignore drops `lib/`: a module would be missing from every clone."""
    ignored = subprocess.run(
        ["git", "check-ignore", "lib/settings.py", "lib/web/serve.py"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ignored.stdout == ""
