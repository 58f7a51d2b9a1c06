"""The Microsoft Graph emulator: the signed-in person's own profile (GET /v1.0/me)."""

import datetime as dt
import uuid
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.faults import Faults
from local.issuer import Issuer
from local.people import PEOPLE, Person

SCOPE = "User.Read"


@dataclass
class Graph:
    """Graph at `url`, which is the audience of its tokens too."""

    issuer: Issuer
    url: str
    faults: Faults = field(default_factory=Faults)
    """One endpoint: me."""


def build(graph: Graph) -> Starlette:
    """Graph as an ASGI application."""
    return Starlette(routes=[Route("/v1.0/me", graph.faults.guard("me", partial(_me, graph)), methods=["GET"])])


async def _me(graph: Graph, request: Request) -> Response:
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    if not token:
        return _error(401, "InvalidAuthenticationToken", "Access token is empty.")
    try:
        claims = graph.issuer.verify(token, graph.url)
    except ValueError:
        return _error(401, "InvalidAuthenticationToken", "Access token validation failure.")
    if "scp" not in claims:
        return _error(400, "BadRequest", "/me request is only valid with delegated authentication flow.")
    if SCOPE not in claims["scp"].split():
        return _error(403, "Authorization_RequestDenied", "Insufficient privileges to complete the operation.")
    person = next((person for person in PEOPLE.values() if person.object_id == claims["oid"]), None)
    if person is None:
        return _error(404, "Request_ResourceNotFound", "The resource does not exist.")
    return _profile(graph, person, request.query_params.get("$select", ""))


def _profile(graph: Graph, person: Person, select: str) -> Response:
    profile: dict[str, Any] = {
        "displayName": person.name,
        "jobTitle": person.job_title,
        "officeLocation": person.office,
        "userPrincipalName": person.username,
        "id": person.object_id,
    }
    wanted = [name.strip() for name in select.split(",")] if select else list(profile)
    for name in wanted:
        if name not in profile:
            return _error(400, "BadRequest", "Could not find a property named as $select asks.")
    context = f"{graph.url}/v1.0/$metadata#users({','.join(wanted)})/$entity"
    return JSONResponse({"@odata.context": context} | {name: profile[name] for name in wanted})


def _error(status: int, code: str, message: str) -> Response:
    inner = {"date": f"{dt.datetime.now(dt.UTC):%Y-%m-%dT%H:%M:%S}", "request-id": str(uuid.uuid4())}
    return JSONResponse({"error": {"code": code, "message": message, "innerError": inner}}, status)
