"""The app registration of a deployed app, as the Azure CLI tells of it: what no token shows on this machine."""

from collections.abc import Iterator
from typing import Any

from scripts.doctor.aadsts import federate_command, token_version_command
from scripts.doctor.azure_cli import AzureCliFailed, az
from scripts.doctor.patient import Patient
from scripts.findings import Finding, failed, ok, skipped

APPLICATION, FEDERATED = "app registration", "federated credential"
AUDIENCE = "api://AzureADTokenExchange"


async def application(patient: Patient) -> Finding:
    """Whether it is registered as the settings say: version of tokens, redirect URI, scope, tenants."""
    look = ("ad", "app", "show", "--id", patient.settings.client_id)
    try:
        problems = dict(_problems(patient, await az(*look)))
    except (AzureCliFailed, LookupError, TypeError, AttributeError):
        return skipped(APPLICATION, "the Azure CLI may not read it", f"az {' '.join(look)}")
    if not problems:
        return ok(APPLICATION, "as the settings say")
    return failed(APPLICATION, f"{len(problems)} wrong", "; ".join(problems), "; ".join(problems.values()))


def _problems(patient: Patient, told: Any) -> Iterator[tuple[str, str]]:
    """What is not as it should be, and the command that mends it."""
    settings, update = patient.settings, f"az ad app update --id {patient.settings.client_id}"
    if told["api"].get("requestedAccessTokenVersion") != 2:  # noqa: PLR2004  # as it is called
        yield "it asks for tokens of version 1.0", token_version_command(patient)
    callback = f"{settings.public_base_url}/api/login/callback"
    known = told["web"].get("redirectUris") or []
    if settings.sessions and callback not in known:
        yield f"the redirect URI {callback} is missing", f"{update} --web-redirect-uris {' '.join([*known, callback])}"
    scopes = {scope.get("value") for scope in told["api"].get("oauth2PermissionScopes") or []}
    if settings.required_scope not in scopes:
        yield f"it exposes no scope {settings.required_scope}", "add it in the portal, under Expose an API"
    if len(settings.allowed_tenants) > 1 and told.get("signInAudience") != "AzureADMultipleOrgs":
        yield "it is for one tenant alone", f"{update} --sign-in-audience AzureADMultipleOrgs"


async def federated_credential(patient: Patient) -> Finding:
    """Whether the app's managed identity proves the application: by issuer, audience and subject."""
    settings = patient.settings
    if settings.client_credential != "managed-identity" or not settings.managed_identity_client_id:
        return skipped(FEDERATED, "the gateway proves itself otherwise, or by no identity that AZURE_CLIENT_ID names")
    look = ("ad", "app", "federated-credential", "list", "--id", settings.client_id)
    try:
        listed = await az(*look)
        subject = (await az("ad", "sp", "show", "--id", settings.managed_identity_client_id))["id"]
        fitting = [each for each in listed if each["subject"] == subject and AUDIENCE in each["audiences"]]
        issuers = [each["issuer"] for each in fitting]
    except (AzureCliFailed, LookupError, TypeError):
        return skipped(FEDERATED, "the Azure CLI may not read it", f"az {' '.join(look)}")
    if f"{settings.entra_authority_host}/{settings.tenant_id}/v2.0" in issuers:
        return ok(FEDERATED, "trusts the app's managed identity")
    cause = (
        "none trusts the app's managed identity: the subject is its object id, the issuer this tenant's, version 2.0"
    )
    return failed(FEDERATED, f"none of {len(listed)} fits", cause, federate_command(patient))
