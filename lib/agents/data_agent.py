"""Asking a data agent over the network: discovery once, the question once, every step within the deadline.

A question costs capacity, leaves a record in Fabric and may be answered differently each time, so it is sent again
only where it provably was not processed: never sent at all, turned away with a time to come back, refused for its
token, or meant for a tool that is gone. `lib.agents.failures` says which replies prove that.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from contextlib import asynccontextmanager
from functools import partial
from typing import Protocol

import httpx

from lib.agents import mcp, tasks
from lib.agents.addresses import AgentAddress
from lib.agents.answer import Answer, parse_result
from lib.agents.connection import Connection
from lib.agents.discovery import NOT_PROCESSED, Discoveries, Discovery
from lib.agents.failures import AddressUnknown, Blocked, FabricTokenRejected, TaskFailed, ToolUnknown
from lib.agents.guard import OUTAGES, Guard
from lib.agents.invocation import invocation
from lib.agents.notices import NoNotices, Notices
from lib.agents.tasks import Task
from lib.errors import AgentUnavailable, DeadlineExceeded, GatewayError, OperationCancelled, UpstreamError
from lib.traffic.deadline import Deadline
from lib.traffic.retries import RetryBudget, retry

PING_SECONDS = 2.0
"""Less than readiness waits for a ping, so that what becomes of it can be told to the others."""
QUESTION_ATTEMPTS = 2
DISCOVERY_TTL = 600
WIDTH = 32


class TokenSource(Protocol):
    """Where Fabric tokens for one caller come from: on behalf of a person, or for the app itself."""

    async def __call__(self, *, rejected: str | None = None) -> str:
        """A token; a new one where Fabric has `rejected` the last."""
        ...


class DataAgent:
    """One published data agent.

    `width` is how many questions to it may be under way here, `charge` is awaited before each call that brings a
    token and may refuse it, `notices` are what other instances tell of the agent. Answers are read in the threads of
    `readers`. Times are read from `now`.
    """

    def __init__(  # noqa: PLR0913  # all but two have a default
        self,
        address: AgentAddress,
        http: httpx.AsyncBaseTransport,
        *,
        name: str = "agent",
        width: int = WIDTH,
        notices: Notices | None = None,
        link_hosts: frozenset[str] = frozenset(),
        readers: Executor | None = None,
        charge: Callable[[], Awaitable[None]] | None = None,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._name = name
        self._connection = Connection(address, http, charge)
        self._link_hosts = link_hosts
        self._readers = readers
        self._notices = notices or NoNotices()
        self._retry = partial(retry, sleep=sleep, budget=RetryBudget(now), peer="fabric")
        self._discoveries = Discoveries(self._connection, self._retry, ttl=DISCOVERY_TTL, now=now)
        self._guard = Guard(name, width, clock=now)

    @property
    def state(self) -> str:
        """`closed` while it is asked as usual; else why it is not."""
        return self._guard.state

    async def ready(self, caller: str = "") -> None:
        """Raises what a question of `caller` would meet here without being sent: `CapacityExceeded`, `AgentPaused`."""
        await self._learn()
        self._guard.refuse(caller)

    async def is_known_to_grant_tasks(self) -> bool:
        """Whether it is known, here or elsewhere, that the agent goes on with a question by itself; asks nobody."""
        await self._learn()
        found = self._discoveries.known
        return found is not None and found.session.tasks and found.tool.tasks

    async def ask[T](
        self, question: str, token: TokenSource, deadline: Deadline, form: Callable[[Answer], T], caller: str = ""
    ) -> T:
        """What `form` makes of the agent's answer to `caller`, whom `ready` lets pass.

        Raises `UpstreamError`, `AgentAccessDenied`, `StepUpRequired` or what `token` raises.
        """

        async def call(known: Discovery, bearer: str) -> mcp.ToolResult:
            build = partial(mcp.call_tool, known.session, known.tool, question)
            return await self._sent(build, mcp.result_from, bearer, deadline)

        result = await self._guarded(partial(self._asked, call, deadline), token, deadline, caller)
        return await self._formed(result, deadline, form)

    async def grants_tasks(self, token: TokenSource, deadline: Deadline, caller: str = "") -> bool:
        """Whether the agent goes on with a question by itself, found out where it is not known. Raises likewise."""
        found = self._discoveries.known
        if found is None:
            found = await self._guarded(partial(self._find, deadline), token, deadline, caller)
        return found.session.tasks and found.tool.tasks

    async def begin[T](  # a question, and what it is asked with
        self,
        question: str,
        token: TokenSource,
        deadline: Deadline,
        seconds: float,
        form: Callable[[Answer], T],
        caller: str = "",
    ) -> Task | T:
        """The task that the agent has made of a question, and keeps for so many seconds. Raises likewise.

        No agent has to make one: then it is what `form` makes of its answer.
        """

        async def call(known: Discovery, bearer: str) -> Task | mcp.ToolResult:
            build = partial(tasks.call_tool_as_task, known.session, known.tool, question, int(seconds * 1000))
            return await self._sent(build, tasks.outcome_from, bearer, deadline)

        outcome = await self._guarded(partial(self._asked, call, deadline), token, deadline, caller)
        return outcome if isinstance(outcome, Task) else await self._formed(outcome, deadline, form)

    async def look[T](
        self, task_id: str, token: TokenSource, deadline: Deadline, form: Callable[[Answer], T], caller: str = ""
    ) -> Task | T:
        """How it stands with a task, or what `form` makes of its answer.

        Raises likewise, `TaskUnknown` too, and where the task has none for good `TaskFailed` or `OperationCancelled`.
        """

        async def status(bearer: str) -> Task:
            build = partial(tasks.get_task, (await self._find(deadline, bearer)).session, task_id)
            return await self._connection.exchange(build, tasks.task_from, bearer, deadline)

        async def result(bearer: str) -> mcp.ToolResult:
            build = partial(tasks.task_result, (await self._find(deadline, bearer)).session, task_id)
            return await self._connection.exchange(build, tasks.result_from, bearer, deadline)

        task = await self._guarded(status, token, deadline, caller)
        if task.status in {"working", "input_required"}:
            return task
        if task.status == "cancelled":
            raise OperationCancelled
        has_failed = task.status == "failed"
        try:
            said = await self._guarded(result, token, deadline, caller)
            has_failed = True  # what goes wrong from here on is wrong with the answer
            return await self._formed(said, deadline, form)
        except UpstreamError as fault:
            if has_failed:
                raise TaskFailed(fault) from fault
            raise

    async def cancel(self, task_id: str, token: TokenSource, deadline: Deadline, caller: str = "") -> None:
        """Has the agent give a task up. Raises `TaskUnknown` too, also where the task has ended."""

        async def give_up(bearer: str) -> None:
            build = partial(tasks.cancel_task, (await self._find(deadline, bearer)).session, task_id)
            await self._connection.exchange(build, tasks.cancelled, bearer, deadline)

        await self._guarded(give_up, token, deadline, caller)

    async def discover(self, token: TokenSource, deadline: Deadline, *, good_for: float = 0, caller: str = "") -> None:
        """Finds out what has to be known before a question, where it is not known for so many seconds more.

        What is known already is used until then, and after a failure too. Raises likewise.
        """
        await self.ready(caller)
        if not self._discoveries.known or self._discoveries.good_for < good_for:
            await self._guarded(partial(self._find, deadline, anew=True), token, deadline, caller)

    async def check(self) -> None:
        """Passes where the agent can be asked: by what calls have shown lately, here or elsewhere, else by a ping.

        Raises what keeps it from being asked.
        """
        await self.ready()
        answers = (await self._notices.read()).answers
        if answers is None:  # has nobody else just found out?
            answers = (await self._notices.read(at_once=True)).answers
        if answers is None:
            try:
                await self.ping()
            except GatewayError:
                await self._notices.tell_health(answers=False)
                raise
            await self._notices.tell_health(answers=True)
        elif not answers:
            raise AgentUnavailable

    async def ping(self) -> None:
        """Passes where Fabric's front door answers, which says 401 without a token: no capacity, no right needed.

        Raises `GatewayError` otherwise.
        """
        deadline = Deadline.after(PING_SECONDS)
        try:
            async with _until(deadline):
                await self._connection.exchange(mcp.initialize, mcp.session_from, None, deadline)
        except FabricTokenRejected:
            return
        raise AgentUnavailable  # who lets a stranger in is not Fabric

    async def _learn(self) -> None:
        notice = await self._notices.read()
        if notice.cooldown_seconds > 0:
            self._guard.cooldown.hold(notice.cooldown_seconds)
        if notice.discovery:
            self._discoveries.adopt(notice.discovery, notice.discovery_seconds)

    async def _guarded[T](
        self, work: Callable[[str], Awaitable[T]], token: TokenSource, deadline: Deadline, caller: str
    ) -> T:
        """What `work` does with a token, and once more with another one where Fabric has refused the first."""
        async with _until(deadline):
            bearer = await token()
        self._guard.refuse(caller)  # which tells nothing of the agent: nobody has called it
        try:
            async with self._guard.call(caller), _until(deadline):
                try:
                    done = await work(bearer)
                except FabricTokenRejected:
                    done = await work(await token(rejected=bearer))
        except UpstreamError as fault:
            if wait := self._guard.cooldown.remaining():
                await self._notices.tell_cooldown(wait)
            if isinstance(fault, OUTAGES) and not isinstance(fault, Blocked):
                await self._notices.tell_health(answers=False)
            raise
        await self._notices.tell_health(answers=True)
        return done

    async def _asked[T](self, call: Callable[[Discovery, str], Awaitable[T]], deadline: Deadline, bearer: str) -> T:
        """Discovers and asks; once more where the agent has changed since it was discovered."""
        with invocation(self._name):
            known = await self._find(deadline, bearer)
            try:
                return await call(known, bearer)
            except (ToolUnknown, AddressUnknown):
                self._discoveries.forget(known)
            return await call(await self._find(deadline, bearer), bearer)

    async def _find(self, deadline: Deadline, bearer: str, *, anew: bool = False) -> Discovery:
        found, is_new = await self._discoveries.find(bearer, deadline, anew=anew)
        if is_new and found.session.id is None:
            await self._notices.tell_discovery(found, DISCOVERY_TTL)
        return found

    async def _sent[T](
        self, build: Callable[[str], mcp.Call], read: Callable[[mcp.Reply], T], bearer: str, deadline: Deadline
    ) -> T:
        """The reply to a question, which is sent again only where it provably was not processed."""
        return await self._retry(
            lambda: self._connection.exchange(build, read, bearer, deadline),
            on=NOT_PROCESSED,
            attempts=QUESTION_ATTEMPTS,
            deadline=deadline,
        )

    async def _formed[T](self, result: mcp.ToolResult, deadline: Deadline, form: Callable[[Answer], T]) -> T:
        async with _until(deadline):
            # a long answer takes a while to read: not on the loop, nor in the threads that others wait for
            read = partial(_read, result, self._link_hosts, form)
            return await asyncio.get_running_loop().run_in_executor(self._readers, read)


def _read[T](result: mcp.ToolResult, link_hosts: frozenset[str], form: Callable[[Answer], T]) -> T:
    return form(parse_result(result, link_hosts))


@asynccontextmanager
async def _until(deadline: Deadline) -> AsyncIterator[None]:
    """A block that ends with `DeadlineExceeded` once the deadline has passed."""
    try:
        async with asyncio.timeout(deadline.timeout(math.inf)):
            yield
    except TimeoutError as fault:
        raise DeadlineExceeded from fault
