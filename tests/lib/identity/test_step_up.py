"""Rules for stronger sign-ins of people with a session, on a real Azurite and with the real Key Vault client."""

import uuid
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit

import pytest

from lib.errors import AgentFailed, LoginFailed, SessionExpired, StepUpRequired
from lib.identity.auth import principal_of_session
from lib.identity.principal import Assertion, Principal
from lib.identity.revocation import Revocations
from lib.identity.sessions import Sessions, SignedIn
from lib.identity.step_up import challenged, step_up_by_sign_in
from lib.storage.key_vault import KeyVault
from lib.storage.row_keys import RowKeys
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.standings import Standings
from lib.storage.tables import Tables
from tests.clock import Clock

pytestmark = pytest.mark.stack

BASE = "https://ask.contoso.com"
CLAIMS = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
ALICE = SignedIn("tenant", "alice", login_hint="hint", refresh_token="refresh")
APP = Principal("tenant", "app", "app", "bearer", 1_800_003_600)


@pytest.fixture
def sessions(key_vault_client: KeyVault, tables: Tables, clock: Clock) -> Sessions:
    """Sessions of a gateway."""
    sealer = Sealer(KeyRing(key_vault_client, now=clock))
    return Sessions(tables, sealer, RowKeys(key_vault_client), idle_seconds=1800, absolute_seconds=8 * 3600, now=clock)


@pytest.fixture
def revocations(key_vault_client: KeyVault, tables: Tables, clock: Clock) -> Revocations:
    """Its revocations."""
    return Revocations(Standings(tables, clock=clock), RowKeys(key_vault_client), now=clock)


async def test_a_session_by_redirect_is_told_where_to_sign_in_again(
    sessions: Sessions, revocations: Revocations
) -> None:
    """An address with a handle, and nothing of the claims in it."""
    cookie, session = await sessions.open(ALICE)
    url = await login_url(principal_of_session(session, sessions))
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{BASE}/api/login"
    assert parse_qs(parts.query).keys() == {"step_up"}
    signed_in = await challenged(sessions, revocations, cookie, handle_of(url))
    assert (signed_in.challenge, signed_in.login_hint) == (CLAIMS, "hint")


async def test_who_brought_a_token_takes_the_claims_to_entra_themselves(sessions: Sessions) -> None:
    """By bearer, or by a session that was opened with a token; an app as well."""
    by_token = replace(ALICE, refresh_token="", assertion="token", assertion_expires_at=1_800_003_600)
    _, session = await sessions.open(by_token)
    grant = Assertion("token", 1_800_003_600, 1_800_000_000)
    bearer = Principal("tenant", "alice", "user", "bearer", 1_800_003_600, grant)
    for principal in (principal_of_session(session, sessions), bearer, APP):
        with pytest.raises(StepUpRequired) as told:
            async with step_up_by_sign_in(principal, BASE):
                raise StepUpRequired(CLAIMS)
        assert (told.value.claims, told.value.login_url, told.value.members) == (CLAIMS, "", {})


async def test_everything_else_passes_as_it_is(sessions: Sessions) -> None:
    """Results and other failures; the session is not written to."""
    cookie, session = await sessions.open(ALICE)
    principal = principal_of_session(session, sessions)
    async with step_up_by_sign_in(principal, BASE):
        pass
    with pytest.raises(AgentFailed):
        async with step_up_by_sign_in(principal, BASE):
            raise AgentFailed
    assert (await sessions.find(cookie)).row.etag == session.row.etag


async def test_a_session_that_was_ended_meanwhile_is_told_so(sessions: Sessions) -> None:
    """Signed out is signed out: there is nothing to make stronger."""
    cookie, session = await sessions.open(ALICE)
    await sessions.end(cookie)
    with pytest.raises(SessionExpired):
        await login_url(principal_of_session(session, sessions))


async def test_a_handle_is_good_with_its_own_session_alone(sessions: Sessions, revocations: Revocations) -> None:
    """Not with another one of the same person, nor after its own has ended."""
    cookie, session = await sessions.open(ALICE)
    other, other_session = await sessions.open(ALICE)
    handle = handle_of(await login_url(principal_of_session(session, sessions)))
    await login_url(principal_of_session(other_session, sessions))
    for wrong in (other, "", "made.up"):
        with pytest.raises(LoginFailed):
            await challenged(sessions, revocations, wrong, handle)
    await sessions.end(cookie)
    with pytest.raises(LoginFailed):
        await challenged(sessions, revocations, cookie, handle)


async def test_a_handle_of_a_revoked_session_begins_nothing(
    sessions: Sessions, revocations: Revocations, clock: Clock
) -> None:
    """Its row may still be there: what was revoked counts for nothing, wherever it is shown."""
    carol = replace(ALICE, object_id=str(uuid.uuid4()))
    cookie, session = await sessions.open(carol)
    handle = handle_of(await login_url(principal_of_session(session, sessions)))
    assert (await challenged(sessions, revocations, cookie, handle)).challenge == CLAIMS
    clock.advance(1)
    await revocations.revoke(carol.tenant_id, carol.object_id)
    with pytest.raises(LoginFailed):
        await challenged(sessions, revocations, cookie, handle)


@pytest.mark.parametrize("handle", ["", "x" * 21, "x" * 23, "x" * 22, "é" * 22, "../" + "x" * 19])
async def test_a_handle_that_was_not_handed_out_begins_nothing(
    sessions: Sessions, revocations: Revocations, handle: str
) -> None:
    """Whether a challenge is pending or not."""
    cookie, session = await sessions.open(ALICE)
    for _ in range(2):
        with pytest.raises(LoginFailed):
            await challenged(sessions, revocations, cookie, handle)
        await sessions.challenge(session, CLAIMS)


async def test_what_cannot_be_a_handle_costs_no_look_into_the_table(
    sessions: Sessions, revocations: Revocations, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor does a cookie that was not made here."""
    cookie, _ = await sessions.open(ALICE)
    monkeypatch.setattr(sessions, "_tables", None)
    monkeypatch.setattr(revocations, "_standings", None)
    for wrong_cookie, handle in ((cookie, "short"), (f"{cookie[:-1]}x", "x" * 22), ("", "x" * 22)):
        with pytest.raises(LoginFailed):
            await challenged(sessions, revocations, wrong_cookie, handle)


async def test_what_was_answered_keeps_answers_apart(sessions: Sessions) -> None:
    """As the authentication contexts of a token do: what a stronger sign-in was told is not for the weaker one."""
    strengths = []
    for signed_in in (ALICE, replace(ALICE, claims=CLAIMS), replace(ALICE, acrs="c1 c2")):
        _, session = await sessions.open(signed_in)
        strengths.append(principal_of_session(session, sessions).acrs)
    assert strengths == [set(), {CLAIMS}, {"c1", "c2"}]


async def login_url(principal: Principal) -> str:
    """Where a principal is sent to who has to step up."""
    with pytest.raises(StepUpRequired) as told:
        async with step_up_by_sign_in(principal, BASE):
            raise StepUpRequired(CLAIMS)
    assert told.value.members == {"login_url": told.value.login_url}
    return told.value.login_url


def handle_of(url: str) -> str:
    """The handle in a login URL."""
    return parse_qs(urlsplit(url).query)["step_up"][0]
