"""What the resources are made of: spelled as Azure spells it, and fitting the app that runs on them."""

import re
from pathlib import Path
from typing import Any

import pytest
from azure.mgmt.keyvault import models as vault
from azure.mgmt.monitor import models as monitor
from azure.mgmt.storage import models as storage
from azure.mgmt.web import models as web

from lib.answers.by_queue import QUEUE
from lib.gateway import SWEPT_TABLES
from tests.infra.bicep import INFRA, MAIN, ROOT, TEMPLATES, body, parsed, resource, resources
from tests.infra.typed_models import problems

API_VERSIONS = {
    "Microsoft.Authorization/locks": "2020-05-01",
    "Microsoft.Authorization/roleAssignments": "2022-04-01",
    "Microsoft.Consumption/budgets": "2024-08-01",
    "Microsoft.Graph/applications": "v1.0",
    "Microsoft.Graph/applications/federatedIdentityCredentials": "v1.0",
    "Microsoft.Graph/servicePrincipals": "v1.0",
    "Microsoft.Insights/actionGroups": "2024-10-01-preview",
    "Microsoft.Insights/activityLogAlerts": "2020-10-01",
    "Microsoft.Insights/components": "2020-02-02",
    "Microsoft.Insights/diagnosticSettings": "2021-05-01-preview",
    "Microsoft.Insights/metricAlerts": "2018-03-01",
    "Microsoft.Insights/scheduledQueryRules": "2025-01-01-preview",
    "Microsoft.Insights/webtests": "2022-06-15",
    "Microsoft.Insights/workbooks": "2023-06-01",
    "Microsoft.KeyVault/vaults": "2024-11-01",
    "Microsoft.ManagedIdentity/userAssignedIdentities": "2024-11-30",
    "Microsoft.Network/networkSecurityGroups": "2025-05-01",
    "Microsoft.Network/privateDnsZones": "2024-06-01",
    "Microsoft.Network/privateDnsZones/virtualNetworkLinks": "2024-06-01",
    "Microsoft.Network/privateEndpoints": "2025-05-01",
    "Microsoft.Network/privateEndpoints/privateDnsZoneGroups": "2025-05-01",
    "Microsoft.Network/virtualNetworks": "2025-05-01",
    "Microsoft.OperationalInsights/workspaces": "2025-07-01",
    "Microsoft.Storage/storageAccounts": "2025-06-01",
    "Microsoft.Storage/storageAccounts/blobServices": "2025-06-01",
    "Microsoft.Storage/storageAccounts/blobServices/containers": "2025-06-01",
    "Microsoft.Storage/storageAccounts/managementPolicies": "2025-06-01",
    "Microsoft.Storage/storageAccounts/queueServices": "2025-06-01",
    "Microsoft.Storage/storageAccounts/queueServices/queues": "2025-06-01",
    "Microsoft.Storage/storageAccounts/tableServices": "2025-06-01",
    "Microsoft.Storage/storageAccounts/tableServices/tables": "2025-06-01",
    "Microsoft.Web/serverfarms": "2025-03-01",
    "Microsoft.Web/sites": "2025-03-01",
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": "2025-03-01",
}
"""What Microsoft's own modules use, each type in one version. A newer one is a decision, not an accident."""

MODELS: dict[str, type] = {
    "Microsoft.Insights/actionGroups": monitor.ActionGroupResource,
    "Microsoft.Insights/activityLogAlerts": monitor.ActivityLogAlertResource,
    "Microsoft.Insights/metricAlerts": monitor.MetricAlertResource,
    "Microsoft.Insights/scheduledQueryRules": monitor.ScheduledQueryRuleResource,
    "Microsoft.KeyVault/vaults": vault.VaultCreateOrUpdateParameters,
    "Microsoft.Storage/storageAccounts": storage.StorageAccountCreateParameters,
    "Microsoft.Storage/storageAccounts/blobServices": storage.BlobServiceProperties,
    "Microsoft.Storage/storageAccounts/blobServices/containers": storage.BlobContainer,
    "Microsoft.Storage/storageAccounts/managementPolicies": storage.ManagementPolicy,
    "Microsoft.Web/serverfarms": web.AppServicePlan,
    "Microsoft.Web/sites": web.Site,
    "Microsoft.Web/sites/basicPublishingCredentialsPolicies": web.CsmPublishingCredentialsPoliciesEntity,
}

UNPUBLISHED = {"properties.functionsRuntimeAdminIsolationEnabled"}
"""Documented (learn.microsoft.com, functions-app-settings), and in none of the published types."""

OF_TEMPLATES = {"name", "parent", "scope", "dependsOn"}

ROLES = {
    "b7e6dc6d-f1e8-4753-8033-0f276bb0955b": "Storage Blob Data Owner",
    "974c5e8b-45b9-4653-ba55-5f855dd0fb88": "Storage Queue Data Contributor",
    "0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3": "Storage Table Data Contributor",
    "4633458b-17de-408a-b874-0445c86b69e6": "Key Vault Secrets User",
    "b86a8fe4-44ce-4948-aee5-eccb2c155cd7": "Key Vault Secrets Officer",
    "3913510d-42f4-4e42-8a64-420c390055eb": "Monitoring Metrics Publisher",
    "de139f84-1756-47ae-9be6-808fbbe84772": "Website Contributor",
}
"""https://learn.microsoft.com/azure/role-based-access-control/built-in-roles."""


def test_each_type_is_used_in_the_one_version_that_is_listed() -> None:
    """A version that does not exist, or another one of the same type, is seen when it is written."""
    used = {
        (declaration["type"], declaration["api_version"])
        for path in TEMPLATES
        for declaration in parsed(path).get("resources", {}).values()
    }
    assert used == set(API_VERSIONS.items())


@pytest.mark.parametrize(
    ("path", "name"),
    [(path, name) for path, name, declaration in resources() if declaration["type"] in MODELS],
    ids=lambda value: value.stem if isinstance(value, Path) else value,
)
def test_properties_are_spelled_as_azure_spells_them(path: Path, name: str) -> None:
    """Azure ignores a property that it does not know: what was meant to be closed would be open."""
    declaration = parsed(path)["resources"][name]
    names = frozenset(parsed(path).get("parameters", {})) | frozenset(parsed(path).get("variables", {}))
    made = {key: value for key, value in body(declaration).items() if key not in OF_TEMPLATES}
    assert set(problems(MODELS[declaration["type"]], made, names)) <= UNPUBLISHED


def test_the_check_of_spelling_sees_what_is_wrong() -> None:
    """Another case, a property in the wrong place, one that nobody can set, and a word that is none."""
    wrong = {
        "kind": "functionapp",
        "properties": {
            "httpsonly": True,
            "minTlsVersion": "1.2",
            "defaultHostName": "x",
            "functionAppConfig": {"siteUpdateStrategy": {"type": "Rolling"}},
            "siteConfig": {"appSettings": [{"name": "A", "valu": "B"}]},
        },
    }
    assert sorted(problems(web.Site, wrong, frozenset())) == [
        "properties.defaultHostName",
        "properties.functionAppConfig.siteUpdateStrategy.type=Rolling",
        "properties.httpsonly",
        "properties.minTlsVersion",
        "properties.siteConfig.appSettings.valu",
    ]
    flat = {"location": "x", "properties": {"critera": {}, "criteria": {"allOf": [{"querry": "x"}]}}}
    assert sorted(problems(monitor.ScheduledQueryRuleResource, flat, frozenset())) == [
        "properties.critera",
        "properties.criteria.allOf.querry",
    ]


def test_the_app_is_closed_to_everything_but_https_and_tokens() -> None:
    """What Azure would leave open where nothing is said."""
    site = resource("app", "site")["properties"]
    assert site["httpsOnly"] is True
    assert site["clientAffinityEnabled"] is False
    assert site["functionsRuntimeAdminIsolationEnabled"] is True
    assert site["siteConfig"]["minTlsVersion"] == site["siteConfig"]["scmMinTlsVersion"] == "1.2"
    assert site["siteConfig"]["http20Enabled"] is True
    policies = [body(made) for _, _, made in resources("Microsoft.Web/sites/basicPublishingCredentialsPolicies")]
    assert {(policy["name"], policy["properties"]["allow"]) for policy in policies} == {("ftp", False), ("scm", False)}


def test_nothing_is_reached_with_a_key() -> None:
    """Storage, telemetry and logs take identities alone, and the vault asks roles, not a list of its own."""
    account = resource("storage", "account")["properties"]
    assert (account["allowSharedKeyAccess"], account["allowBlobPublicAccess"]) == (False, False)
    assert resource("monitoring", "insights")["properties"]["DisableLocalAuth"] is True
    assert resource("monitoring", "workspace")["properties"]["features"]["disableLocalAuth"] is True
    assert resource("vault", "vault")["properties"]["enableRbacAuthorization"] is True


def test_the_runtime_is_the_one_that_is_tested() -> None:
    """The version of Python, and updates that end no question."""
    config = resource("app", "site")["properties"]["functionAppConfig"]
    assert config["runtime"] == {
        "name": "python",
        "version": (ROOT / ".python-version").read_text(encoding="utf-8").strip(),
    }
    assert config["siteUpdateStrategy"] == {"type": "RollingUpdate"}


def test_functions_that_are_always_ready_exist() -> None:
    """Azure takes any name, and keeps an instance of nothing."""
    ready = [
        value["value"]["name"]
        for name, value in parsed(INFRA / "modules" / "app.bicep")["variables"].items()
        if name.endswith("Ready")
    ]
    functions = re.findall(r"^async def ([a-z_]+)\(", (ROOT / "function_app.py").read_text("utf-8"), flags=re.MULTILINE)
    assert sorted(ready) == ["function:run_question", "http"]
    assert {name.removeprefix("function:") for name in ready} - {"http"} <= set(functions)


def test_tables_and_queues_are_those_of_the_app() -> None:
    """The app would make what is missing, but not what is spelled otherwise here."""
    variables = parsed(MAIN)["variables"]
    assert sorted(variables["tables"]["value"]) == sorted(SWEPT_TABLES)
    assert variables["queues"]["value"] == [QUEUE, f"{QUEUE}-poison"]
    state = body(parsed(MAIN)["modules"]["stateStorage"])["params"]
    assert (state["tables"], state["queues"]) == ("tables", "queues")


def test_roles_are_microsofts_and_on_one_resource_each() -> None:
    """No role of this identity is on the resource group, and none is Owner or Contributor of anything."""
    known = set(parsed(INFRA / "modules" / "roles.bicep")["variables"]["roleIds"]["value"].values())
    known.add(parsed(INFRA / "modules" / "app.bicep")["variables"]["websiteContributor"]["value"])
    assert known == set(ROLES)
    for _, name, declaration in resources("Microsoft.Authorization/roleAssignments"):
        assert body(declaration).get("scope"), name


def given(name: str) -> set[str]:
    """The roles that are given on one resource, to the identity of the app."""
    assignments = [body(made) for _, _, made in resources("Microsoft.Authorization/roleAssignments")]
    return {
        re.findall(r"roleIds', 'operand_2': '(\w+)'", str(made["properties"]["roleDefinitionId"]))[0]
        for made in assignments
        if made["scope"] == name and made["properties"]["principalId"] == "principalId"
    }


def test_the_identity_may_do_what_it_needs_and_no_more() -> None:
    """The reasons are in docs/decisions/infrastructure.md."""
    assert given("hostStorage") == {"storageBlobDataOwner", "storageTableDataContributor"}
    assert given("stateStorage") == {"storageTableDataContributor", "storageQueueDataContributor"}
    assert given("vault") == {"keyVaultSecretsUser"}
    assert given("insights") == {"monitoringMetricsPublisher"}


def test_the_first_start_finds_its_roles() -> None:
    """The host reaches for its storage at once, and a start without a role is a start that failed."""
    assert body(parsed(MAIN)["modules"]["app"])["dependsOn"] == ["roles", "privateEndpoints"]


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.stem)
def test_modules_are_files_of_this_folder_and_each_is_used(path: Path) -> None:
    """Nothing is fetched from a registry, and nothing is left over."""
    for module in parsed(path).get("modules", {}).values():
        assert module["type"] == "local"
    if path.parent.name == "modules":
        called = {module["detail"]["path"] for module in parsed(MAIN)["modules"].values()}
        assert f"modules/{path.name}" in called


@pytest.mark.parametrize(
    "path", sorted(path for path in INFRA.rglob("*") if path.is_file()), ids=lambda path: path.name
)
def test_no_secret_is_written_down(path: Path) -> None:
    """Neither a key nor what asks Azure for one."""
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"listKeys|listSecrets|AccountKey=|SharedAccessSignature|BEGIN [A-Z ]*PRIVATE KEY", text)
    assert not re.search(r"(?<![A-Za-z0-9+/])[A-Za-z0-9+/]{43}=", text)
    assert "Microsoft.KeyVault/vaults/secrets" not in text


def test_vaults_and_storage_close_with_the_network() -> None:
    """One parameter: with it nothing of them is public, and all that the app calls has an endpoint."""
    modules = parsed(MAIN)["modules"]
    closed = [body(modules[name])["params"]["closed"] for name in ("hostStorage", "stateStorage", "vault")]
    assert closed == ["vnetEnabled"] * 3
    endpoints: list[dict[str, Any]] = parsed(INFRA / "modules" / "private-endpoints.bicep")["variables"]["endpoints"][
        "value"
    ]
    assert {(entry["target"], entry["group"]) for entry in endpoints} == {
        ("hostStorageId", "blob"),
        ("hostStorageId", "table"),
        ("stateStorageId", "table"),
        ("stateStorageId", "queue"),
        ("vaultId", "vault"),
    }


def test_the_entra_extension_is_named_where_bicep_looks_for_it() -> None:
    """infra/bicepconfig.json is the nearest one above each template."""
    extensions = re.findall(r'"(microsoftGraphV1)": "br:mcr', (INFRA / "bicepconfig.json").read_text(encoding="utf-8"))
    first, *_ = (INFRA / "entra" / "main.bicep").read_text(encoding="utf-8").splitlines()
    assert first == f"extension {extensions[0]}"
