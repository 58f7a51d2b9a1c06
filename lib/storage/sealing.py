"""Sealing: what a row holds can be read by the gateway alone, and only in the place it was written for.

A sealed value is a format byte, the version of the key behind its length in one byte, 16 bytes of salt, 12 bytes of
nonce, and the ciphertext of AES-256-GCM (NIST SP 800-38D). Each value has a key of its own, derived by HKDF-SHA256
(RFC 5869) from one version of Key Vault's `sealing-key`. The place, and the version, are associated data.
"""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from lib.errors import StateUnavailable
from lib.storage.framing import framed
from lib.storage.last_known_good import LastKnownGood
from lib.storage.secret_keys import KEY_BYTES, SEALING_KEY, decode_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    from lib.storage.key_vault import KeyVault

RIPE_SECONDS = 600
"""A version seals once it is this old: by then every instance can have heard of it, or hears of it when it asks."""
RELOAD_SECONDS = 60
"""An unknown version makes the ring ask Key Vault again, but not more often than this."""

_FORMAT = 1
_HEAD_BYTES = 2
_SALT_BYTES = 16
_NONCE_BYTES = 12


class Unsealable(Exception):
    """The bytes were not sealed by this gateway for this place, or their key is gone."""


@dataclass(frozen=True)
class SealingKey:
    """One enabled version of `sealing-key`; `created` is in seconds since the epoch."""

    version: str
    created: float
    secret: bytes = field(repr=False)


class KeyRing:
    """The enabled versions of `sealing-key`, read anew every hour."""

    def __init__(self, vault: "KeyVault", *, now: Callable[[], float] = time.time) -> None:
        self._vault = vault
        self._now = now
        self._keys = LastKnownGood(self._load, now)

    async def sealing_key(self) -> SealingKey:
        """The key to seal with: the newest ripe one, or the oldest of all where none is ripe yet."""
        keys = (await self._keys.get()).values()
        ripe = [key for key in keys if key.created <= self._now() - RIPE_SECONDS]
        return max(ripe, key=_created) if ripe else min(keys, key=_created)

    async def opening_key(self, version: str) -> SealingKey | None:
        """The key of a version, or None. Key Vault is asked for its list, never for a version that is not on it."""
        keys = await self._keys.get()
        if version not in keys:
            keys = await self._keys.younger_than(RELOAD_SECONDS)
        return keys.get(version)

    async def _load(self) -> Mapping[str, SealingKey]:
        keys = {}
        for version in await self._vault.versions(SEALING_KEY):
            secret = decode_key(SEALING_KEY, version.value) if version.enabled else None
            if secret:
                keys[version.version] = SealingKey(version.version, version.created, secret)
        if not keys:
            raise StateUnavailable
        return keys


class Sealer:
    """Seals bytes for a place and opens them there again."""

    def __init__(self, ring: KeyRing, *, random: Callable[[int], bytes] = os.urandom) -> None:
        self._ring = ring
        self._random = random

    async def seal(self, plaintext: bytes, kind: str, *context: str) -> bytes:
        """`plaintext` sealed for the place that `kind` (a table, a cookie) and `context` (its keys) name."""
        key = await self._ring.sealing_key()
        salt, nonce = self._random(_SALT_BYTES), self._random(_NONCE_BYTES)
        ciphertext = _cipher(key, salt, kind).encrypt(nonce, plaintext, framed(kind, *context, key.version))
        version = key.version.encode()
        return bytes((_FORMAT, len(version))) + version + salt + nonce + ciphertext

    async def open(self, sealed: bytes, kind: str, *context: str) -> bytes:
        """The plaintext. Raises `Unsealable` where `sealed` is not what was sealed for this very place."""
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # an import of its own weight

        version, salt, nonce, ciphertext = _parts(sealed)
        key = await self._ring.opening_key(version)
        if key is None:
            raise Unsealable
        try:
            return _cipher(key, salt, kind).decrypt(nonce, ciphertext, framed(kind, *context, version))
        except InvalidTag as fault:
            raise Unsealable from fault


def _parts(sealed: bytes) -> tuple[str, bytes, bytes, bytes]:
    """Version, salt, nonce and ciphertext."""
    if len(sealed) < _HEAD_BYTES or sealed[0] != _FORMAT:
        raise Unsealable
    salt = _HEAD_BYTES + sealed[1]
    nonce = salt + _SALT_BYTES
    ciphertext = nonce + _NONCE_BYTES
    if len(sealed) < ciphertext:
        raise Unsealable
    try:
        version = sealed[_HEAD_BYTES:salt].decode()
    except UnicodeDecodeError as fault:
        raise Unsealable from fault
    return version, sealed[salt:nonce], sealed[nonce:ciphertext], sealed[ciphertext:]


def _cipher(key: SealingKey, salt: bytes, kind: str) -> "AESGCM":
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  # an import of its own weight
    from cryptography.hazmat.primitives.hashes import SHA256  # noqa: PLC0415
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF  # noqa: PLC0415

    derive = HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=salt, info=b"fabric-gateway|" + kind.encode())
    return AESGCM(derive.derive(key.secret))


def _created(key: SealingKey) -> float:
    return key.created
