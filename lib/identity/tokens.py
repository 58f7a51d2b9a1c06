"""The tokens that callers bring: access tokens (and, at sign-in, id tokens) of Entra, version 2.0.

Checks run in one order, cheap before costly, and nothing is decided from a claim before its signature is proven:
the form of the token, its header, the key, the signature and times, the issuer and tenant, the key's own issuer, the
audience, what kind of principal speaks, the client it speaks through, and whether a person is a guest (RFC 8725;
https://learn.microsoft.com/entra/identity-platform/access-tokens and .../claims-validation).
"""

import hmac
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import jwt

from lib.errors import GuestRejected, InsufficientScope, TokenExpired
from lib.identity.claims import Claims, decode_segment, refused
from lib.identity.key_sets import SigningKey
from lib.identity.principal import OPERATOR_ROLE, Assertion, Principal
from lib.identity.signing_keys import SigningKeys
from lib.settings import Settings
from lib.strict_json import parse_object
from lib.web.request import Request

LONGEST_TOKEN = 12 * 1024
LONGEST_HEADER = 1024
LEEWAY_SECONDS = 60
LONGEST_LIFE_SECONDS = 28 * 3600
"""The longest life that Entra gives an access token (continuous access evaluation)."""

_BEARER = re.compile(r"(?i:bearer) ([A-Za-z0-9._-]+)")
_TOKEN = re.compile(r"([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]+)")
_KID = re.compile(r"[A-Za-z0-9_-]{1,128}")
_TYPES = ("JWT", "at+jwt")
_REFUSED_HEADERS = frozenset({"crit", "b64", "cty", "zip", "jku", "jwk", "x5u", "x5c", "nonce"})
"""Members that would change what is signed, how it is read or whose key counts. With `nonce` Entra marks tokens for
Microsoft Graph, whose signature nobody else can check."""
_CONFIDENTIAL_CLIENTS = frozenset({"1", "2"})
"""`azpacr` of clients that proved who they are: by secret, and by certificate or federated identity."""

_RS256 = jwt.get_algorithm_by_name("RS256")


@dataclass(frozen=True)
class AccessToken:
    """A validated access token: who speaks (`kind`), through which client, with which rights.

    Times are in seconds since the epoch. `name` and `username` are for display alone. `sid` is Entra's session,
    `login_hint` what its logout page wants.
    """

    token: str = field(repr=False)
    kind: Literal["user", "app"]
    tenant_id: str = field(repr=False)
    object_id: str = field(repr=False)
    client_id: str
    issued_at: int
    expires_at: int
    scopes: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()
    acrs: frozenset[str] = frozenset()
    name: str = field(default="", repr=False)
    username: str = field(default="", repr=False)
    sid: str = field(default="", repr=False)
    login_hint: str = field(default="", repr=False)

    @cached_property
    def principal(self) -> Principal:
        """The principal that the token speaks for."""
        assertion = Assertion(self.token, self.expires_at, self.issued_at, self.sid, self.login_hint)
        return Principal(
            tenant_id=self.tenant_id,
            object_id=self.object_id,
            kind=self.kind,
            signed_in="bearer",
            expires_at=self.expires_at,
            grant=assertion if self.kind == "user" else None,
            name=self.name,
            username=self.username,
            roles=self.roles,
            acrs=self.acrs,
        )


@dataclass(frozen=True)
class IdToken:
    """A validated id token: who signed in. `sid` and `login_hint` are as in an access token."""

    tenant_id: str = field(repr=False)
    object_id: str = field(repr=False)
    name: str = field(default="", repr=False)
    username: str = field(default="", repr=False)
    sid: str = field(default="", repr=False)
    login_hint: str = field(default="", repr=False)


def bearer_of(request: Request) -> str | None:
    """The access token in `Authorization` (RFC 6750 section 2.1); None where there is no such header.

    Raises `TokenInvalid` where the header is anything but one bearer token.
    """
    if "authorization" not in request.headers:
        return None
    bearer = _BEARER.fullmatch(request.header("authorization"))
    if bearer is None:
        raise refused("authorization header")
    return bearer[1]


class TokenValidator:
    """Decides whether a token was issued by our tenants, for this gateway, and for what its bearer wants."""

    def __init__(self, settings: Settings, signing_keys: SigningKeys, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._signing_keys = signing_keys
        self._now = now

    async def validate(self, token: str) -> AccessToken:
        """The access token's claims.

        Raises `TokenInvalid`, `TokenExpired`, `GuestRejected`, `InsufficientScope` or `IdentityProviderUnavailable`.
        """
        claims = await self._proven(token)
        if "cnf" in claims:  # good with a proof of possession alone (RFC 7800), which a bearer does not bring
            raise refused("cnf")
        kind, scopes, roles = self._rights(claims)
        client_id = claims.guid("azp")
        if client_id not in self._settings.allowed_clients:
            raise refused("client")
        if kind == "user":
            self._refuse_guest(claims)
        tenant_id = claims.guid("tid")
        if tenant_id != self._settings.tenant_id:  # a tenant's own administrators give its people their roles
            roles -= {OPERATOR_ROLE}
        return AccessToken(
            token=token,
            kind=kind,
            tenant_id=tenant_id,
            object_id=claims.guid("oid"),
            client_id=client_id,
            issued_at=claims.seconds("iat"),
            expires_at=claims.seconds("exp"),
            scopes=scopes,
            roles=roles,
            acrs=claims.extra_words("acrs"),
            name=claims.optional_text("name"),
            username=claims.optional_text("preferred_username"),
            sid=claims.optional_text("sid"),
            login_hint=claims.optional_text("login_hint"),
        )

    async def validate_id_token(self, token: str, nonce: str) -> IdToken:
        """The id token's claims; `nonce` is the one that the sign-in was begun with (OpenID Connect Core 3.1.3.7).

        Raises `TokenInvalid`, `TokenExpired`, `GuestRejected` or `IdentityProviderUnavailable`.
        """
        claims = await self._proven(token)
        if not hmac.compare_digest(claims.text("nonce").encode(), nonce.encode()):
            raise refused("nonce")
        self._refuse_guest(claims)
        return IdToken(
            tenant_id=claims.guid("tid"),
            object_id=claims.guid("oid"),
            name=claims.optional_text("name"),
            username=claims.optional_text("preferred_username"),
            sid=claims.optional_text("sid"),
            login_hint=claims.optional_text("login_hint"),
        )

    async def _proven(self, token: str) -> Claims:
        """The claims of a token that our tenants signed for this gateway and that is good now."""
        parts = _TOKEN.fullmatch(token) if len(token) <= LONGEST_TOKEN else None
        if parts is None:
            raise refused("form")
        header, payload, signature = parts.groups()
        kid = _kid(header)
        key = await self._signing_keys.key(self._tenant(payload), kid)
        _check_signature(f"{header}.{payload}", signature, key)
        claims = Claims(_object(payload, "payload"))
        self._check_times(claims)
        self._check_origin(claims, key)
        return claims

    def _tenant(self, unverified_payload: str) -> str:
        """The tenant among whose keys to look. Where several are allowed, the token itself has to say which.

        That decides nothing: the same claim is checked once the signature is proven.
        """
        if len(self._settings.allowed_tenants) == 1:
            return next(iter(self._settings.allowed_tenants))
        return Claims(_object(unverified_payload, "payload")).guid("tid")

    def _check_times(self, claims: Claims) -> None:
        now = self._now()
        expires_at, issued_at, not_before = (claims.seconds(name) for name in ("exp", "iat", "nbf"))
        if not 0 < expires_at - issued_at <= LONGEST_LIFE_SECONDS:
            raise refused("lifetime")
        if max(issued_at, not_before) > now + LEEWAY_SECONDS:
            raise refused("not yet valid")
        if expires_at <= now - LEEWAY_SECONDS:
            raise TokenExpired

    def _check_origin(self, claims: Claims, key: SigningKey) -> None:
        """Issuer, tenant, the issuer the key belongs to, audience."""
        tenant_id, issuer = claims.guid("tid"), claims.text("iss")
        claims.text("sub")
        if claims.text("ver") != "2.0" or issuer != f"{self._settings.entra_authority_host}/{tenant_id}/v2.0":
            raise refused("issuer")
        if tenant_id not in self._settings.allowed_tenants:
            raise refused("tenant")
        if key.issuer.replace("{tenantid}", tenant_id) != issuer:
            raise refused("issuer of the key")
        if claims.text("aud") != self._settings.client_id:
            raise refused("audience")

    def _rights(self, claims: Claims) -> tuple[Literal["user", "app"], frozenset[str], frozenset[str]]:
        """Kind, scopes and roles. A person has scopes, and may have roles too; an app has roles and says it is one.

        What is neither, an id token for one, is no access token at all.
        """
        kind, roles = claims.optional_text("idtyp"), claims.words("roles")
        if "scp" in claims:
            if kind not in {"", "user"}:
                raise refused("idtyp")
            scopes = frozenset(claims.optional_text("scp").split(" "))
            if self._settings.required_scope not in scopes:
                raise InsufficientScope(self._wanted("user"))
            return "user", scopes, roles
        if kind != "app":
            raise refused("neither scp nor idtyp")
        if claims.text("azpacr") not in _CONFIDENTIAL_CLIENTS:
            raise refused("azpacr")
        if self._settings.required_role not in roles:
            raise InsufficientScope(self._wanted("app"))
        return "app", frozenset(), roles

    def _refuse_guest(self, claims: Claims) -> None:
        """Raises `GuestRejected` for a guest: one whom `acct` calls so, or whose `idp` is not the tenant itself.

        The tenant is named as in `iss`, or as in `iss` of tokens of version 1.0.
        https://learn.microsoft.com/entra/identity-platform/optional-claims-reference and
        https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference.
        """
        own = {claims.text("iss"), f"https://sts.windows.net/{claims.guid('tid')}/"}
        elsewhere = "idp" in claims and claims.text("idp") not in own
        if (claims.flag("acct") or elsewhere) and not self._settings.guests:
            raise GuestRejected

    def _wanted(self, kind: Literal["user", "app"]) -> str:
        return self._settings.required_scope if kind == "user" else self._settings.required_role


def _kid(header_segment: str) -> str:
    """The key id in a header that holds nothing to be wary of."""
    if len(header_segment) > LONGEST_HEADER:
        raise refused("header")
    header = _object(header_segment, "header")
    kid = header.get("kid")
    if header.get("alg") != "RS256" or header.get("typ") not in _TYPES or _REFUSED_HEADERS & header.keys():
        raise refused("header")
    if not isinstance(kid, str) or not _KID.fullmatch(kid):
        raise refused("key id")
    return kid


def _object(segment: str, what: str) -> dict[str, Any]:
    try:
        return parse_object(decode_segment(segment))
    except ValueError:
        raise refused(what) from None


def _check_signature(signed: str, signature: str, key: SigningKey) -> None:
    """Proves that `key` has signed header and payload (RFC 7515 section 5.2).

    The parts are read already, and by stricter rules: PyJWT's own reader would do that once more, letter by letter.
    """
    try:
        genuine = _RS256.verify(signed.encode(), key.public_key, decode_segment(signature))
    except ValueError:
        genuine = False
    if not genuine:
        raise refused("signature")
