"""Patients for the doctor whose settings are in order, and whose peers nobody has made."""

from scripts.doctor.patient import Patient
from scripts.doctor.sources import Kind, Source

TENANT = "6f2c1d7e-3a4b-4c5d-8e9f-0a1b2c3d4e5f"
CLIENT = "0a9b8c7d-6e5f-4a3b-9c2d-1e0f9a8b7c6d"
IDENTITY = "3c4d5e6f-7a8b-4c9d-8e0f-1a2b3c4d5e6f"
ITEM = "7d8e9f0a-1b2c-4d3e-8f4a-5b6c7d8e9f0a"

PRODUCTION = {
    "TENANT_ID": TENANT,
    "CLIENT_ID": CLIENT,
    "AZURE_CLIENT_ID": IDENTITY,
    "DATA_AGENT_URL": f"https://api.fabric.microsoft.com/v1/mcp/workspaces/{ITEM}/dataagents/{ITEM}/agent",
    "KEY_VAULT_URL": "https://kv-gateway.vault.azure.net",
    "STATE_STORAGE__tableServiceUri": "https://stgateway.table.core.windows.net",
    "STATE_STORAGE__queueServiceUri": "https://stgateway.queue.core.windows.net",
    "STATE_STORAGE__credential": "managedidentity",
    "STATE_STORAGE__clientId": IDENTITY,
    "PUBLIC_BASE_URL": "https://gateway.contoso.com",
    "FUNCTIONS_REQUEST_BODY_SIZE_LIMIT": "65536",
    "AzureWebJobsStorage__accountName": "sthost",
    "AzureWebJobsStorage__credential": "managedidentity",
    "AzureWebJobsStorage__clientId": IDENTITY,
}


def deployed(**settings: str | None) -> Patient:
    """A deployed app with these settings on top; None takes one away."""
    return _patient("deployed app", settings, app="gw", resource_group="rg-gw")


def in_azure(**settings: str | None) -> Patient:
    """The app itself, which has its managed identity at hand."""
    return _patient("process", {"IDENTITY_ENDPOINT": "http://127.0.0.1:1/msi/token", **settings})


def _patient(kind: Kind, settings: dict[str, str | None], *, app: str = "", resource_group: str = "") -> Patient:
    environ = {name: value for name, value in (PRODUCTION | settings).items() if value is not None}
    return Patient(Source(kind, environ, app, resource_group))
