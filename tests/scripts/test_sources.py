"""Where settings under examination come from."""

import json
import os
from pathlib import Path

import pytest

from scripts.doctor.sources import Source, SourceUnreadable, deployed, here, local_settings
from tests.scripts.azure_cli import AzureCli

LIST = "functionapp config appsettings list --name gw --resource-group rg*"


@pytest.mark.usefixtures("nothing_runs")
def test_without_a_stack_the_environment_is_the_source() -> None:
    """As it is in a pipeline, or in the app's own console."""
    source = here({"TENANT_ID": "t"})
    assert (source.kind, source.environ, source.told) == ("process", {"TENANT_ID": "t"}, "the process")


def test_the_values_of_a_local_settings_file_are_read(tmp_path: Path) -> None:
    """The environment goes before them, as with `func start`."""
    file = tmp_path / "local.settings.json"
    file.write_text(json.dumps({"Values": {"TENANT_ID": "t", "LIMIT_BURST": 5}}), encoding="utf-8")
    source = local_settings(file, {"TENANT_ID": "of the process"})
    assert source.environ == {"TENANT_ID": "of the process", "LIMIT_BURST": "5"}


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"Values": 1}', None])
def test_a_local_settings_file_that_says_nothing_is_told(tmp_path: Path, text: str | None) -> None:
    """With what to do: there is a sample."""
    file = tmp_path / "local.settings.json"
    if text is not None:
        file.write_text(text, encoding="utf-8")
    with pytest.raises(SourceUnreadable, match="cannot be read") as unreadable:
        local_settings(file, {})
    assert "local.settings.sample.json" in unreadable.value.cure


async def test_the_settings_of_an_app_come_from_the_azure_cli(azure_cli: AzureCli) -> None:
    """Whatever else it tells of each."""
    azure_cli.answers(LIST, [{"name": "TENANT_ID", "slotSetting": False, "value": "t"}])
    source = await deployed("gw", "rg")
    assert (source.environ, source.told) == ({"TENANT_ID": "t"}, "the deployed app gw in rg")


@pytest.mark.parametrize("told", [{"error": 1}, [1], [{"name": "x"}]])
async def test_another_list_is_told_as_one(azure_cli: AzureCli, told: object) -> None:
    """An old Azure CLI may say something else."""
    azure_cli.answers(LIST, told)
    with pytest.raises(SourceUnreadable, match="something else"):
        await deployed("gw", "rg")


@pytest.mark.usefixtures("azure_cli")
async def test_an_app_that_may_not_be_read_is_told_with_the_command() -> None:
    """Which says why, when it is run."""
    with pytest.raises(SourceUnreadable, match="the Azure CLI refuses") as unreadable:
        await deployed("gw", "rg")
    assert unreadable.value.cure == "az functionapp config appsettings list --name gw --resource-group rg"


@pytest.mark.parametrize(("kind", "moves"), [("local settings", True), ("deployed app", False), ("process", False)])
def test_an_app_elsewhere_does_not_move_in(monkeypatch: pytest.MonkeyPatch, kind: str, *, moves: bool) -> None:
    """Its settings are not for the libraries of this process."""
    monkeypatch.delenv("DOCTORS_PROBE", raising=False)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    Source(kind, {"DOCTORS_PROBE": "1"}).move_in()  # type: ignore[arg-type]
    assert ("DOCTORS_PROBE" in os.environ) is moves
