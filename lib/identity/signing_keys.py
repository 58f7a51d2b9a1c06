"""The keys that tokens are signed with, kept as Microsoft advises.

https://learn.microsoft.com/entra/identity-platform/signing-key-rollover#keys-metadata-caching-algorithm

- Each tenant has its own keys. A key is good for 24 h after it was last published, whatever happens.
- The keys are asked for again every hour (give or take, so that instances do not ask together), behind a request that
  does not wait for it: an instance that sleeps between requests has no timer to rely on.
- A key id nobody has heard of asks for the keys at once, but never within 5 min of the last time.
- A failure keeps what is known, and the next attempt waits 5 s, then longer, up to 60 s.
"""

import asyncio
import logging
import math
import random
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable

import httpx

from lib.errors import IdentityProviderUnavailable
from lib.identity.claims import refused
from lib.identity.documents import DocumentUnusable
from lib.identity.key_sets import SigningKey, fetch_keys
from lib.telemetry import metrics
from lib.telemetry.signals import count
from lib.traffic.single_flight import SingleFlight

KEY_SECONDS = 24 * 3600
REFRESH_SECONDS = 3600
REFRESH_SPREAD = 0.1
UNKNOWN_KEY_SECONDS = 300
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 5, 60
ABSENT_SECONDS = 60
MOST_ABSENT = 256

_log = logging.getLogger(__name__)


class SigningKeys:
    """The signing keys of the tenants of one authority, by tenant and key id."""

    def __init__(
        self,
        http: httpx.AsyncClient,
        authority: str,
        tenants: Iterable[str],
        *,
        now: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`authority` is the address of Entra without a tenant; `chance` gives numbers from 0 to 1."""
        self._http = http
        self._authority = authority
        self._now = now
        self._chance = chance
        self._tenants = {tenant_id: _TenantKeys() for tenant_id in tenants}
        self._refreshes = SingleFlight[None]()
        self._background: set[asyncio.Task[None]] = set()

    async def key(self, tenant_id: str, kid: str) -> SigningKey:
        """The key `kid` of a tenant.

        Raises `TokenInvalid` where the tenant has no such key, and `IdentityProviderUnavailable` where that cannot
        be told at the moment.
        """
        if tenant_id not in self._tenants:
            raise refused("tenant")
        keys = self._tenants[tenant_id]
        key = keys.find(kid, self._now())
        if key is None:
            return await self._seek(tenant_id, kid)
        if keys.is_due(self._now()):
            self._refresh_behind(tenant_id)
        return key

    async def ping(self) -> None:
        """Passes while the keys of any tenant are known. Raises `IdentityProviderUnavailable` otherwise."""
        for tenant_id, keys in self._tenants.items():
            if not keys.known(self._now()) and keys.may_refresh(self._now()):
                await self._refresh(tenant_id)
        if not any(keys.known(self._now()) for keys in self._tenants.values()):
            raise IdentityProviderUnavailable

    async def _seek(self, tenant_id: str, kid: str) -> SigningKey:
        keys = self._tenants[tenant_id]
        if keys.is_absent(kid, self._now()):
            raise refused("key id")
        if keys.may_refresh(self._now()):
            await self._refresh(tenant_id)
            key = keys.find(kid, self._now())
            if key is not None:
                return key
        if keys.failures:
            raise IdentityProviderUnavailable(retry_after=max(1, math.ceil(keys.retry_at - self._now())))
        keys.note_absent(kid, self._now())
        raise refused("key id")

    def _refresh_behind(self, tenant_id: str) -> None:
        # the requests that come meanwhile need not start another
        self._tenants[tenant_id].due_at = self._now() + REFRESH_SECONDS
        refresh = asyncio.create_task(self._refresh(tenant_id))
        self._background.add(refresh)
        refresh.add_done_callback(self._background.discard)

    async def _refresh(self, tenant_id: str) -> None:
        await self._refreshes.run(tenant_id, lambda: self._fetch(tenant_id))

    async def _fetch(self, tenant_id: str) -> None:
        """Asks for the keys once. A failure is remembered, not raised: it is for each request to judge."""
        keys = self._tenants[tenant_id]
        try:
            published = await fetch_keys(self._http, self._authority, tenant_id)
        except (DocumentUnusable, TimeoutError, httpx.HTTPError, httpx.InvalidURL) as fault:
            keys.fail(self._now())
            _log.warning(
                "the signing keys cannot be fetched",
                extra={"failures": keys.failures, "fault": type(fault).__name__},
            )
            if keys.known(self._now()):
                count(metrics.DEGRADED, {"mode": "keys_kept"})
            return
        spread = 1 + REFRESH_SPREAD * (2 * self._chance() - 1)
        keys.accept(published, self._now(), self._now() + REFRESH_SECONDS * spread)


class _TenantKeys:
    """What is known of one tenant's keys, and when to ask again."""

    def __init__(self) -> None:
        self._keys: dict[str, tuple[SigningKey, float]] = {}
        self._absent: OrderedDict[str, float] = OrderedDict()
        self._accepted_at = -math.inf
        self.due_at = -math.inf
        self.retry_at = -math.inf
        self.failures = 0

    def find(self, kid: str, now: float) -> SigningKey | None:
        key, good_until = self._keys.get(kid, (None, 0))
        return key if now < good_until else None

    def known(self, now: float) -> bool:
        return any(now < good_until for _, good_until in self._keys.values())

    def is_due(self, now: float) -> bool:
        return now >= self.due_at

    def may_refresh(self, now: float) -> bool:
        return now >= max(self._accepted_at + UNKNOWN_KEY_SECONDS, self.retry_at)

    def accept(self, published: dict[str, SigningKey], now: float, due_at: float) -> None:
        kept = {kid: known for kid, known in self._keys.items() if now < known[1]}
        self._keys = kept | {kid: (key, now + KEY_SECONDS) for kid, key in published.items()}
        self._accepted_at, self.due_at, self.retry_at, self.failures = now, due_at, -math.inf, 0

    def fail(self, now: float) -> None:
        self.retry_at = now + min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(self.failures, 10))
        self.due_at = self.retry_at
        self.failures += 1

    def is_absent(self, kid: str, now: float) -> bool:
        return now < self._absent.get(kid, 0)

    def note_absent(self, kid: str, now: float) -> None:
        self._absent.pop(kid, None)
        self._absent[kid] = now + ABSENT_SECONDS
        if len(self._absent) > MOST_ABSENT:
            self._absent.popitem(last=False)
