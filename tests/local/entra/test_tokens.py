"""The claims of Entra's tokens."""

from dataclasses import replace
from typing import Any

import jwt

from local.entra import tokens
from local.issuer import Issuer
from local.people import ALICE, GATEWAY_CLIENT_ID, PARTNER_TENANT_ID, TENANT_ID


def claims_of(token: str) -> dict[str, Any]:
    """What a token says; its signature is checked elsewhere."""
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False})
    return claims


def test_a_token_begins_five_minutes_ago(issuer: Issuer) -> None:
    """Entra's way with clocks that run late: a revocation must reckon with it."""
    claims = claims_of(tokens.lasting(issuer, 60, {"aud": "me"}))
    assert claims["iat"] == claims["nbf"] == 1_800_000_000 - 300
    assert claims["exp"] == 1_800_000_060
    assert all(type(claims[name]) is int for name in ("iat", "nbf", "exp"))


def test_a_token_has_the_frame_of_version_2(issuer: Issuer) -> None:
    """Tenant, version, and three values that mean something to Entra alone and differ each time."""
    first, second = (claims_of(tokens.lasting(issuer, 60, {"aud": "me"})) for _ in range(2))
    assert (first["iss"], first["tid"], first["ver"]) == (f"https://login.test/{TENANT_ID}/v2.0", TENANT_ID, "2.0")
    assert all(first[name] != second[name] for name in ("aio", "rh", "uti"))


def test_a_persons_subject_differs_by_audience_and_the_object_id_does_not() -> None:
    """`sub` is pairwise: only `oid` names the person everywhere."""
    one, other = (tokens.person_claims(ALICE, audience, "s") for audience in ("a", "b"))
    assert one["sub"] != other["sub"]
    assert one["oid"] == other["oid"] == ALICE.object_id
    assert one == tokens.person_claims(ALICE, "a", "s")


def test_a_guests_tokens_name_where_the_account_is() -> None:
    """`idp` everywhere, and `acct` for the gateway, whose registration asks for it; a member's only the latter."""
    guest = replace(ALICE, home_tenant_id=PARTNER_TENANT_ID)
    idp = f"https://sts.windows.net/{PARTNER_TENANT_ID}/"
    told = [
        {name: claims[name] for name in ("acct", "idp") if name in claims}
        for person in (guest, ALICE)
        for claims in (tokens.person_claims(person, audience, "s") for audience in (GATEWAY_CLIENT_ID, "b"))
    ]
    assert told == [{"acct": 1, "idp": idp}, {"idp": idp}, {"acct": 0}, {}]
