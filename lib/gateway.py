"""What the gateway does: its parts together, for the endpoints and timers, which know nothing else."""

import logging
import math
from typing import TYPE_CHECKING

from lib.asking import Asking
from lib.errors import GatewayError, NotFound, SessionForged, TokenInvalid, TooManyFailures
from lib.web.client_address import client_address

if TYPE_CHECKING:
    from lib.identity.graph import Profile
    from lib.identity.principal import Principal
    from lib.web.request import Request

SWEPT_TABLES = (
    "sessions",
    "sids",
    "flows",
    "principals",
    "answers",
    "agents",
    "operations",
    "conversations",
    "idempotency",
)
SWEEP_SECONDS = 60

_log = logging.getLogger(__name__)


class Gateway(Asking):
    """The gateway that `environ` describes."""

    def require_sessions(self) -> None:
        """Raises `NotFound` where browsers cannot sign in here."""
        if not self.settings.sessions:
            raise NotFound("This gateway has no sessions: bring an access token.")

    async def authenticate(self, request: "Request") -> "Principal":
        """Who sends `request`. Raises an `Unauthenticated` or `Forbidden` error.

        Of one address only the credentials that are not genuine are counted: past the limit they are refused as
        too many, while everybody else behind that address comes in as before.
        """
        from lib.identity.auth import authenticate

        try:
            return await authenticate(
                request,
                self.token_validator,
                (lambda: self.sessions) if self.settings.sessions else None,
                self.revocations,
                self.site.origins,
            )
        except (TokenInvalid, SessionForged) as fault:
            if wait := self.failures.hit(client_address(request, self.settings.front_door_id)):
                raise TooManyFailures("failures", retry_after=math.ceil(wait / 1000)) from fault
            raise

    async def profile(self, principal: "Principal") -> "Profile | None":
        """What Graph tells of the person; None where it tells nothing, or nothing to us: a profile is an extra."""
        from lib.identity.graph import profile

        try:
            token = await self.on_behalf_of.token_for(principal, f"{self.settings.graph_url}/User.Read")
        except GatewayError as fault:
            _log.warning("no token for the profile", extra={"code": fault.code})
            return None
        return await profile(self.http, self.settings.graph_url, token)

    async def warm(self) -> None:
        """Keeps what the instances share of agents warm."""
        await self.warmer.run()

    async def sweep(self) -> None:
        """Removes expired rows."""
        from lib.answers.sweeper import sweep

        await sweep(self.tables, SWEPT_TABLES, budget_seconds=SWEEP_SECONDS)
