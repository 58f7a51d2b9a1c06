"""Where the running stack is: a small file, for the commands that talk to it from another shell."""

import json
from pathlib import Path

import httpx

FOLDER = Path(__file__).parent.parent / ".local"
FILE = FOLDER / "stack.json"


def write(gateway: str, entra: str, ca: Path) -> None:
    """Tells other shells where the stack of this process is."""
    FILE.write_text(json.dumps({"gateway": gateway, "entra": entra, "ca": str(ca)}), encoding="utf-8")


def forget() -> None:
    """The stack of this process is about to end."""
    FILE.unlink(missing_ok=True)


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
