"""Sessions: an opaque cookie in the browser, a sealed row in Table Storage.

The cookie carries the person's partition, a secret of 256 bits, and an HMAC of both, by which a forged one is known
without looking anywhere. The row's key is another HMAC of that secret, so who reads the table cannot make a cookie, and
who holds a cookie finds one row only. The row is written with `insert` and `update`, never with an upsert: a late write
must not bring a session back after logout.

When a session was opened and when it ends is sealed like the rest, so who writes the table cannot prolong one. The
columns of those names serve the sweeper and the order of sessions, and a release that does not know better; the last
use stands in a column alone, for it can do no more than keep a session to its end.
"""

import hmac
import json
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING

from lib.errors import LoginFailed, SessionExpired, SessionForged, StateUnavailable
from lib.storage.row_keys import KEY_DIGITS
from lib.storage.rows import Conflict, Row
from lib.storage.sealing import Sealer, Unsealable

if TYPE_CHECKING:
    from lib.storage.properties import Value
    from lib.storage.row_keys import RowKeys
    from lib.storage.tables import Tables

TABLE = "sessions"
SIDS = "sids"
MOST_SESSIONS = 10
CHANGE_ATTEMPTS = 3
HANDLE_BYTES = 16
TOUCH_FRACTION = 0.2
"""A session is marked as used once this part of its idle time has passed, so that not every request writes."""

_COOKIE = re.compile(r"([0-9a-f]{32})\.([A-Za-z0-9_-]{43})\.([0-9a-f]{32})")


@dataclass(frozen=True)
class SignedIn:
    """What a session remembers of a sign-in. Either `assertion` or `refresh_token` gets Fabric tokens.

    The times of the assertion are in seconds since the epoch. `login_hint` is what Entra's pages know the person by,
    `sid` what it names the sign-in by when it tells that it has ended. `acrs` are the assertion's authentication
    contexts, separated by spaces. `claims` is the claims request (JSON) that the sign-in has answered, `challenge` the
    one that a stronger sign-in has to answer, which is begun by `challenge_handle`.
    """

    tenant_id: str
    object_id: str
    name: str = ""
    username: str = ""
    login_hint: str = field(default="", repr=False)
    sid: str = field(default="", repr=False)
    assertion: str = field(default="", repr=False)
    assertion_expires_at: float = 0
    assertion_issued_at: float = 0
    acrs: str = ""
    refresh_token: str = field(default="", repr=False)
    claims: str = field(default="", repr=False)
    challenge: str = field(default="", repr=False)
    challenge_handle: str = field(default="", repr=False)


@dataclass(frozen=True)
class Session:
    """An open session. Times are in seconds since the epoch; `row` is where it is kept."""

    signed_in: SignedIn = field(repr=False)
    created: float
    last_seen: float
    ends: float
    row: Row = field(repr=False)

    @property
    def issued_at(self) -> float:
        """The moment that revocations are compared with: a token is as old as it was before it became a session."""
        return min(self.created, self.signed_in.assertion_issued_at or self.created)


class Sessions:
    """Opens, finds, changes and ends sessions."""

    def __init__(
        self,
        tables: "Tables",
        sealer: Sealer,
        keys: "RowKeys",
        *,
        idle_seconds: int,
        absolute_seconds: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._tables = tables
        self._sealer = sealer
        self._keys = keys
        self._idle_seconds = idle_seconds
        self._absolute_seconds = absolute_seconds
        self._now = now

    async def open(self, signed_in: SignedIn) -> tuple[str, Session]:
        """A new session and the value of its cookie. A session by assertion ends with the assertion.

        Raises `LoginFailed` where the sign-in was ended at Entra while the session was made.
        """
        now = self._now()
        ends = now + self._absolute_seconds
        if signed_in.assertion:
            ends = min(ends, signed_in.assertion_expires_at)
        partition = await self._keys.partition(signed_in.tenant_id, signed_in.object_id)
        secret = secrets.token_urlsafe(32)
        key = await self._keys.row("session", secret)
        values: dict[str, Value] = {
            "sealed": await self._sealed(partition, key, signed_in, now, ends),
            "created": now,
            "last_seen": now,
            "ends": ends,
            "expires": int(ends),
        }
        if signed_in.sid:  # first: a session that this does not know could not be ended from outside
            sid, entry = await self._keys.row("sid", signed_in.sid), f"{partition}{key}"
            await self._tables.insert(SIDS, sid, entry, {"expires": int(ends)})
        row = await self._tables.insert(TABLE, partition, key, values)
        if signed_in.sid and await self._tables.read(SIDS, sid, entry) is None:
            await self._tables.delete(TABLE, partition, key)
            raise LoginFailed("The sign-in has ended at the identity provider meanwhile. Begin it again.")
        await self._make_room(row)
        cookie = f"{partition}.{secret}.{await self._keys.row('cookie', partition, secret)}"
        return cookie, Session(signed_in, now, now, ends, row)

    async def find(self, cookie: str) -> Session:
        """The session of a cookie. Raises `SessionExpired` where there is none any more, `SessionForged` if never."""
        row = await self._row(cookie)
        if row is None:
            raise SessionExpired
        now = self._now()
        session = await self._opened(row)
        if now >= min(session.ends, session.last_seen + self._idle_seconds):
            await self._tables.delete(TABLE, row.partition, row.key)
            raise SessionExpired
        if now - session.last_seen > TOUCH_FRACTION * self._idle_seconds:
            return await self._touch(session, now)
        return session

    async def read_again(self, session: Session) -> Session:
        """The session as it is kept now. Raises `SessionExpired` where it was ended meanwhile."""
        row = await self._tables.read(TABLE, session.row.partition, session.row.key)
        if row is None:
            raise SessionExpired
        return await self._opened(row)

    async def renew(self, session: Session, refresh_token: str) -> None:
        """Keeps a renewed refresh token, unless somebody else has kept one since `session` was read: then theirs stays.

        Raises `SessionExpired` where the session was ended meanwhile: it stays ended.
        """
        used = session.signed_in.refresh_token

        def renewed(known: SignedIn) -> SignedIn:
            return replace(known, refresh_token=refresh_token) if known.refresh_token == used else known

        await self._change(session, renewed)

    async def challenge(self, session: Session, claims: str) -> str:
        """Keeps the claims that a stronger sign-in has to answer, and returns the handle that begins it.

        The latest claims count. The same ones keep their handle, so that tabs that meet them at once do not take each
        other's away. Raises `SessionExpired` likewise.
        """
        handle = secrets.token_urlsafe(HANDLE_BYTES)

        def challenged(known: SignedIn) -> SignedIn:
            return known if known.challenge == claims else replace(known, challenge=claims, challenge_handle=handle)

        return (await self._change(session, challenged)).signed_in.challenge_handle

    async def end(self, cookie: str) -> Session | None:
        """Ends the session of a cookie and returns it; None where it has ended before."""
        try:
            row = await self._row(cookie)
        except SessionForged:
            return None
        if row is None:
            return None
        await self._tables.delete(TABLE, row.partition, row.key)
        try:
            return await self._opened(row)
        except SessionExpired:
            return None

    async def end_all(self, tenant_id: str, object_id: str) -> None:
        """Ends every session of a person."""
        partition = await self._keys.partition(tenant_id, object_id)
        async for row in self._tables.rows(TABLE, partition):
            await self._tables.delete(TABLE, row.partition, row.key)

    async def end_by_sid(self, sid: str) -> bool:
        """Ends the sessions of one sign-in at Entra (OpenID Connect Front-Channel Logout 1.0); whether it had any.

        One that cannot be ended does not keep the others: `StateUnavailable` is raised once they are.
        """
        entries = [entry async for entry in self._tables.rows(SIDS, await self._keys.row("sid", sid))]
        fault = None
        for entry in entries:
            try:
                await self._end_by_entry(entry)
            except StateUnavailable as failure:
                fault = failure
        if fault:
            raise fault
        return bool(entries)

    async def _end_by_entry(self, entry: Row) -> None:
        partition, key = entry.key[:KEY_DIGITS], entry.key[KEY_DIGITS:]
        await self._tables.delete(TABLE, partition, key)  # first: where it fails, it can be tried again
        await self._tables.delete(SIDS, entry.partition, entry.key)
        await self._tables.delete(TABLE, partition, key)  # where it was being opened and has not looked since

    async def _make_room(self, newest: Row) -> None:
        """Ends a person's oldest sessions, so that with the newest they have at most ten.

        Once that one is there: of two sign-ins at once, the later one to look sees both.
        """
        rows = [row async for row in self._tables.rows(TABLE, newest.partition) if row.key != newest.key]
        rows.sort(key=lambda row: (float(row.values["created"]), row.key))
        for row in rows[: max(0, len(rows) - MOST_SESSIONS + 1)]:
            await self._tables.delete(TABLE, row.partition, row.key)

    async def _row(self, cookie: str) -> Row | None:
        parts = _COOKIE.fullmatch(cookie)
        if parts is None:
            raise SessionForged
        if not hmac.compare_digest(await self._keys.row("cookie", parts[1], parts[2]), parts[3]):
            raise SessionForged
        return await self._tables.read(TABLE, parts[1], await self._keys.row("session", parts[2]))

    async def _change(self, session: Session, change: Callable[[SignedIn], SignedIn]) -> Session:
        """The session with `change` made to what is kept now, in one write that nobody else's came before.

        Raises `SessionExpired` where the session was ended, `StateUnavailable` where others are always faster.
        """
        for _ in range(CHANGE_ATTEMPTS):
            signed_in, row = change(session.signed_in), session.row
            if signed_in == session.signed_in:
                return session
            try:
                sealed = await self._sealed(row.partition, row.key, signed_in, session.created, session.ends)
                row = await self._tables.update(TABLE, row, {"sealed": sealed})
            except Conflict:
                session = await self.read_again(session)
            else:
                return replace(session, signed_in=signed_in, row=row)
        raise StateUnavailable

    async def _sealed(self, partition: str, key: str, signed_in: SignedIn, created: float, ends: float) -> bytes:
        content = asdict(signed_in) | {"created": created, "ends": ends}
        return await self._sealer.seal(json.dumps(content).encode(), TABLE, partition, key)

    async def _opened(self, row: Row) -> Session:
        try:
            opened = await self._sealer.open(row.values["sealed"], TABLE, row.partition, row.key)
        except Unsealable as fault:
            raise SessionExpired from fault
        content, known = json.loads(opened), SignedIn.__dataclass_fields__.keys()
        signed_in = SignedIn(**{name: value for name, value in content.items() if name in known})
        times = content if "ends" in content else row.values  # a release that has the times in columns alone wrote it
        return Session(signed_in, times["created"], min(row.values["last_seen"], self._now()), times["ends"], row)

    async def _touch(self, session: Session, now: float) -> Session:
        try:
            row = await self._tables.update(TABLE, session.row, {"last_seen": now})
        except Conflict:  # somebody else has just touched, renewed or ended it: this request goes on with what it read
            return session
        return replace(session, last_seen=now, row=row)
