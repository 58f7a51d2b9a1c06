"""Stronger sign-ins for people whom the gateway signed in itself.

Who brings a token takes a claims challenge to Entra themselves. A browser with a session has nothing to do that with:
it is told an address of the gateway where a new sign-in begins, which asks for the claims. They are kept with the
session, and the address names them by a handle that is good with that session's cookie alone.
"""

import hmac
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from lib.errors import LoginFailed, SessionExpired, StepUpRequired
from lib.identity.principal import Principal, RefreshGrant
from lib.identity.revocation import session_in_force

if TYPE_CHECKING:
    from lib.identity.revocation import Revocations
    from lib.identity.sessions import Sessions, SignedIn

LOGIN_PATH = "/api/login"

_HANDLE = re.compile(r"[A-Za-z0-9_-]{22}")


@asynccontextmanager
async def step_up_by_sign_in(principal: Principal, public_base_url: str) -> AsyncIterator[None]:
    """Lets everything pass, but makes a `StepUpRequired` for a session by redirect tell where to sign in again.

    Raises `SessionExpired` instead where the session was ended meanwhile, or `StateUnavailable`.
    """
    try:
        yield
    except StepUpRequired as fault:
        grant = principal.grant
        if not isinstance(grant, RefreshGrant):
            raise
        handle = await grant.sessions.challenge(grant.session, fault.claims)
        raise StepUpRequired(fault.claims, login_url=f"{public_base_url}{LOGIN_PATH}?step_up={handle}") from fault


async def challenged(sessions: "Sessions", revocations: "Revocations", cookie: str, handle: str) -> "SignedIn":
    """The sign-in of the session of `cookie`, whose challenge has this `handle`. Raises `LoginFailed` for any other.

    A session that was revoked has no challenge either.
    """
    if not _HANDLE.fullmatch(handle):
        raise LoginFailed
    try:
        signed_in = (await session_in_force(cookie, sessions, revocations)).signed_in
    except SessionExpired as fault:
        raise LoginFailed from fault
    if not hmac.compare_digest(signed_in.challenge_handle, handle):
        raise LoginFailed
    return signed_in
