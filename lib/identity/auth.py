"""Request in, principal out: the one place where a caller becomes somebody.

An `Authorization` header decides alone: where it is present the cookie is not looked at, so that a page cannot mix
one person's token with another's session.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from lib.errors import ReauthRequired, TokenMissing
from lib.identity.principal import Principal, grant_of
from lib.identity.revocation import session_in_force
from lib.identity.tokens import bearer_of
from lib.web.cookies import session_cookie
from lib.web.origins import refuse_forgery
from lib.web.request import Request

if TYPE_CHECKING:
    from lib.identity.known_tokens import KnownTokens
    from lib.identity.revocation import Revocations
    from lib.identity.sessions import Session, Sessions


async def authenticate(
    request: Request,
    tokens: "KnownTokens",
    sessions: Callable[[], "Sessions"] | None,
    revocations: "Revocations",
    origins: frozenset[str],
) -> Principal:
    """Who sends `request`: by access token, else by session. Raises an `Unauthenticated` or `Forbidden` error.

    A session that is used to change something must come from a page of one of the `origins`. Where there are no
    `sessions`, cookies are not looked at.
    """
    token = bearer_of(request)
    if token is not None:
        access_token = await tokens.validate(token)
        principal = access_token.principal
        if access_token.issued_at < await revocations.valid_after(principal.tenant_id, principal.object_id):
            raise ReauthRequired
        return principal
    value = session_cookie(request)
    if not value or sessions is None:
        raise TokenMissing
    if request.method not in {"GET", "HEAD"}:
        refuse_forgery(request, origins)
    return principal_of_session(await session_in_force(value, sessions(), revocations), sessions())


def principal_of_session(session: "Session", sessions: "Sessions") -> Principal:
    """The principal that a session stands for. A session has no roles: operating the gateway takes a token."""
    signed_in = session.signed_in
    return Principal(
        tenant_id=signed_in.tenant_id,
        object_id=signed_in.object_id,
        kind="user",
        signed_in="session",
        expires_at=session.ends,
        grant=grant_of(session, sessions),
        name=signed_in.name,
        username=signed_in.username,
        acrs=frozenset(signed_in.acrs.split()) | ({signed_in.claims} - {""}),
    )
