"""The keys of rows: who reads a table cannot tell whose row it is, and nobody can make a key without the secret.

They are HMACs under `index-key`, which never rotates: rows found by it would be orphaned, and revocations forgotten.
"""

import hmac
from typing import TYPE_CHECKING

from lib.errors import StateUnavailable
from lib.storage.framing import framed
from lib.storage.secret_keys import INDEX_KEY, decode_key

if TYPE_CHECKING:
    from lib.storage.key_vault import KeyVault

KEY_DIGITS = 32


class RowKeys:
    """Makes keys of 32 hex digits (128 bits), which Table Storage takes as they are."""

    def __init__(self, vault: "KeyVault") -> None:
        self._vault = vault

    async def partition(self, tenant_id: str, object_id: str) -> str:
        """The partition of a principal's rows."""
        return await self._digest("partition", tenant_id, object_id)

    async def row(self, kind: str, *parts: str) -> str:
        """The key of a row of that kind; other kinds and other parts have other keys."""
        return await self._digest("row", kind, *parts)

    async def pseudonym(self, partition: str) -> str:
        """What audit lines call the principal of a partition: always the same, and nothing that any row is named by."""
        return await self._digest("audit", partition)

    async def _digest(self, *texts: str) -> str:
        key = decode_key(INDEX_KEY, await self._vault.secret(INDEX_KEY))
        if key is None:
            raise StateUnavailable
        return hmac.digest(key, framed(*texts), "sha256").hex()[:KEY_DIGITS]
