"""The tokens Entra issues, claim for claim (https://learn.microsoft.com/entra/identity-platform/access-token-claims-reference)."""

import base64
import hashlib
import secrets
from typing import Any

from local.issuer import Issuer
from local.people import GATEWAY_CLIENT_ID, Person

BACKDATED_SECONDS = 300
"""Entra issues tokens as of five minutes ago, for the sake of clocks that run late."""

PUBLIC, SECRET, ASSERTION = "0", "1", "2"
"""`azpacr`: how the client proved who it is; an assertion is a certificate's or a federated identity's."""


def lasting(issuer: Issuer, seconds: int, claims: dict[str, Any]) -> str:
    """A token over `claims`, good from five minutes ago for `seconds` from now."""
    now = int(issuer.now())
    issued = now - BACKDATED_SECONDS
    frame = {"iss": issuer.url, "iat": issued, "nbf": issued, "exp": now + seconds}
    opaque = {name: secrets.token_urlsafe(16) for name in ("aio", "rh", "uti")}
    return issuer.sign({"aud": None} | frame | claims | opaque | {"tid": issuer.tenant_id, "ver": "2.0"})


def person_claims(person: Person, audience: str, sid: str) -> dict[str, Any]:
    """What any token says of the person it speaks for; `sub` differs by audience."""
    pair = hashlib.sha256(f"{person.object_id}|{audience}".encode()).digest()
    home: dict[str, Any] = {"idp": f"https://sts.windows.net/{person.home_tenant_id}/"} if person.home_tenant_id else {}
    if audience == GATEWAY_CLIENT_ID:  # whose registration asks for the optional claim
        home["acct"] = 1 if person.home_tenant_id else 0
    return {
        "aud": audience,
        "name": person.name,
        "oid": person.object_id,
        "preferred_username": person.username,
        "sid": sid,
        "sub": base64.urlsafe_b64encode(pair).rstrip(b"=").decode(),
    } | home


def app_claims(client_id: str, object_id: str, audience: str) -> dict[str, Any]:
    """What an app-only token says: the client's service principal speaks for itself."""
    client = {"azp": client_id, "azpacr": ASSERTION, "idtyp": "app"}
    return {"aud": audience, "oid": object_id, "sub": object_id} | client
