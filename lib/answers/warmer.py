"""The warmer: a timer that keeps shared state warm, so that questions find what they need.

An HTTP instance is not reached by a timer, so what is warmed is what all of them share: what is known of the agents,
and the kept answers to the configured questions of shared agents, which are asked in the gateway's own name. Nothing
is ever asked under a person's identity, and nothing where the agent wants to be left alone.
"""

import logging
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from lib.agents.question import Question
from lib.answers.encoding import encode
from lib.answers.questions import Agent
from lib.answers.wanted import APP_CALLER, Wanted, of_gateway
from lib.errors import GatewayError
from lib.traffic.deadline import Deadline

if TYPE_CHECKING:
    from lib.agent_settings import AgentSettings
    from lib.agents.data_agent import DataAgent, TokenSource
    from lib.answers.questions import Questions
    from lib.storage.leases import Leases
    from lib.storage.row_keys import RowKeys

PERIOD_SECONDS = 300
"""How often the timer runs: what would not last until the run after is renewed in this one."""
MARGIN_SECONDS = 60
BUDGET_SECONDS = 240
LEASE_SECONDS = 290
QUESTION_SECONDS = 120

_log = logging.getLogger(__name__)


class Warmer:
    """Keeps agents and their shared answers warm."""

    def __init__(  # noqa: PLR0913  # the parts it is made of
        self,
        leases: "Leases",
        settings: "Mapping[str, AgentSettings]",
        agents: "Mapping[str, DataAgent]",
        questions: "Questions",
        keys: "RowKeys",
        *,
        token: "TokenSource",
        identity: tuple[str, str],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`token` is the gateway's own for Fabric, `identity` its tenant id and object id."""
        self._leases = leases
        self._settings = settings
        self._agents = agents
        self._questions = questions
        self._keys = keys
        self._token = token
        self._identity = identity
        self._clock = clock

    async def run(self) -> None:
        """Renews what will not last until the next run, within a budget of time, unless another run does that."""
        async with self._leases.hold("warm", LEASE_SECONDS) as held:
            if held:
                await self._run(Deadline.after(BUDGET_SECONDS, self._clock))

    async def _run(self, deadline: Deadline) -> None:
        told = {"warmed": 0, "asked": 0, "skipped": 0}
        for name, agent in self._settings.items():
            try:
                await self._warm(agent, self._agents[name], deadline)
                told["warmed"] += 1
                for question in agent.questions:
                    told["asked"] += await self._renewed(agent, self._agents[name], question, deadline)
            except GatewayError as fault:
                told["skipped"] += 1
                _log.info("an agent is not warmed", extra={"agent": name, "code": fault.code})
        _log.info("agents were warmed", extra={**told, "budget_ended": not deadline.remaining()})

    async def _warm(self, agent: "AgentSettings", peer: "DataAgent", deadline: Deadline) -> None:
        """Sees whether the agent can be asked, and finds out what has to be known, where the gateway itself may."""
        if agent.identity == "app":
            lasting = PERIOD_SECONDS + MARGIN_SECONDS
            await peer.discover(self._token, deadline, good_for=lasting, caller=APP_CALLER)
        else:
            await peer.check()

    async def _renewed(self, agent: "AgentSettings", peer: "DataAgent", question: str, deadline: Deadline) -> bool:
        """Whether a question was asked, since its kept answer would not stay fresh until the next run."""
        wanted: Wanted = await of_gateway(self._keys, agent, Question(question), self._identity)
        if await self._questions.is_fresh(wanted, PERIOD_SECONDS + MARGIN_SECONDS):
            return False
        until = deadline.within(QUESTION_SECONDS)
        fetch = partial(peer.ask, question, self._token, until, encode, wanted.caller)
        await self._questions.run(wanted, Agent(partial(peer.ready, wanted.caller), fetch))
        return True
