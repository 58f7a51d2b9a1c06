"""What the gateway does: its parts together, for the endpoints and timers, which know nothing else."""

import logging
import math
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from lib.asking import Asking
from lib.errors import GatewayError, NotFound, SessionForged, StateUnavailable, TokenInvalid, TooManyFailures
from lib.telemetry.audit import Asked
from lib.telemetry.signals import span
from lib.traffic.deadline import Deadline
from lib.web.client_address import client_address

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

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
    "timers",
)
SWEEP_SECONDS = 60
SETTLE_SECONDS = 20
SWEEP_LEASE_SECONDS = 600
"""As long as the host lets a function run, so that no sweep outlives it, and less than there is to the next one."""

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

        with span("authenticate"), self.counting(request, TokenInvalid, SessionForged):
            return await authenticate(
                request,
                self.known_tokens,
                (lambda: self.sessions) if self.settings.sessions else None,
                self.revocations,
                self.site.origins,
            )

    @contextmanager
    def counting(self, request: "Request", *failures: type[GatewayError]) -> "Iterator[None]":
        """Counts one of `failures` against the address that `request` comes from: see `count_failure`."""
        try:
            yield
        except failures:
            self.count_failure(request)
            raise

    def count_failure(self, request: "Request") -> None:
        """Counts one failure against the address that `request` comes from. Raises `TooManyFailures` past the limit."""
        _refuse_too_many(self.failures.hit(self._address(request)))

    def refuse_flood(self, request: "Request") -> None:
        """Raises `TooManyFailures` where that address is past the limit. It is for what costs I/O before it fails."""
        _refuse_too_many(self.failures.wait(self._address(request)))

    def _address(self, request: "Request") -> str:
        return client_address(request, self.settings.front_door_id)

    @asynccontextmanager
    async def audited(self, principal: "Principal", began: float) -> "AsyncIterator[Asked]":
        """Holds a question that the principal puts, since `began` (by `perf_counter`), and tells what came of it."""
        asked = Asked("person" if principal.kind == "user" else "app")
        try:
            yield asked
        except Exception as fault:
            known = fault if isinstance(fault, GatewayError) else GatewayError()
            asked.ended_by(known.code, known.status)
            raise
        finally:
            asked.who = await self._pseudonym(principal)
            asked.tell((time.perf_counter() - began) * 1000)

    async def _pseudonym(self, principal: "Principal") -> str:
        try:
            partition = await self.row_keys.partition(principal.tenant_id, principal.object_id)
        except StateUnavailable:
            return ""
        return await self.pseudonym(partition)

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
        """Removes expired rows, for as long as it may; nothing, where another run is at it."""
        from lib.answers.cursors import TIMER
        from lib.answers.sweeper import sweep

        async with self.leases.hold(TIMER, SWEEP_LEASE_SECONDS) as held:
            if held:
                await self._settle()
                await sweep(self.tables, SWEPT_TABLES, budget_seconds=SWEEP_SECONDS, now=self.tables.clock.now)

    async def _settle(self) -> None:
        """Ends the operations whose time is over; where that fails, their readers do."""
        try:
            settled = await self.operations.settle_all(Deadline.after(SETTLE_SECONDS))
        except StateUnavailable:
            _log.warning("operations could not be settled")
        else:
            _log.info("operations were settled", extra={"settled": settled})


def _refuse_too_many(wait: int) -> None:
    if wait:
        raise TooManyFailures("failures", retry_after=math.ceil(wait / 1000))
