"""azure.yaml: names that azd knows, and files and commands that are there."""

import re
from typing import Any

import pytest
import yaml

from scripts.package import ROOT

AZD: dict[str, Any] = yaml.safe_load((ROOT / "azure.yaml").read_text(encoding="utf-8"))
MAIN = ROOT / "infra" / "main.bicep"
needs_infra = pytest.mark.skipif(not MAIN.exists(), reason="without infra there is nothing to compare with")


def test_only_members_are_used_that_azd_has() -> None:
    """Of its schema, version 1.0: azd passes over what it does not know."""
    assert set(AZD) <= {"name", "metadata", "resourceGroup", "infra", "services", "pipeline", "hooks"}
    assert re.fullmatch("[a-z0-9]([-a-z0-9]*[a-z0-9])?", AZD["name"])
    assert set(AZD["infra"]) <= {"provider", "path", "module"}
    assert AZD["infra"]["provider"] == "bicep"
    (service,) = AZD["services"].values()
    assert set(service) <= {"project", "host", "language", "remoteBuild", "hooks", "resourceName", "dist", "env"}
    assert (service["host"], service["language"], service["remoteBuild"]) == ("function", "python", False)
    for hook in AZD["hooks"].values():
        assert set(hook) == {"posix", "windows"}
        assert [set(system) for system in hook.values()] == [{"shell", "run"}] * 2


def test_what_is_made_before_is_what_is_deployed() -> None:
    """The folder of `make package`: its packages came by their hashes, and Azure builds nothing."""
    (service,) = AZD["services"].values()
    assert service["project"] == "./dist/app"
    assert AZD["hooks"]["prepackage"]["posix"]["run"] == "make package"
    assert "\npackage: " in (ROOT / "Makefile").read_text(encoding="utf-8")


@needs_infra
def test_azd_finds_the_infrastructure_the_app_and_the_keys() -> None:
    """The module's parameters, the tag of the app, the script of the hook and the output that it is given."""
    folder = ROOT / AZD["infra"]["path"]
    assert (folder / f"{AZD['infra']['module']}.bicepparam").is_file()
    (name,) = AZD["services"]
    bicep = "".join(file.read_text(encoding="utf-8") for file in folder.rglob("*.bicep"))
    assert f"'azd-service-name': '{name}'" in bicep
    run = AZD["hooks"]["postprovision"]["posix"]["run"]
    script, output = re.fullmatch(r'bash (\S+) "\$(\w+)"', run).groups()  # type: ignore[union-attr]
    assert (ROOT / script).is_file()
    assert f"\noutput {output} string" in MAIN.read_text(encoding="utf-8")
