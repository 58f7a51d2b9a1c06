"""The doctor as a program: what it takes, what it prints, how it ends."""

import json

import pytest

from scripts.doctor import __main__ as program
from tests.scripts.azure_cli import AzureCli

LIST = "functionapp config appsettings list --name gw --resource-group rg*"
APP = ["--app", "gw", "--resource-group", "rg"]


def test_settings_that_are_wrong_end_the_examination(azure_cli: AzureCli, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing else can be looked at."""
    azure_cli.answers(LIST, [{"name": "TENANT_ID", "value": "common"}])
    assert program.main(APP, {}) == 1
    told = capsys.readouterr().out
    assert "FAIL     settings" in told
    assert "TENANT_ID must be a GUID" in told
    assert "skipped  everything else        the settings have to be in order first" in told
    assert "0 ok, 2 failed, 1 skipped: the deployed app gw in rg" in told


def test_machines_get_one_object(azure_cli: AzureCli, capsys: pytest.CaptureFixture[str]) -> None:
    """And nothing around it."""
    azure_cli.answers(LIST, [])
    assert program.main([*APP, "--json"], {}) == 1
    told = json.loads(capsys.readouterr().out)
    assert (told["subject"], told["ok"]) == ("the deployed app gw in rg", False)
    assert [check["name"] for check in told["checks"]] == ["settings", "platform settings", "everything else"]


@pytest.mark.usefixtures("azure_cli")
@pytest.mark.parametrize("quiet", [False, True])
def test_a_source_that_cannot_be_read_is_a_finding(capsys: pytest.CaptureFixture[str], *, quiet: bool) -> None:
    """With the command that says why."""
    assert program.main([*APP, *(["--json"] if quiet else [])], {}) == 1
    told = capsys.readouterr().out
    assert "az functionapp config appsettings list --name gw --resource-group rg" in told
    assert (json.loads(told)["subject"] == "nothing") if quiet else ("FAIL     environment" in told)


def test_a_local_settings_file_is_another_source(capsys: pytest.CaptureFixture[str]) -> None:
    """One that is not there is told."""
    assert program.main(["--local-settings", "/nowhere/local.settings.json"], {}) == 1
    assert "cp local.settings.sample.json local.settings.json" in capsys.readouterr().out


@pytest.mark.usefixtures("nothing_runs")
def test_without_a_source_what_to_do_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """No stack runs, and nothing is set."""
    assert program.main([], {}) == 1
    assert "make run, or make doctor APP=" in capsys.readouterr().out


def test_an_app_needs_its_resource_group(capsys: pytest.CaptureFixture[str]) -> None:
    """Its name alone does not find it."""
    with pytest.raises(SystemExit):
        program.main(["--app", "gw"], {})
    assert "go together" in capsys.readouterr().err
