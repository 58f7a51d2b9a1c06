"""What Entra's refusals mean to those who operate the gateway: the cause, and what mends it.

By the AADSTS number alone, https://learn.microsoft.com/entra/identity-platform/reference-error-codes; what else Entra
says names people and apps, and is read by nobody.
"""

from dataclasses import dataclass

from scripts.doctor.patient import Patient
from scripts.findings import Finding, failed

FABRIC = "00000009-0000-0000-c000-000000000000"
"""The application of Fabric (`Power BI Service`), the same in every tenant."""
EXECUTE = "c6756612-6853-4145-a661-90c1d045b2dc"
"""Its delegated permission `DataAgent.Execute.All`."""

_FEDERATE = (
    "az ad app federated-credential create --id {client} --parameters "
    """'{{"name": "gateway", "issuer": "{authority}/{tenant}/v2.0", "subject": "'"$(az ad sp show --id {identity} """
    """--query id --output tsv)"'", "audiences": ["api://AzureADTokenExchange"]}}'"""
    "  # look first: az ad app federated-credential list --id {client}"
)
_RENEWED = (
    "az keyvault secret set --vault-name {vault} --name client-secret --output none "
    '--value "$(az ad app credential reset --id {client} --append --query password --output tsv)"'
)
_STRONGER = "sign in again with what the policy asks for (multi-factor, a compliant device), and bring that token"
_TOKEN_AGAIN = "get a new DOCTOR_TOKEN"  # noqa: S105  # advice
_CONSENT = (
    f"az ad app permission add --id {{client}} --api {FABRIC} --api-permissions {EXECUTE}=Scope && "
    "az ad app permission admin-consent --id {client}"
)


@dataclass(frozen=True)
class Meaning:
    """Why, and what to do; both with the patient's names to fill in."""

    cause: str
    cure: str


_MEANINGS = {
    # the application
    700016: Meaning(
        "the tenant has no application CLIENT_ID: one of the two settings is wrong, or it was never consented to there",
        "az ad app show --id {client} && az ad sp create --id {client}",
    ),
    7000229: Meaning("the application has no service principal in the tenant", "az ad sp create --id {client}"),
    7000112: Meaning("the application is disabled", "az ad sp update --id {client} --set accountEnabled=true"),
    90002: Meaning("there is no tenant TENANT_ID at this authority", "az account show --query tenantId"),
    # its credential
    7000215: Meaning("the secret in Key Vault is none of the application's", _RENEWED),
    7000222: Meaning("the application's secret has expired", _RENEWED),
    700027: Meaning(
        "the certificate in Key Vault is not registered at the application",
        "az ad app credential reset --id {client} --append --cert @certificate.pem  # the public part alone",
    ),
    700024: Meaning("the assertion is out of its time: a clock is wrong", "set this machine's clock by NTP"),
    70021: Meaning("no federated credential of the application fits the managed identity's token", _FEDERATE),
    700211: Meaning("no federated credential of the application names the managed identity's issuer", _FEDERATE),
    700212: Meaning("the federated credential's audience is not api://AzureADTokenExchange", _FEDERATE),
    700213: Meaning(
        "no federated credential of the application names this managed identity: the subject is its object id, "
        "not its client id",
        _FEDERATE,
    ),
    # what it may
    65001: Meaning("nobody has consented to the gateway's calling Fabric for people", _CONSENT),
    50105: Meaning(
        "assignment is required for the application, and the caller is not assigned to it",
        "az ad sp update --id {client} --set appRoleAssignmentRequired=false  # or assign them in the portal",
    ),
    500011: Meaning("the tenant has no service principal of Fabric", f"az ad sp create --id {FABRIC}"),
    # the person
    50013: Meaning("the person's token is not one that Entra can exchange", _TOKEN_AGAIN),
    500131: Meaning("the person's token was issued for another application", _TOKEN_AGAIN),
    500133: Meaning("the person's token is out of its time", _TOKEN_AGAIN),
    7000114: Meaning("the token is an application's, and only a person's can be exchanged", _TOKEN_AGAIN),
    **dict.fromkeys(
        (50072, 50074, 50076, 50079, 50158, 53000, 53001, 53002, 53003),
        Meaning("conditional access asks for more than the person's sign-in has proven", _STRONGER),
    ),
}


def entra_refuses(patient: Patient, name: str, number: int) -> Finding:
    """The finding for a refusal with that number; 0 for one that had none, or for no reply."""
    if not number:
        cause = "Entra does not answer, or not as it should: this network may not reach it"
        return failed(name, "no answer", cause, f"curl {patient.settings.entra_authority_host}")
    look_up = Meaning("Entra refuses", f"https://login.microsoftonline.com/error?code={number}")
    meaning = _MEANINGS.get(number, look_up)
    return failed(name, f"AADSTS{number}", meaning.cause, meaning.cure.format_map(_names(patient)))


def consent_command(patient: Patient) -> str:
    """What lets the gateway call Fabric's agents for people."""
    return _CONSENT.format_map(_names(patient))


def token_version_command(patient: Patient) -> str:
    """What has Entra issue tokens of version 2.0 for the application."""
    uri = f"https://graph.microsoft.com/v1.0/applications(appId='{patient.settings.client_id}')"
    body = '\'{"api": {"requestedAccessTokenVersion": 2}}\''
    return f'az rest --method PATCH --uri "{uri}" --body {body}'


def federate_command(patient: Patient) -> str:
    """What lets the app's managed identity prove the application."""
    return _FEDERATE.format_map(_names(patient))


def _names(patient: Patient) -> dict[str, str]:
    settings = patient.settings
    return {
        "client": settings.client_id,
        "tenant": settings.tenant_id,
        "authority": settings.entra_authority_host,
        "identity": settings.managed_identity_client_id or '"$MANAGED_IDENTITY"',
        "vault": patient.vault,
    }
