"""The managed identity emulator, in App Service's form: an endpoint on plain http, guarded by a header.

https://learn.microsoft.com/azure/app-service/overview-managed-identity#rest-endpoint-reference
"""

import hmac
from dataclasses import dataclass, field
from functools import partial

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.entra import tokens
from local.faults import Faults
from local.issuer import Issuer
from local.people import MANAGED_IDENTITY_CLIENT_ID, MANAGED_IDENTITY_OBJECT_ID

PATH = "/msi/token"
API_VERSION = "2019-08-01"
TOKEN_SECONDS = 24 * 3600


@dataclass
class ManagedIdentity:
    """One user-assigned identity; an app finds it by IDENTITY_ENDPOINT (`url` + PATH) and IDENTITY_HEADER."""

    issuer: Issuer
    header: str = field(repr=False)
    faults: Faults = field(default_factory=Faults)
    """One endpoint: token."""


def build(identity: ManagedIdentity) -> Starlette:
    """The identity endpoint as an ASGI application."""
    endpoint = identity.faults.guard("token", partial(_token, identity))
    return Starlette(routes=[Route(PATH, endpoint, methods=["GET"])])


async def _token(identity: ManagedIdentity, request: Request) -> Response:
    query = request.query_params
    if not hmac.compare_digest(request.headers.get("x-identity-header", "").encode(), identity.header.encode()):
        return _refusal(403, "The X-IDENTITY-HEADER is missing or wrong.")
    if query.get("api-version") != API_VERSION or not query.get("resource"):
        return _refusal(400, f"The parameters api-version={API_VERSION} and resource are required.")
    if query.get("client_id") != MANAGED_IDENTITY_CLIENT_ID:
        # The app has a user-assigned identity only, so it must be named: without a name the system's own is meant.
        return _refusal(400, "Unable to load the proper Managed Identity.")
    resource = query["resource"]
    claims = tokens.app_claims(MANAGED_IDENTITY_CLIENT_ID, MANAGED_IDENTITY_OBJECT_ID, resource)
    return JSONResponse(
        {
            "access_token": tokens.lasting(identity.issuer, TOKEN_SECONDS, claims),
            "expires_on": str(int(identity.issuer.now()) + TOKEN_SECONDS),
            "resource": resource,
            "token_type": "Bearer",
            "client_id": MANAGED_IDENTITY_CLIENT_ID,
        }
    )


def _refusal(status: int, message: str) -> Response:
    return JSONResponse({"statusCode": status, "message": message}, status)
