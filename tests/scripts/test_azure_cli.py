"""The Azure CLI, asked for JSON."""

import pytest

from scripts.doctor import azure_cli as module
from scripts.doctor.azure_cli import AzureCliFailed, az
from tests.scripts.azure_cli import AzureCli


async def test_what_it_prints_is_parsed(azure_cli: AzureCli) -> None:
    """The arguments are passed as they are."""
    azure_cli.answers("ad app show --id 1 2*", {"id": 1})
    assert await az("ad", "app", "show", "--id", "1 2") == {"id": 1}


async def test_what_it_says_of_a_failure_is_not_repeated(azure_cli: AzureCli) -> None:
    """It may quote what nobody else is to read: the command is told instead."""
    azure_cli.says("account show*", "private", exit_code=3)
    with pytest.raises(AzureCliFailed, match="says why when the command is run") as failure:
        await az("account", "show")
    assert failure.value.command == "az account show"
    assert "private" not in str(failure.value)


async def test_what_is_not_json_is_a_failure(azure_cli: AzureCli) -> None:
    """An older release may print a warning there."""
    azure_cli.says("account show*", "hello")
    with pytest.raises(AzureCliFailed, match="did not print JSON"):
        await az("account", "show")


async def test_one_that_is_silent_is_ended(azure_cli: AzureCli, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may wait for somebody to answer."""
    monkeypatch.setattr(module, "SECONDS", 0.2)
    azure_cli.runs("account show*", "exec sleep 60")
    with pytest.raises(AzureCliFailed, match="did not answer within"):
        await az("account", "show")


async def test_without_it_the_way_to_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is nothing that a checkout brings along."""
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(AzureCliFailed, match="not installed") as failure:
        await az("account", "show")
    assert failure.value.command.startswith("https://learn.microsoft.com/")
