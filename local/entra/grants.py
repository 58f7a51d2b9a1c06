"""The token endpoint: one function per grant type."""

import base64
import hashlib
import json
import uuid
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from local.entra import clients, tokens
from local.entra.contexts import asked_contexts, require_contexts
from local.entra.errors import NO_STORE, Refused
from local.entra.tenant import GRAPH, Access, Entra, Registration, parse_scope
from local.issuer import TokenExpired
from local.people import GATEWAY_CLIENT_ID, Person

REFRESH_SECONDS = 90 * 24 * 3600
_REFRESH_PREFIX = "1."
"""Marks a refresh token as no business of its holder's, as Entra's are: it must not look like a JWT."""


@dataclass(frozen=True)
class Call:
    """One request to the token endpoint, its client proved."""

    entra: Entra
    form: Mapping[str, str]
    client: Registration
    azpacr: str

    def require(self, name: str) -> str:
        """The parameter; raises Refused where it is missing."""
        return _require(self.form, name)


@dataclass(frozen=True)
class SignIn:
    """Who signed in, when a token is issued for a person."""

    person: Person
    sid: str
    scope: str
    """The scope to issue for, and the one a refresh starts from."""
    contexts: frozenset[str] = frozenset()
    """The authentication contexts that the sign-in has proven: a token tells those that it is asked for with."""
    nonce: str | None = None


async def token(entra: Entra, request: Request) -> Response:
    """POST /oauth2/v2.0/token."""
    form = {name: value for name, value in (await request.form()).items() if isinstance(value, str)}
    try:
        return JSONResponse(_redeem(entra, form), headers=NO_STORE)
    except Refused as refused:
        return refused.reply()


def _redeem(entra: Entra, form: Mapping[str, str]) -> dict[str, Any]:
    grant_type = _require(form, "grant_type")
    entra.calls[grant_type] += 1
    if grant_type not in _GRANTS:
        raise Refused(70003)
    client = entra.registration(_require(form, "client_id"))
    azpacr = clients.authenticate(form, client, entra.issuer, entra.token_endpoint, entra.home)
    return _GRANTS[grant_type](Call(entra, form, client, azpacr))


def access_token(  # noqa: PLR0913 - what a token says
    entra: Entra,
    client_id: str,
    azpacr: str,
    person: Person,
    sid: str,
    access: Access,
    *,
    contexts: Iterable[str] = (),
) -> str:
    """A delegated access token."""
    claims = tokens.person_claims(person, access.audience, sid) | {
        "azp": client_id,
        "azpacr": azpacr,
        "scp": access.scp,
    }
    if access.audience == GATEWAY_CLIENT_ID and (roles := entra.roles.get(person.key)):
        claims["roles"] = list(roles)
    if acrs := sorted(contexts):
        claims["acrs"] = acrs
    return tokens.lasting(entra.issuer, entra.token_seconds, claims)


def _by_code(call: Call) -> dict[str, Any]:
    code = call.require("code")
    if code not in call.entra.codes:
        raise Refused(70000)
    bound, call.entra.codes[code] = call.entra.codes[code], None
    if bound is None:
        raise Refused(54005)
    if call.entra.issuer.now() >= bound.expires:
        raise Refused(70008)
    if call.client.client_id != bound.client_id:
        raise Refused(70000)
    if call.require("redirect_uri") != bound.redirect_uri:
        raise Refused(500112)
    if _s256(call.require("code_verifier")) != bound.challenge:
        raise Refused(501481)
    scope = call.form.get("scope", bound.scope)
    return _delegated(call, SignIn(bound.person, bound.sid, scope, bound.contexts, bound.nonce))


def _by_refresh_token(call: Call) -> dict[str, Any]:
    try:
        signed = call.require("refresh_token").removeprefix(_REFRESH_PREFIX)
        claims = call.entra.issuer.verify(signed, _refresh_audience(call))
    except TokenExpired:
        raise Refused(700082) from None
    except ValueError:
        raise Refused(70000) from None
    scope = call.form.get("scope", claims["scope"])
    contexts = frozenset(claims.get("acrs", []))
    return _delegated(call, SignIn(call.entra.member(claims["oid"]), claims["sid"], scope, contexts))


def _on_behalf_of(call: Call) -> dict[str, Any]:
    if call.require("requested_token_use") != "on_behalf_of":
        raise Refused(700009, parameter="requested_token_use")
    try:
        claims = call.entra.issuer.verify(call.require("assertion"), call.client.client_id)
    except TokenExpired:
        raise Refused(500133) from None
    except ValueError:
        raise Refused(50013) from None
    if "scp" not in claims:
        raise Refused(7000114)
    person = call.entra.member(claims.get("oid", ""))
    contexts = frozenset(claims.get("acrs", []))
    return _delegated(call, SignIn(person, claims.get("sid", ""), call.require("scope"), contexts))


def _by_client_credentials(call: Call) -> dict[str, Any]:
    if call.client.is_public:
        raise Refused(7000216)
    asked = parse_scope(call.require("scope"))
    if len(asked) != 1 or asked[0].permissions != (".default",):
        raise Refused(1002012)
    audience = asked[0].audience
    claims = tokens.app_claims(call.client.client_id, call.client.object_id, audience) | {"azpacr": call.azpacr}
    if audience == GATEWAY_CLIENT_ID and (roles := call.entra.roles.get(call.client.client_id)):
        claims["roles"] = list(roles)
    return _reply(call.entra, tokens.lasting(call.entra.issuer, call.entra.token_seconds, claims))


_GRANTS: dict[str, Callable[[Call], dict[str, Any]]] = {
    "authorization_code": _by_code,
    "refresh_token": _by_refresh_token,
    "urn:ietf:params:oauth:grant-type:jwt-bearer": _on_behalf_of,
    "client_credentials": _by_client_credentials,
}


def _delegated(call: Call, sign_in: SignIn) -> dict[str, Any]:
    """The reply for a person: the access token, and what the OpenID scopes ask for besides."""
    access = _single(sign_in.scope)
    asked = asked_contexts(call.form.get("claims", ""))
    require_contexts(asked, sign_in.contexts)
    wanted = sign_in.scope.split()
    entra, person = call.entra, sign_in.person
    bearer = access_token(entra, call.client.client_id, call.azpacr, person, sign_in.sid, access, contexts=asked)
    granted = [f"{access.resource}/{permission}" for permission in access.scp.split()]
    reply = _reply(entra, bearer) | {"scope": " ".join(granted)}
    if "offline_access" in wanted:
        reply["refresh_token"] = _refresh_token(call, sign_in)
    if "openid" in wanted:
        reply["id_token"] = _id_token(call, sign_in)
    if call.form.get("client_info") == "1":
        reply["client_info"] = client_info(entra, person)
    return reply


def client_info(entra: Entra, person: Person) -> str:
    """The account, as MSAL asks for it."""
    content = json.dumps({"uid": person.object_id, "utid": entra.issuer.tenant_id}).encode()
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def _reply(entra: Entra, bearer: str) -> dict[str, Any]:
    seconds = entra.token_seconds
    return {"token_type": "Bearer", "expires_in": seconds, "ext_expires_in": seconds, "access_token": bearer}


def _id_token(call: Call, sign_in: SignIn) -> str:
    claims = tokens.person_claims(sign_in.person, call.client.client_id, sign_in.sid)
    claims["login_hint"] = sign_in.person.username
    if sign_in.nonce is not None:
        claims["nonce"] = sign_in.nonce
    return tokens.lasting(call.entra.issuer, call.entra.token_seconds, claims)


def _refresh_token(call: Call, sign_in: SignIn) -> str:
    """Signed instead of stored, so that it outlives the emulator; as in Entra, its successor does not revoke it."""
    claims = {"aud": _refresh_audience(call), "oid": sign_in.person.object_id, "sid": sign_in.sid}
    rest = {"scope": sign_in.scope, "acrs": sorted(sign_in.contexts), "jti": str(uuid.uuid4())}
    return _REFRESH_PREFIX + tokens.lasting(call.entra.issuer, REFRESH_SECONDS, claims | rest)


def _refresh_audience(call: Call) -> str:
    """Bound to its client; no service takes it for an access token."""
    return f"refresh:{call.client.client_id}"


def _single(scope: str) -> Access:
    asked = parse_scope(scope)
    if len(asked) > 1:
        raise Refused(28000)
    return asked[0] if asked else Access(GRAPH, ("openid", "profile"))


def _s256(verifier: str) -> str:
    """RFC 7636 section 4.2."""
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()


def _require(form: Mapping[str, str], name: str) -> str:
    if not form.get(name):
        raise Refused(900144, parameter=name)
    return form[name]
