"""What Entra's refusals of a token request mean to a caller.

https://learn.microsoft.com/entra/identity-platform/reference-error-codes lists the AADSTS numbers. `error_description`
is never read: it names users and apps, and its wording is nobody's contract.
"""

import json
import logging
import re
from collections.abc import Mapping
from typing import Any

from lib.errors import (
    ClientCredentialRejected,
    ConsentRequired,
    GatewayError,
    IdentityProviderUnavailable,
    ReauthRequired,
    StepUpRequired,
    TokenExpired,
)
from lib.strict_json import parse_object

LONGEST_CLAIMS = 4096

_BY_NUMBER: dict[int, type[GatewayError]] = {
    50072: StepUpRequired,  # has to enrol in multi-factor authentication
    50074: StepUpRequired,  # has to pass multi-factor authentication
    50076: StepUpRequired,  # has to pass it, because of a change or of where they are
    50079: StepUpRequired,  # has to enrol, because of a change or of where they are
    50158: StepUpRequired,  # has to satisfy an external challenge
    53000: StepUpRequired,  # the device is not compliant
    53001: StepUpRequired,  # the device is not joined to the domain
    53002: StepUpRequired,  # the app is not an approved one
    53003: StepUpRequired,  # conditional access blocks it
    65001: ConsentRequired,  # nobody has consented
    50013: TokenExpired,  # the assertion's signature is no longer good
    500133: TokenExpired,  # the assertion is out of its time
    50173: ReauthRequired,  # the grant was revoked: a new password
    70008: ReauthRequired,  # the refresh token or the code has expired
    70043: ReauthRequired,  # the refresh token is older than the sign-in frequency allows
    700082: ReauthRequired,  # the refresh token was not used for too long
    50196: IdentityProviderUnavailable,  # too many of the same requests
    90033: IdentityProviderUnavailable,  # a passing fault of Entra
    700016: ClientCredentialRejected,  # the app is not in the tenant
    700024: ClientCredentialRejected,  # the client assertion is out of its time
    700027: ClientCredentialRejected,  # the certificate is not registered
    700211: ClientCredentialRejected,  # no federated credential has that issuer
    700212: ClientCredentialRejected,  # … that audience
    700213: ClientCredentialRejected,  # … that subject
    7000215: ClientCredentialRejected,  # the secret is wrong
    7000222: ClientCredentialRejected,  # the secret has expired
}
_BY_NAME: dict[str, type[GatewayError]] = {
    "consent_required": ConsentRequired,
    "interaction_required": StepUpRequired,
    "login_required": ReauthRequired,
    "invalid_grant": ReauthRequired,
    "temporarily_unavailable": IdentityProviderUnavailable,
    "server_error": IdentityProviderUnavailable,
    "invalid_client": ClientCredentialRejected,
    "unauthorized_client": ClientCredentialRejected,
}
"""By `suberror`, then by `error`."""

_NAME = re.compile(r"[a-z_]{1,40}")
_CORRELATION_ID = re.compile(r"[0-9a-f-]{36}")

_log = logging.getLogger(__name__)


def refusal(reply: Mapping[str, Any], unknown: type[GatewayError] = IdentityProviderUnavailable) -> GatewayError:
    """The error that stands for a refusing reply of the token endpoint (RFC 6749 section 5.2).

    `unknown` is what a reason means that is not known here: something between Entra and us that no caller can mend,
    unless all of the request that could be wrong is theirs.
    """
    numbers = reply.get("error_codes")
    number = next((code for code in numbers if isinstance(code, int)), 0) if isinstance(numbers, list) else 0
    kind = _kind(number, reply) or unknown
    serious = issubclass(kind, ClientCredentialRejected)
    _log.log(
        logging.ERROR if serious else logging.INFO,
        "entra refuses a token request",
        extra={
            "error_code": number,
            "error": _safe(_NAME, reply.get("error")),
            "correlation_id": _safe(_CORRELATION_ID, reply.get("correlation_id")),
        },
    )
    if kind is StepUpRequired:
        claims = read_claims(reply.get("claims"))
        return StepUpRequired(claims) if claims else ReauthRequired()
    return kind()


def _kind(number: int, reply: Mapping[str, Any]) -> type[GatewayError] | None:
    if number in _BY_NUMBER:
        return _BY_NUMBER[number]
    for name in (reply.get("suberror"), reply.get("error")):
        if isinstance(name, str) and name in _BY_NAME:
            return _BY_NAME[name]
    return None


def read_claims(claims: object) -> str:
    """The claims of a challenge, written anew and without spaces; empty where they are none that can be passed on."""
    if not isinstance(claims, str) or len(claims) > LONGEST_CLAIMS:
        return ""
    try:
        wanted = parse_object(claims.encode())
    except ValueError:
        return ""
    return json.dumps(wanted, separators=(",", ":")) if isinstance(wanted.get("access_token"), dict) else ""


def _safe(pattern: re.Pattern[str], value: object) -> str:
    return value if isinstance(value, str) and pattern.fullmatch(value) else ""
