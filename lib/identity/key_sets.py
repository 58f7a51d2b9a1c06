"""What Entra publishes about a tenant's signing keys, fetched with little trust in who answers.

That is a discovery document (OpenID Connect Discovery 1.0), which leads to a JWK set (RFC 7517). A reply has to come
soon, in one piece, from the authority itself, and to be about the tenant that was asked for. One key that cannot be
read does not spoil the others.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey, RSAPublicNumbers

from lib.identity.claims import decode_segment
from lib.identity.documents import DocumentUnusable, fetch_document

LEAST_KEY_BITS = 2048

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SigningKey:
    """A public key that Entra signs with, and the issuer it signs for; `{tenantid}` in it stands for any tenant."""

    public_key: RSAPublicKey = field(repr=False)
    issuer: str


async def fetch_keys(http: httpx.AsyncClient, authority: str, tenant_id: str) -> dict[str, SigningKey]:
    """The keys of a tenant by key id, at least one. Raises `DocumentUnusable`, or what `fetch_document` does."""
    issuer = f"{authority}/{tenant_id}/v2.0"
    metadata = await fetch_document(http, "entra", f"{issuer}/.well-known/openid-configuration")
    if metadata.get("issuer") != issuer:
        raise DocumentUnusable("the discovery document is another issuer's")
    jwks_uri = metadata.get("jwks_uri")
    if not isinstance(jwks_uri, str) or not jwks_uri.startswith(f"{authority}/"):
        raise DocumentUnusable("the keys are said to be on another host")
    return read_keys(await fetch_document(http, "entra", jwks_uri), issuer)


def read_keys(key_set: Mapping[str, Any], issuer: str) -> dict[str, SigningKey]:
    """The usable keys of a JWK set by key id. A key that names no issuer is the set's own `issuer`'s.

    Raises `DocumentUnusable` where there is none.
    """
    listed = key_set.get("keys")
    if not isinstance(listed, list):
        raise DocumentUnusable("not a JWK set")
    keys: dict[str, SigningKey] = {}
    for described in listed:
        try:
            keys[_text(described, "kid")] = _read_key(described, issuer)
        except (ValueError, TypeError, AttributeError):
            _log.warning("a signing key cannot be used")
    if not keys:
        raise DocumentUnusable("no key that can be used")
    return keys


def _read_key(described: Mapping[str, Any], issuer: str) -> SigningKey:
    if (described.get("kty"), described.get("use")) != ("RSA", "sig") or described.get("alg", "RS256") != "RS256":
        raise ValueError("not an RSA key for signatures")
    modulus, exponent = (int.from_bytes(decode_segment(_text(described, name))) for name in ("n", "e"))
    if modulus.bit_length() < LEAST_KEY_BITS:
        raise ValueError("too short")
    issuer = _text(described, "issuer") if "issuer" in described else issuer
    return SigningKey(RSAPublicNumbers(exponent, modulus).public_key(), issuer)


def _text(described: Mapping[str, Any], name: str) -> str:
    value = described.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"no {name}")
    return value
