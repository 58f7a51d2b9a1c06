"""The tenant's endpoints, at the paths Entra has them."""

import uuid
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from local.entra import tokens
from local.entra.grants import access_token, token
from local.entra.sign_in import authorize, logout
from local.entra.tenant import GATEWAY_SCOPE, Access, Entra
from local.people import GATEWAY_CLIENT_ID, SCRIPT_CLIENT_ID

type Endpoint = Callable[[Entra, Request], Awaitable[ASGIApp]]


def build(entra: Entra) -> Starlette:
    """The tenant, and its partners, as an ASGI application."""
    endpoints = (
        ("/v2.0/.well-known/openid-configuration", "discovery", _discovery, ["GET"]),
        ("/discovery/v2.0/keys", "keys", _keys, ["GET"]),
        ("/oauth2/v2.0/authorize", "authorize", authorize, ["GET", "POST"]),
        ("/oauth2/v2.0/token", "token", token, ["POST"]),
        ("/oauth2/v2.0/logout", "logout", logout, ["GET"]),
    )
    routes = [
        Route(f"/{{tenant}}{path}", partial(_in_tenant, entra, name, handler), methods=methods)
        for path, name, handler, methods in endpoints
    ]
    routes.append(Route("/local/token", partial(_local_token, entra), methods=["GET"]))
    # Entra answers any origin here: pages that are public clients redeem their codes themselves.
    return Starlette(routes=routes, middleware=[Middleware(CORSMiddleware, allow_origins=["*"])])


async def _in_tenant(entra: Entra, name: str, handler: Endpoint, request: Request) -> ASGIApp:
    tenant = entra.tenant(request.path_params["tenant"])
    if tenant is None:
        return Response(status_code=404)
    return await tenant.faults.guard(name, partial(handler, tenant))(request)


async def _discovery(entra: Entra, _request: Request) -> Response:
    """OpenID Connect Discovery 1.0."""
    authority = entra.authority
    document: dict[str, Any] = {
        "issuer": entra.issuer.url,
        "authorization_endpoint": f"{authority}/oauth2/v2.0/authorize",
        "token_endpoint": entra.token_endpoint,
        "end_session_endpoint": f"{authority}/oauth2/v2.0/logout",
        "jwks_uri": f"{authority}/discovery/v2.0/keys",
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "form_post"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "frontchannel_logout_supported": True,
    }
    return JSONResponse(document)


async def _keys(entra: Entra, _request: Request) -> Response:
    return JSONResponse(entra.issuer.jwks())


async def _local_token(entra: Entra, request: Request) -> Response:
    """GET /local/token?person=alice: a token for the gateway, as text. For scripts; Entra has nothing like it."""
    person = entra.people.get(request.query_params.get("person", ""))
    if person is None:
        return PlainTextResponse(f"person must be one of: {', '.join(entra.people)}\n", 400)
    access = Access(GATEWAY_CLIENT_ID, (GATEWAY_SCOPE,))
    return PlainTextResponse(access_token(entra, SCRIPT_CLIENT_ID, tokens.PUBLIC, person, str(uuid.uuid4()), access))
