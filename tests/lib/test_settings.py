"""Rules for settings."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.settings import AZURITE, Settings, SettingsInvalid

TENANT = "3c9d5e0a-4b1f-4f62-9a57-0d2be1c7a001"
CLIENT = "8a2f61d4-7c35-4e0b-b8a9-5f60c2d3b002"
IDENTITY = "d4c0b8e6-5a19-47f3-8d72-9be6a3f0d004"
AGENT = (
    "https://api.fabric.microsoft.com/v1/mcp/workspaces/1b7c2d3e-4f50-4a61-8b72-9c83ad94b007"
    "/dataagents/2c8d3e4f-5061-4b72-9c83-ad94be05c008/agent"
)
PRODUCTION = {
    "TENANT_ID": TENANT,
    "CLIENT_ID": CLIENT,
    "DATA_AGENT_URL": AGENT,
    "KEY_VAULT_URL": "https://contoso.vault.azure.net/",
    "STATE_STORAGE__tableServiceUri": "https://contoso.table.core.windows.net",
    "STATE_STORAGE__queueServiceUri": "https://contoso.queue.core.windows.net",
    "PUBLIC_BASE_URL": "https://ask.contoso.com",
}
AZURITE_TABLES, AZURITE_QUEUES = AZURITE.split(";")[-2:]
SEVERAL = {name: value for name, value in PRODUCTION.items() if name != "DATA_AGENT_URL"}
DEVELOPMENT = PRODUCTION | {
    "ENVIRONMENT": "development",
    "STATE_STORAGE": "UseDevelopmentStorage=true",
    "PUBLIC_BASE_URL": "http://localhost:7071",
    "KEY_VAULT_URL": "https://127.0.0.1:8444",
    "ENTRA_AUTHORITY_HOST": "https://localhost:8443",
    "GRAPH_URL": "https://localhost:8446",
    "DATA_AGENT_URL": AGENT.replace("api.fabric.microsoft.com", "localhost:8445"),
    "ALLOWED_ORIGINS": "http://localhost:5173",
}


def problems(environ: dict[str, str]) -> tuple[str, ...]:
    """What is wrong with `environ`."""
    with pytest.raises(SettingsInvalid) as refusal:
        Settings.read(environ)
    return refusal.value.problems


def test_the_least_that_production_needs_is_enough() -> None:
    """Seven values; everything else has a default that is safe."""
    settings = Settings.read(PRODUCTION)
    assert settings.environment == "production"
    assert settings.client_credential == "managed-identity"
    assert settings.allowed_tenants == {TENANT}
    assert settings.allowed_clients == {CLIENT}
    assert settings.allowed_origins == frozenset()
    assert settings.key_vault_url == "https://contoso.vault.azure.net"
    assert settings.entra_authority_host == "https://login.microsoftonline.com"
    assert settings.agents["default"].address.url == AGENT
    assert settings.instance_concurrency == 32
    assert settings.answer_stale_seconds == 3600


def test_how_much_an_instance_does_at_once_and_how_old_an_answer_may_be_can_be_said() -> None:
    """Nothing at all of the second: then no answer is given that is not fresh."""
    settings = Settings.read(PRODUCTION | {"INSTANCE_CONCURRENCY": "1000", "ANSWER_STALE_SECONDS": "0"})
    assert (settings.instance_concurrency, settings.answer_stale_seconds) == (1000, 0)


def test_the_local_stack_is_a_valid_development_environment() -> None:
    """Loopback, plain http for pages and Azurite are fine there."""
    settings = Settings.read(DEVELOPMENT)
    assert settings.environment == "development"
    assert settings.state_storage.connection_string == AZURITE
    assert settings.state_storage.table_url == "http://127.0.0.1:10002/devstoreaccount1"
    assert settings.state_storage.queue_url == "http://127.0.0.1:10001/devstoreaccount1"


def test_every_problem_is_told_at_once_by_the_name_of_its_variable() -> None:
    """Nobody should have to start the app seven times."""
    told = problems({})
    for name in PRODUCTION:
        assert any(line.startswith(name) for line in told), name


@pytest.mark.parametrize(
    "name", ["PUBLIC_BASE_URL", "ENTRA_AUTHORITY_HOST", "KEY_VAULT_URL", "GRAPH_URL", "DATA_AGENT_URL"]
)
def test_this_machine_is_refused_outside_of_development(name: str) -> None:
    """An emulator's address in production is a mistake, or an attack."""
    assert any(line.startswith(name) for line in problems(PRODUCTION | {name: DEVELOPMENT[name]}))
    assert any(
        line.startswith(name) for line in problems(PRODUCTION | {"ENVIRONMENT": "staging", name: DEVELOPMENT[name]})
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ENVIRONMENT", "prod"),
        ("TENANT_ID", "common"),
        ("TENANT_ID", "organizations"),
        ("TENANT_ID", "contoso.onmicrosoft.com"),
        ("TENANT_ID", "<your-tenant-id>"),
        ("TENANT_ID", "00000000-0000-0000-0000-000000000000"),
        ("CLIENT_ID", "your-client-id"),
        ("CLIENT_ID", "changeme"),
        ("CLIENT_CREDENTIAL", "password"),
        ("AZURE_CLIENT_ID", "not-a-guid"),
        ("PUBLIC_BASE_URL", "http://ask.contoso.com"),
        ("PUBLIC_BASE_URL", "https://user@ask.contoso.com"),
        ("PUBLIC_BASE_URL", "https://ask.contoso.com/?a=b"),
        ("PUBLIC_BASE_URL", "https://ask.contoso.com:99999"),
        ("PUBLIC_BASE_URL", "ask.contoso.com"),
        ("ENTRA_AUTHORITY_HOST", "http://login.microsoftonline.com"),
        ("ENTRA_AUTHORITY_HOST", "https://login.microsoftonline.com.evil.example"),
        ("KEY_VAULT_URL", "http://contoso.vault.azure.net"),
        ("KEY_VAULT_URL", "https://vault.evil.example"),
        ("KEY_VAULT_URL", "https://evilvault.azure.net.example"),
        ("GRAPH_URL", "https://graph.evil.example"),
        ("FABRIC_SCOPE", "openid"),
        ("FABRIC_SCOPE", "https://evil.example/.default"),
        ("FABRIC_SCOPE", "https://evil.example/api.fabric.microsoft.com/.default"),
        ("FABRIC_SCOPE", "https://graph.microsoft.com/.default"),
        ("ALLOWED_TENANTS", "9188040d-6c67-4c5b-b112-36a304b66dad"),
        ("ALLOWED_ORIGINS", "https://app.contoso.com:443"),
        ("ALLOWED_ORIGINS", "https://app.contoso.com;x"),
        ("PUBLIC_BASE_URL", 'https://ask.contoso.com"'),
        ("PUBLIC_BASE_URL", "https://äsk.contoso.com"),
        ("KEY_VAULT_URL", "https://.vault.azure.net"),
        ("FABRIC_SCOPE", "http://api.fabric.microsoft.com/.default"),
        ("ALLOWED_ORIGINS", "*"),
        ("ALLOWED_ORIGINS", "https://*.contoso.com"),
        ("ALLOWED_ORIGINS", "https://app.contoso.com/"),
        ("ALLOWED_ORIGINS", "https://app.contoso.com, http://app.contoso.com"),
        ("ALLOWED_ORIGINS", "null"),
        ("ALLOWED_TENANTS", "common"),
        ("ALLOWED_TENANTS", IDENTITY),
        ("GUESTS", "yes"),
        ("SESSIONS", "true"),
        ("ALLOWED_CLIENTS", "*"),
        ("REQUIRED_SCOPE", "a b"),
        ("STATE_STORAGE", AZURITE),
        ("STATE_STORAGE__tableServiceUri", "https://storage.evil.example"),
        ("STATE_STORAGE__queueServiceUri", "https://contoso.table.core.windows.net"),
        ("STATE_STORAGE__credential", "key"),
        ("STATE_STORAGE__clientId", "x"),
        ("DATA_AGENT_URL", "https://evil.example/v1/mcp"),
        ("DATA_AGENT_URL", AGENT.replace("https", "http")),
        ("LINK_HOSTS", "*.contoso.com"),
        ("LINK_HOSTS", "https://contoso.com"),
        ("LOG_LEVEL", "LOUD"),
        ("SESSION_IDLE_MINUTES", "0"),
        ("SESSION_IDLE_MINUTES", "9999999999"),
        ("QUERY_DEADLINE_SECONDS", "230"),
        ("QUERY_DEADLINE_SECONDS", "1.5"),
        ("INSTANCE_CONCURRENCY", "0"),
        ("INSTANCE_CONCURRENCY", "1001"),
        ("ANSWER_CACHE_SECONDS", "3601"),
        ("ANSWER_STALE_SECONDS", "-1"),
        ("ANSWER_STALE_SECONDS", "3601"),
    ],
)
def test_an_unsafe_or_senseless_value_is_refused_by_name(name: str, value: str) -> None:
    """The problem names the variable and never repeats the value, which might be a secret in the wrong place."""
    told = problems(PRODUCTION | {name: value})
    assert len(told) == 1
    assert told[0].startswith(name)
    assert len(value) < 16 or value not in told[0]


@pytest.mark.parametrize("name", ["ENTRA_AUTHORITY_HOST", "KEY_VAULT_URL", "GRAPH_URL", "DATA_AGENT_URL"])
def test_tokens_and_secrets_travel_by_tls_even_on_this_machine(name: str) -> None:
    """Plain http is for the page of a developer alone."""
    told = problems(DEVELOPMENT | {name: DEVELOPMENT[name].replace("https://", "http://")})
    assert [line.partition(" ")[0] for line in told] == [name]


@pytest.mark.parametrize(
    "endpoints",
    [
        "EndpointSuffix=core.windows.net",
        AZURITE_TABLES,
        AZURITE_QUEUES,
        f"{AZURITE_TABLES};QueueEndpoint=https://contoso.queue.core.windows.net",
        f"{AZURITE_QUEUES};TableEndpoint=https://contoso.table.core.windows.net",
    ],
    ids=["no endpoint", "no queues", "no tables", "queues elsewhere", "tables elsewhere"],
)
def test_a_storage_key_is_for_azurite_alone(endpoints: str) -> None:
    """A connection string that leads elsewhere is refused even in development, for tables and for queues."""
    (told,) = problems(DEVELOPMENT | {"STATE_STORAGE": f"AccountName=contoso;AccountKey=eA==;{endpoints}"})
    assert told.startswith("STATE_STORAGE ")


def test_storage_by_managed_identity_takes_its_own_client_id_or_the_apps() -> None:
    """The names are those of Azure Functions' identity-based connections."""
    settings = Settings.read(PRODUCTION | {"AZURE_CLIENT_ID": IDENTITY})
    assert settings.state_storage.managed_identity_client_id == IDENTITY
    settings = Settings.read(
        PRODUCTION
        | {
            "STATE_STORAGE__clientId": IDENTITY.upper(),
            "STATE_STORAGE__credential": "managedidentity",
        }
    )
    assert settings.state_storage.table_url == "https://contoso.table.core.windows.net"
    assert settings.state_storage.managed_identity_client_id == IDENTITY
    assert settings.state_storage.queue_url == "https://contoso.queue.core.windows.net"


def test_links_may_lead_to_chosen_hosts() -> None:
    """By exact name; nowhere, unless somebody says so."""
    assert Settings.read(PRODUCTION).link_hosts == frozenset()
    chosen = Settings.read(PRODUCTION | {"LINK_HOSTS": "app.fabric.microsoft.com, wiki.contoso.com"}).link_hosts
    assert chosen == {"app.fabric.microsoft.com", "wiki.contoso.com"}


def test_several_agents_are_read_with_their_descriptions() -> None:
    """`DATA_AGENTS` names each one."""
    agents = {"sales": {"url": AGENT, "description": "Sales figures"}, "hr": {"url": AGENT, "identity": "app"}}
    settings = Settings.read(SEVERAL | {"DATA_AGENTS": json.dumps(agents)})
    assert list(settings.agents) == ["sales", "hr"]
    assert settings.agents["sales"].description == "Sales figures"
    assert (settings.agents["sales"].identity, settings.agents["hr"].identity) == ("user", "app")


@pytest.mark.parametrize(
    "agents",
    [
        "not json",
        "[]",
        "{}",
        '{"Sales Agent": {"url": "x"}}',
        '{"sales": "x"}',
        '{"sales": {"url": 1}}',
        json.dumps({"sales": {"url": AGENT, "identity": "everyone"}}),
        json.dumps({"sales": {"url": AGENT, "secret": "x"}}),
        '{"sales": {}}',
        '{"sales": {"url": "x", "identity": "user"}, "sales": {"url": "x", "identity": "app"}}',
    ],
)
def test_agents_that_cannot_be_understood_are_refused(agents: str) -> None:
    """What is wrong is told under the name of the variable."""
    assert all(line.startswith("DATA_AGENTS") for line in problems(SEVERAL | {"DATA_AGENTS": agents}))


def test_one_agent_and_several_at_once_is_a_mistake() -> None:
    """Which one is meant is not for the gateway to guess."""
    told = problems(PRODUCTION | {"DATA_AGENTS": json.dumps({"sales": {"url": AGENT}})})
    assert [line.partition(" ")[0] for line in told] == ["DATA_AGENT_URL"]


def test_a_key_in_a_setting_does_not_show_in_its_text() -> None:
    """Settings may be printed while somebody looks for a fault."""
    assert "AccountKey" not in repr(Settings.read(DEVELOPMENT))


@given(
    st.dictionaries(st.sampled_from([*DEVELOPMENT, "DATA_AGENTS", "STATE_STORAGE__clientId", "LOG_LEVEL"]), st.text())
)
def test_any_values_are_settings_or_a_list_of_problems(environ: dict[str, str]) -> None:
    """No text in any variable makes reading fail in another way."""
    try:
        Settings.read(DEVELOPMENT | environ)
    except SettingsInvalid as refusal:
        assert refusal.problems


@pytest.mark.parametrize("environment", ["production", "staging", "development"])
@pytest.mark.parametrize(
    "url",
    [
        "https://contoso-abc.z01.azurefd.net",
        "https://Contoso-abc.Z01.AzureFD.net:8443/",
        "https://contoso.westeurope.cloudapp.azure.com",
        "https://contoso.calmsea-1a2b.westeurope.azurecontainerapps.io",
    ],
)
def test_sessions_are_refused_where_strangers_share_the_site(url: str, environment: str) -> None:
    """SameSite would protect no cookie there; without sessions such a name is as good as any."""
    shared = PRODUCTION | {"PUBLIC_BASE_URL": url, "ENVIRONMENT": environment}
    (told,) = problems(shared)
    assert told.startswith("PUBLIC_BASE_URL")
    assert "SESSIONS=off" in told
    assert Settings.read(shared | {"SESSIONS": "off"}).sessions is False


def test_sessions_are_on_where_the_site_is_ones_own() -> None:
    """A domain of one's own, or the name that Azure Functions gives."""
    assert Settings.read(PRODUCTION).sessions is True
    given = {"PUBLIC_BASE_URL": "https://contoso-abc.westeurope-01.azurewebsites.net", "SESSIONS": "on"}
    assert Settings.read(PRODUCTION | given).sessions is True


def test_a_page_on_a_shared_host_may_call_with_tokens() -> None:
    """It is on another site than the gateway, so that no cookie comes along, and its neighbours have other origins."""
    page = "https://contoso-app.z01.azurefd.net"
    assert Settings.read(PRODUCTION | {"ALLOWED_ORIGINS": page}).allowed_origins == {page}


def test_guests_stay_outside_unless_somebody_lets_them_in() -> None:
    """A guest is in the tenant because someone there shared something with them, not to ask about everything."""
    assert Settings.read(PRODUCTION).guests is False
    assert Settings.read(PRODUCTION | {"GUESTS": "refuse"}).guests is False
    assert Settings.read(PRODUCTION | {"GUESTS": "allow"}).guests is True


def test_several_tenants_are_the_gateways_own_and_others() -> None:
    """Each by its id, in any letters."""
    several = Settings.read(PRODUCTION | {"ALLOWED_TENANTS": f"{TENANT.upper()}, {IDENTITY}"})
    assert several.allowed_tenants == {TENANT, IDENTITY}


def test_a_tenant_of_ones_own_that_is_missing_is_told_once() -> None:
    """That it is not on the list is then no second problem."""
    environ = {name: value for name, value in PRODUCTION.items() if name != "TENANT_ID"}
    assert problems(environ | {"ALLOWED_TENANTS": IDENTITY}) == ("TENANT_ID is missing",)
