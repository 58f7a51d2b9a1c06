"""What a person's access token shows: how the application is registered, and what it may for people."""

from typing import Any

from lib.errors import GatewayError, GuestRejected, InsufficientScope, TokenExpired
from lib.strict_json import parse_object
from scripts.doctor.aadsts import consent_command, entra_refuses, token_version_command
from scripts.doctor.overheard import Overheard
from scripts.doctor.patient import Patient
from scripts.findings import Finding, failed, ok, skipped

TOKEN, ON_BEHALF_OF, PROFILES = "person's token", "on behalf of", "graph"
AGENTS_PERMISSION = "DataAgent.Execute.All"


def how_to_get_one(patient: Patient) -> str:
    """The command that gets a token; the Azure CLI has to be among the clients for it."""
    scope = f"{patient.settings.client_id}/{patient.settings.required_scope}"  # whatever identifier URI it has
    token = f"az account get-access-token --tenant {patient.settings.tenant_id} --scope {scope} --query accessToken"
    return f'export DOCTOR_TOKEN="$({token} --output tsv)"'


async def token(patient: Patient) -> Finding:
    """Whether the gateway takes the token; where not, what in it says why."""
    if not patient.token:
        return skipped(TOKEN, "DOCTOR_TOKEN is not set: nothing is tried on a person's behalf", how_to_get_one(patient))
    try:
        access = await patient.gateway.token_validator.validate(patient.token)
    except GatewayError as fault:
        return _refused(patient, fault)
    patient.person = access.principal
    if patient.person.kind == "app":
        return skipped(TOKEN, "it is an application's, for which nobody can be asked", how_to_get_one(patient))
    return ok(TOKEN, "version 2, for this application, with the scope that is wanted")


async def on_behalf_of(patient: Patient, overheard: Overheard) -> Finding:
    """Whether Entra gives the gateway a token for Fabric in the person's name, and Fabric's permission with it."""
    assert patient.person  # noqa: S101  # the check of the token comes first
    try:
        got = await patient.gateway.on_behalf_of.token_for(patient.person, patient.settings.fabric_scope)
    except GatewayError:
        return entra_refuses(patient, ON_BEHALF_OF, overheard.number())
    scopes = _claims(got).get("scp")
    if isinstance(scopes, str) and AGENTS_PERMISSION not in scopes.split():
        cause = f"the application has no permission {AGENTS_PERMISSION}, so that Fabric refuses every question"
        return failed(ON_BEHALF_OF, "permission missing", cause, consent_command(patient))
    return ok(ON_BEHALF_OF, f"a token for Fabric with {AGENTS_PERMISSION}")


async def profiles(patient: Patient) -> Finding:
    """Whether Graph tells of the person: an extra, whose lack is no failure."""
    assert patient.person  # noqa: S101  # the check of the token comes first
    if await patient.gateway.profile(patient.person):
        return ok(PROFILES, "tells who the person is")
    consent = f"az ad app permission admin-consent --id {patient.settings.client_id}"
    return skipped(PROFILES, "tells nothing of the person; /session?profile=graph stays without", consent)


def _refused(patient: Patient, fault: GatewayError) -> Finding:
    again = how_to_get_one(patient)
    match fault:
        case TokenExpired():
            return failed(TOKEN, "expired", "the token's time has passed", again)
        case GuestRejected():
            return failed(TOKEN, "a guest's", "GUESTS is refuse, and the person is a guest", "use a member's token")
        case InsufficientScope():
            cause = f"it lacks the scope REQUIRED_SCOPE ({patient.settings.required_scope})"
            return failed(TOKEN, "scope missing", cause, again)
    if fault.status != 401:  # noqa: PLR2004  # Unauthenticated
        return skipped(TOKEN, "it cannot be checked while Entra's keys are away")
    detail, cause, cure = _reason(patient, _claims(patient.token))
    return failed(TOKEN, detail, cause, cure or again)


def _reason(patient: Patient, unverified: dict[str, Any]) -> tuple[str, str, str]:
    """Why a token is none for this gateway, as far as its claims say so: detail, cause and cure."""
    settings, client = patient.settings, patient.settings.client_id
    if not unverified:
        return "unreadable", "it is no JWT: an access token has three parts with dots between them", ""
    if unverified.get("ver") != "2.0":
        cause = "the application is registered for tokens of version 1.0"
        return "version 1.0", cause, token_version_command(patient)
    if unverified.get("aud") != client:
        return "another audience", "it was issued for another application than CLIENT_ID", ""
    if unverified.get("tid") not in settings.allowed_tenants:
        return "another tenant", "its tenant is not in ALLOWED_TENANTS", ""
    if (caller := unverified.get("azp")) not in settings.allowed_clients:
        allowed = ",".join(sorted({*settings.allowed_clients, str(caller)}))
        return (
            "another client",
            "its client is not in ALLOWED_CLIENTS",
            patient.set_command(f"ALLOWED_CLIENTS={allowed}"),
        )
    return "not genuine", "its signature, issuer or times are not right", ""


def _claims(unverified_token: str) -> dict[str, Any]:
    """The claims of a token, unproven; empty where it has none that can be read."""
    from lib.identity.claims import decode_segment  # noqa: PLC0415  # heavy

    try:
        return parse_object(decode_segment(unverified_token.split(".")[1]))
    except (ValueError, IndexError):
        return {}
