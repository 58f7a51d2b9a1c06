"""The settings that the template gives the app are those that the app reads, and they are accepted."""

import re
from typing import Any

import pytest

from lib.settings import Settings
from tests.infra.bicep import INFRA, MAIN, PARAMETER_FILES, ROOT, body, parameters, parsed, resource, written

OF_THE_HOST = {
    "AzureWebJobsStorage__accountName",
    "AzureWebJobsStorage__credential",
    "AzureWebJobsStorage__clientId",
    "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT",
}
NEVER_SET = {
    "STATE_STORAGE": "a connection string, for Azurite",
    "IDENTITY_ENDPOINT": "Azure sets it",
}
DEPRECATED = {
    "AzureWebJobsStorage", "ENABLE_ORYX_BUILD", "FUNCTIONS_EXTENSION_VERSION", "FUNCTIONS_MAX_HTTP_CONCURRENCY",
    "FUNCTIONS_WORKER_PROCESS_COUNT", "FUNCTIONS_WORKER_RUNTIME", "PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY",
    "PYTHON_ENABLE_OPENTELEMETRY", "SCM_DO_BUILD_DURING_DEPLOYMENT", "WEBSITE_RUN_FROM_PACKAGE", "WEBSITE_TIME_ZONE",
    "WEBSITE_VNET_ROUTE_ALL",
}  # fmt: skip
"""What Flex Consumption refuses, or what would change how the app logs."""

MODULE: Any = body(parsed(MAIN)["modules"]["app"])["params"]
OPTIONAL, FIXED = MODULE["settings"]["function"]["parameters"].values()

GUID = "9d1f4a2c-1c56-4b7e-8a44-0d7b1f1c2e3a"
INSIGHTS = (
    f"InstrumentationKey={GUID};IngestionEndpoint=https://westeurope-5.in.applicationinsights.azure.com/;"
    "LiveEndpoint=https://westeurope.livediagnostics.monitor.azure.com/"
)
SAMPLES = {
    "appName": "fabric-gateway-prod-abc123",
    "baseUrl": "https://fabric-gateway-prod-abc123.azurewebsites.net",
    "clientCredential": "managed-identity",
    "clientId": GUID,
    "dataAgentUrl": "",
    "environmentName": "production",
    "frontDoorId": "",
    "hostStorage.outputs.name": "hostabc",
    "identity.outputs.clientId": GUID,
    "monitoring.outputs.connectionString": INSIGHTS,
    "perInstanceConcurrency": "32",
    "stateStorage.outputs.queueUrl": "https://stateabc.queue.core.windows.net/",
    "stateStorage.outputs.tableUrl": "https://stateabc.table.core.windows.net/",
    "tenantId": GUID,
    "vault.outputs.url": "https://kv-abc.vault.azure.net/",
}
AGENT = (
    "https://api.fabric.microsoft.com/v1/mcp/workspaces/4b1e6f0a-6f4e-4a51-b6f4-0a4f4b1e6f0a"
    "/dataagents/5c1e6f0a-6f4e-4a51-b6f4-0a4f4b1e6f0b/agent"
)


def read_by_the_app() -> set[str]:
    """As tests/test_docs.py finds them."""
    modules = ("settings.py", "agent_settings.py", "telemetry_settings.py")
    source = "".join((ROOT / "lib" / module).read_text("utf-8") for module in modules)
    return set(re.findall(r'"([A-Z][A-Z_]{4,}(?:__[a-zA-Z]+)?)"', source)) - {"INFO", "DEBUG", "WARNING", "ERROR"}


def test_every_setting_of_the_app_is_set_or_may_be_and_none_else() -> None:
    """A setting that is forgotten here could only be set by hand, and the next deployment would take it away."""
    optional = set(parsed(MAIN)["types"]["optionalSettings"]["value"])
    assert OPTIONAL == "settings"
    assert optional & set(FIXED) == set()
    named = optional | set(FIXED)
    assert read_by_the_app() - set(NEVER_SET) - named == set()
    assert named - read_by_the_app() == OF_THE_HOST
    assert named & (DEPRECATED | set(NEVER_SET)) == set()


def sample(value: Any) -> str:
    """What the template would give for one setting, in an environment of ours."""
    if isinstance(value, str):
        return SAMPLES.get(value, re.sub(r"\$\{([^}]+)\}", lambda found: SAMPLES[found[1]], value))
    if value.get("function", {}).get("type") == "string":
        (inner,) = value["function"]["parameters"].values()
        return "41" if isinstance(inner, dict) else SAMPLES[inner]
    if value["operator"]["type"] == "conditional":
        return sample(value["operator"]["operands"]["true_value"])
    return SAMPLES[written(value)]


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda path: path.stem)
def test_the_app_accepts_what_the_template_gives(path: Any) -> None:
    """As Azure hands it over: addresses with a slash at their end, and empty texts for what is not set."""
    environ = {name: sample(value) for name, value in FIXED.items()}
    environ |= {"DATA_AGENTS": "", "DATA_AGENT_URL": AGENT, "ENVIRONMENT": parameters(path)["environmentName"]}
    environ |= {name: value if isinstance(value, str) else "" for name, value in parameters(path)["settings"].items()}
    settings = Settings.read(environ)
    assert settings.environment == path.stem
    assert settings.managed_identity_client_id == GUID
    assert settings.state_storage.table_url == "https://stateabc.table.core.windows.net"
    assert settings.sessions


def test_agents_reach_the_app_as_json() -> None:
    """`DATA_AGENTS` is an object in the template, and a text in the settings."""
    condition = FIXED["DATA_AGENTS"]["operator"]["operands"]
    assert condition["true_value"] == ""
    assert condition["false_value"]["function"]["type"] == "string"


def test_plan_and_app_are_told_the_same_numbers() -> None:
    """The share of every limit, and the bulkhead, are sized by what the plan does."""
    for name in ("maximumInstanceCount", "perInstanceConcurrency", "alwaysReadyHttp"):
        assert MODULE[name] == name
    assert str(FIXED["INSTANCE_CONCURRENCY"]).count("perInstanceConcurrency") == 1
    assert {"maximumInstanceCount", "alwaysReadyHttp"} <= set(re.findall(r"'(\w+)'", str(FIXED["MAX_INSTANCES"])))
    scale = resource("app", "site")["properties"]["functionAppConfig"]["scaleAndConcurrency"]
    assert scale["maximumInstanceCount"] == "maximumInstanceCount"
    assert scale["triggers"] == {"http": {"perInstanceConcurrency": "perInstanceConcurrency"}}


def test_defaults_of_the_plan_are_those_of_the_app() -> None:
    """docs/settings.md tells them."""
    defaults = {name: value["default"] for name, value in parsed(MAIN)["parameters"].items()}
    source = (ROOT / "lib" / "settings.py").read_text(encoding="utf-8")
    assert f'"MAX_INSTANCES", {defaults["maximumInstanceCount"]},' in source
    assert f'"INSTANCE_CONCURRENCY", {defaults["perInstanceConcurrency"]},' in source


def test_every_environment_has_its_file() -> None:
    """And the file says which environment it is."""
    allowed = parsed(MAIN)["parameters"]["environmentName"]["decorators"]
    environments = next(decorator["argument"] for decorator in allowed if decorator["type"] == "allowed")
    assert sorted(environments) == [path.stem for path in PARAMETER_FILES]
    for path in PARAMETER_FILES:
        assert parameters(path)["environmentName"] == path.stem


def test_production_keeps_what_it_has() -> None:
    """Locks, protection against purging, alerts, and somebody who is always ready."""
    production = parameters(INFRA / "environments" / "production.bicepparam")
    assert production["purgeProtection"] is production["deleteLocks"] is production["alertsEnabled"] is True
    assert production["alwaysReadyHttp"] == production["alwaysReadyQuestions"] == 1


def test_the_app_is_not_scaled_to_a_crowd_that_meets_the_limits_late() -> None:
    """At most a thousand instances are a setting that the app takes."""
    limits = {}
    for name in ("maximumInstanceCount", "alwaysReadyHttp"):
        decorators = parsed(MAIN)["parameters"][name]["decorators"]
        limits[name] = next(decorator["argument"] for decorator in decorators if decorator["type"] == "max_value")
    assert sum(limits.values()) <= 1000
