"""Settings, the platform's settings and limits, of apps that nobody has deployed."""

import pytest

from scripts.doctor.checks import configuration
from scripts.doctor.patient import Patient
from scripts.doctor.sources import Source
from tests.scripts.azure_cli import AzureCli
from tests.scripts.patients import IDENTITY, ITEM, deployed, in_azure

SCALE = "functionapp scale config show --name gw --resource-group rg-gw*"
PLAN = {"maximumInstanceCount": 40, "triggers": {"http": {"perInstanceConcurrency": 32}}}


async def test_no_settings_at_all_are_one_problem() -> None:
    """Nobody wants to read that each is missing."""
    found = await configuration.settings(Patient(Source("process", {})))
    assert (found.status, found.detail) == ("failed", "nothing is set")
    assert "make run" in found.cure


async def test_every_problem_is_told_in_its_own_words_and_never_by_a_value() -> None:
    """And the command names each setting once."""
    patient = deployed(TENANT_ID="common", DATA_AGENT_URL=None, DATA_AGENTS='{"A": {"url": "x"}, "b": {"url": "y"}}')
    found = await configuration.settings(patient)
    assert found.detail == "4 wrong"
    assert "TENANT_ID must be a GUID" in found.cause
    assert found.cure.startswith(
        "az functionapp config appsettings set --name gw --resource-group rg-gw --settings TENANT_ID=… DATA_AGENTS=…"
    )


async def test_a_translated_address_is_told_and_is_no_failure() -> None:
    """The gateway warns of it too."""
    old = f"https://app.fabric.microsoft.com/groups/{ITEM}/aiskills/{ITEM}"
    found = await configuration.settings(deployed(DATA_AGENT_URL=old))
    assert (found.status, found.detail) == ("ok", "production; an older form of address is translated: default")


async def test_a_platform_in_order_is_found_so() -> None:
    """By the account's name, or by the addresses of its services."""
    assert (await configuration.platform(deployed())).status == "ok"
    host = {f"AzureWebJobsStorage__{service}ServiceUri": "https://x" for service in ("blob", "queue", "table")}
    assert (await configuration.platform(deployed(AzureWebJobsStorage__accountName=None, **host))).status == "ok"


@pytest.mark.parametrize(
    ("settings", "words", "command"),
    [
        ({"PYTHON_ENABLE_OPENTELEMETRY": "1"}, "keeps the gateway's own log lines", "delete"),
        (
            {"FUNCTIONS_WORKER_RUNTIME": "python"},
            "not for the Flex Consumption plan",
            "--setting-names FUNCTIONS_WORKER_RUNTIME",
        ),
        ({"AzureWebJobsStorage": "key"}, "holds a key", "--setting-names AzureWebJobsStorage"),
        ({"AzureWebJobsStorage__accountName": None}, "__accountName is not", "AzureWebJobsStorage__accountName=…"),
        (
            {"AzureWebJobsStorage__credential": None},
            "__credential is not",
            "AzureWebJobsStorage__credential=managedidentity",
        ),
        ({"STATE_STORAGE__clientId": None}, "STATE_STORAGE__clientId is not", f"STATE_STORAGE__clientId={IDENTITY}"),
        ({"FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": None}, "SIZE_LIMIT is not", "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT=65536"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
async def test_what_the_platform_would_take_in_silence_is_told(
    settings: dict[str, str | None], words: str, command: str
) -> None:
    """One thing wrong, and the command for it."""
    found = await configuration.platform(deployed(**settings))
    assert (found.status, found.detail) == ("failed", "1 wrong")
    assert words in found.cause
    assert command in found.cure
    assert " key" not in found.cure


async def test_only_an_app_has_a_platform() -> None:
    """Core Tools need some of what a plan in Azure must not have."""
    found = await configuration.platform(in_azure(FUNCTIONS_WORKER_RUNTIME="python", AzureWebJobsStorage="key"))
    assert found.status == "ok"


async def test_limits_that_fit_the_plan_are_in_order(azure_cli: AzureCli) -> None:
    """What is set is what the plan says."""
    azure_cli.answers(SCALE, PLAN)
    found = await configuration.limits(deployed())
    assert (found.status, found.detail) == ("ok", "20 a minute, 300 a day, 40 instances")


@pytest.mark.parametrize(
    ("settings", "plan", "words", "command"),
    [
        (
            {},
            PLAN | {"maximumInstanceCount": 100},
            "MAX_INSTANCES is 40, but the plan scales to 100",
            "MAX_INSTANCES=100",
        ),
        ({}, PLAN | {"triggers": None}, "an instance is given 1 at once", "INSTANCE_CONCURRENCY=1"),
        (
            {"APP_CALLS_PER_MINUTE": "500"},
            PLAN,
            "more than the 200 that Fabric lets one identity make",
            "APP_CALLS_PER_MINUTE=100",
        ),
        ({"LIMIT_PER_DAY": "1"}, {"odd": 1}, "less than LIMIT_BURST", "LIMIT_PER_DAY=50"),
    ],
)
async def test_limits_at_odds_are_told_with_the_setting(
    azure_cli: AzureCli, settings: dict[str, str], plan: dict[str, object], words: str, command: str
) -> None:
    """With each other, with Fabric's, or with the plan's."""
    azure_cli.answers(SCALE, plan)
    found = await configuration.limits(deployed(**settings))
    assert found.status == "failed"
    assert words in found.cause
    assert command in found.cure


@pytest.mark.usefixtures("azure_cli")
async def test_a_plan_that_may_not_be_read_is_skipped() -> None:
    """It takes a right of its own."""
    found = await configuration.limits(deployed())
    assert (found.status, found.cure) == (
        "skipped",
        "az functionapp scale config show --name gw --resource-group rg-gw",
    )
