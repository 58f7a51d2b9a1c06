"""The front door of Fabric's API: who may come in, and where to.

Its errors have the form of every error of Fabric's REST API:
https://learn.microsoft.com/rest/api/fabric/articles/fabric-api-troubleshooting.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local.fabric.agents import Fabric
from local.fabric.mcp_server import PROTOCOL_VERSION
from local.fabric.visits import Visit
from local.people import PEOPLE

PATH = "/v1/mcp/workspaces/{workspace}/dataagents/{agent}/agent"
AUDIENCES = frozenset({"https://api.fabric.microsoft.com", "https://analysis.windows.net/powerbi/api"})
"""What Fabric is called in the audience of a token."""
SCOPE = "DataAgent.Execute.All"
"""The delegated permission that a person's token needs."""

type ClaimsOf = Callable[[str], Mapping[str, Any]]
"""Verifies an access token and returns its claims; raises ValueError for a bad one."""


@dataclass(frozen=True)
class Refusal:
    """An answer of the front door to somebody who may not pass."""

    status: HTTPStatus
    error_code: str
    message: str

    def reply(self, request: Request) -> JSONResponse:
        """The response that says so."""
        request_id = request.state.request_id
        body = {"requestId": request_id, "errorCode": self.error_code, "message": self.message, "isRetriable": False}
        headers = {"x-ms-public-api-error-code": self.error_code}
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        return JSONResponse(body, self.status, headers)


TOKEN_MISSING = Refusal(HTTPStatus.UNAUTHORIZED, "TokenIsMissing", "Access token is required")
TOKEN_INVALID = Refusal(HTTPStatus.UNAUTHORIZED, "InvalidToken", "Access token is invalid")
SCOPE_MISSING = Refusal(
    HTTPStatus.FORBIDDEN, "InsufficientScopes", "The caller does not have the scopes required for this operation"
)
NO_ACCESS = Refusal(HTTPStatus.FORBIDDEN, "InsufficientPrivileges", "The caller does not have sufficient permissions")
NOT_FOUND = Refusal(HTTPStatus.NOT_FOUND, "EntityNotFound", "The requested resource could not be found")


class Refused(Exception):
    """A request that does not pass the front door."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.error_code)
        self.refusal = refusal


@dataclass(frozen=True)
class FrontDoor:
    """Decides who comes in, and hands their requests to the MCP server, which answers whole or as a stream."""

    fabric: Fabric
    claims_of: ClaimsOf
    whole: ASGIApp
    streamed: ASGIApp

    async def answer(self, request: Request) -> ASGIApp:
        """The application that answers a request: a planned fault, or the usual one."""
        body = await request.body()

        async def usual(scope: Scope, receive: Receive, send: Send) -> None:
            await self._let_in(scope, _again(body, receive), send)

        async def no_fault(_request: Request) -> ASGIApp:
            return usual

        request.scope["usual"] = usual
        method, agent_id = _rpc_method(body), request.path_params["agent"].lower()
        at_the_agent = self.fabric.faults_at[agent_id].guard(method, no_fault)
        return await self.fabric.faults.guard(method, at_the_agent)(request)

    async def _let_in(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope)
        try:
            visit = request.state.visit = self._visit(request)
        except Refused as refused:
            await refused.refusal.reply(request)(scope, receive, send)
            return
        # The SDK also speaks versions that Fabric does not, and learns the version from this header.
        MutableHeaders(scope=scope)["mcp-protocol-version"] = PROTOCOL_VERSION
        streams = visit.agent.streams and "text/event-stream" in request.headers.get("accept", "")
        await (self.streamed if streams else self.whole)(scope, receive, send)

    def _visit(self, request: Request) -> Visit:
        claims = self._claims(request)
        workspace_id, agent_id = (request.path_params[name].lower() for name in ("workspace", "agent"))
        agent = self.fabric.agents.get(agent_id)
        if agent is None or agent.workspace_id != workspace_id:
            raise Refused(NOT_FOUND)
        is_app = claims.get("idtyp") == "app"
        if not is_app and SCOPE not in claims.get("scp", "").split():
            raise Refused(SCOPE_MISSING)
        region = agent.app_region if is_app else _region_of(claims["oid"])
        if region is None or claims["oid"] not in agent.readers:
            raise Refused(NO_ACCESS)
        return Visit(agent, claims["oid"], region)

    def _claims(self, request: Request) -> Mapping[str, Any]:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise Refused(TOKEN_MISSING)
        try:
            claims = self.claims_of(token.strip())
        except ValueError as error:
            raise Refused(TOKEN_INVALID) from error
        if claims.get("aud") not in AUDIENCES:
            raise Refused(TOKEN_INVALID)
        return claims


def _rpc_method(body: bytes) -> str:
    try:
        message = json.loads(body)
    except ValueError:
        return ""
    return str(message.get("method", "")) if isinstance(message, dict) else ""


def _again(body: bytes, receive: Receive) -> Receive:
    """A `receive` that delivers a body already read, and after it what else there is."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_again() -> Message:
        return messages.pop() if messages else await receive()

    return receive_again


def _region_of(object_id: str) -> str | None:
    return next((person.region for person in PEOPLE.values() if person.object_id == object_id), None)
