"""Row keys: stable, unlike one another, and nobody's without the secret."""

import hashlib
import hmac
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lib.errors import StateUnavailable
from lib.storage.key_vault import KeyVault
from lib.storage.row_keys import RowKeys
from tests.clock import Clock
from tests.lib.conftest import RunningVault, new_key

pytestmark = pytest.mark.stack

TEXTS = st.lists(st.text("ab\0-", max_size=2), min_size=1, max_size=3)


@pytest.fixture
def keys(key_vault_client: KeyVault, vault: RunningVault) -> RowKeys:
    """Row keys under a known secret, `k` 32 times."""
    vault.content.put("index-key", "a2tra2tra2tra2tra2tra2tra2tra2tra2tra2tra2s=")
    return RowKeys(key_vault_client)


async def test_a_key_stays_what_it_is(keys: RowKeys) -> None:
    """It is half an HMAC-SHA256 over the framed texts: any other form would orphan every row there is."""
    message = b"".join(len(part).to_bytes(4) + part for part in (b"partition", b"tenant", b"object"))
    assert await keys.partition("tenant", "object") == hmac.new(b"k" * 32, message, hashlib.sha256).hexdigest()[:32]
    assert await keys.partition("tenant", "object") == "8c5e367590aa4efae1ab0071e04c34cc"
    assert await keys.row("session", "secret") == "f29178ee8b387afde96b0d3da0754843"


@given(TEXTS, TEXTS)
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_different_parts_make_different_keys(keys: RowKeys, one: list[str], other: list[str]) -> None:
    """Wherever the borders between the parts are; each key is 32 hex digits."""
    mine, theirs = await keys.row(*one), await keys.row(*other)
    assert (mine == theirs) == (one == other)
    assert re.fullmatch(r"[0-9a-f]{32}", mine)


async def test_a_partition_is_no_rows_key(keys: RowKeys) -> None:
    """Not even a row's of the kind `partition`."""
    assert await keys.partition("t", "o") not in {await keys.row("partition", "t", "o"), await keys.row("t", "o")}


async def test_another_secret_makes_other_keys(keys: RowKeys, vault: RunningVault, clock: Clock) -> None:
    """Who has the texts and not the secret cannot make a key."""
    before = await keys.partition("t", "o")
    vault.content.put("index-key", new_key())
    clock.advance(3600)
    assert await keys.partition("t", "o") != before


async def test_a_secret_that_is_no_key_is_state_unavailable(keys: RowKeys, vault: RunningVault) -> None:
    """No row is found or written under a key that anybody could guess."""
    vault.content.put("index-key", "password")
    with pytest.raises(StateUnavailable):
        await keys.partition("t", "o")


async def test_a_pseudonym_is_the_same_each_time_and_names_no_row(keys: RowKeys) -> None:
    """Who has the lines of the audit finds nobody's rows by them."""
    partition = await keys.partition("tenant", "object")
    pseudonym = await keys.pseudonym(partition)
    assert pseudonym == await keys.pseudonym(partition)
    assert re.fullmatch("[0-9a-f]{32}", pseudonym)
    others = {partition, await keys.row("audit", partition), await keys.pseudonym(await keys.partition("t", "o"))}
    assert pseudonym not in others
