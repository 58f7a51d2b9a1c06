"""Entra's refusals, in Entra's own shape.

The codes are documented at https://learn.microsoft.com/entra/identity-platform/reference-error-codes.
"""

import datetime as dt
import json
import uuid
from collections.abc import Mapping
from typing import Any

from starlette.responses import JSONResponse

NO_STORE = {"Cache-Control": "no-store, no-cache", "Pragma": "no-cache"}

_INVALID_CLIENT, _INVALID_GRANT, _INVALID_REQUEST = "invalid_client", "invalid_grant", "invalid_request"
_INTERACTION_REQUIRED = "interaction_required"

_REFUSALS = {
    # the client
    700016: ("unauthorized_client", "Application with this identifier was not found in the directory."),
    700021: (_INVALID_CLIENT, "Client assertion application identifier doesn't match 'client_id' parameter."),
    700023: (_INVALID_CLIENT, "Client assertion audience claim does not match Realm issuer."),
    700024: (_INVALID_CLIENT, "Client assertion is not within its valid time range."),
    700025: (
        _INVALID_CLIENT,
        "Client is public so neither 'client_assertion' nor 'client_secret' should be presented.",
    ),
    700027: (_INVALID_CLIENT, "Client assertion failed signature validation."),
    700211: (_INVALID_CLIENT, "No matching federated identity record found for presented assertion issuer."),
    700212: (_INVALID_CLIENT, "No matching federated identity record found for presented assertion audience."),
    700213: (_INVALID_CLIENT, "No matching federated identity record found for presented assertion subject."),
    7000112: ("unauthorized_client", "Application is disabled."),
    7000215: (_INVALID_CLIENT, "Invalid client secret provided."),
    7000216: (_INVALID_CLIENT, "'client_assertion' or 'client_secret' is required for this grant type."),
    7000218: (_INVALID_CLIENT, "The request body must contain 'client_assertion' or 'client_secret'."),
    7000222: (_INVALID_CLIENT, "The provided client secret keys are expired."),
    7000229: ("unauthorized_client", "The client application is missing service principal in the tenant."),
    # the request
    28000: (_INVALID_REQUEST, "The value for the input parameter scope contains more than one resource."),
    50011: (_INVALID_REQUEST, "The redirect URI specified in the request does not match the ones configured."),
    70003: ("unsupported_grant_type", "The app requested an unsupported grant type."),
    700009: (_INVALID_REQUEST, "The value of a parameter is not supported."),
    900144: (_INVALID_REQUEST, "The request must contain a parameter that is missing."),
    1002012: ("invalid_scope", "Client credential flows must have a scope value with /.default suffixed."),
    9002325: (_INVALID_REQUEST, "Proof Key for Code Exchange (S256) is required for authorization code redemption."),
    # the grant
    50013: (_INVALID_GRANT, "Assertion failed signature validation."),
    50027: (_INVALID_REQUEST, "JWT token is invalid or malformed."),
    50034: (_INVALID_GRANT, "The user account does not exist in the directory."),
    54005: (_INVALID_GRANT, "OAuth2 Authorization code was already redeemed."),
    65004: ("access_denied", "User declined to consent to access the app."),
    70000: (_INVALID_GRANT, "The provided grant is invalid or malformed."),
    70008: (_INVALID_GRANT, "The provided authorization code or refresh token has expired."),
    500112: (_INVALID_GRANT, "The reply address does not match the one used when requesting the code."),
    500133: (_INVALID_GRANT, "Assertion is not within its valid time range."),
    501481: (_INVALID_GRANT, "The Code_Verifier does not match the code_challenge of the authorization request."),
    700082: (_INVALID_GRANT, "The refresh token has expired due to inactivity."),
    7000114: (_INVALID_GRANT, "Application is not allowed to make application on-behalf-of calls."),
    # never decided here, only planned as faults: consent, assignment, revocation, conditional access
    50105: (_INVALID_GRANT, "The signed in user is not assigned to a role for the application."),
    70021: (_INVALID_REQUEST, "No matching federated identity record found for presented assertion."),
    500011: ("invalid_resource", "The resource principal was not found in the tenant."),
    50173: (_INVALID_GRANT, "The provided grant has expired due to it being revoked; sign in again."),
    65001: (_INVALID_GRANT, "The user or administrator has not consented to use the application."),
    70043: (_INVALID_GRANT, "The refresh token has expired due to sign-in frequency checks by conditional access."),
    50076: (_INTERACTION_REQUIRED, "You must use multi-factor authentication to access the resource."),
    50079: (_INTERACTION_REQUIRED, "You must enroll in multi-factor authentication to access the resource."),
    50158: (_INTERACTION_REQUIRED, "External security challenge not satisfied."),
    53000: (_INTERACTION_REQUIRED, "Device is not in required device state: compliant."),
    53003: (_INTERACTION_REQUIRED, "Access has been blocked by Conditional Access policies."),
}

_SUBERRORS = {50076: "basic_action", 50079: "basic_action", 65001: "consent_required"}


class Refused(Exception):
    """One AADSTS code, with what Entra says of it; `claims` is the challenge of an interaction_required."""

    def __init__(self, code: int, *, parameter: str = "", claims: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"AADSTS{code}")
        self.code = code
        self.error, self._text = _REFUSALS[code]
        self._parameter = parameter
        self._claims = claims

    @property
    def description(self) -> str:
        """The sentence a person may read, without trace identifiers."""
        return f"AADSTS{self.code}: {self._text}" + (f" Parameter: '{self._parameter}'." if self._parameter else "")

    def reply(self) -> JSONResponse:
        """The token endpoint's error reply (RFC 6749 section 5.2, with Entra's additions)."""
        timestamp = f"{dt.datetime.now(dt.UTC):%Y-%m-%d %H:%M:%SZ}"
        trace, correlation = str(uuid.uuid4()), str(uuid.uuid4())
        tail = f"Trace ID: {trace} Correlation ID: {correlation} Timestamp: {timestamp}"
        body: dict[str, Any] = {
            "error": self.error,
            "error_description": f"{self.description} {tail}",
            "error_codes": [self.code],
            "timestamp": timestamp,
            "trace_id": trace,
            "correlation_id": correlation,
        }
        if self.code in _SUBERRORS:
            body["suberror"] = _SUBERRORS[self.code]
        if self._claims is not None:
            body["claims"] = json.dumps(self._claims)
        return JSONResponse(body, 401 if self.error == _INVALID_CLIENT else 400, NO_STORE)
