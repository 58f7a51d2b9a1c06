"""Authentication contexts in claims requests."""

import pytest

from local.entra.contexts import asked_contexts, require_contexts
from local.entra.errors import Refused


@pytest.mark.parametrize(
    ("claims", "asked"),
    [
        ("", set()),
        ("{}", set()),
        ('{"access_token":{"xms_cc":{"values":["CP1"]}}}', set()),
        ('{"access_token":{"acrs":{"essential":true,"value":"c1"}}}', {"c1"}),
        ('{"access_token":{"acrs":{"essential":true,"values":["c1","c2"]}},"id_token":{}}', {"c1", "c2"}),
    ],
    ids=["nothing", "an empty request", "other claims", "one", "several"],
)
def test_contexts_are_asked_of_the_access_token(claims: str, asked: set[str]) -> None:
    """One `value` or several `values` (OpenID Connect Core 5.5.1)."""
    assert asked_contexts(claims) == asked


@pytest.mark.parametrize("claims", ["{", "[]", "1", '{"access_token":1}', '{"access_token":{"acrs":null}}'])
def test_what_is_no_claims_request_is_refused(claims: str) -> None:
    """The parameter is named."""
    with pytest.raises(Refused) as told:
        asked_contexts(claims)
    assert "claims" in told.value.description


def test_a_sign_in_is_refused_what_it_has_not_proven() -> None:
    """All of it has to be."""
    require_contexts({"c1"}, {"c1", "c2"})
    require_contexts((), ())
    with pytest.raises(Refused):
        require_contexts({"c1", "c3"}, {"c1", "c2"})
