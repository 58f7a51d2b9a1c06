"""Rules for revocation, on a real Azurite behind a front that can fail."""

import asyncio
import uuid

import pytest
from starlette.responses import Response

from lib.errors import StateUnavailable
from lib.identity.revocation import FRESH_SECONDS, KEPT_SECONDS, OUTAGE_SECONDS, Revocations
from lib.storage.key_vault import KeyVault
from lib.storage.row_keys import RowKeys
from lib.storage.standings import ROW, TABLE, Standings
from lib.storage.tables import Tables
from lib.telemetry import metrics
from tests.clock import Clock
from tests.lib.storage.front import Front
from tests.lib.telemetry.heard import hearing

pytestmark = pytest.mark.stack

AWAY = Response(status_code=403)


@pytest.fixture
def keys(key_vault_client: KeyVault) -> RowKeys:
    """What rows are named by."""
    return RowKeys(key_vault_client)


@pytest.fixture
def revocations(keys: RowKeys, fronted: Tables, clock: Clock) -> Revocations:
    """One instance's."""
    return Revocations(Standings(fronted, clock=clock), keys, now=clock)


@pytest.fixture
def others(keys: RowKeys, fronted: Tables, clock: Clock) -> Revocations:
    """Another instance's."""
    return Revocations(Standings(fronted, clock=clock), keys, now=clock)


@pytest.fixture
def tenant() -> str:
    """A tenant of this test alone."""
    return str(uuid.uuid4())


async def test_where_nothing_was_revoked_everything_counts(revocations: Revocations, tenant: str) -> None:
    """The moment is the beginning of time."""
    assert await revocations.valid_after(tenant, "alice") == 0


async def test_a_revocation_counts_at_once_here_and_within_half_a_minute_elsewhere(
    revocations: Revocations, others: Revocations, tenant: str, clock: Clock
) -> None:
    """Instances look again after 30 s."""
    assert await others.valid_after(tenant, "alice") == 0
    await revocations.revoke(tenant, "alice")
    assert await revocations.valid_after(tenant, "alice") == clock.now
    assert await others.valid_after(tenant, "alice") == 0
    clock.advance(FRESH_SECONDS)
    assert await others.valid_after(tenant, "alice") == clock.now - FRESH_SECONDS


async def test_a_persons_revocation_is_hers_and_a_tenants_is_everybodys(
    revocations: Revocations, tenant: str, clock: Clock
) -> None:
    """The latest moment of those that concern one counts."""
    await revocations.revoke(tenant, "alice")
    assert await revocations.valid_after(tenant, "bob") == 0
    clock.advance(100)
    await revocations.revoke(tenant)
    assert await revocations.valid_after(tenant, "alice") == clock.now
    assert await revocations.valid_after(tenant, "bob") == clock.now
    assert await revocations.valid_after(str(uuid.uuid4()), "carol") == 0


async def test_a_known_moment_costs_no_call(revocations: Revocations, tenant: str, clock: Clock, front: Front) -> None:
    """Two reads the first time, none for half a minute, and one for the next person of the tenant."""
    await revocations.valid_after(tenant, "alice")
    first = len(front.methods)
    await asyncio.gather(*(revocations.valid_after(tenant, "alice") for _ in range(20)))
    clock.advance(FRESH_SECONDS - 1)
    await revocations.valid_after(tenant, "alice")
    assert len(front.methods) == first == 2
    await revocations.valid_after(tenant, "bob")
    assert len(front.methods) == first + 1


async def test_who_must_not_be_late_learns_of_a_revocation_elsewhere_at_once(
    revocations: Revocations, others: Revocations, tenant: str, clock: Clock, front: Front
) -> None:
    """For one read of the person's own row; it is known to everybody here from then on."""
    assert await others.valid_after(tenant, "alice") == 0
    await revocations.revoke(tenant, "alice")
    front.methods.clear()
    assert await others.valid_after(tenant, "alice", at_once=True) == clock.now
    assert front.methods == ["GET"]
    assert await others.valid_after(tenant, "alice") == clock.now
    assert front.methods == ["GET"]


async def test_who_must_not_be_late_is_told_where_that_cannot_be_known(
    revocations: Revocations, tenant: str, front: Front
) -> None:
    """However young the known moment is; for everybody else it serves on."""
    await revocations.valid_after(tenant, "alice")
    front.planned.append(AWAY)
    with pytest.raises(StateUnavailable):
        await revocations.valid_after(tenant, "alice", at_once=True)
    assert await revocations.valid_after(tenant, "alice") == 0


async def test_a_revocation_of_the_whole_tenant_counts_for_who_must_not_be_late(
    revocations: Revocations, tenant: str, clock: Clock
) -> None:
    """As it is known here."""
    await revocations.valid_after(tenant, "alice")
    await revocations.revoke(tenant)
    assert await revocations.valid_after(tenant, "alice", at_once=True) == clock.now


async def test_many_at_once_share_the_reads(revocations: Revocations, tenant: str, front: Front) -> None:
    """Fifty requests of one person on a cold instance are two reads."""
    await asyncio.gather(*(revocations.valid_after(tenant, "alice") for _ in range(50)))
    assert len(front.methods) == 2


async def test_while_storage_is_away_a_known_moment_serves_and_an_unknown_one_lets_nobody_in(
    revocations: Revocations, tenant: str, clock: Clock, front: Front
) -> None:
    """Five minutes; then the guard closes."""
    await revocations.revoke(tenant, "alice")
    moment = await revocations.valid_after(tenant, "alice")
    clock.advance(OUTAGE_SECONDS - 1)
    front.planned.extend([AWAY] * 2)
    with hearing() as heard:
        assert await revocations.valid_after(tenant, "alice") == moment
        assert heard.of(metrics.DEGRADED) == [{"mode": "standing_kept"}] * 2
    clock.advance(1)
    front.planned.extend([AWAY] * 2)
    with pytest.raises(StateUnavailable):
        await revocations.valid_after(tenant, "alice")
    front.planned.clear()
    front.planned.extend([AWAY] * 2)
    with pytest.raises(StateUnavailable):
        await revocations.valid_after(str(uuid.uuid4()), "bob")
    front.planned.clear()


async def test_what_else_the_row_holds_is_kept(
    revocations: Revocations, keys: RowKeys, tables: Tables, tenant: str, clock: Clock
) -> None:
    """The row is shared with others; a later revocation moves the moment and the row's end."""
    partition = await keys.partition(tenant, "alice")
    await tables.insert(TABLE, partition, ROW, {"expires": 1, "other": "kept"})
    await revocations.revoke(tenant, "alice")
    row = await tables.read(TABLE, partition, ROW)
    assert row is not None
    assert dict(row.values) == {"valid_after": clock.now, "expires": int(clock.now) + KEPT_SECONDS, "other": "kept"}


async def test_two_revocations_at_once_both_succeed(
    revocations: Revocations, others: Revocations, tenant: str, clock: Clock
) -> None:
    """The slower one reads again."""
    await asyncio.gather(*(instance.revoke(tenant, "alice") for instance in (revocations, others) for _ in range(2)))
    assert await others.valid_after(tenant, "alice") == clock.now


async def test_a_revocation_that_always_comes_late_says_that_it_did_not_count(
    revocations: Revocations, keys: RowKeys, fronted: Tables, tenant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who revokes has to know."""
    partition = await keys.partition(tenant, "alice")
    await fronted.insert(TABLE, partition, ROW, {"expires": 1, "turn": 0})
    read = fronted.read

    async def read_late(table: str, partition: str, key: str) -> object:
        row = await read(table, partition, key)
        assert row is not None
        await fronted.update(table, row, {"turn": row.values["turn"] + 1})
        return row

    monkeypatch.setattr(fronted, "read", read_late)
    with pytest.raises(StateUnavailable):
        await revocations.revoke(tenant, "alice")


async def test_a_revocation_never_moves_the_moment_back(
    revocations: Revocations, others: Revocations, tenant: str, clock: Clock
) -> None:
    """An instance whose clock is behind revokes no less than was revoked."""
    await revocations.revoke(tenant, "alice")
    moment = clock.now
    clock.advance(-60)
    await others.revoke(tenant, "alice")
    assert await others.valid_after(tenant, "alice") == moment
