"""What a key vault holds: secrets with their versions, kept in a file where asked."""

import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from local import private_files

NAME = re.compile(r"[0-9A-Za-z-]{1,127}")


@dataclass(frozen=True)
class Secret:
    """One version of one secret; times in seconds since 1970."""

    name: str
    version: str
    value: str = field(repr=False)
    enabled: bool
    created: int
    updated: int
    expires: int | None = None


class Vault:
    """The secrets of one vault; with a `folder` they survive a restart."""

    def __init__(self, folder: Path | None = None, *, now: Callable[[], float] = time.time) -> None:
        self._file = folder / "vault.json" if folder else None
        self._now = now
        self._secrets: dict[str, list[Secret]] = {}
        if self._file and self._file.is_file():
            for secret in json.loads(self._file.read_bytes()):
                self._secrets.setdefault(secret["name"], []).append(Secret(**secret))

    def put(self, name: str, value: str, *, created: float | None = None, expires: int | None = None) -> str:
        """A new version, which is the latest from now on; returns its id. Raises ValueError for an impossible name."""
        if not NAME.fullmatch(name):
            raise ValueError("a secret's name is 1 to 127 letters, digits and dashes")
        at = int(self._now() if created is None else created)
        secret = Secret(name, secrets.token_hex(16), value, True, at, at, expires)
        self._secrets.setdefault(name, []).append(secret)
        self._keep()
        return secret.version

    def disable(self, name: str, version: str) -> None:
        """From now on this version's value is not given out; raises KeyError where it does not exist."""
        self.enable(name, version, enabled=False)

    def enable(self, name: str, version: str, *, enabled: bool = True) -> None:
        """Whether this version's value is given out; raises KeyError where it does not exist."""
        old = self.get(name, version)
        versions = self._secrets[name]
        versions[versions.index(old)] = replace(old, enabled=enabled, updated=int(self._now()))
        self._keep()

    def get(self, name: str, version: str = "") -> Secret:
        """One version, or the latest; raises KeyError where it does not exist."""
        for secret in reversed(self.versions(name)):
            if version in {"", secret.version}:
                return secret
        raise KeyError(name)

    def has(self, name: str) -> bool:
        """Whether there is a secret of this name."""
        return name in self._secrets

    def remove(self, name: str) -> list[Secret]:
        """Takes a secret out, with all its versions, which are returned; raises KeyError where there is none."""
        removed = self._secrets.pop(name)
        self._keep()
        return removed

    def restore(self, versions: list[Secret]) -> None:
        """Puts back what `versions` or `remove` gave, in the place of what there is now."""
        self._secrets[versions[0].name] = list(versions)
        self._keep()

    def versions(self, name: str) -> list[Secret]:
        """All versions of a secret, oldest first; raises KeyError where there is none."""
        return list(self._secrets[name])

    def latest(self) -> list[Secret]:
        """The latest version of every secret."""
        return [versions[-1] for versions in self._secrets.values()]

    def _keep(self) -> None:
        if self._file:
            content = [asdict(secret) for versions in self._secrets.values() for secret in versions]
            private_files.write(self._file, json.dumps(content).encode())
