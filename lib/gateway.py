"""What the gateway does: its parts together, for the endpoints and timers, which know nothing else."""

import logging
import math
from contextlib import contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING

from lib.errors import GatewayError, NotFound, SessionForged, TokenInvalid, TooManyFailures
from lib.parts import Parts
from lib.settings import AgentSettings
from lib.web.client_address import client_address

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lib.agents.question import Question
    from lib.answers.questions import Given
    from lib.identity.graph import Profile
    from lib.identity.principal import Principal
    from lib.traffic.deadline import Deadline
    from lib.web.request import Request

SWEPT_TABLES = ("sessions", "sids", "flows", "principals")
SWEEP_SECONDS = 60

_log = logging.getLogger(__name__)


class Gateway(Parts):
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

        with self.counting(request, TokenInvalid, SessionForged):
            return await authenticate(
                request,
                self.token_validator,
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

    async def ask(
        self, principal: "Principal", agent: AgentSettings, question: "Question", deadline: "Deadline"
    ) -> "Given":
        """The agent's answer, asked under the person's own Fabric token, or the app's where the agent is for that."""
        from lib.agents.transcript import compose
        from lib.identity.step_up import step_up_by_sign_in

        scope = self.settings.fabric_scope
        if agent.identity == "app":
            token = partial(self.on_behalf_of.token_for_app, scope)
        else:
            token = partial(self.on_behalf_of.token_for, principal, scope)
        text = compose(question.text, question.history)
        fetch = partial(self.data_agents[agent.name].ask, text, token, deadline)
        challenges = step_up_by_sign_in(principal, self.settings.public_base_url)
        async with challenges if agent.identity == "user" else nullcontext():  # nobody can sign in for the app
            return await self.questions.ask(principal, agent.name, text, deadline, fetch)

    async def profile(self, principal: "Principal") -> "Profile | None":
        """What Graph tells of the person; None where it tells nothing, or nothing to us: a profile is an extra."""
        from lib.identity.graph import profile

        try:
            token = await self.on_behalf_of.token_for(principal, f"{self.settings.graph_url}/User.Read")
        except GatewayError as fault:
            _log.warning("no token for the profile", extra={"code": fault.code})
            return None
        return await profile(self.http, self.settings.graph_url, token)

    async def sweep(self) -> None:
        """Removes expired rows."""
        from lib.answers.sweeper import sweep

        await sweep(self.tables, SWEPT_TABLES, budget_seconds=SWEEP_SECONDS)


def _refuse_too_many(wait: int) -> None:
    if wait:
        raise TooManyFailures("failures", retry_after=math.ceil(wait / 1000))
