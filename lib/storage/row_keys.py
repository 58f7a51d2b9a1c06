"""The keys of rows: who reads a table cannot tell whose row it is, and nobody can make a key without the secret.

They are HMACs under `index-key`, which never rotates: rows found by it would be orphaned, and revocations forgotten.
"""

import hmac
from collections.abc import Callable
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from lib.errors import StateUnavailable
from lib.storage.framing import framed
from lib.storage.secret_keys import INDEX_KEY, decode_key

if TYPE_CHECKING:
    from lib.storage.key_vault import KeyVault

KEY_DIGITS = 32
MOST_KNOWN = 10_000
"""Partitions and pseudonyms, which every request wants several of. What a row is named by is not kept: a question."""

type _Digest = Callable[..., str]


class RowKeys:
    """Makes keys of 32 hex digits (128 bits), which Table Storage takes as they are."""

    def __init__(self, vault: "KeyVault") -> None:
        self._vault = vault
        self._secret = ""
        self._digest: _Digest
        self._known: _Digest

    async def partition(self, tenant_id: str, object_id: str) -> str:
        """The partition of a principal's rows."""
        await self._follow_secret()
        return self._known("partition", tenant_id, object_id)

    async def row(self, kind: str, *parts: str) -> str:
        """The key of a row of that kind; other kinds and other parts have other keys."""
        await self._follow_secret()
        return self._digest("row", kind, *parts)

    async def pseudonym(self, partition: str) -> str:
        """What audit lines call the principal of a partition: always the same, and nothing that any row is named by."""
        await self._follow_secret()
        return self._known("audit", partition)

    async def _follow_secret(self) -> None:
        secret = await self._vault.secret(INDEX_KEY)
        if secret == self._secret:
            return
        key = decode_key(INDEX_KEY, secret)
        if key is None:
            raise StateUnavailable
        self._secret, self._digest = secret, partial(_digest, key)
        self._known = lru_cache(MOST_KNOWN)(self._digest)


def _digest(key: bytes, *texts: str) -> str:
    return hmac.digest(key, framed(*texts), "sha256").hex()[:KEY_DIGITS]
