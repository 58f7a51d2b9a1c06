"""The parts that a question goes through: limits, kept answers and agents, each made on first use as in `lib.parts`."""

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property, partial
from typing import TYPE_CHECKING

from lib.agents.registry import AgentRegistry
from lib.errors import GatewayError, NotFound, StateUnavailable
from lib.limits.usage import Limits
from lib.parts import Parts, http_transport
from lib.readiness import Readiness
from lib.traffic.gcra import Meter, Rate

if TYPE_CHECKING:
    import httpx

    from lib.agents.data_agent import DataAgent
    from lib.answers.by_queue import ByQueue
    from lib.answers.by_task import ByTask
    from lib.answers.conversations import Conversations
    from lib.answers.given import Given
    from lib.answers.idempotency import Idempotency
    from lib.answers.operations import Operations
    from lib.answers.questions import Questions
    from lib.answers.warmer import Warmer
    from lib.answers.work import Work
    from lib.limits.limiter import Limiter

READERS = 2
APP_CALLS_AT_ONCE = 10
_log = logging.getLogger(__name__)

REPEATS, REPEATS_AT_ONCE = 60, 300
"""So many kept answers count as one question: they cost an instance a moment, and Fabric nothing."""


class QuestionParts(Parts):
    """Everything between who asks and the answer."""

    @cached_property
    def fabric_http(self) -> "httpx.AsyncHTTPTransport":
        """The pool of connections to Fabric: a place for each question that may be under way, and for discovery."""
        return http_transport(2 * self.settings.instance_concurrency * len(self.settings.agents))

    @cached_property
    def limiter(self) -> "Limiter":
        """How much each principal may ask."""
        settings = self.settings
        return self._limiter(
            Limits(settings.limit_per_minute, settings.limit_burst, settings.limit_per_day, settings.limit_in_flight)
        )

    @cached_property
    def app_limiter(self) -> "Limiter":
        """How often Fabric is called in the gateway's own name, which Fabric throttles as one."""
        return self._limiter(Limits(self.settings.app_calls_per_minute, APP_CALLS_AT_ONCE, name="app"))

    def _limiter(self, limits: Limits) -> "Limiter":
        from lib.limits.limiter import Limiter
        from lib.limits.safe_share import SafeShare

        share, clock = SafeShare(limits, self.settings.max_instances), self.tables.clock
        return Limiter(self.standings, share, limits, now=clock.now, heard=lambda: clock.heard)

    @cached_property
    def questions(self) -> "Questions":
        """The way of a question."""
        from lib.answers.cache import AnswerCache
        from lib.answers.questions import Questions
        from lib.answers.stored import StoredAnswers

        settings, now = self.settings, self.tables.clock.now
        repeats = Meter(Rate.per_minute(REPEATS * settings.limit_per_minute, REPEATS_AT_ONCE))
        longest = max(settings.answer_stale_seconds, *(agent.cache_seconds for agent in settings.agents.values()))
        return Questions(
            AnswerCache(longest, now=now),
            StoredAnswers(self.tables, self.sealer, longest),
            repeats,
            self.limiter,
            self.revocations,
            stale_seconds=settings.answer_stale_seconds,
            now=now,
        )

    @cached_property
    def agents(self) -> AgentRegistry:
        """The configured agents by name."""
        return AgentRegistry(self.settings.agents)

    @cached_property
    def data_agents(self) -> Mapping[str, "DataAgent"]:
        """The way to each agent, by name."""
        from lib.agents.data_agent import DataAgent
        from lib.answers.board import Board

        settings = self.settings
        readers = ThreadPoolExecutor(READERS, thread_name_prefix="answers")
        return {
            name: DataAgent(
                agent.address,
                self.fabric_http,
                name=name,
                width=settings.instance_concurrency,
                notices=Board(self.tables, name, agent.address.url, now=self.tables.clock.now),
                link_hosts=settings.link_hosts,
                readers=readers,
                charge=self._charge_app if agent.identity == "app" else None,
            )
            for name, agent in settings.agents.items()
        }

    @cached_property
    def conversations(self) -> "Conversations":
        """What was said before, of each person."""
        from lib.answers.conversations import Conversations

        return Conversations(self.tables, self.sealer, self.row_keys, now=self.tables.clock.now)

    @cached_property
    def idempotency(self) -> "Idempotency":
        """Requests that count once however often they come."""
        from lib.answers.idempotency import Idempotency

        return Idempotency(self.tables, self.sealer, self.row_keys, now=self.tables.clock.now)

    @cached_property
    def operations(self) -> "Operations":
        """Questions that outlive their requests."""
        from lib.answers.operations import Operations

        return Operations(self.tables, self.sealer, self.note, pseudonym=self.pseudonym, now=self.tables.clock.now)

    @cached_property
    def by_queue(self) -> "ByQueue":
        """Operations that a runner of ours asks."""
        from lib.answers.by_queue import QUEUE, ByQueue
        from lib.identity.credentials import azure_credential
        from lib.storage.queues import Queue

        state = self.settings.state_storage
        credential = (
            None if state.connection_string else azure_credential(self.settings, state.managed_identity_client_id)
        )
        return ByQueue(
            self.operations,
            Queue(state, QUEUE, credential),
            self.questions,
            self.limiter,
            lambda: self.data_agents,
            partial(self.on_behalf_of.token_for_app, self.settings.fabric_scope),
            seconds=self.settings.query_deadline_seconds,
            now=self.tables.clock.now,
        )

    @cached_property
    def by_task(self) -> "ByTask":
        """Operations that the agent itself goes on with."""
        from lib.answers.by_task import ByTask

        return ByTask(self.operations, self.questions, self.limiter, now=self.tables.clock.now)

    @cached_property
    def warmer(self) -> "Warmer":
        """What keeps shared state warm."""
        from lib.answers.warmer import Warmer

        return Warmer(
            self.leases,
            self.settings.agents,
            self.data_agents,
            self.questions,
            self.row_keys,
            token=partial(self.on_behalf_of.token_for_app, self.settings.fabric_scope),
            identity=self.own_identity,
        )

    async def note(self, work: "Work", given: "Given") -> None:
        """Puts an answer into the conversation it belongs to; where that fails the answer is there all the same."""
        from lib.answers.encoding import decode

        if not work.conversation:
            return
        try:
            conversation = await self.conversations.find_in(work.wanted.payer, work.conversation)
            await self.conversations.append(conversation, work.question, decode(given.json).text)
        except (NotFound, StateUnavailable) as fault:
            _log.warning("an answer could not be noted", extra={"fault": type(fault).__name__})

    async def pseudonym(self, partition: str) -> str:
        """Whom audit lines name; empty where that cannot be told: the line comes all the same."""
        try:
            return await self.row_keys.pseudonym(partition)
        except GatewayError:
            return ""

    @property
    def own_identity(self) -> tuple[str, str]:
        """Tenant id and object id that stand for the gateway itself."""
        return self.settings.tenant_id, self.settings.client_id

    async def _charge_app(self) -> None:
        await self.app_limiter.charge(await self.row_keys.partition(*self.own_identity))

    @cached_property
    def readiness(self) -> Readiness:
        """Whether the gateway's peers answer."""
        return Readiness(
            {
                "table_storage": lambda: self.tables.ping(),
                "key_vault": lambda: self.key_vault.ping(),
                "signing_keys": lambda: self.signing_keys.ping(),
            },
            {name: agent.check for name, agent in self.data_agents.items()},
        )
