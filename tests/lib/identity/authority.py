"""An Entra of the tests' own: keys that really sign, documents on the wire, and counters of what was asked for."""

import json
import time
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any
from urllib.parse import parse_qs

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from lib.settings import Settings

HOST = "https://login.microsoftonline.com"
TENANT = "3c9d5e0a-4b1f-4f62-9a57-0d2be1c7a001"
OTHER_TENANT = "5e1f7c2b-6d30-4a84-bc79-2f4d03e9c009"
CLIENT = "8a2f61d4-7c35-4e0b-b8a9-5f60c2d3b002"
SPA = "b17e94c3-20d8-4c6a-9e41-7a8d1f5ec003"
PERSON = "a11ce000-0000-4000-8000-00000000a11c"
START = 1_800_000_000.0
FABRIC = "https://api.fabric.microsoft.com/.default"

type Claims = dict[str, Any]


@cache
def rsa_key(name: str, bits: int = 2048) -> rsa.RSAPrivateKey:
    """A private key; the same one for the same name throughout a run."""
    assert name
    return rsa.generate_private_key(public_exponent=65537, key_size=bits)


def settings(**environ: str) -> Settings:
    """Valid settings of a gateway in production, with changes."""
    agent = f"https://api.fabric.microsoft.com/v1/mcp/workspaces/{TENANT}/dataagents/{CLIENT}/agent"
    base = {
        "TENANT_ID": TENANT,
        "CLIENT_ID": CLIENT,
        "ALLOWED_CLIENTS": f"{CLIENT},{SPA}",
        "ALLOWED_ORIGINS": "https://app.contoso.com",
        "DATA_AGENT_URL": agent,
        "KEY_VAULT_URL": "https://contoso.vault.azure.net",
        "STATE_STORAGE__tableServiceUri": "https://contoso.table.core.windows.net",
        "STATE_STORAGE__queueServiceUri": "https://contoso.queue.core.windows.net",
        "PUBLIC_BASE_URL": "https://ask.contoso.com",
    }
    return Settings.read(base | environ)


def jwk(kid: str, key: rsa.RSAPrivateKey, **changes: object) -> dict[str, Any]:
    """A key as Entra publishes it; a change to None leaves a member out."""
    public = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    described = {"kty": "RSA", "use": "sig", "kid": kid, "n": public["n"], "e": public["e"]} | changes
    return {name: value for name, value in described.items() if value is not None}


def claims(**changes: object) -> Claims:
    """The claims of a person's access token for the gateway; a change to None leaves a claim out."""
    now = int(START)
    usual = {
        "aud": CLIENT,
        "iss": f"{HOST}/{TENANT}/v2.0",
        "iat": now,
        "nbf": now,
        "exp": now + 4000,
        "azp": SPA,
        "azpacr": "0",
        "name": "Alice Arden",
        "oid": PERSON,
        "preferred_username": "alice@contoso.example",
        "scp": "access_as_user",
        "sid": "the-session",
        "sub": "pairwise",
        "tid": TENANT,
        "ver": "2.0",
    }
    return {name: value for name, value in (usual | changes).items() if value is not None}


def app_claims(**changes: object) -> Claims:
    """The claims of an app's own access token for the gateway."""
    person = dict.fromkeys(("name", "preferred_username", "scp", "sid"))
    app = {"idtyp": "app", "azpacr": "2", "roles": ["Query.All"]}
    return claims(**(person | app | changes))


def mint(values: Claims, key: str = "current", **headers: object) -> str:
    """A token over `values`, signed with the key of that name, which is its key id too."""
    return jwt.encode(values, rsa_key(key), "RS256", {"kid": key} | headers)


class Authority:
    """Answers for the discovery document and the keys of each tenant, and counts."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self.clock = clock
        self.calls: Counter[str] = Counter()
        self.keys = {tenant: [jwk("current", rsa_key("current"), issuer=issuer(tenant))] for tenant in _TENANTS}
        self.metadata: dict[str, object] = {}
        self.fault: Callable[[httpx.Request], httpx.Response] | None = None

    async def __call__(self, request: httpx.Request) -> httpx.Response:
        """The reply to one request."""
        tenant, _, path = request.url.path.removeprefix("/").partition("/")
        document = "keys" if path.endswith("/keys") else "discovery"
        self.calls[document] += 1
        if self.fault:
            return self.fault(request)
        if document == "keys":
            return reply({"keys": self.keys[tenant]})
        base = {"issuer": issuer(tenant), "jwks_uri": f"{HOST}/{tenant}/discovery/v2.0/keys"}
        return reply(base | self.metadata)

    def client(self) -> httpx.AsyncClient:
        """A client that reaches this authority alone, and would follow it anywhere."""
        return httpx.AsyncClient(transport=httpx.MockTransport(self), follow_redirects=True)


class TokenEndpoint:
    """Answers for the token endpoint by `grant`, from a form to a reply; keeps the requests."""

    def __init__(self, grant: Callable[[dict[str, str]], httpx.Response]) -> None:
        self.grant = grant
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """The reply to one request."""
        self.requests.append(request)
        return self.grant(form_of(request))

    @property
    def transport(self) -> httpx.MockTransport:
        """A transport that reaches this endpoint alone."""
        return httpx.MockTransport(self)

    @property
    def forms(self) -> list[dict[str, str]]:
        """What was posted, in order."""
        return [form_of(request) for request in self.requests]


def form_of(request: httpx.Request) -> dict[str, str]:
    """The fields of a posted form."""
    return {name: values[0] for name, values in parse_qs(request.content.decode()).items()}


def reply(value: object, status: int = 200, **headers: str) -> httpx.Response:
    """A reply in JSON, as the wire carries it."""
    return raw(json.dumps(value).encode(), status, **headers)


def raw(body: bytes, status: int = 200, **headers: str) -> httpx.Response:
    """A reply of any bytes, not yet read."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.Response(status, stream=httpx.ByteStream(body), headers=named)


def granted(access_token: str = "fabric-token", **more: object) -> httpx.Response:
    """A token reply."""
    return reply({"token_type": "Bearer", "access_token": access_token, "expires_in": 4200} | more)


def refused(error: str, *numbers: int, status: int = 400, **more: object) -> httpx.Response:
    """A refusal in Entra's form."""
    told = {"error_description": "AADSTS: alice@contoso.example <script>", "correlation_id": TENANT}
    return reply({"error": error, "error_codes": list(numbers)} | told | more, status)


def issuer(tenant: str) -> str:
    """The issuer of a tenant's tokens."""
    return f"{HOST}/{tenant}/v2.0"


_TENANTS = (TENANT, OTHER_TENANT)
