"""Rules for what a session counts for, on a real Azurite and with the real Key Vault client."""

import uuid
from dataclasses import replace

import pytest

from lib.errors import SessionExpired
from lib.identity.auth import principal_of_session
from lib.identity.principal import Assertion
from lib.identity.revocation import FRESH_SECONDS, Revocations, session_in_force
from lib.identity.sessions import Sessions, SignedIn
from lib.storage.key_vault import KeyVault
from lib.storage.row_keys import RowKeys
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.standings import Standings
from lib.storage.tables import Tables
from tests.clock import Clock

pytestmark = pytest.mark.stack

BACKDATED_SECONDS = 300


class Instance:
    """One of several processes over the same tables."""

    def __init__(self, tables: Tables, vault: KeyVault, clock: Clock) -> None:
        sealer, keys = Sealer(KeyRing(vault, now=clock)), RowKeys(vault)
        self.sessions = Sessions(tables, sealer, keys, idle_seconds=1800, absolute_seconds=8 * 3600, now=clock)
        self.revocations = Revocations(Standings(tables, clock=clock), keys, now=clock)

    async def lets_in(self, cookie: str) -> bool:
        """Whether the cookie's session counts here."""
        try:
            await session_in_force(cookie, self.sessions, self.revocations)
        except SessionExpired:
            return False
        return True


@pytest.fixture
def instance(key_vault_client: KeyVault, tables: Tables, clock: Clock) -> Instance:
    """One instance."""
    return Instance(tables, key_vault_client, clock)


@pytest.fixture
def another(key_vault_client: KeyVault, tables: Tables, clock: Clock) -> Instance:
    """A second one."""
    return Instance(tables, key_vault_client, clock)


@pytest.fixture
def alice() -> SignedIn:
    """Somebody of a tenant of this test alone, who signs in by redirect."""
    return SignedIn(str(uuid.uuid4()), "alice", refresh_token="refresh")


def by_token(signed_in: SignedIn, issued_at: float) -> SignedIn:
    """The same person, who brings an access token."""
    return replace(
        signed_in,
        refresh_token="",
        login_hint="a-hint",
        sid="the-session",
        assertion="token",
        assertion_expires_at=issued_at + 4000,
        assertion_issued_at=issued_at,
    )


async def test_a_revoked_token_does_not_live_on_as_a_session(
    instance: Instance, another: Instance, alice: SignedIn, clock: Clock
) -> None:
    """Where an instance that does not know of it yet makes one: it is as old as the token, wherever it is brought."""
    token = by_token(alice, clock.now - BACKDATED_SECONDS)
    assert await another.revocations.valid_after(alice.tenant_id, "alice") == 0
    await instance.revocations.revoke(alice.tenant_id, "alice")
    clock.advance(FRESH_SECONDS - 1)
    cookie, session = await another.sessions.open(token)
    assert session.issued_at == token.assertion_issued_at
    assert not await instance.lets_in(cookie)
    clock.advance(1)
    assert not await another.lets_in(cookie)


async def test_a_session_by_redirect_counts_from_its_opening(instance: Instance, alice: SignedIn, clock: Clock) -> None:
    """Entra dates tokens back, but a sign-in happens when it happens: after a revocation it counts at once."""
    before, _ = await instance.sessions.open(alice)
    clock.advance(1)
    await instance.revocations.revoke(alice.tenant_id, "alice")
    after, session = await instance.sessions.open(alice)
    assert session.issued_at == session.created == clock.now
    assert [await instance.lets_in(cookie) for cookie in (before, after)] == [False, True]


async def test_a_token_that_is_newer_than_the_revocation_counts_as_a_session(
    instance: Instance, alice: SignedIn, clock: Clock
) -> None:
    """As it counts by itself; a clock of Entra's that is early makes it no younger than the session."""
    await instance.revocations.revoke(alice.tenant_id, "alice")
    clock.advance(BACKDATED_SECONDS)
    cookie, _ = await instance.sessions.open(by_token(alice, clock.now - BACKDATED_SECONDS))
    early, session = await instance.sessions.open(by_token(alice, clock.now + 30))
    assert [await instance.lets_in(each) for each in (cookie, early)] == [True, True]
    assert session.issued_at == clock.now


async def test_a_session_of_a_release_that_did_not_know_the_tokens_age_counts_from_its_opening(
    instance: Instance, alice: SignedIn
) -> None:
    """Old and new code run side by side during an update."""
    _, session = await instance.sessions.open(by_token(alice, 0))
    assert session.issued_at == session.created


async def test_the_token_in_a_session_is_the_token_that_was_brought(instance: Instance, alice: SignedIn) -> None:
    """With its times, and with what Entra calls the sign-in; nothing of it is shown."""
    _, session = await instance.sessions.open(by_token(alice, 1_799_999_000))
    grant = principal_of_session(session, instance.sessions).grant
    assert grant == Assertion("token", 1_800_003_000, 1_799_999_000, "the-session", "a-hint")
    assert not [hidden for hidden in ("token'", "the-session", "a-hint") if hidden in repr(grant)]
