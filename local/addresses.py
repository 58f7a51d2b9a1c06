"""Where the running stack is: small files, for the commands that talk to it from another shell."""

import json
from collections.abc import Mapping
from pathlib import Path

import httpx

from local import private_files

FOLDER = Path(__file__).parent.parent / ".local"
FILE = FOLDER / "stack.json"
ENVIRONMENT_FILE = FOLDER / "environment.json"


def write(gateway: str, entra: str, ca: Path, environment: Mapping[str, str]) -> None:
    """Tells other shells where the stack of this process is, and the settings of its gateway."""
    private_files.write(ENVIRONMENT_FILE, json.dumps(dict(environment)).encode())
    FILE.write_text(json.dumps({"gateway": gateway, "entra": entra, "ca": str(ca)}), encoding="utf-8")


def forget() -> None:
    """The stack of this process is about to end."""
    FILE.unlink(missing_ok=True)
    ENVIRONMENT_FILE.unlink(missing_ok=True)


def running() -> dict[str, str] | None:
    """The addresses `gateway` and `entra`, and the path `ca`, of the stack that runs here; None where none answers."""
    if not FILE.is_file():
        return None
    known: dict[str, str] = json.loads(FILE.read_text(encoding="utf-8"))
    try:
        httpx.get(f"{known['gateway']}/api/health", timeout=2, trust_env=False)
    except httpx.TransportError:
        return None
    return known


def environment() -> dict[str, str]:
    """The settings of the gateway of the stack that runs here."""
    settings: dict[str, str] = json.loads(ENVIRONMENT_FILE.read_text(encoding="utf-8"))
    return settings
