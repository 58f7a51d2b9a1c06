"""Entra's pages: where a browser signs in, and where an administrator consents."""

import json
from urllib.parse import urlencode

from lib.settings import Settings

OPENID_SCOPES = ("openid", "profile", "offline_access")
CAPABILITIES = ["CP1"]
"""The gateway handles claims challenges (https://learn.microsoft.com/entra/identity-platform/claims-challenge)."""


def authorization_url(  # noqa: PLR0913  # the parameters of the request
    settings: Settings,
    *,
    redirect_uri: str,
    scope: str,
    state: str,
    nonce: str,
    code_challenge: str,
    claims: str = "",
    login_hint: str = "",
) -> str:
    """Where a browser signs in (OpenID Connect Core 3.1.2.1, RFC 7636); Entra posts the outcome back as a form.

    `claims` (JSON) is what the sign-in has to answer, `login_hint` whom Entra is to expect, where that is known.
    """
    parameters = {
        "client_id": settings.client_id,
        "response_type": "code",
        "response_mode": "form_post",
        "redirect_uri": redirect_uri,
        "scope": " ".join((scope, *OPENID_SCOPES)),
        "state": state,
        "nonce": nonce,
        "code_challenge": code_challenge,
        "code_challenge_method": "S256",
        "claims": claims_request(claims),
        **({"login_hint": login_hint} if login_hint else {}),
    }
    return f"{authority(settings, settings.tenant_id)}/oauth2/v2.0/authorize?{urlencode(parameters)}"


def admin_consent_url(settings: Settings, tenant_id: str) -> str:
    """Where an administrator of the tenant consents (https://learn.microsoft.com/entra/identity-platform/v2-admin-consent)."""
    return f"{authority(settings, tenant_id)}/adminconsent?client_id={settings.client_id}"


def authority(settings: Settings, tenant_id: str) -> str:
    """A tenant's address at Entra."""
    return f"{settings.entra_authority_host}/{tenant_id}"


def claims_request(claims: str = "") -> str:
    """The `claims` parameter that asks for `claims` (JSON), and says that the gateway handles challenges.

    msal says so itself, but not where it renews, nor to the browser.
    """
    wanted = json.loads(claims) if claims else {}
    access_token = wanted.get("access_token")
    capabilities = {"xms_cc": {"values": CAPABILITIES}}
    merged = {**access_token, **capabilities} if isinstance(access_token, dict) else capabilities
    return json.dumps({**wanted, "access_token": merged}, separators=(",", ":"))
