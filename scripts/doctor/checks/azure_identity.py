"""What the gateway is to Azure's services: its managed identity, or here the sign-in at the Azure CLI."""

from azure.core.exceptions import AzureError

from scripts.doctor.patient import Patient
from scripts.findings import Finding, failed, ok

NAME = "azure identity"
_SCOPE = "https://storage.azure.com/.default"


async def azure_identity(patient: Patient) -> Finding:
    """Whether a token is to be had at all; what it may is for the next checks to say."""
    try:
        await patient.gateway.azure_credential.get_token(_SCOPE)
    except AzureError as fault:
        told = type(fault).__name__
        if patient.as_developer:
            cause = "no managed identity is at hand here, and nobody is signed in at the Azure CLI"
            return failed(NAME, told, cause, f"az login --tenant {patient.settings.tenant_id}")
        cause = "the app has no managed identity of the client id AZURE_CLIENT_ID"
        if not patient.settings.managed_identity_client_id:
            cause = "the app has no system-assigned managed identity, and AZURE_CLIENT_ID names no other"
        return failed(NAME, told, cause, f"az functionapp identity assign {patient.app} --identities <resource id>")
    if patient.as_developer:
        return ok(NAME, "your sign-in at the Azure CLI, in the place of the app's own identity")
    return ok(NAME, "the managed identity")
