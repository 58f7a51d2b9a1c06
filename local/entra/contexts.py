"""Authentication contexts, which conditional access demands and a claims request asks for.

https://learn.microsoft.com/entra/identity-platform/developer-guide-conditional-access-authentication-context
"""

import json
from collections.abc import Iterable

from local.entra.errors import Refused


def asked_contexts(claims: str) -> frozenset[str]:
    """The contexts that a `claims` parameter asks of the access token; raises Refused where it cannot be read."""
    try:
        acrs = (json.loads(claims) if claims else {}).get("access_token", {}).get("acrs", {})
        return frozenset([acrs["value"]] if "value" in acrs else acrs.get("values", []))
    except (ValueError, TypeError, AttributeError):
        raise Refused(700009, parameter="claims") from None


def require_contexts(asked: Iterable[str], proven: Iterable[str]) -> None:
    """Raises Refused, with the claims to sign in again with, where a sign-in has not proven what is asked of it."""
    if missing := sorted(set(asked) - set(proven)):
        raise Refused(50076, claims={"access_token": {"acrs": {"essential": True, "values": missing}}})
