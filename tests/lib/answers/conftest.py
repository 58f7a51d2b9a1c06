"""What the tests of answers that outlive their request share: real parts on Azurite, and an agent on the wire."""

import json
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest
from azure.storage.queue import TextBase64DecodePolicy
from azure.storage.queue.aio import QueueClient

from lib.answers import operations
from lib.answers.by_queue import QUEUE
from lib.answers.cache import AnswerCache
from lib.answers.operations import Operations
from lib.answers.questions import Questions
from lib.answers.stored import StoredAnswers
from lib.identity.revocation import Revocations
from lib.limits.limiter import Limiter
from lib.limits.safe_share import SafeShare
from lib.limits.usage import Limits, Usage
from lib.settings import StateStorage
from lib.storage.key_vault import KeyVault
from lib.storage.queues import Queue
from lib.storage.row_keys import RowKeys
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.standings import ROW, TABLE, Standings
from lib.storage.tables import Tables
from lib.traffic.gcra import Meter, Rate
from local.azurite import Azurite
from local.serving import Server
from tests.clock import Clock
from tests.lib.agents.upstream import Upstream
from tests.lib.answers.works import Notes
from tests.lib.conftest import RunningVault, new_key
from tests.lib.storage.front import Front

LIMITS = Limits(per_minute=6000, burst=1000, in_flight=100)
STALE_SECONDS = 3600


@pytest.fixture
def sealer(key_vault_client: KeyVault, clock: Clock) -> Sealer:
    """What seals."""
    return Sealer(KeyRing(key_vault_client, now=clock))


def lose_key(vault: RunningVault, clock: Clock) -> None:
    """An operator takes away the key that everything was sealed with; an hour later that is known."""
    vault.content.put("sealing-key", new_key(), created=clock.now - 3600)
    vault.content.disable("sealing-key", vault.content.versions("sealing-key")[0].version)


@pytest.fixture
async def _table(tables: Tables) -> None:
    """The tables that are written to, so that nothing has to make them on the way."""
    for name in (operations.TABLE, TABLE, "answers"):
        await tables.insert(name, "test", secrets.token_hex(16), {"expires": 0})


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


@pytest.fixture
def standings(_table: None, tables: Tables) -> Standings:
    """The rows of everybody, on a way that does not fail."""
    return Standings(tables)


@dataclass(frozen=True)
class Places:
    """The limiter, and what its row says."""

    limiter: Limiter
    tables: Tables

    async def take(self, partition: str, slot_id: str) -> None:
        """Lets one through, as whoever begins an operation does."""
        await self.limiter.admit(partition, slot_id, 90)

    async def taken(self, partition: str) -> list[str]:
        """Whose places are taken."""
        row = await self.tables.read(TABLE, partition, ROW)
        return [slot.id for slot in Usage.read(row.values).slots] if row else []


@pytest.fixture
def places(standings: Standings, tables: Tables, clock: Clock) -> Places:
    """The places of questions under way."""
    return Places(Limiter(standings, SafeShare(LIMITS, 40), LIMITS, now=clock), tables)


@pytest.fixture
def way(
    key_vault_client: KeyVault, sealer: Sealer, standings: Standings, places: Places, tables: Tables, clock: Clock
) -> Questions:
    """The way of a question, whose kept answers are on a way that does not fail."""
    return Questions(
        AnswerCache(STALE_SECONDS, now=clock),
        StoredAnswers(tables, sealer, STALE_SECONDS),
        Meter(Rate.per_minute(6000, 1000)),
        places.limiter,
        Revocations(standings, RowKeys(key_vault_client), now=clock),
        stale_seconds=STALE_SECONDS,
        now=clock,
    )


@pytest.fixture
def upstream() -> Upstream:
    """The agent."""
    return Upstream()


class Mailbox:
    """A queue on Azurite: what is sent goes through `front`, and `received` is what a runner gets."""

    def __init__(self, queue: Queue, front: Front, connection: str, name: str) -> None:
        self.queue = queue
        self.front = front
        self._connection = connection
        self._name = name
        self.lifetimes: list[float] = []
        """For how many seconds each of those that were received last was to be had."""

    async def received(self) -> list[bytes]:
        """The messages that are there, which are gone then."""
        async with QueueClient.from_connection_string(
            self._connection, self._name, message_decode_policy=TextBase64DecodePolicy()
        ) as reader:
            messages = [message async for message in reader.receive_messages(messages_per_page=32)]
            for message in messages:
                await reader.delete_message(message)
        times = [(message.inserted_on, message.expires_on) for message in messages]
        self.lifetimes = [(ends - began).total_seconds() for began, ends in times if began and ends]
        return [message.content.encode() for message in messages]

    async def ids(self) -> list[str]:
        """The operations that those messages are about."""
        return [json.loads(text)["operation"] for text in await self.received()]


@pytest.fixture
async def mailbox(azurite: Azurite, queue_server: tuple[Front, Server]) -> AsyncIterator[Mailbox]:
    """A queue of this test's own."""
    front, server = queue_server
    account, name = azurite.connection_string.partition("TableEndpoint=")[0], f"{QUEUE}-{secrets.token_hex(8)}"
    async with QueueClient.from_connection_string(azurite.connection_string, name) as maker:
        await maker.create_queue()
    state = StateStorage(connection_string=f"{account}QueueEndpoint={server.url}/devstoreaccount1")
    queue = Queue(state, name)
    yield Mailbox(queue, front, azurite.connection_string, name)
    await queue.close()
    assert not front.planned, "a fault was planned that nothing met"
