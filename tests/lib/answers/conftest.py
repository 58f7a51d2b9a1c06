"""What the tests of answers that outlive their request share."""

import secrets

import pytest

from lib.answers import operations
from lib.answers.operations import Operations
from lib.storage.key_vault import KeyVault
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.tables import Tables
from tests.clock import Clock
from tests.lib.answers.works import Notes


@pytest.fixture
def sealer(key_vault_client: KeyVault, clock: Clock) -> Sealer:
    """What seals."""
    return Sealer(KeyRing(key_vault_client, now=clock))


@pytest.fixture
async def _table(tables: Tables) -> None:
    """The table of operations, so that nothing has to make it on the way."""
    await tables.insert(operations.TABLE, "test", secrets.token_hex(16), {"expires": 0})


@pytest.fixture
def notes() -> Notes:
    """The conversations."""
    return Notes()


@pytest.fixture
def kept(sealer: Sealer, _table: None, fronted: Tables, notes: Notes, clock: Clock) -> Operations:
    """The operations of a gateway, whose storage can fail."""
    made = Operations(fronted, sealer, notes, now=clock, sleep=clock.sleep)
    notes.operations = made
    return made
