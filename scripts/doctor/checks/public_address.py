"""The address that people know: whether it leads to a gateway, and what has to be registered for it."""

import httpx

from scripts.doctor.patient import Patient
from scripts.findings import Finding, failed, ok

NAME = "public address"
SECONDS = 10


async def public_address(patient: Patient) -> Finding:
    """Whether PUBLIC_BASE_URL leads to a gateway; the redirect URI is built from it."""
    url = patient.settings.public_base_url
    look = f"curl --include {url}/api/health"
    try:
        reply = await patient.gateway.http.get(f"{url}/api/health", timeout=SECONDS)
    except httpx.HTTPError as fault:
        cause = "nothing answers at PUBLIC_BASE_URL: the name, the certificate or the app behind it is not there"
        return failed(NAME, type(fault).__name__, cause, look)
    if reply.status_code != httpx.codes.OK or not _is_alive(reply):
        cause = "what answers at PUBLIC_BASE_URL is not this gateway: a proxy in between, or the app is not started"
        return failed(NAME, str(reply.status_code), cause, look)
    redirect = f"; redirect URI {url}/api/login/callback" if patient.settings.sessions else ""
    return ok(NAME, f"leads to a gateway{redirect}")


def _is_alive(reply: httpx.Response) -> bool:
    try:
        told: object = reply.json()
    except ValueError:
        return False
    return told == {"status": "alive"}
