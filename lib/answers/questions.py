"""A question on its way to the agent: answered before, being asked already, or let through as one more."""

import math
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lib.agents.failures import AddressUnknown
from lib.answers.cache import AnswerCache, AnswerKey
from lib.errors import Forbidden, RateLimited, TooManyRequests, Unauthenticated, Unavailable, UpstreamError
from lib.traffic.gcra import Meter
from lib.traffic.single_flight import SingleFlight

if TYPE_CHECKING:
    from lib.agents.answer import Answer
    from lib.identity.principal import Principal
    from lib.identity.revocation import Revocations
    from lib.limits.limiter import Limiter
    from lib.storage.row_keys import RowKeys
    from lib.traffic.deadline import Deadline

_TELLS_LIMITS = (TooManyRequests, UpstreamError, Unavailable)
"""Failures whose replies tell how much is left; who may not ask is told nothing of limits (the draft, section 8.2)."""
_ACCESS_LOST = (Unauthenticated, Forbidden, AddressUnknown)
"""401, 403 and 404 while the agent is asked: what it has answered before is not given again."""


@dataclass(frozen=True)
class Given:
    """An answer as it is given: `age` in seconds if it was kept, None if it was fetched for this question.

    `limits` are the reply's fields that tell how much is left.
    """

    answer: "Answer" = field(repr=False)
    age: int | None
    limits: tuple[tuple[str, str], ...]


class Questions:
    """Asks agents, no more often than it has to and than the principal may."""

    def __init__(
        self,
        cache: AnswerCache,
        repeats: Meter,
        limiter: "Limiter",
        revocations: "Revocations",
        keys: "RowKeys",
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        """`repeats` meters kept answers, which cost no call and are limited in this process alone."""
        self._cache = cache
        self._repeats = repeats
        self._limiter = limiter
        self._revocations = revocations
        self._keys = keys
        self._now = now
        self._flights: SingleFlight[Answer] = SingleFlight()

    async def ask(
        self,
        principal: "Principal",
        agent: str,
        text: str,
        deadline: "Deadline",
        fetch: Callable[[], "Awaitable[Answer]"],
    ) -> Given:
        """The principal's answer to `text`, which `fetch` gets from the agent where it is not known here.

        Raises `RateLimited`, `TooManyInFlight`, `StateUnavailable` or what `fetch` raises.
        """
        partition = await self._keys.partition(principal.tenant_id, principal.object_id)
        words, strength = " ".join(text.split()), " ".join(sorted(principal.acrs))
        key = AnswerKey(partition, agent, await self._keys.row("question", agent, strength, words))
        try:
            return await self._given(principal, key, deadline, fetch)
        except _TELLS_LIMITS as fault:
            fault.headers = self._limiter.fields(partition)
            raise

    async def _given(
        self, principal: "Principal", key: AnswerKey, deadline: "Deadline", fetch: Callable[[], "Awaitable[Answer]"]
    ) -> Given:
        valid_after = await self._revocations.valid_after(principal.tenant_id, principal.object_id)
        if kept := self._cache.get(key, valid_after=valid_after):
            if wait := self._repeats.hit(key.partition):
                raise RateLimited("repeats", retry_after=math.ceil(wait / 1000))
            return Given(kept.answer, int(self._now() - kept.asked_at), self._limiter.fields(key.partition))
        answer = await self._flights.run(key, lambda: self._fetched(key, deadline, fetch))
        return Given(answer, None, self._limiter.fields(key.partition))

    async def _fetched(
        self, key: AnswerKey, deadline: "Deadline", fetch: Callable[[], "Awaitable[Answer]"]
    ) -> "Answer":
        """Asks as the leader of all who ask the same here, who alone is charged; the place ends with the call."""
        async with self._limiter.place(key.partition, deadline.remaining()):
            asked_at = self._now()
            try:
                answer = await fetch()
            except _ACCESS_LOST:
                self._cache.forget(key.partition, key.agent)
                raise
        self._cache.put(key, answer, asked_at)
        return answer
