"""Failures as replies: problem+json (RFC 9457), and the one `WWW-Authenticate` that tells how to do better.

The challenges follow RFC 6750 section 3 and, for claims, Microsoft's form
(https://learn.microsoft.com/entra/identity-platform/claims-challenge). The host sends a header name once, so there is
one challenge, never two.
"""

import base64

from lib.errors import (
    GatewayError,
    InsufficientScope,
    MethodNotAllowed,
    ReauthRequired,
    StepUpRequired,
    TokenExpired,
    TokenInvalid,
    Unauthenticated,
)
from lib.web.response import Response, problem_response


def problem(error: GatewayError, trace_id: str, authorization_uri: str) -> Response:
    """The reply that tells a caller of `error`; `authorization_uri` is where Entra takes a claims challenge."""
    members = {"code": error.code, "trace_id": trace_id, **error.members}
    response = problem_response(error.type_uri, error.status, error.title, error.detail, members)
    headers = [*error.headers]
    retry_after = error.default_retry_after if error.retry_after is None else error.retry_after
    if retry_after is not None:
        headers.append(("Retry-After", str(retry_after)))
    if isinstance(error, MethodNotAllowed):
        headers.append(("Allow", ", ".join(error.allowed)))
    if challenge := _challenge(error, authorization_uri):
        headers.append(("WWW-Authenticate", challenge))
    return response.with_headers(headers)


def _challenge(error: GatewayError, authorization_uri: str) -> str:
    match error:
        case StepUpRequired(login_url=""):
            claims = base64.b64encode(error.claims.encode()).decode()
            return (
                f'Bearer realm="", authorization_uri="{authorization_uri}", '
                f'error="insufficient_claims", claims="{claims}"'
            )
        case InsufficientScope():
            return f'Bearer realm="", error="insufficient_scope", scope="{error.scope}"'
        case TokenInvalid() | TokenExpired() | ReauthRequired():
            return f'Bearer realm="", error="invalid_token", error_description="{error.title}"'
        case Unauthenticated():
            return 'Bearer realm=""'
        case _:
            return ""
