"""`Idempotency-Key`: a request that is sent again, since its reply was lost, is not processed again.

Whoever comes first with a key writes a claim into Table Storage, does the work and puts the result there; whoever
comes again gets that result (draft-ietf-httpapi-idempotency-key-header-07). A claim whose deadline has passed without a
result tells that the work was begun and that nobody knows how it ended: it is not done again while the row lives.
Keys are a person's own, and one row each; what is kept is sealed for its row. A guard fails closed: while Table
Storage is away nothing is done under a key.
"""

import json
import logging
import math
import re
import secrets
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, NoReturn

from lib.answers import failures_kept
from lib.errors import (
    GatewayError,
    IdempotencyConflict,
    IdempotencyInProgress,
    InvalidRequest,
    OutcomeUnknown,
    StateUnavailable,
)
from lib.storage.rows import Conflict, Row
from lib.storage.sealing import Sealer, Unsealable

if TYPE_CHECKING:
    from lib.storage.properties import Value
    from lib.storage.row_keys import RowKeys
    from lib.storage.tables import Tables

TABLE = "idempotency"
KEPT_SECONDS = 600
"""For how long a key is remembered, from its first request."""
GRACE_SECONDS = 10
"""How long after its deadline a result may still be on its way into the row; clocks differ by a part of that."""
MOST_KEY_CHARACTERS = 255
MOST_RESULT_BYTES = 720 * 1024
"""Of a result as it is kept, compressed: a longer one would be more than 1 MiB on its way, in base64."""
AGAIN_SECONDS = 5
"""When whoever meets work under way may come again, at the latest."""

_STRING = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\])*)"')
_TOKEN = re.compile(r"[!#-~]+")

_log = logging.getLogger(__name__)


def read_key(header: str) -> str:
    """The key in an `Idempotency-Key` header: a string of RFC 9651, section 3.3.3, or a bare word of visible ASCII.

    The draft wants the string; many clients send the bare word. Raises `InvalidRequest` for anything else.
    """
    if string := _STRING.fullmatch(header):
        key = re.sub(r"\\(.)", r"\1", string[1])
    else:
        key = header if _TOKEN.fullmatch(header) else ""
    if not 0 < len(key) <= MOST_KEY_CHARACTERS:
        raise InvalidRequest(
            f"`Idempotency-Key` must be 1 to {MOST_KEY_CHARACTERS} characters of ASCII, as a string in double quotes."
        )
    return key


class Idempotency:
    """Lets work be done once for each key. `now` is the time by Table Storage, in seconds."""

    def __init__(
        self, tables: "Tables", sealer: Sealer, keys: "RowKeys", *, now: Callable[[], float] = time.time
    ) -> None:
        self._tables = tables
        self._sealer = sealer
        self._keys = keys
        self._now = now

    async def once(
        self,
        partition: str,
        key: str,
        content: str,
        seconds: float,
        work: Callable[[], Awaitable[bytes]],
        not_processed: tuple[type[GatewayError], ...] = (),
    ) -> tuple[bytes, bool]:
        """The result of `work`, which takes at most `seconds`, and whether it was kept from an earlier time.

        `content` is what must be the same each time: a hash of the request. A failure is kept and raised again like a
        result, but for those in `not_processed`, after which the key is free. Raises `IdempotencyConflict`,
        `IdempotencyInProgress`, `OutcomeUnknown`, `StateUnavailable`, or what `work` raises.
        """
        row_key = await self._keys.row("idempotency", key)
        claim = self._claim(await self._keys.row("idempotency content", partition, key, content), seconds)
        try:
            row = await self._write(claim, partition, row_key)
        except Conflict as fault:
            kept = await self._tables.read(TABLE, partition, row_key)
            if kept is None:  # it has just been given back
                raise IdempotencyInProgress(retry_after=1) from fault
            if kept.values["expires"] >= self._now():
                return await self._replayed(kept, claim["content"]), True
            row = await self._take_over(claim, kept)
        return await self._done(row, work, not_processed), False

    def _claim(self, content: str, seconds: float) -> "dict[str, Value]":
        """What a row says of work that was begun; `claim` tells it from every other claim."""
        now, longest = self._now(), seconds + GRACE_SECONDS
        return {
            "state": "asked",
            "content": content,
            "claim": secrets.token_hex(8),
            "deadline": now + longest,
            "expires": math.ceil(now + max(KEPT_SECONDS, longest)),
            "sealed": b"",
        }

    async def _take_over(self, claim: "Mapping[str, Value]", expired: Row) -> Row:
        try:
            return await self._write(claim, expired.partition, expired.key, expired)
        except Conflict as fault:  # somebody else has just done so
            raise IdempotencyInProgress(retry_after=AGAIN_SECONDS) from fault

    async def _write(self, claim: "Mapping[str, Value]", partition: str, key: str, before: Row | None = None) -> Row:
        """The row that holds the claim: a new one, or the one that was there `before`. Raises `Conflict`.

        Where only the reply was lost, the row says whose claim it is.
        """
        try:
            if before is None:
                return await self._tables.insert(TABLE, partition, key, claim)
            return await self._tables.update(TABLE, before, claim)
        except StateUnavailable:
            row = await self._tables.read(TABLE, partition, key)
            if row is None or row.values["claim"] != claim["claim"]:
                raise
            return row

    async def _done(
        self, claim: Row, work: Callable[[], Awaitable[bytes]], not_processed: tuple[type[GatewayError], ...]
    ) -> bytes:
        """Does the work. Whatever ends it without a word, as a cancellation does, leaves the claim to its deadline."""
        try:
            result = await work()
        except not_processed:
            await self._give_back(claim)
            raise
        except GatewayError as failure:
            await self._keep(claim, "failed", json.dumps(failures_kept.to_json(failure)).encode())
            raise
        await self._keep(claim, "done", result)
        return result

    async def _give_back(self, claim: Row) -> None:
        """Frees the key. Where that fails it is free when the row has expired."""
        try:
            await self._tables.delete(TABLE, claim.partition, claim.key, etag=claim.etag)
        except (Conflict, StateUnavailable) as fault:
            _log.warning("an idempotency key could not be given back", extra={"fault": type(fault).__name__})

    async def _keep(self, claim: Row, state: str, result: bytes) -> None:
        """Keeps how the work ended. Where that fails the caller has their result all the same, and this once only."""
        compressed = zlib.compress(result, level=1)
        if len(compressed) > MOST_RESULT_BYTES:
            _log.warning("a result is too long to be kept", extra={"bytes": len(compressed)})
            return
        try:
            sealed = await self._sealer.seal(compressed, *_place(claim, state))
            await self._tables.update(TABLE, claim, {"state": state, "sealed": sealed})
        except (Conflict, StateUnavailable) as fault:
            _log.warning("a result could not be kept", extra={"fault": type(fault).__name__})

    async def _replayed(self, kept: Row, content: "Value") -> bytes:
        """The result that was kept. Raises the failure that was, or what tells why there is neither."""
        state = kept.values["state"]
        if kept.values["content"] != content:
            raise IdempotencyConflict
        if state == "asked":
            self._refuse_unfinished(kept.values["deadline"] - self._now())
        try:
            result = zlib.decompress(await self._sealer.open(kept.values["sealed"], *_place(kept, state)))
        except Unsealable as fault:
            raise OutcomeUnknown from fault
        if state == "failed":
            raise failures_kept.from_json(json.loads(result))
        return result

    def _refuse_unfinished(self, left: float) -> NoReturn:
        if left <= 0:
            raise OutcomeUnknown
        raise IdempotencyInProgress(retry_after=math.ceil(min(left, AGAIN_SECONDS)))


def _place(row: Row, state: str) -> tuple[str, ...]:
    """Where a result is kept, of which request, and whether it is one or a failure."""
    return TABLE, row.partition, row.key, row.values["content"], state
