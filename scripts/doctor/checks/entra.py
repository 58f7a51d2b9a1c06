"""Entra: what it publishes of each tenant, and whether it takes the gateway for the application that it is."""

import httpx

from lib.errors import GatewayError, IdentityProviderUnavailable
from scripts.doctor.aadsts import entra_refuses
from scripts.doctor.overheard import Overheard
from scripts.doctor.patient import Patient
from scripts.findings import Finding, failed, ok, skipped

CREDENTIAL = "client credential"


def tenant_name(tenant_id: str) -> str:
    """What the check of a tenant is called."""
    return f"entra {tenant_id[:8]}"


async def tenant(patient: Patient, tenant_id: str) -> Finding:
    """Whether the tenant publishes who it is, and at least one key that tokens can be proven with."""
    from lib.identity.documents import DocumentUnusable  # noqa: PLC0415  # heavy, as the next
    from lib.identity.key_sets import fetch_keys  # noqa: PLC0415

    name, authority = tenant_name(tenant_id), patient.settings.entra_authority_host
    look = f"curl {authority}/{tenant_id}/v2.0/.well-known/openid-configuration"
    try:
        keys = await fetch_keys(patient.gateway.http, authority, tenant_id)
    except DocumentUnusable as fault:
        cause = f"Entra has no such tenant (TENANT_ID, ALLOWED_TENANTS), or somebody else answers there: {fault}"
        return failed(name, "no keys", cause, look)
    except (TimeoutError, httpx.HTTPError) as fault:
        cause = "Entra does not answer: this network does not reach it, or TLS is broken on the way"
        return failed(name, type(fault).__name__, cause, look)
    return ok(name, f"{len(keys)} signing keys")


async def client_credential(patient: Patient, overheard: Overheard) -> Finding:
    """Whether Entra gives the gateway a token for Fabric in its own name, which proves its credential."""
    if not patient.proves_the_app:
        told = "the app's managed identity proves it, which only the app has"
        return skipped(CREDENTIAL, told, "make smoke URL=… with SMOKE_TOKEN: an answer proves it")
    kind = patient.settings.client_credential
    try:
        await patient.gateway.on_behalf_of.token_for_app(patient.settings.fabric_scope)
    except GatewayError as fault:
        number = overheard.number()
        if number or isinstance(fault, IdentityProviderUnavailable):
            return entra_refuses(patient, CREDENTIAL, number)
        return skipped(CREDENTIAL, f"the {kind} cannot be read, as told above")
    return ok(CREDENTIAL, f"accepted: {kind}")
