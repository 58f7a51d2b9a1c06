"""The Key Vault emulator: the part of the secrets API that azure-keyvault-secrets uses here.

https://learn.microsoft.com/rest/api/keyvault/secrets
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from local.faults import Faults
from local.issuer import Issuer
from local.people import TENANT_ID
from local.vault import Secret, Vault

PAGE_SIZE = 25


@dataclass
class KeyVault:
    """A vault at `url`, which must be a name or address with a dot in it, as https://127.0.0.1:8444.

    The client accepts a challenge only for a parent domain of the vault, so a token's audience is `url` without its
    first label: `resource`.
    """

    vault: Vault
    issuer: Issuer
    url: str
    faults: Faults = field(default_factory=Faults)
    """By endpoint: get, set, update, versions, list."""

    @property
    def resource(self) -> str:
        """The audience of the vault's tokens, as https://0.0.1:8444."""
        return "https://" + self.url.partition(".")[2]


class Refused(Exception):
    """One error of the API."""

    def __init__(self, status: int, code: str, message: str, inner: str = "", challenge: str = "") -> None:
        super().__init__(code)
        inner_error = {"innererror": {"code": inner}} if inner else {}
        self._status = status
        self._body = {"error": {"code": code, "message": message} | inner_error}
        self._headers = {"WWW-Authenticate": challenge} if challenge else None

    def reply(self) -> Response:
        """The error reply."""
        return JSONResponse(self._body, self._status, self._headers)


type Handler = Callable[[KeyVault, Request], Awaitable[Response]]


def build(key_vault: KeyVault) -> Starlette:
    """The vault as an ASGI application."""
    endpoints: tuple[tuple[str, str, str, Handler], ...] = (
        ("", "GET", "list", _list),
        ("/{name}/versions", "GET", "versions", _versions),
        ("/{name}", "PUT", "set", _set),
        ("/{name}", "GET", "get", _get),
        ("/{name}/", "GET", "get", _get),  # the client's way to ask for the latest version
        ("/{name}/{version}", "GET", "get", _get),
        ("/{name}/{version}", "PATCH", "update", _update),
    )
    routes = [
        Route(f"/secrets{path}", key_vault.faults.guard(name, partial(_serve, key_vault, handler)), methods=[method])
        for path, method, name, handler in endpoints
    ]
    return Starlette(routes=routes)


async def _serve(key_vault: KeyVault, handler: Handler, request: Request) -> Response:
    try:
        _check(key_vault, request)
        return await handler(key_vault, request)
    except Refused as refused:
        return refused.reply()


def _check(key_vault: KeyVault, request: Request) -> None:
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    try:
        key_vault.issuer.verify(token, key_vault.resource)
    except ValueError:
        authority = f"{key_vault.issuer.base_url}/{TENANT_ID}"
        challenge = f'Bearer authorization="{authority}", resource="{key_vault.resource}"'
        raise Refused(401, "Unauthorized", "AKV10000: a valid Bearer token is required.", challenge=challenge) from None
    if not request.query_params.get("api-version"):
        raise Refused(400, "BadParameter", "api-version must be specified")


async def _get(key_vault: KeyVault, request: Request) -> Response:
    secret = _find(key_vault, request)
    if not secret.enabled:
        message = "Operation get is not allowed on a disabled secret."
        raise Refused(403, "Forbidden", message, "SecretDisabled")
    return JSONResponse(_item(key_vault, secret) | {"value": secret.value})


async def _set(key_vault: KeyVault, request: Request) -> Response:
    name, body = request.path_params["name"], await _body(request)
    if not isinstance(body.get("value"), str):
        raise Refused(400, "BadParameter", "Property value is required")
    try:
        version = key_vault.vault.put(name, body["value"])
    except ValueError as error:
        raise Refused(400, "BadParameter", str(error)) from error
    if body.get("attributes", {}).get("enabled") is False:
        key_vault.vault.disable(name, version)
    secret = key_vault.vault.get(name, version)
    return JSONResponse(_item(key_vault, secret) | {"value": secret.value})


async def _update(key_vault: KeyVault, request: Request) -> Response:
    secret, body = _find(key_vault, request), await _body(request)
    enabled = body.get("attributes", {}).get("enabled")
    if isinstance(enabled, bool):
        key_vault.vault.enable(secret.name, secret.version, enabled=enabled)
    return JSONResponse(_item(key_vault, key_vault.vault.get(secret.name, secret.version)))


async def _versions(key_vault: KeyVault, request: Request) -> Response:
    name = _find(key_vault, request).name
    return _page(request, key_vault, [_item(key_vault, secret) for secret in key_vault.vault.versions(name)])


async def _list(key_vault: KeyVault, request: Request) -> Response:
    items = [_item(key_vault, secret) for secret in key_vault.vault.latest()]
    return _page(request, key_vault, [item | {"id": item["id"].rpartition("/")[0]} for item in items])


def _find(key_vault: KeyVault, request: Request) -> Secret:
    try:
        return key_vault.vault.get(request.path_params["name"], request.path_params.get("version", ""))
    except KeyError:
        message = "A secret with this name and version was not found in this key vault."
        raise Refused(404, "SecretNotFound", message) from None


def _item(key_vault: KeyVault, secret: Secret) -> dict[str, Any]:
    expires = {} if secret.expires is None else {"exp": secret.expires}
    attributes = {"enabled": secret.enabled, "created": secret.created, "updated": secret.updated} | expires
    return {"id": f"{key_vault.url}/secrets/{secret.name}/{secret.version}", "attributes": attributes}


def _page(request: Request, key_vault: KeyVault, items: Sequence[dict[str, Any]]) -> Response:
    query = request.query_params
    try:
        size, start = int(query.get("maxresults", PAGE_SIZE)), int(query.get("$skiptoken", 0))
    except ValueError:
        raise Refused(400, "BadParameter", "maxresults and $skiptoken are numbers") from None
    if not 1 <= size <= PAGE_SIZE:
        raise Refused(400, "BadParameter", f"maxresults must be 1 to {PAGE_SIZE}")
    more = urlencode({"api-version": query["api-version"], "$skiptoken": start + size, "maxresults": size})
    link = f"{key_vault.url}{request.url.path}?{more}" if start + size < len(items) else None
    return JSONResponse({"value": items[start : start + size], "nextLink": link})


async def _body(request: Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise Refused(400, "BadParameter", "The body must be a JSON object")
    return body
