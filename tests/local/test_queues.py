"""Queue triggers on a real Azurite: which messages a function gets, how often, and what becomes of them."""

import asyncio
import base64
import logging
import secrets
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azure.storage.queue.aio import QueueClient
from hypothesis import given
from hypothesis import strategies as st

from lib.settings import AZURITE
from local.azurite import Azurite
from local.faults import drop
from local.messages import Message
from local.queue_options import QueueOptions
from local.queues import Deliver, QueueListener, listener_of
from local.serving import Server
from tests.lib.storage.front import Front

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

SOON = QueueOptions(max_polling_seconds=0.1)
PATIENCE_SECONDS = 20


class Watched(Front):
    """A front that keeps what is asked of one queue, and of its poison queue: `GET numofmessages=16&…`.

    For each method in `lost` one request is cut; the transport repeats reads and changes once by itself.
    """

    def __init__(self, target: str) -> None:
        super().__init__(target)
        self.queue = ""
        self.lost: list[str] = []
        self._news = threading.Condition()

    async def respond(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        """Answers one request, and keeps what it was."""
        is_watched, method = f"/{self.queue}" in scope["path"], scope["method"]
        is_lost = is_watched and method in self.lost
        if is_lost:
            self.lost.remove(method)
        if is_watched:
            with self._news:
                self.methods.append(f"{method} {scope['query_string'].decode()}")
                self._news.notify_all()
        await (drop if is_lost else self.pass_on)(scope, receive, send)

    async def saw(self, request: str, times: int = 1) -> None:
        """Returns once requests that begin so have come so many times."""

        def wait() -> bool:
            with self._news:
                return self._news.wait_for(lambda: self.count(request) >= times, PATIENCE_SECONDS)

        assert await asyncio.to_thread(wait), f"{request} came {self.count(request)} times"

    def count(self, request: str) -> int:
        """How many requests have begun so."""
        return sum(seen.startswith(request) for seen in self.methods)


class Function:
    """Stands for a function: keeps what it got, and succeeds or fails as it is told, once it may end."""

    def __init__(self, *, succeeds: bool = True, may_end: bool = True) -> None:
        self.succeeds = succeeds
        self.got: asyncio.Queue[Message] = asyncio.Queue()
        self.running = 0
        self.most = 0
        self.given_up = 0
        self._may_end = asyncio.Semaphore(1_000_000 if may_end else 0)

    async def __call__(self, message: Message) -> bool:
        """One run."""
        self.running += 1
        self.most = max(self.most, self.running)
        self.got.put_nowait(message)
        try:
            await self._may_end.acquire()
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        finally:
            self.running -= 1
        return self.succeeds

    def end(self, runs: int = 1) -> None:
        """Lets so many runs end."""
        for _ in range(runs):
            self._may_end.release()

    async def next(self) -> Message:
        """The next message it gets."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.got.get()


@pytest.fixture(scope="module")
def front_server(azurite: Azurite) -> Iterator[tuple[Watched, Server]]:
    """A server in front of Azurite's queues."""
    parts = urlsplit(azurite.queue_url)
    front = Watched(f"{parts.scheme}://{parts.netloc}")
    with Server(front, host="127.0.0.1") as server:
        yield front, server


@pytest.fixture
def front(front_server: tuple[Watched, Server], name: str) -> Iterator[Watched]:
    """The front with nothing planned and nothing counted, looking past what an earlier test's listener asks late."""
    front, _ = front_server
    front.queue = name
    front.methods.clear()
    yield front
    assert front.lost == [], "a fault was planned that nothing met"


@pytest.fixture
def connection(azurite: Azurite, front_server: tuple[Watched, Server]) -> str:
    """Azurite, with its queues behind the front."""
    account = azurite.connection_string.partition("TableEndpoint=")[0]
    return f"{account}QueueEndpoint={front_server[1].url}/devstoreaccount1"


@pytest.fixture
def name() -> str:
    """The name of a queue."""
    return f"q{secrets.token_hex(8)}"


@pytest.fixture
async def queue(azurite: Azurite, name: str) -> AsyncIterator[QueueClient]:
    """That queue, which exists, for the sender."""
    async with QueueClient.from_connection_string(azurite.connection_string, name) as opened:
        await opened.create_queue()
        yield opened


@pytest.fixture
async def poison(azurite: Azurite, name: str) -> AsyncIterator[QueueClient]:
    """Its poison queue, which does not."""
    async with QueueClient.from_connection_string(azurite.connection_string, f"{name}-poison") as opened:
        yield opened


@asynccontextmanager
async def listening(
    connection: str,
    name: str,
    deliver: Deliver,
    options: QueueOptions = SOON,
    invisible_seconds: int = 600,
) -> AsyncIterator[None]:
    """Delivers the messages of a queue meanwhile."""
    listener = QueueListener(connection, name, deliver, options, invisible_seconds=invisible_seconds)
    task = asyncio.create_task(listener.listen())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def encoded(text: str) -> str:
    """A text as it goes on the wire."""
    return base64.b64encode(text.encode()).decode()


async def size(queue: QueueClient) -> int:
    """How many messages a queue holds, whether they are visible or not."""
    return (await queue.get_queue_properties()).approximate_message_count or 0


async def is_emptied(queue: QueueClient) -> None:
    """Returns once a queue holds nothing."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await size(queue):
            pass


async def contents(queue: QueueClient) -> list[str]:
    """The visible messages of a queue as they are on the wire; waits until the queue exists and has one."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            with suppress(ResourceNotFoundError):
                if peeked := await queue.peek_messages(32):
                    return [message.content for message in peeked]


@pytest.mark.stack
async def test_a_message_is_delivered_and_deleted(
    queue: QueueClient, connection: str, front: Watched, name: str
) -> None:
    """The function gets its text and what the queue knows of it; nobody else gets it for ten minutes."""
    sent = await queue.send_message(encoded("text"), time_to_live=60)
    function = Function()
    async with listening(connection, name, function):
        message = await function.next()
        await is_emptied(queue)
    assert (message.text, message.facts["Id"], message.facts["DequeueCount"]) == ("text", sent.id, 1)
    assert set(front.methods[0].removeprefix("GET ").split("&")) == {"numofmessages=16", "visibilitytimeout=600"}


@pytest.mark.stack
async def test_a_message_whose_function_fails_is_delivered_again_until_it_is_poison(
    queue: QueueClient, poison: QueueClient, connection: str, name: str
) -> None:
    """So often and no more often; its text goes to the poison queue, which is made for it."""
    await queue.send_message(encoded("text"))
    function = Function(succeeds=False)
    async with listening(connection, name, function, QueueOptions(max_dequeue_count=3, max_polling_seconds=0.1)):
        assert [(await function.next()).facts["DequeueCount"] for _ in range(3)] == [1, 2, 3]
        await is_emptied(queue)
    assert function.got.empty()
    assert await contents(poison) == [encoded("text")]


@pytest.mark.stack
async def test_a_second_poison_message_joins_the_first(
    queue: QueueClient, poison: QueueClient, connection: str, name: str
) -> None:
    """The poison queue may be there."""
    for text in ("1", "2"):
        await queue.send_message(encoded(text))
    function = Function(succeeds=False)
    async with listening(connection, name, function, QueueOptions(max_dequeue_count=1, max_polling_seconds=0.1)):
        await is_emptied(queue)
    assert sorted(await contents(poison)) == sorted([encoded("1"), encoded("2")])


@pytest.mark.stack
async def test_a_message_whose_function_failed_stays_away_for_the_visibility_timeout(
    queue: QueueClient, connection: str, front: Watched, name: str
) -> None:
    """The queue is told how long."""
    await queue.send_message(encoded("text"))
    function = Function(succeeds=False)
    async with listening(connection, name, function, QueueOptions(visibility_seconds=30)):
        await function.next()
        await front.saw("PUT")
    (released,) = [request for request in front.methods if request.startswith("PUT")]
    assert "visibilitytimeout=30" in released


@pytest.mark.stack
async def test_a_message_stays_invisible_while_its_function_runs(
    queue: QueueClient, connection: str, front: Watched, name: str
) -> None:
    """However long that takes; it is deleted under its last receipt."""
    await queue.send_message(encoded("text"))
    function, other = Function(may_end=False), Function()
    async with listening(connection, name, function, invisible_seconds=4):
        await function.next()
        async with listening(connection, name, other):
            await front.saw("PUT", 2)  # two renewals, after two seconds and after four
            await front.saw("GET", front.count("GET") + 2)
            function.end()
            await is_emptied(queue)
    assert other.got.empty()
    assert function.got.empty()


@pytest.mark.stack
async def test_a_message_outlives_a_renewal_that_fails(
    queue: QueueClient, connection: str, front: Watched, name: str
) -> None:
    """The next one comes sooner than usual, and soon enough."""
    await queue.send_message(encoded("text"))
    function = Function(may_end=False)
    async with listening(connection, name, function, invisible_seconds=4):
        await function.next()
        front.lost.extend(["PUT", "PUT"])
        await front.saw("PUT", 3)
        function.end()
        await is_emptied(queue)
    assert function.got.empty()


@pytest.mark.stack
async def test_messages_run_side_by_side_up_to_a_batch_beyond_the_threshold(
    queue: QueueClient, connection: str, front: Watched, name: str
) -> None:
    """A new batch is asked for while no more than the threshold are under way."""
    for number in range(6):
        await queue.send_message(encoded(str(number)))
    function = Function(may_end=False)
    options = QueueOptions(batch_size=2, new_batch_threshold=1, max_polling_seconds=0.1)
    async with listening(connection, name, function, options):
        for _ in range(2):
            await function.next()
        assert front.count("GET") == 1
        function.end()
        for _ in range(2):
            await function.next()
        assert (front.count("GET"), function.running) == (2, 3)
        function.end(6)
        await is_emptied(queue)
    assert function.most == 3


@pytest.mark.stack
async def test_a_queue_that_is_missing_is_looked_for(
    azurite: Azurite, connection: str, front: Watched, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Quietly; its first message is delivered like any other."""
    function = Function()
    async with listening(connection, name, function):
        await front.saw("GET", 2)
        async with QueueClient.from_connection_string(azurite.connection_string, name) as queue:
            await queue.create_queue()
            await queue.send_message(encoded("text"))
            assert (await function.next()).text == "text"
            await is_emptied(queue)
    assert caplog.records == []


@pytest.mark.stack
async def test_a_queue_that_is_away_is_looked_for(
    queue: QueueClient, connection: str, front: Watched, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Quietly too, and no address is in the log at its most talkative."""
    caplog.set_level(logging.DEBUG)
    await queue.send_message(encoded("text"))
    caplog.clear()
    front.lost.extend(["GET"] * 4)
    function = Function()
    async with listening(connection, name, function):
        await function.next()
        await is_emptied(queue)
    told = [record for record in caplog.records if record.name.startswith("local.queues")]
    assert [record.getMessage() for record in told] == [f"queue {name} cannot be read: ServiceRequestError"] * 2
    assert {record.levelno for record in told} == {logging.DEBUG}


@pytest.mark.stack
async def test_what_is_not_base64_is_poison_at_once(
    queue: QueueClient, poison: QueueClient, connection: str, name: str
) -> None:
    """No function sees it, and the rest of its batch is delivered."""
    await queue.send_message("{plain}")
    await queue.send_message(encoded("text"))
    function = Function()
    async with listening(connection, name, function):
        assert (await function.next()).text == "text"
        await is_emptied(queue)
    assert await contents(poison) == ["{plain}"]


@pytest.mark.stack
async def test_a_message_that_was_given_up_too_often_is_poison(
    queue: QueueClient, poison: QueueClient, connection: str, name: str
) -> None:
    """Hosts that die with a message count as well."""
    await queue.send_message(encoded("text"))
    taken = await queue.receive_message()
    assert taken
    await queue.update_message(taken.id, taken.pop_receipt, visibility_timeout=0)
    function = Function()
    async with listening(connection, name, function, QueueOptions(max_dequeue_count=1)):
        await is_emptied(queue)
    assert function.got.empty()
    assert await contents(poison) == [encoded("text")]


@pytest.mark.stack
async def test_a_poison_queue_has_no_poison_queue(
    azurite: Azurite, poison: QueueClient, connection: str, front: Watched, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure leaves the message where it is, out of sight."""
    await poison.create_queue()
    sent = await poison.send_message(encoded("text"))
    function = Function(succeeds=False)
    async with listening(connection, f"{name}-poison", function, QueueOptions(max_dequeue_count=1)):
        await function.next()
        await front.saw("GET", 2)
    assert await size(poison) == 1
    assert [record.getMessage() for record in caplog.records] == [
        f"message {sent.id} of {name}-poison stays where it is"
    ]
    async with QueueClient.from_connection_string(azurite.connection_string, f"{name}-poison-poison") as beyond:
        with pytest.raises(ResourceNotFoundError):
            await beyond.get_queue_properties()


@pytest.mark.stack
async def test_a_message_that_is_gone_meanwhile_stops_nothing(
    queue: QueueClient, connection: str, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells, and the next message is delivered."""
    sent = await queue.send_message(encoded("1"))
    function = Function(may_end=False)
    async with listening(connection, name, function):
        await function.next()
        await queue.clear_messages()
        function.end(2)
        await queue.send_message(encoded("2"))
        assert (await function.next()).text == "2"
        await is_emptied(queue)
    assert [record.getMessage() for record in caplog.records] == [
        f"queue {name} is not told the end of message {sent.id}: ResourceNotFoundError"
    ]


@pytest.mark.stack
async def test_when_it_stops_it_gives_up_what_is_under_way(queue: QueueClient, connection: str, name: str) -> None:
    """The message stays, to be visible again later."""
    await queue.send_message(encoded("text"))
    function = Function(may_end=False)
    async with listening(connection, name, function):
        await function.next()
    assert function.given_up == 1
    assert await size(queue) == 1
    assert await queue.peek_messages() == []


def pauses(options: QueueOptions, uniform: Callable[[float, float], float]) -> Callable[[int], float]:
    """How a listener waits."""
    return QueueListener(AZURITE, "q", Function(), options, uniform=uniform).pause


async def test_an_empty_queue_is_asked_less_and_less_often() -> None:
    """From a tenth of a second on, up to the longest pause."""
    pause = pauses(QueueOptions(max_polling_seconds=2), lambda low, high: (low + high) / 2)
    assert [pause(number) for number in range(1, 9)] == pytest.approx([0.1, 0.2, 0.3, 0.5, 0.9, 1.7, 2, 2])


@given(st.integers(1, 10**6), st.floats(0.1, 1e6), st.floats(0.8, 1.2))
def test_no_pause_is_longer_than_the_longest(number: int, longest: float, chance: float) -> None:
    """However long nothing comes."""

    async def pause() -> float:
        return pauses(QueueOptions(max_polling_seconds=longest), lambda _low, _high: chance)(number)

    assert 0.1 <= asyncio.run(pause()) <= longest


@pytest.mark.parametrize(
    ("setting", "listens"),
    [
        pytest.param("UseDevelopmentStorage=true", True, id="by-the-short-name"),
        pytest.param(AZURITE, True, id="by-address"),
        pytest.param("AccountName=a;AccountKey=eA==;QueueEndpoint=https://a.queue.core.windows.net", False, id="cloud"),
        pytest.param("AccountName=a;AccountKey=eA==;EndpointSuffix=core.windows.net", False, id="cloud-by-suffix"),
        pytest.param("AccountName=a;QueueEndpoint=http://127.0.0.1.example:1/a", False, id="other-host"),
        pytest.param("", False, id="unset"),
    ],
)
async def test_messages_are_taken_from_this_machine_alone(
    setting: str, *, listens: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Those of a real account are for the functions that serve people; the log tells which setting is meant."""
    listener = listener_of({"connection": "STATE", "queueName": "q"}, {"STATE": setting}, Function(), SOON)
    assert (listener is not None) == listens
    told = [] if listens else ["no messages are taken from queue q: STATE does not lead to Azurite"]
    assert [record.getMessage() for record in caplog.records] == told
