"""Rules for sessions, on a real Azurite and with the real Key Vault client."""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import asdict, replace
from functools import partial
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from starlette.responses import Response

from lib.errors import LoginFailed, SessionExpired, SessionForged, StateUnavailable
from lib.identity.sessions import CHANGE_ATTEMPTS, MOST_SESSIONS, SIDS, TABLE, Session, Sessions, SignedIn
from lib.storage.key_vault import KeyVault
from lib.storage.row_keys import RowKeys
from lib.storage.rows import Row
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.tables import Tables
from tests.clock import Clock
from tests.lib.storage.front import Front

pytestmark = pytest.mark.stack

IDLE = 1800
ABSOLUTE = 8 * 3600
CLAIMS = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
OTHER_CLAIMS = '{"access_token":{"acrs":{"essential":true,"value":"c2"}}}'
ALICE = SignedIn("tenant", "alice", "Alice Arden", "alice@contoso.example", "hint", refresh_token="refresh-1")


@pytest.fixture
def sessions(key_vault_client: KeyVault, tables: Tables, clock: Clock) -> Sessions:
    """Sessions that end after half an hour unused and after eight hours at the latest."""
    sealer = Sealer(KeyRing(key_vault_client, now=clock))
    keys = RowKeys(key_vault_client)
    return Sessions(tables, sealer, keys, idle_seconds=IDLE, absolute_seconds=ABSOLUTE, now=clock)


@pytest.fixture
def another(key_vault_client: KeyVault, tables: Tables, clock: Clock) -> Sessions:
    """Another instance's."""
    sealer, keys = Sealer(KeyRing(key_vault_client, now=clock)), RowKeys(key_vault_client)
    return Sessions(tables, sealer, keys, idle_seconds=IDLE, absolute_seconds=ABSOLUTE, now=clock)


@pytest.fixture
def untouched_table(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions without tables: whatever asks them fails."""
    monkeypatch.setattr(sessions, "_tables", None)


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
    "cookie",
    [
        "",
        "x",
        "a.b.c",
        "../sessions",
        "0" * 32 + "." + "A" * 43,
        "0" * 32 + "." + "A" * 43 + "." + "0" * 32,
        "0" * 32 + "'." + "A" * 43 + "." + "0" * 32,
        "\u0660" * 32 + "." + "A" * 43 + "." + "0" * 32,
    ],
)
@pytest.mark.usefixtures("untouched_table")
async def test_a_cookie_that_was_not_made_here_is_forged(sessions: Sessions, cookie: str) -> None:
    """Made up or cut short: that costs no look into the table, and ends nothing."""
    with pytest.raises(SessionForged):
        await sessions.find(cookie)
    assert await sessions.end(cookie) is None


async def test_a_cookie_whose_session_is_gone_is_no_forged_one(sessions: Sessions) -> None:
    """It was good once; the caller is told the same either way."""
    cookie, _ = await sessions.open(ALICE)
    await sessions.end(cookie)
    with pytest.raises(SessionExpired) as fault:
        await sessions.find(cookie)
    assert type(fault.value) is SessionExpired
    assert (fault.value.status, fault.value.code) == (SessionForged.status, SessionForged.code)


async def test_another_persons_partition_with_my_secret_opens_nothing(sessions: Sessions) -> None:
    """All parts of a cookie belong together."""
    mine, _ = await sessions.open(ALICE)
    theirs, _ = await sessions.open(replace(ALICE, object_id="bob"))
    (mine_partition, *_), (partition, secret, tag) = mine.split("."), theirs.split(".")
    for mixed in (f"{mine_partition}.{secret}.{tag}", f"{partition}.{mine.split('.')[1]}.{tag}"):
        with pytest.raises(SessionForged):
            await sessions.find(mixed)


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


@pytest.mark.parametrize("seconds", [ABSOLUTE, 10**9], ids=["a little", "for ever"])
async def test_who_writes_the_table_cannot_prolong_a_session(
    sessions: Sessions, tables: Tables, clock: Clock, seconds: int
) -> None:
    """Times in columns are for the sweeper; those that count are sealed, also once something else was changed."""
    cookie, opened = await sessions.open(ALICE)
    await sessions.challenge(opened, CLAIMS)
    later = dict.fromkeys(("created", "last_seen", "ends"), clock.now + seconds)
    row = (await sessions.find(cookie)).row
    await tables.update(TABLE, row, later | {"expires": int(clock.now) + seconds})
    found = await sessions.find(cookie)
    assert (found.created, found.last_seen, found.ends) == (opened.created, clock.now, opened.ends)
    assert found.issued_at == opened.created
    clock.advance(ABSOLUTE)
    with pytest.raises(SessionExpired):
        await sessions.find(cookie)


async def test_a_last_use_that_is_yet_to_come_is_none(sessions: Sessions, tables: Tables, clock: Clock) -> None:
    """Half an hour from when it is read, and not from when somebody says it will be."""
    cookie, opened = await sessions.open(ALICE)
    await tables.update(TABLE, opened.row, {"last_seen": clock.now + ABSOLUTE})
    assert (await sessions.find(cookie)).last_seen == clock.now


async def test_a_row_of_the_release_before_opens_and_is_sealed_with_its_times_at_its_next_change(
    sessions: Sessions, tables: Tables, clock: Clock
) -> None:
    """Old and new code run side by side during an update: that one has the times in columns alone."""
    cookie, opened = await sessions.open(ALICE)
    partition, key = opened.row.partition, opened.row.key
    before = await sessions._sealer.seal(json.dumps(asdict(ALICE)).encode(), TABLE, partition, key)
    await tables.update(TABLE, opened.row, {"sealed": before, "created": clock.now - 5, "ends": clock.now + 5})
    found = await sessions.find(cookie)
    assert (found.signed_in, found.created, found.ends) == (ALICE, clock.now - 5, clock.now + 5)
    await sessions.renew(found, "refresh-2")
    await tables.update(TABLE, (await sessions.find(cookie)).row, {"ends": clock.now + ABSOLUTE})
    assert (await sessions.find(cookie)).ends == clock.now + 5


async def test_the_columns_that_others_read_are_written(sessions: Sessions, clock: Clock) -> None:
    """The sweeper, the order of a person's sessions, and the release before."""
    _, opened = await sessions.open(ALICE)
    columns = {name: value for name, value in opened.row.values.items() if name != "sealed"}
    ends = clock.now + ABSOLUTE
    assert columns == {"created": clock.now, "last_seen": clock.now, "ends": ends, "expires": int(ends)}


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


async def test_sign_ins_at_once_leave_ten_sessions_too(sessions: Sessions, tables: Tables) -> None:
    """Whichever of them come last."""
    opened = await asyncio.gather(*(sessions.open(ALICE) for _ in range(MOST_SESSIONS + 5)))
    partition = opened[0][1].row.partition
    assert len([row async for row in tables.rows(TABLE, partition)]) <= MOST_SESSIONS
    newest, _ = await sessions.open(ALICE)
    await sessions.find(newest)
    assert len([row async for row in tables.rows(TABLE, partition)]) <= MOST_SESSIONS


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
    assert await sessions.end_by_sid(sid)
    with pytest.raises(SessionExpired):
        await sessions.find(ended)
    assert (await sessions.find(stays)).signed_in.name == "Alice Arden"
    assert [row async for row in tables.rows(SIDS, await sessions._keys.row("sid", sid))] == []
    assert not await sessions.end_by_sid(sid)


@pytest.mark.parametrize("failing", range(3), ids=["the session", "its entry", "the session again"])
async def test_one_session_that_cannot_be_ended_does_not_keep_the_others(
    key_vault_client: KeyVault, fronted: Tables, front: Front, clock: Clock, failing: int
) -> None:
    """Of a sign-in at Entra: the others end, whoever asked is told, and the next time it ends as well."""
    sealer, keys = Sealer(KeyRing(key_vault_client, now=clock)), RowKeys(key_vault_client)
    sessions = Sessions(fronted, sealer, keys, idle_seconds=IDLE, absolute_seconds=ABSOLUTE, now=clock)
    sid = f"{uuid.uuid4()}"
    cookies = [(await sessions.open(replace(ALICE, object_id=sid, sid=sid)))[0] for _ in range(3)]
    front.planned.extend([front.pass_on] * (1 + failing) + [Response(status_code=403)])
    with pytest.raises(StateUnavailable):
        await sessions.end_by_sid(sid)
    assert sum([await is_open(sessions, cookie) for cookie in cookies]) == (failing == 0)
    await sessions.end_by_sid(sid)
    assert not any([await is_open(sessions, cookie) for cookie in cookies])


ORDERS = ["".join("o" if turn in opening else "e" for turn in range(7)) for opening in combinations(range(7), 3)]


class Turns:
    """Tables for two pieces of work, whose calls come in a given order; who is done leaves the turns to the other."""

    def __init__(self, tables: Tables, order: str) -> None:
        self._tables = tables
        self._order = list(order)
        self._moved = asyncio.Condition()

    def of(self, who: str) -> Any:
        """The tables as one of the two sees them."""
        return SimpleNamespace(
            read=partial(self._call, who, self._tables.read),
            insert=partial(self._call, who, self._tables.insert),
            delete=partial(self._call, who, self._tables.delete),
            rows=partial(self._rows, who),
        )

    async def leave(self, who: str) -> None:
        """Ends that one's turns."""
        async with self._moved:
            self._order = [other for other in self._order if other != who]
            self._moved.notify_all()

    async def _call[T](self, who: str, call: Callable[..., Awaitable[T]], *arguments: Any) -> T:
        async with self._moved:
            await self._moved.wait_for(lambda: who not in self._order or self._order[0] == who)
            result = await call(*arguments)
            if who in self._order:
                self._order.remove(who)
            self._moved.notify_all()
            return result

    async def _rows(self, who: str, table: str, partition: str) -> AsyncIterator[Row]:
        async def found() -> list[Row]:
            return [row async for row in self._tables.rows(table, partition)]

        for row in await self._call(who, found):
            yield row


@pytest.mark.parametrize("order", ORDERS)
async def test_a_logout_at_entra_amid_a_sign_in_leaves_no_session_that_no_sid_ends(
    sessions: Sessions, another: Sessions, tables: Tables, monkeypatch: pytest.MonkeyPatch, order: str
) -> None:
    """Opening (o) makes three calls until it is sure, ending (e) four: in whatever order they come."""
    sid, turns = f"{uuid.uuid4()}", Turns(tables, order)
    monkeypatch.setattr(sessions, "_tables", turns.of("o"))
    monkeypatch.setattr(another, "_tables", turns.of("e"))

    async def opened() -> str:
        try:
            return (await sessions.open(replace(ALICE, sid=sid)))[0]
        except LoginFailed:
            return ""
        finally:
            await turns.leave("o")

    async def ended() -> None:
        await another.end_by_sid(sid)
        await turns.leave("e")

    cookie, _ = await asyncio.gather(opened(), ended())
    monkeypatch.undo()
    if cookie:
        with suppress(SessionExpired):
            await sessions.find(cookie)
            await sessions.end_by_sid(sid)
        with pytest.raises(SessionExpired):
            await sessions.find(cookie)


async def test_a_sign_in_that_ended_at_entra_while_its_session_was_made_fails(
    sessions: Sessions, tables: Tables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And leaves no row."""
    sid, insert = f"{uuid.uuid4()}", tables.insert
    person = replace(ALICE, object_id=sid, sid=sid)

    async def insert_late(table: str, *arguments: Any) -> Row:
        if table == TABLE:
            await sessions.end_by_sid(sid)
        return await insert(table, *arguments)

    monkeypatch.setattr(tables, "insert", insert_late)
    with pytest.raises(LoginFailed):
        await sessions.open(person)
    partition = await sessions._keys.partition(person.tenant_id, person.object_id)
    assert [row async for row in tables.rows(TABLE, partition)] == []
    monkeypatch.undo()
    assert (await sessions.find((await sessions.open(person))[0])).signed_in == person


async def test_a_renewed_refresh_token_is_kept(sessions: Sessions) -> None:
    """The next request renews with the new one."""
    cookie, opened = await sessions.open(ALICE)
    await sessions.renew(opened, "refresh-2")
    assert (await sessions.find(cookie)).signed_in == replace(ALICE, refresh_token="refresh-2")


async def test_a_renewal_that_meets_another_write_is_kept_all_the_same(sessions: Sessions, clock: Clock) -> None:
    """Another request has noted its use, or a challenge, since this one read the row."""
    cookie, opened = await sessions.open(ALICE)
    clock.advance(IDLE / 2)
    handle = await sessions.challenge(await sessions.find(cookie), CLAIMS)
    await sessions.renew(opened, "refresh-2")
    found = await sessions.find(cookie)
    assert (found.signed_in.refresh_token, found.last_seen) == ("refresh-2", clock.now)
    assert (found.signed_in.challenge, found.signed_in.challenge_handle) == (CLAIMS, handle)


async def test_of_two_renewals_the_first_one_kept_counts_for_both(sessions: Sessions) -> None:
    """The slower request drops its own and finds the other's."""
    cookie, opened = await sessions.open(ALICE)
    await sessions.renew(opened, "refresh-2")
    await sessions.renew(opened, "refresh-3")
    assert (await sessions.find(cookie)).signed_in.refresh_token == "refresh-2"
    assert (await sessions.read_again(opened)).signed_in.refresh_token == "refresh-2"


async def test_a_session_read_again_is_renewed_like_any_other(sessions: Sessions) -> None:
    """What counts is what it was when it was read."""
    cookie, opened = await sessions.open(ALICE)
    await sessions.renew(opened, "refresh-2")
    await sessions.renew(await sessions.read_again(opened), "refresh-3")
    assert (await sessions.find(cookie)).signed_in.refresh_token == "refresh-3"


async def test_a_change_that_always_comes_late_gives_up_and_says_so(
    sessions: Sessions, tables: Tables, monkeypatch: pytest.MonkeyPatch
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
    with pytest.raises(StateUnavailable):
        await sessions.renew(opened, "refresh-2")
    monkeypatch.undo()
    assert reads == CHANGE_ATTEMPTS
    assert (await sessions.find(cookie)).signed_in == ALICE


async def test_a_challenge_is_kept_with_the_session_under_a_handle_of_its_own(
    sessions: Sessions, tables: Tables
) -> None:
    """128 random bits; what Entra asks is sealed like all the rest."""
    cookie, opened = await sessions.open(ALICE)
    handle = await sessions.challenge(opened, CLAIMS)
    assert re.fullmatch(r"[A-Za-z0-9_-]{22}", handle)
    found = await sessions.find(cookie)
    assert found.signed_in == replace(ALICE, challenge=CLAIMS, challenge_handle=handle)
    row = await tables.read(TABLE, opened.row.partition, opened.row.key)
    assert row is not None
    assert not [hidden for hidden in ("acrs", handle) if hidden in repr(dict(row.values))]
    assert not [hidden for hidden in ("acrs", handle) if hidden in repr(found)]


async def test_the_latest_challenge_counts_and_the_same_one_keeps_its_handle(sessions: Sessions) -> None:
    """Tabs that meet it at once are sent to the same place; one challenge is pending at a time."""
    cookie, opened = await sessions.open(ALICE)
    first, second = await asyncio.gather(*(sessions.challenge(opened, CLAIMS) for _ in range(2)))
    assert first == second
    changed = await sessions.challenge(opened, OTHER_CLAIMS)
    assert changed != first
    assert (await sessions.find(cookie)).signed_in.challenge == OTHER_CLAIMS
    again = await sessions.challenge(await sessions.find(cookie), CLAIMS)
    assert again not in {first, changed}


async def test_a_late_renewal_does_not_bring_a_session_back(sessions: Sessions, tables: Tables, clock: Clock) -> None:
    """Signed out is signed out, whatever was under way: a note of its use, a renewal, a challenge."""
    cookie, opened = await sessions.open(ALICE)
    await sessions.end(cookie)
    assert await sessions._touch(opened, clock.now + 1) is opened
    for late in (sessions.renew(opened, "refresh-2"), sessions.challenge(opened, CLAIMS), sessions.read_again(opened)):
        with pytest.raises(SessionExpired):
            await late
    assert await tables.read(TABLE, opened.row.partition, opened.row.key) is None


@pytest.mark.parametrize("turn", range(6))
async def test_a_session_that_ends_amid_writes_stays_ended(
    sessions: Sessions, tables: Tables, clock: Clock, turn: int
) -> None:
    """Requests of a busy page, and the logout somewhere among them: each one goes through or is told of the end."""
    cookie, opened = await sessions.open(ALICE)
    clock.advance(IDLE / 2)
    work = [
        sessions.find(cookie),
        sessions.renew(opened, "refresh-2"),
        sessions.challenge(opened, CLAIMS),
        sessions.find(cookie),
        sessions.renew(opened, "refresh-3"),
    ]
    work.insert(turn, sessions.end(cookie))
    told = await asyncio.gather(*work, return_exceptions=True)
    assert {type(fault) for fault in told if isinstance(fault, BaseException)} <= {SessionExpired}
    assert await tables.read(TABLE, opened.row.partition, opened.row.key) is None


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


def slowly[T](test: T) -> T:
    """Hypothesis on the stack: no deadline, and fixtures that serve all examples."""
    return settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])(test)


@given(place=st.integers(0, 108), character=st.characters(max_codepoint=0x2FF))
@slowly
@pytest.mark.usefixtures("untouched_table")
async def test_a_forged_cookie_is_known_without_a_look_into_the_table(
    sessions: Sessions, place: int, character: str
) -> None:
    """Wherever it stands and whatever it is now: no look into the table is needed to know."""
    cookie = await cookie_of(sessions, "0f" * 16, "Az9_-" * 8 + "Az9")
    assume(character != cookie[place])
    changed = cookie[:place] + character + cookie[place + 1 :]
    with pytest.raises(SessionForged):
        await sessions.find(changed)
    assert await sessions.end(changed) is None


@given(
    person=st.text(st.characters(exclude_categories=["Cs"])), token=st.text(st.characters(exclude_categories=["Cs"]))
)
@slowly
async def test_whoever_signs_in_is_found_by_their_cookie(sessions: Sessions, person: str, token: str) -> None:
    """What is kept comes back as it was, by a cookie that carries nothing but where it is."""
    signed_in = SignedIn("tenant", person, refresh_token=token)
    cookie, _ = await sessions.open(signed_in)
    assert (await sessions.find(cookie)).signed_in == signed_in
    partition, secret, _ = cookie.split(".")
    assert partition == await sessions._keys.partition("tenant", person)
    assert cookie == await cookie_of(sessions, partition, secret)


async def is_open(sessions: Sessions, cookie: str) -> bool:
    """Whether the cookie's session is found."""
    try:
        await sessions.find(cookie)
    except SessionExpired:
        return False
    return True


async def cookie_of(sessions: Sessions, partition: str, secret: str) -> str:
    """A cookie as the gateway makes it."""
    return f"{partition}.{secret}.{await sessions._keys.row('cookie', partition, secret)}"
