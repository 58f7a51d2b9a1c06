"""Where the settings under examination come from."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from local import addresses
from scripts.doctor.azure_cli import AzureCliFailed, az

type Kind = Literal["local stack", "local settings", "deployed app", "process"]


class SourceUnreadable(Exception):
    """The settings cannot be had: why, and what to do."""

    def __init__(self, cause: str, cure: str) -> None:
        super().__init__(cause)
        self.cause = cause
        self.cure = cure


@dataclass(frozen=True)
class Source:
    """The settings of one environment. `app` and `resource_group` are known of a deployed app alone."""

    kind: Kind
    environ: Mapping[str, str] = field(repr=False)
    app: str = ""
    resource_group: str = ""

    @property
    def told(self) -> str:
        """What is examined, in words."""
        named = f"{self.app} in {self.resource_group}" if self.app else ""
        return f"the {self.kind} {named}".strip()

    def move_in(self) -> None:
        """Makes the settings this process's own, for the libraries that look there: not those of an app elsewhere."""
        if self.kind in {"local stack", "local settings"}:
            os.environ.update(self.environ)


def here(environ: Mapping[str, str]) -> Source:
    """The local stack, where one runs here; else the process's environment."""
    if addresses.running():
        return Source("local stack", {**environ, **addresses.environment()})
    return Source("process", dict(environ))


def local_settings(file: Path, environ: Mapping[str, str]) -> Source:
    """The `Values` of a local.settings.json; the process's environment goes before them, as with `func start`."""
    try:
        values: dict[str, object] = json.loads(file.read_text(encoding="utf-8"))["Values"]
        told = {name: str(value) for name, value in values.items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        cure = "cp local.settings.sample.json local.settings.json, and fill it in"
        raise SourceUnreadable(f"{file} cannot be read, or has no object `Values`", cure) from None
    return Source("local settings", {**told, **environ})


async def deployed(app: str, resource_group: str) -> Source:
    """The app settings of a deployed app, as the Azure CLI tells them to whoever is signed in there."""
    name = ("--name", app, "--resource-group", resource_group)
    try:
        listed = await az("functionapp", "config", "appsettings", "list", *name)
        told = {str(item["name"]): str(item["value"]) for item in listed}
    except AzureCliFailed as fault:
        raise SourceUnreadable(fault.cause, fault.command) from fault
    except (LookupError, TypeError):
        raise SourceUnreadable("the Azure CLI told something else than a list of app settings", "az upgrade") from None
    return Source("deployed app", told, app, resource_group)
