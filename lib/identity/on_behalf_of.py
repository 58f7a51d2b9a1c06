"""Tokens for Fabric, in the name of whoever asks: got once, used until shortly before they end.

A token belongs to the grant it was got with, the caller's very access token or their session, never to the person:
two grants of one person may differ in what conditional access made of them. Each instance has tokens of its own: one
more exchange an hour costs less than access tokens in a table would.
"""

import logging
import math
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from lib.errors import ReauthRequired, Unavailable, UserRequired
from lib.identity.principal import Assertion, Principal, RefreshGrant
from lib.telemetry import metrics
from lib.telemetry.signals import count, span
from lib.traffic.single_flight import SingleFlight

if TYPE_CHECKING:
    from lib.identity.entra import EntraClient, Token
    from lib.identity.sessions import Session

MOST_TOKENS = 2000
LONGEST_SECONDS = 3600
RESERVE_SECONDS = 300
"""A token is not used in its last five minutes: a question may take some of them."""

_log = logging.getLogger(__name__)

type _Key = tuple[str, str]
type _Kind = Literal["on_behalf_of", "refresh", "app"]
_APP = ""
"""Stands for a grant where the gateway asks in its own name."""


class OnBehalfOf:
    """Exchanges what a principal brings for access tokens of another service.

    Every method that gives a token raises what `EntraClient` raises; a failure is not remembered.
    """

    def __init__(self, entra: "EntraClient", now: Callable[[], float] = time.time) -> None:
        self._entra = entra
        self._now = now
        self._known: OrderedDict[_Key, tuple[str, float]] = OrderedDict()
        self._flights = SingleFlight[str]()

    async def token_for(
        self, principal: Principal, scope: str, *, rejected: str | None = None, lasting: float = 0
    ) -> str:
        """An access token for `scope` in the principal's name: another one where the service has `rejected` the last.

        One that is known has to be good for `lasting` seconds more. Raises `UserRequired` too, for an app.
        """
        kind: _Kind
        match principal.grant:
            case Assertion() as assertion:
                kind, key, ends = "on_behalf_of", assertion.key, assertion.expires_at
                fetch = partial(self._entra.on_behalf_of, principal.tenant_id, assertion.token, scope)
            case RefreshGrant() as session:
                kind, key, ends = "refresh", session.key, math.inf
                fetch = partial(self._renew, session, scope)
            case _:
                raise UserRequired
        return await self._token((key, scope), kind, fetch, ends, rejected, lasting)

    async def token_for_app(self, scope: str, *, rejected: str | None = None) -> str:
        """An access token for `scope` in the gateway's own name, likewise."""
        return await self._token((_APP, scope), "app", partial(self._entra.for_app, scope), math.inf, rejected)

    def forget(self, grant: Assertion | RefreshGrant) -> None:
        """Drops the tokens that were got with `grant`, which has ended, whatever they are for."""
        for key in [key for key in self._known if key[0] == grant.key]:
            del self._known[key]

    async def _token(
        self,
        key: _Key,
        kind: _Kind,
        fetch: Callable[[], Coroutine[Any, Any, "Token"]],
        grant_ends: float,
        rejected: str | None,
        lasting: float = 0,
    ) -> str:
        with span("delegate", {"kind": kind}) as step:
            token, good_until = self._known.get(key, ("", 0))
            if self._now() + lasting < good_until and token != rejected:
                self._known.move_to_end(key)
                step.note({"result": "kept"})
                count(metrics.TOKENS, {"kind": kind, "result": "kept"})
                return token
            step.note({"result": "asked"})
            return await self._flights.run(key, partial(self._asked, key, kind, fetch, grant_ends))

    async def _asked(
        self, key: _Key, kind: _Kind, fetch: Callable[[], Coroutine[Any, Any, "Token"]], grant_ends: float
    ) -> str:
        result = "failed"
        try:
            fetched = await fetch()
            good_until = min(fetched.expires_at - RESERVE_SECONDS, grant_ends, self._now() + LONGEST_SECONDS)
            self._keep(key, fetched.access_token, good_until)
            result = "acquired"
            return fetched.access_token
        finally:
            count(metrics.TOKENS, {"kind": kind, "result": result})

    def _keep(self, key: _Key, token: str, good_until: float) -> None:
        self._known.pop(key, None)
        if self._now() < good_until:
            self._known[key] = token, good_until
        if len(self._known) > MOST_TOKENS:
            self._known.popitem(last=False)

    async def _renew(self, grant: RefreshGrant, scope: str) -> "Token":
        """A token by the session's refresh token, and by the one that another instance has kept where ours is used up.

        Raises `SessionExpired` where the session was ended meanwhile.
        """
        session = grant.session
        try:
            token = await self._refresh(session, scope)
        except ReauthRequired:
            session = await grant.sessions.read_again(session)
            if session.signed_in.refresh_token == grant.session.signed_in.refresh_token:
                raise
            token = await self._refresh(session, scope)
        if token.refresh_token and token.refresh_token != session.signed_in.refresh_token:
            try:
                await grant.sessions.renew(session, token.refresh_token)
            except Unavailable as fault:  # the old one stays good, and the token is here
                _log.warning("a renewed refresh token could not be kept", extra={"code": fault.code})
        return token

    async def _refresh(self, session: "Session", scope: str) -> "Token":
        signed_in = session.signed_in
        return await self._entra.refresh(signed_in.tenant_id, signed_in.refresh_token, scope, claims=signed_in.claims)
