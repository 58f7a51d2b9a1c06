"""Rules for sessions, on a real Azurite and with the real Key Vault client."""

import asyncio
import re
import uuid
from dataclasses import replace

import pytest

from lib.errors import SessionExpired, SessionForged
from lib.identity.sessions import MOST_SESSIONS, RENEW_ATTEMPTS, SIDS, TABLE, Session, Sessions, SignedIn
from lib.storage.key_vault import KeyVault
from lib.storage.row_keys import RowKeys
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.tables import Tables
from tests.clock import Clock

pytestmark = pytest.mark.stack

IDLE = 1800
ABSOLUTE = 8 * 3600
ALICE = SignedIn("tenant", "alice", "Alice Arden", "alice@contoso.example", "hint", refresh_token="refresh-1")


@pytest.fixture
def sessions(key_vault_client: KeyVault, tables: Tables, clock: Clock) -> Sessions:
    """Sessions that end after half an hour unused and after eight hours at the latest."""
    sealer = Sealer(KeyRing(key_vault_client, now=clock))
    keys = RowKeys(key_vault_client)
    return Sessions(tables, sealer, keys, idle_seconds=IDLE, absolute_seconds=ABSOLUTE, now=clock)


async def test_a_session_is_found_by_its_cookie_with_all_it_knows(sessions: Sessions, clock: Clock) -> None:
    """What was signed in comes back; times are those of the opening."""
    cookie, opened = await sessions.open(ALICE)
    found = await sessions.find(cookie)
    assert found.signed_in == ALICE
    assert (found.created, found.ends) == (clock.now, clock.now + ABSOLUTE)
    assert found.row.key == opened.row.key


async def test_the_row_gives_nothing_away(sessions: Sessions, tables: Tables) -> None:
    """Who reads the table finds no name, no token and nothing to make a cookie of."""
    cookie, opened = await sessions.open(ALICE)
    row = await tables.read(TABLE, opened.row.partition, opened.row.key)
    assert row is not None
    stored = repr((row.partition, row.key, dict(row.values)))
    secret = cookie.split(".")[1]
    for hidden in (secret, "alice", "Alice Arden", "refresh-1", "tenant"):
        assert hidden not in stored
    assert re.fullmatch(r"[0-9a-f]{32}\.[A-Za-z0-9_-]{43}\.[0-9a-f]{32}", cookie)


async def test_every_session_has_a_secret_of_its_own(sessions: Sessions) -> None:
    """The same person twice: one partition, two secrets."""
    (first, _), (second, _) = await sessions.open(ALICE), await sessions.open(ALICE)
    assert first != second
    assert first.partition(".")[0] == second.partition(".")[0]


@pytest.mark.parametrize(
    "cookie", ["", "x", "a.b", "../sessions", "0" * 32 + "." + "A" * 43, "0" * 32 + "'." + "A" * 43]
)
async def test_a_cookie_that_opens_nothing_is_an_expired_session(sessions: Sessions, cookie: str) -> None:
    """Made up, cut short or never issued: nobody learns which."""
    with pytest.raises(SessionExpired):
        await sessions.find(cookie)
    assert await sessions.end(cookie) is None


async def test_another_persons_partition_with_my_secret_opens_nothing(sessions: Sessions) -> None:
    """Both halves of a cookie belong together."""
    mine, _ = await sessions.open(ALICE)
    theirs, _ = await sessions.open(replace(ALICE, object_id="bob"))
    with pytest.raises(SessionExpired):
        await sessions.find(f"{theirs.partition('.')[0]}.{mine.partition('.')[2]}")


async def test_a_row_copied_to_another_place_does_not_open(sessions: Sessions, tables: Tables) -> None:
    """The seal binds what a row holds to where it is: nobody becomes somebody else by moving rows."""
    mine, opened = await sessions.open(ALICE)
    other, theirs = await sessions.open(replace(ALICE, object_id="bob"))
    await tables.update(TABLE, theirs.row, {"sealed": opened.row.values["sealed"]})
    with pytest.raises(SessionExpired):
        await sessions.find(other)
    assert (await sessions.find(mine)).signed_in == ALICE
    assert await sessions.end(other) is None


async def test_a_session_ends_when_it_is_not_used(sessions: Sessions, tables: Tables, clock: Clock) -> None:
    """Half an hour without a request; its row is gone then."""
    cookie, opened = await sessions.open(ALICE)
    clock.advance(IDLE - 1)
    await sessions.find(cookie)
    clock.advance(IDLE)
    with pytest.raises(SessionExpired):
        await sessions.find(cookie)
    assert await tables.read(TABLE, opened.row.partition, opened.row.key) is None


async def test_a_session_ends_at_last_however_much_it_is_used(sessions: Sessions, clock: Clock) -> None:
    """Eight hours, and not a request longer."""
    cookie, _ = await sessions.open(ALICE)
    for _ in range(ABSOLUTE // (IDLE - 1)):
        clock.advance(IDLE - 1)
        await sessions.find(cookie)
    clock.advance(IDLE - 1)
    with pytest.raises(SessionExpired):
        await sessions.find(cookie)


async def test_a_session_by_access_token_ends_with_the_token(sessions: Sessions, clock: Clock) -> None:
    """There is no refresh token that could renew it."""
    by_token = replace(ALICE, refresh_token="", assertion="token", assertion_expires_at=clock.now + 600)
    cookie, opened = await sessions.open(by_token)
    assert opened.ends == clock.now + 600
    clock.advance(600)
    with pytest.raises(SessionExpired):
        await sessions.find(cookie)


async def test_not_every_request_writes(sessions: Sessions, clock: Clock) -> None:
    """Use is noted once a fifth of the idle time has passed."""
    cookie, opened = await sessions.open(ALICE)
    clock.advance(IDLE / 5)
    assert (await sessions.find(cookie)).row.etag == opened.row.etag
    clock.advance(1)
    touched = await sessions.find(cookie)
    assert touched.row.etag != opened.row.etag
    assert touched.last_seen == clock.now


async def test_two_requests_that_note_their_use_at_once_both_go_on(sessions: Sessions, clock: Clock) -> None:
    """The slower one does with what it has read."""
    cookie, _ = await sessions.open(ALICE)
    clock.advance(IDLE / 2)
    found = await asyncio.gather(*(sessions.find(cookie) for _ in range(8)))
    assert {session.signed_in.object_id for session in found} == {"alice"}


async def test_a_request_that_notes_its_use_too_late_goes_on_with_what_it_read(
    sessions: Sessions, clock: Clock
) -> None:
    """Somebody else was faster: that is enough for the session to stay."""
    cookie, opened = await sessions.open(ALICE)
    clock.advance(IDLE / 2)
    touched = await sessions.find(cookie)
    assert await sessions._touch(opened, clock.now + 1) is opened
    assert (await sessions.find(cookie)).row.etag == touched.row.etag


async def test_an_ended_session_is_gone_and_told_once(sessions: Sessions) -> None:
    """Logout gets what it needs for Entra's logout page, the first time."""
    cookie, _ = await sessions.open(ALICE)
    ended = await sessions.end(cookie)
    assert ended is not None
    assert ended.signed_in.login_hint == "hint"
    assert await sessions.end(cookie) is None
    with pytest.raises(SessionExpired):
        await sessions.find(cookie)


async def test_an_eleventh_session_ends_the_oldest(sessions: Sessions, clock: Clock) -> None:
    """A person has ten at most; others' do not count."""
    other, _ = await sessions.open(replace(ALICE, object_id="bob"))
    cookies = []
    for _ in range(MOST_SESSIONS + 1):
        clock.advance(1)
        cookies.append((await sessions.open(ALICE))[0])
    with pytest.raises(SessionExpired):
        await sessions.find(cookies[0])
    for cookie in (*cookies[1:], other):
        await sessions.find(cookie)


async def test_all_sessions_of_a_person_end_at_once(sessions: Sessions) -> None:
    """Hers, and nobody else's."""
    hers = [(await sessions.open(ALICE))[0] for _ in range(3)]
    his, _ = await sessions.open(replace(ALICE, object_id="bob"))
    await sessions.end_all("tenant", "alice")
    for cookie in hers:
        with pytest.raises(SessionExpired):
            await sessions.find(cookie)
    assert (await sessions.find(his)).signed_in.object_id == "bob"


async def test_a_sign_in_that_ended_at_entra_ends_here(sessions: Sessions, tables: Tables) -> None:
    """By the name that Entra has for it; another sign-in of the same person stays, and nothing is left behind."""
    sid = f"{uuid.uuid4()}"
    ended, _ = await sessions.open(replace(ALICE, sid=sid))
    stays, _ = await sessions.open(replace(ALICE, sid=f"{uuid.uuid4()}"))
    await sessions.end_by_sid(sid)
    with pytest.raises(SessionExpired):
        await sessions.find(ended)
    assert (await sessions.find(stays)).signed_in.name == "Alice Arden"
    assert [row async for row in tables.rows(SIDS, await sessions._keys.row("sid", sid))] == []
    await sessions.end_by_sid(sid)


async def test_a_renewed_refresh_token_is_kept(sessions: Sessions) -> None:
    """The next request renews with the new one."""
    cookie, opened = await sessions.open(ALICE)
    await sessions.renew(opened, "refresh-2")
    assert (await sessions.find(cookie)).signed_in == replace(ALICE, refresh_token="refresh-2")


async def test_a_renewal_that_meets_another_write_is_kept_all_the_same(sessions: Sessions, clock: Clock) -> None:
    """Another request has noted its use since this one read the row."""
    cookie, opened = await sessions.open(ALICE)
    clock.advance(IDLE / 2)
    await sessions.find(cookie)
    await sessions.renew(opened, "refresh-2")
    found = await sessions.find(cookie)
    assert (found.signed_in.refresh_token, found.last_seen) == ("refresh-2", clock.now)


async def test_a_late_renewal_does_not_bring_a_session_back(sessions: Sessions, tables: Tables) -> None:
    """Signed out is signed out, whatever was under way."""
    cookie, opened = await sessions.open(ALICE)
    await sessions.end(cookie)
    with pytest.raises(SessionExpired):
        await sessions.renew(opened, "refresh-2")
    with pytest.raises(SessionExpired):
        await sessions.refresh_token(opened)
    assert await tables.read(TABLE, opened.row.partition, opened.row.key) is None


async def test_of_two_renewals_the_first_one_kept_counts_for_both(sessions: Sessions) -> None:
    """The slower request drops its own and finds the other's."""
    cookie, opened = await sessions.open(ALICE)
    await sessions.renew(opened, "refresh-2")
    await sessions.renew(opened, "refresh-3")
    assert (await sessions.find(cookie)).signed_in.refresh_token == "refresh-2"
    assert await sessions.refresh_token(opened) == "refresh-2"


@pytest.mark.parametrize("place", [0, 31, 33, 50, 75, 77, 108])
async def test_a_forged_cookie_is_known_without_a_look_into_the_table(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch, place: int
) -> None:
    """One character of a good one changed, wherever it stands."""
    cookie, _ = await sessions.open(ALICE)
    changed = "1" if cookie[place] != "1" else "2"
    forged = cookie[:place] + changed + cookie[place + 1 :]

    async def read(*_: object) -> None:
        raise AssertionError("the table was asked")

    monkeypatch.setattr(sessions._tables, "read", read)
    with pytest.raises(SessionForged):
        await sessions.find(forged)
    assert await sessions.end(forged) is None


async def test_a_renewal_that_always_comes_late_gives_up_and_says_so(
    sessions: Sessions, tables: Tables, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It does not try for ever; the old refresh token stays."""
    cookie, opened = await sessions.open(ALICE)
    read, reads = tables.read, 0

    async def read_late(table: str, partition: str, key: str) -> object:
        nonlocal reads
        reads += 1
        row = await read(table, partition, key)
        assert row is not None
        await tables.update(table, row, {"last_seen": row.values["last_seen"] + reads})
        return row

    await tables.update(TABLE, opened.row, {"last_seen": opened.last_seen + 1})
    monkeypatch.setattr(tables, "read", read_late)
    await sessions.renew(opened, "refresh-2")
    monkeypatch.undo()
    assert reads == RENEW_ATTEMPTS
    assert (await sessions.find(cookie)).signed_in == ALICE
    assert "could not be kept" in caplog.text


async def test_a_field_of_a_newer_release_is_passed_over(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Old and new code run side by side during an update."""
    seal = sessions._sealer.seal

    async def with_more(plaintext: bytes, *place: str) -> bytes:
        return await seal(plaintext.replace(b"{", b'{"color": "red", ', 1), *place)

    monkeypatch.setattr(sessions._sealer, "seal", with_more)
    cookie, opened = await sessions.open(ALICE)
    assert isinstance(opened, Session)
    assert (await sessions.find(cookie)).signed_in == ALICE


def test_a_session_shows_no_secret_in_its_text() -> None:
    """A value printed while somebody looks for a fault gives no token away."""
    assert "refresh-1" not in repr(ALICE)
    assert "hint" not in repr(ALICE)
