"""The tenant's registrations, and what a scope asks of which resource."""

import pytest

from local.entra import Entra, Refused, Registration, registrations
from local.entra.tenant import Access, parse_scope
from local.people import BOB, GATEWAY_CLIENT_ID, SCRIPT_CLIENT_ID


def test_a_scope_is_taken_apart_by_resource() -> None:
    """In order of appearance; the OpenID scopes belong to none, a bare permission is Graph's."""
    asked = parse_scope("openid https://a.test/x.y profile User.Read https://a.test/z offline_access email api://b/c")
    assert asked == [
        Access("https://a.test", ("x.y", "z")),
        Access("https://graph.microsoft.com", ("User.Read",)),
        Access("api://b", ("c",)),
    ]


def test_the_gateway_can_prove_itself_and_the_script_cannot() -> None:
    """Without secret and certificate the gateway still has its managed identity."""
    both = registrations(redirect_uris=["https://a.test"], script_redirect_uris=["http://localhost"])
    gateway, script = both[GATEWAY_CLIENT_ID], both[SCRIPT_CLIENT_ID]
    assert (gateway.is_public, gateway.redirect_uris) == (False, frozenset({"https://a.test"}))
    assert (script.is_public, script.redirect_uris) == (True, frozenset({"http://localhost"}))


@pytest.mark.parametrize("field", ["secret", "certificate", "federated_subject"])
def test_any_one_credential_makes_a_client_confidential(field: str) -> None:
    """Each is enough."""
    assert Registration("id", "object", "name").is_public
    assert not Registration("id", "object", "name", **{field: "something"}).is_public  # type: ignore[arg-type] # all three are text


def test_members_and_clients_are_found_or_refused(entra: Entra) -> None:
    """In Entra's own codes."""
    assert entra.member(BOB.object_id) == BOB
    assert entra.registration(SCRIPT_CLIENT_ID).client_id == SCRIPT_CLIENT_ID
    with pytest.raises(Refused, match="AADSTS50034"):
        entra.member("nobody")
    with pytest.raises(Refused, match="AADSTS700016"):
        entra.registration("nothing")


def test_no_secret_shows_in_a_representation(entra: Entra) -> None:
    """Assertions and logs print objects."""
    secret = entra.registrations[GATEWAY_CLIENT_ID].secret
    assert secret is not None
    assert secret not in repr(entra)
