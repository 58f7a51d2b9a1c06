"""Key Vault: the gateway's secrets, kept in memory and served on while the vault is away."""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from azure.keyvault.secrets.aio import SecretClient

from lib.errors import StateUnavailable
from lib.storage.azure_sdk import ONCE_MORE, OPTIONS, ServiceDown, one_call
from lib.storage.last_known_good import LastKnownGood
from lib.storage.secret_keys import INDEX_KEY

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SecretVersion:
    """One version of a secret. Times are in seconds since the epoch; a disabled version has no value."""

    version: str
    created: float
    enabled: bool
    value: str = field(default="", repr=False)
    expires: float | None = None
    """What its owner has written there; Key Vault itself does not go by it."""


class KeyVault:
    """The secrets of one vault. A secret that is missing, or a vault that is away, is `StateUnavailable`."""

    def __init__(self, url: str, credential: "AsyncTokenCredential", *, now: Callable[[], float] = time.time) -> None:
        """`credential` stays the caller's to close."""
        self._client = SecretClient(url, credential, **OPTIONS)
        self._now = now
        self._secrets: dict[str, LastKnownGood[str]] = {}

    async def secret(self, name: str) -> str:
        """The value of a secret's latest version: at most an hour old, or older while the vault is away."""
        return await self._known(name).get()

    async def secret_younger_than(self, seconds: float, name: str) -> str:
        """The same for those who know that it has changed: not older than that, or `StateUnavailable`."""
        return await self._known(name).younger_than(seconds)

    async def versions(self, name: str) -> tuple[SecretVersion, ...]:
        """Every version of a secret, in no order, asked for now: one call for the list, one for each enabled value."""
        async with one_call("key_vault", "list", secret=name):
            listed = [item async for item in self._client.list_properties_of_secret_versions(name, **ONCE_MORE)]
        versions = []
        for item in listed:
            version, enabled = item.version or "", bool(item.enabled)
            created = item.created_on.timestamp() if item.created_on else 0.0
            value = await self._fetch(name, version) if enabled else ""
            expires = item.expires_on.timestamp() if item.expires_on else None
            versions.append(SecretVersion(version, created, enabled, value, expires))
        return tuple(versions)

    async def ping(self) -> None:
        """Asks for a secret the gateway cannot work without, now."""
        await self._fetch(INDEX_KEY)

    async def close(self) -> None:
        """Closes the connections."""
        await self._client.close()

    def _known(self, name: str) -> LastKnownGood[str]:
        if name not in self._secrets:
            self._secrets[name] = LastKnownGood(partial(self._fetch, name), self._now)
        return self._secrets[name]

    async def _fetch(self, name: str, version: str | None = None) -> str:
        try:
            async with one_call("key_vault", "get", secret=name):
                secret = await self._client.get_secret(name, version, **ONCE_MORE)
        except ServiceDown:
            raise
        except StateUnavailable as fault:  # it is missing, or not for us
            trouble = {"event": "credential_trouble", "what": "key_vault", "fault": type(fault.__cause__).__name__}
            _log.error("a secret cannot be read", extra={**trouble, "secret": name})
            raise
        return secret.value or ""
