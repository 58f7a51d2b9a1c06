"""The warmer: a timer that keeps shared state warm, so that questions find what they need.

An HTTP instance is not reached by a timer, so what is warmed is what all of them share: what is known of the agents,
and the kept answers to the configured questions of shared agents, which are asked in the gateway's own name. Nothing
is ever asked under a person's identity, and nothing where the agent wants to be left alone.

A question costs capacity. So they are asked one after the other, none that may not end within the run, and each run
begins with another one, or the first of many would take the time of the last at every run. One that the agent has
worked on without an answer to keep, since it asks back or fails, is left alone for an hour.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import compress
from typing import TYPE_CHECKING, Literal

from lib.agents.failures import NOT_PROCESSED
from lib.agents.question import Question
from lib.answers.encoding import encode
from lib.answers.questions import Agent
from lib.answers.wanted import APP_CALLER, Wanted, of_gateway
from lib.errors import AgentFailed, GatewayError
from lib.traffic.deadline import Deadline

if TYPE_CHECKING:
    from lib.agent_settings import AgentSettings
    from lib.agents.data_agent import DataAgent, TokenSource
    from lib.answers.cache import AnswerKey
    from lib.answers.questions import Questions
    from lib.storage.leases import Leases
    from lib.storage.row_keys import RowKeys

TIMER = "warm"
PERIOD_SECONDS = 300
"""How often the timer runs: what would not last until the run after is renewed in this one."""
LASTING_SECONDS = PERIOD_SECONDS + 60
BUDGET_SECONDS = 120
"""For so long a run begins questions; each may take as long again."""
QUESTION_SECONDS = 120
LEASE_SECONDS = 290
"""Longer than a run, with what it reads and writes beside the questions, and over before the next one."""
PAUSE_SECONDS = 3600

type Outcome = Literal["asked", "fresh", "paused", "failed", "spared", "left"]
"""What became of a question. Those `spared` had an agent that had just failed, those `left` no time any more."""

_log = logging.getLogger(__name__)


class Warmer:
    """Keeps agents and their shared answers warm. `clock` is in seconds."""

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
        self._paused_until: dict[AnswerKey, float] = {}

    async def run(self) -> None:
        """Renews what will not last until the next run, within a budget of time, unless another run does that."""
        async with self._leases.hold(TIMER, LEASE_SECONDS) as held:
            if held:
                await self._run(Deadline.after(BUDGET_SECONDS, self._clock))

    async def _run(self, deadline: Deadline) -> None:
        began = self._clock()
        agents = list(self._settings.values())
        warmed = await asyncio.gather(*(self._is_warmed(agent, deadline) for agent in agents))
        outcomes = await self._ask_all(list(compress(agents, warmed)), deadline)
        told = {"event": "warmed", "warmed": sum(warmed), "away": len(agents) - sum(warmed), **outcomes}
        ended = {"budget_ended": outcomes["left"] > 0, "seconds": int(self._clock() - began)}
        _log.info("agents were warmed", extra=told | ended)

    async def _is_warmed(self, agent: "AgentSettings", deadline: Deadline) -> bool:
        """Whether the agent can be asked; what has to be known is found out where the gateway itself may ask it."""
        peer = self._agents[agent.name]
        try:
            if agent.identity == "app":
                await peer.discover(self._token, deadline, good_for=LASTING_SECONDS, caller=APP_CALLER)
            else:
                await peer.check()
        except GatewayError as fault:
            _tell_away(agent, fault)
            return False
        return True

    async def _ask_all(self, agents: "Sequence[AgentSettings]", deadline: Deadline) -> Counter[str]:
        """What became of all questions. A failure speaks for the whole agent, except for an answer that is none."""
        outcomes = Counter({"asked": 0, "fresh": 0, "paused": 0, "failed": 0, "spared": 0, "left": 0})
        away: set[str] = set()
        for agent, index in self._turns(agents):
            if agent.name in away or not deadline.remaining():
                outcomes["spared" if agent.name in away else "left"] += 1
                continue
            try:
                outcomes[await self._renewed(agent, index)] += 1
            except GatewayError as fault:
                outcomes["failed"] += 1
                if not isinstance(fault, AgentFailed):
                    away.add(agent.name)
                    _tell_away(agent, fault)
        return outcomes

    def _turns(self, agents: "Sequence[AgentSettings]") -> "list[tuple[AgentSettings, int]]":
        """All questions, by their places in the settings, from another one on in each period."""
        listed = [(agent, index) for agent in agents for index in range(len(agent.questions))]
        first = int(self._clock()) // PERIOD_SECONDS % len(listed) if listed else 0
        return listed[first:] + listed[:first]

    async def _renewed(self, agent: "AgentSettings", index: int) -> Outcome:
        """Has a question asked, unless its kept answer stays fresh until the next run. Raises what asking raises."""
        question = agent.questions[index]
        wanted = await of_gateway(self._keys, agent, Question(question), self._identity)
        if self._clock() < self._paused_until.get(wanted.key, -math.inf):
            return "paused"
        if await self._questions.is_fresh(wanted, LASTING_SECONDS):
            return "fresh"
        try:
            await self._ask(agent.name, question, wanted)
        except NOT_PROCESSED:
            raise
        except GatewayError as fault:
            self._pause(agent, index, wanted, fault.code)
            raise
        if not await self._questions.is_fresh(wanted):
            self._pause(agent, index, wanted, "not_kept")
        return "asked"

    async def _ask(self, name: str, question: str, wanted: Wanted) -> None:
        peer, deadline = self._agents[name], Deadline.after(QUESTION_SECONDS, self._clock)
        fetch = partial(peer.ask, question, self._token, deadline, encode, wanted.caller)
        await self._questions.renew(wanted, Agent(partial(peer.ready, wanted.caller), fetch))

    def _pause(self, agent: "AgentSettings", index: int, wanted: Wanted, code: str) -> None:
        """Leaves a question alone that has cost something and brought nothing; its number says which one it is."""
        self._paused_until[wanted.key] = self._clock() + PAUSE_SECONDS
        told = {"agent": agent.name, "number": index + 1, "code": code}
        _log.warning("a configured question is left alone for an hour", extra=told)


def _tell_away(agent: "AgentSettings", fault: GatewayError) -> None:
    _log.info("an agent is not warmed", extra={"agent": agent.name, "code": fault.code})
