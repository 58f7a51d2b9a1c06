"""The settings: one frozen value, read from a mapping once, refused as a whole with every problem named.

Nothing that weakens security has a default, and no empty value switches a check off. Plain http, and hosts other
than Microsoft's, are accepted on loopback alone and only where `ENVIRONMENT` is `development`: that is how the
local stack's emulators come in, without a branch anywhere else. `docs/settings.md` lists every name.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from lib.agent_settings import AgentSettings, read_agents
from lib.environ import EnvironReader, host_of
from lib.hosts import is_loopback, shares_its_site
from lib.telemetry_settings import TelemetrySettings, read_telemetry

type Environment = Literal["development", "staging", "production"]
type CredentialKind = Literal["managed-identity", "certificate", "secret"]

ENTRA_HOSTS = ("login.microsoftonline.com", "login.microsoftonline.us", "login.partner.microsoftonline.cn")
GRAPH_HOSTS = ("graph.microsoft.com", "graph.microsoft.us", "dod-graph.microsoft.us", "microsoftgraph.chinacloudapi.cn")
FABRIC_RESOURCES = (
    "api.fabric.microsoft.com",
    "analysis.windows.net/powerbi/api",
    "high.analysis.usgovcloudapi.net/powerbi/api",
)
VAULT_SUFFIXES = (".vault.azure.net", ".vault.usgovcloudapi.net", ".vault.azure.cn")
TABLE_SUFFIXES = (".table.core.windows.net", ".table.core.usgovcloudapi.net", ".table.core.chinacloudapi.cn")
QUEUE_SUFFIXES = tuple(suffix.replace(".table.", ".queue.") for suffix in TABLE_SUFFIXES)

AZURITE = (  # Azurite's account and key are public and the same everywhere (Azurite README, "Default storage account")
    "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1;"
    "AccountKey=Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==;"
    "TableEndpoint=http://127.0.0.1:10002/devstoreaccount1;QueueEndpoint=http://127.0.0.1:10001/devstoreaccount1"
)


class SettingsInvalid(Exception):
    """The settings are refused; `problems` has one line each, starting with the variable's name, never its value."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("invalid settings: " + "; ".join(self.problems))


@dataclass(frozen=True)
class StateStorage:
    """Where shared state lives: service addresses with a managed identity, or Azurite's connection string."""

    table_url: str = ""
    queue_url: str = ""
    managed_identity_client_id: str | None = None
    connection_string: str = field(default="", repr=False)


@dataclass(frozen=True)
class Settings:
    """Everything the gateway is told from outside. Times are in seconds."""

    environment: Environment
    tenant_id: str
    client_id: str
    client_credential: CredentialKind
    managed_identity: bool
    managed_identity_client_id: str | None
    agents: Mapping[str, AgentSettings]
    key_vault_url: str
    state_storage: StateStorage
    public_base_url: str
    allowed_origins: frozenset[str]
    allowed_tenants: frozenset[str]
    allowed_clients: frozenset[str]
    required_scope: str
    required_role: str
    guests: bool
    sessions: bool
    entra_authority_host: str
    fabric_scope: str
    graph_url: str
    link_hosts: frozenset[str]
    log_level: str
    session_idle_seconds: int
    session_absolute_seconds: int
    query_deadline_seconds: int
    limit_per_minute: int
    limit_burst: int
    limit_per_day: int
    limit_in_flight: int
    app_calls_per_minute: int
    failures_per_minute: int
    max_instances: int
    instance_concurrency: int
    front_door_id: str
    answer_stale_seconds: int
    telemetry: TelemetrySettings

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> "Settings":
        """The settings in `environ`. Raises `SettingsInvalid` with every problem at once."""
        reader = EnvironReader(environ)
        tenant = reader.guid("TENANT_ID")
        client = reader.guid("CLIENT_ID")
        identity = reader.guid("AZURE_CLIENT_ID") if reader.get("AZURE_CLIENT_ID") else None
        settings = cls(
            environment=reader.choice("ENVIRONMENT", ("production", "staging", "development")),
            tenant_id=tenant,
            client_id=client,
            client_credential=reader.choice("CLIENT_CREDENTIAL", ("managed-identity", "certificate", "secret")),
            # a developer's machine has none and uses the Azure CLI's sign-in
            managed_identity=not reader.development or bool(reader.get("IDENTITY_ENDPOINT")),
            managed_identity_client_id=identity,
            agents=read_agents(reader),
            key_vault_url=reader.url("KEY_VAULT_URL", suffixes=VAULT_SUFFIXES),
            state_storage=_state_storage(reader, identity),
            public_base_url=reader.url("PUBLIC_BASE_URL", plain_http_in_development=True),
            allowed_origins=frozenset(reader.items("ALLOWED_ORIGINS", reader.origin)),
            allowed_tenants=_tenants(reader, tenant),
            allowed_clients=frozenset(reader.items("ALLOWED_CLIENTS", reader.as_guid)) or frozenset({client}),
            required_scope=reader.word("REQUIRED_SCOPE", "access_as_user"),
            required_role=reader.word("REQUIRED_ROLE", "Query.All"),
            guests=reader.choice("GUESTS", ("refuse", "allow")) == "allow",
            sessions=_sessions(reader),
            entra_authority_host=reader.url("ENTRA_AUTHORITY_HOST", f"https://{ENTRA_HOSTS[0]}", hosts=ENTRA_HOSTS),
            fabric_scope=reader.scope("FABRIC_SCOPE", f"https://{FABRIC_RESOURCES[0]}/.default", FABRIC_RESOURCES),
            graph_url=reader.url("GRAPH_URL", f"https://{GRAPH_HOSTS[0]}", hosts=GRAPH_HOSTS),
            link_hosts=frozenset(reader.items("LINK_HOSTS", reader.host)),
            log_level=reader.choice("LOG_LEVEL", ("INFO", "DEBUG", "WARNING", "ERROR")),
            session_idle_seconds=60 * reader.number("SESSION_IDLE_MINUTES", 30, 1, 24 * 60),
            session_absolute_seconds=60 * reader.number("SESSION_ABSOLUTE_MINUTES", 8 * 60, 1, 24 * 60),
            query_deadline_seconds=reader.number("QUERY_DEADLINE_SECONDS", 180, 5, 220),
            limit_per_minute=reader.number("LIMIT_PER_MINUTE", 20, 1, 6000),
            limit_burst=reader.number("LIMIT_BURST", 5, 1, 1000),
            limit_per_day=reader.number("LIMIT_PER_DAY", 300, 1, 1_000_000),
            limit_in_flight=reader.number("LIMIT_IN_FLIGHT", 2, 1, 100),
            app_calls_per_minute=reader.number("APP_CALLS_PER_MINUTE", 100, 1, 6000),
            failures_per_minute=reader.number("FAILURES_PER_MINUTE", 600, 1, 60_000),
            max_instances=reader.number("MAX_INSTANCES", 40, 1, 1000),
            instance_concurrency=reader.number("INSTANCE_CONCURRENCY", 32, 1, 1000),
            front_door_id=reader.guid("FRONT_DOOR_ID") if reader.get("FRONT_DOOR_ID") else "",
            answer_stale_seconds=reader.number("ANSWER_STALE_SECONDS", 3600, 0, 3600),
            telemetry=read_telemetry(reader),
        )
        if reader.problems:
            raise SettingsInvalid(reader.problems)
        return settings


def _sessions(reader: EnvironReader) -> bool:
    """Whether browsers can sign in for a cookie: not where strangers have hosts on what browsers take for our site."""
    on: bool = reader.choice("SESSIONS", ("on", "off")) == "on"
    host = host_of(reader.get("PUBLIC_BASE_URL").lower()) or ""
    if on and shares_its_site(host):
        shared = "is a name that browsers take for one site with other customers' names, so cookies are not safe there"
        reader.problem("PUBLIC_BASE_URL", f"{shared}: use a domain of your own, or set SESSIONS=off")
    return on


def _tenants(reader: EnvironReader, own: str) -> frozenset[str]:
    """The tenants whose people may come; the gateway's own is among them, for it is there that browsers sign in."""
    known = len(reader.problems)
    listed = frozenset(reader.items("ALLOWED_TENANTS", reader.as_guid))
    if listed and own and own not in listed and len(reader.problems) == known:
        reader.problem("ALLOWED_TENANTS", "must list TENANT_ID too: browsers sign in there")
    return listed or frozenset({own})


def _state_storage(reader: EnvironReader, identity: str | None) -> StateStorage:
    if connection_string := reader.get("STATE_STORAGE"):
        return _azurite(reader, connection_string)
    if reader.get("STATE_STORAGE__credential") not in {"", "managedidentity"}:
        reader.problem("STATE_STORAGE__credential", "must be managedidentity")
    table_url = reader.url("STATE_STORAGE__tableServiceUri", suffixes=TABLE_SUFFIXES)
    queue_url = reader.url("STATE_STORAGE__queueServiceUri", suffixes=QUEUE_SUFFIXES)
    if reader.get("STATE_STORAGE__clientId"):
        identity = reader.guid("STATE_STORAGE__clientId")
    return StateStorage(table_url, queue_url, identity)


def _azurite(reader: EnvironReader, connection_string: str) -> StateStorage:
    if connection_string == "UseDevelopmentStorage=true":
        connection_string = AZURITE
    parts = dict(part.partition("=")[::2] for part in connection_string.split(";"))
    table_url, queue_url = parts.get("TableEndpoint", ""), parts.get("QueueEndpoint", "")
    hosts = [host_of(url) for url in (table_url, queue_url)]
    if not reader.development or not all(host is not None and is_loopback(host) for host in hosts):
        only = "only Azurite's TableEndpoint and QueueEndpoint on this machine may be reached so"
        reader.problem("STATE_STORAGE", f"holds a key: {only}; set __tableServiceUri and __queueServiceUri")
    return StateStorage(table_url, queue_url, connection_string=connection_string)
