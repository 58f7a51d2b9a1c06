"""Storage queues on a real Azurite: what arrives, and what a failure looks like."""

import asyncio
import base64
import json
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from azure.identity.aio import ManagedIdentityCredential
from azure.storage.queue import QueueMessage, TextBase64DecodePolicy
from azure.storage.queue.aio import QueueClient
from starlette.responses import HTMLResponse, RedirectResponse, Response
from starlette.types import ASGIApp

from lib.errors import StateUnavailable
from lib.settings import StateStorage
from lib.storage import azure_sdk
from lib.storage.queues import Queue
from local.azurite import Azurite
from local.certificates import Certificates
from local.faults import drop, hang
from local.serving import Server
from tests.lib.storage.front import Front

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

pytestmark = pytest.mark.stack

IDS = json.dumps({"partition": "p", "operation": "o", "note": "Grüße \U0001f600"}, ensure_ascii=False)


def error(status: int, code: str) -> Response:
    """An error as Queue Storage tells it."""
    body = f'<?xml version="1.0" encoding="utf-8"?><Error><Code>{code}</Code><Message>No.</Message></Error>'
    return Response(body, status, {"x-ms-error-code": code}, "application/xml")


NO_QUEUE = error(404, "QueueNotFound")
MADE = Response(status_code=201)
FAULTS: dict[str, ASGIApp] = {
    "cut": drop,
    "silent": hang,
    "busy": error(503, "ServerBusy"),
    "busy for long": Response(status_code=503, headers={"Retry-After": "60"}),
    "failing": error(500, "InternalError"),
    "forbidden": error(403, "AuthorizationPermissionMismatch"),
    "refused": error(401, "InvalidAuthenticationInfo"),
    "elsewhere": RedirectResponse("http://127.0.0.1:9/devstoreaccount1"),
    "not there": HTMLResponse("<h1>Not here</h1>", 404),
    "odd error": HTMLResponse("<h1>No</h1>", 400),
    "page": HTMLResponse("<p>Welcome</p>"),
    "page as success": HTMLResponse("<p>Welcome</p>", 201),
    "nothing": Response("<QueueMessagesList></QueueMessagesList>", 201, media_type="application/xml"),
}
ONE_HICCUP: dict[str, ASGIApp] = {
    "cut": drop,
    "busy": error(503, "ServerBusy"),
    "busy for now": Response(status_code=503, headers={"Retry-After": "0"}),
    "timed out": error(500, "OperationTimedOut"),
}


@pytest.fixture
def name() -> str:
    """The name of a queue that does not exist yet."""
    return f"q{secrets.token_hex(8)}"


@pytest.fixture
async def queue(azurite: Azurite, name: str) -> AsyncIterator[Queue]:
    """That queue of Azurite's."""
    opened = Queue(StateStorage(connection_string=azurite.connection_string), name)
    yield opened
    await opened.close()


@pytest.fixture(scope="module")
def front_server(azurite: Azurite) -> Iterator[tuple[Front, Server]]:
    """A server in front of Azurite's queues."""
    parts = urlsplit(azurite.queue_url)
    front = Front(f"{parts.scheme}://{parts.netloc}")
    with Server(front, host="127.0.0.1") as server:
        yield front, server


@pytest.fixture
def front(front_server: tuple[Front, Server]) -> Iterator[Front]:
    """The front with nothing planned and nothing counted."""
    front, _ = front_server
    front.methods.clear()
    yield front
    front.planned.clear()


@pytest.fixture
async def fronted(
    azurite: Azurite, front_server: tuple[Front, Server], front: Front, name: str
) -> AsyncIterator[Queue]:
    """The same queue, reached through the front."""
    opened = Queue(reached_at(azurite, f"{front_server[1].url}/devstoreaccount1"), name)
    yield opened
    await opened.close()
    assert not front.planned, "a fault was planned that nothing met"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Waits for hundreds of milliseconds where the gateway waits for seconds."""
    monkeypatch.setitem(azure_sdk.OPTIONS, "read_timeout", 0.2)
    monkeypatch.setattr(azure_sdk, "CALL_SECONDS", 0.6)


def reached_at(azurite: Azurite, queue_url: str) -> StateStorage:
    """Azurite, with its queues somewhere else."""
    account = azurite.connection_string.partition("TableEndpoint=")[0]
    return StateStorage(connection_string=f"{account}QueueEndpoint={queue_url}")


async def received(azurite: Azurite, name: str) -> list[QueueMessage]:
    """What a reader gets that takes texts for base64, as the host of Azure Functions does."""
    async with QueueClient.from_connection_string(
        azurite.connection_string, name, message_decode_policy=TextBase64DecodePolicy()
    ) as reader:
        return [message async for message in reader.receive_messages(messages_per_page=32)]


async def texts(azurite: Azurite, name: str) -> list[str]:
    """Their texts."""
    return [message.content for message in await received(azurite, name)]


async def test_a_message_arrives_as_it_was_sent(queue: Queue, azurite: Azurite, name: str) -> None:
    """On the wire its text is base64."""
    await queue.send(IDS, time_to_live_seconds=60)
    async with QueueClient.from_connection_string(azurite.connection_string, name) as reader:
        (peeked,) = await reader.peek_messages()
    assert base64.b64decode(peeked.content).decode() == IDS
    assert await texts(azurite, name) == [IDS]


async def test_a_message_lives_as_long_as_its_sender_says(queue: Queue, azurite: Azurite, name: str) -> None:
    """Nobody gets it afterwards, and nothing is left to sweep."""
    await queue.send(IDS, time_to_live_seconds=90)
    (message,) = await received(azurite, name)
    assert message.inserted_on
    assert message.expires_on
    assert (message.expires_on - message.inserted_on).total_seconds() == 90


async def test_a_queue_exists_once_a_message_was_sent(queue: Queue) -> None:
    """To look does not make it."""
    assert [await queue.exists(), await queue.exists()] == [False, False]
    await queue.send(IDS, time_to_live_seconds=60)
    assert await queue.exists()


@pytest.mark.parametrize("reply", [error(403, "AuthorizationFailure"), HTMLResponse("<h1>Not here</h1>", 404)])
async def test_whether_a_queue_exists_may_not_be_told(fronted: Queue, front: Front, reply: Response) -> None:
    """Who may not look, or finds something else there, knows nothing."""
    front.planned.extend([reply])
    with pytest.raises(StateUnavailable):
        await fronted.exists()


async def test_a_missing_queue_is_made_once_by_many_first_senders(queue: Queue, azurite: Azurite, name: str) -> None:
    """Each of them has its message in it."""
    await asyncio.gather(*(queue.send(str(number), time_to_live_seconds=60) for number in range(8)))
    assert sorted(await texts(azurite, name)) == [str(number) for number in range(8)]


async def test_a_queue_that_is_there_costs_one_call(fronted: Queue, front: Front, name: str, azurite: Azurite) -> None:
    """Only the first message of all has to make it."""
    await fronted.send("1", time_to_live_seconds=60)
    assert front.methods == ["POST", "PUT", "POST"]
    await fronted.send("2", time_to_live_seconds=60)
    assert front.methods == ["POST", "PUT", "POST", "POST"]
    assert await texts(azurite, name) == ["1", "2"]


async def test_another_sender_may_make_the_queue_meanwhile(
    queue: Queue, fronted: Queue, front: Front, azurite: Azurite, name: str
) -> None:
    """That it exists already is no failure."""
    await queue.send("1", time_to_live_seconds=60)
    front.planned.extend([NO_QUEUE, error(409, "QueueAlreadyExists")])
    await fronted.send("2", time_to_live_seconds=60)
    assert await texts(azurite, name) == ["1", "2"]


@pytest.mark.parametrize("making", [MADE, error(409, "QueueBeingDeleted")], ids=["made", "being deleted"])
async def test_a_queue_that_is_still_missing_is_state_unavailable(
    fronted: Queue, front: Front, making: Response
) -> None:
    """There is no third attempt."""
    front.planned.extend([NO_QUEUE, making, NO_QUEUE])
    with pytest.raises(StateUnavailable):
        await fronted.send(IDS, time_to_live_seconds=60)
    assert front.methods == ["POST", "PUT", "POST"]


async def test_a_queue_that_may_not_be_made_is_state_unavailable(fronted: Queue, front: Front) -> None:
    """A role may be missing for that alone."""
    front.planned.extend([NO_QUEUE, error(403, "AuthorizationPermissionMismatch")])
    with pytest.raises(StateUnavailable):
        await fronted.send(IDS, time_to_live_seconds=60)
    assert front.methods == ["POST", "PUT"]


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_whatever_fails_is_state_unavailable(fronted: Queue, front: Front, fault: ASGIApp) -> None:
    """Soon, after two attempts at most, and with no word of the SDK's."""
    front.planned.extend([fault] * 8)
    async with asyncio.timeout(5):
        with pytest.raises(StateUnavailable) as raised:
            await fronted.send(IDS, time_to_live_seconds=60)
    assert raised.value.detail == StateUnavailable.default_detail
    assert len(front.methods) <= 2
    front.planned.clear()


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ONE_HICCUP.values(), ids=ONE_HICCUP.keys())
async def test_sending_is_repeated_once_and_at_once(
    queue: Queue, fronted: Queue, front: Front, azurite: Azurite, name: str, fault: ASGIApp
) -> None:
    """One hiccup of the service goes unnoticed: the SDK's own repeat would come after a quarter of a minute."""
    await queue.send("1", time_to_live_seconds=60)
    front.planned.append(fault)
    await fronted.send("2", time_to_live_seconds=60)
    assert front.methods == ["POST", "POST"]
    assert await texts(azurite, name) == ["1", "2"]


async def test_a_lost_reply_makes_two_messages_of_one(
    queue: Queue, fronted: Queue, front: Front, azurite: Azurite, name: str
) -> None:
    """Their reader has to take the second for what it is."""
    await queue.send("1", time_to_live_seconds=60)
    front.planned.append(front.lose_reply)
    await fronted.send("2", time_to_live_seconds=60)
    assert await texts(azurite, name) == ["1", "2", "2"]


async def test_an_account_that_does_not_listen_is_state_unavailable(azurite: Azurite, name: str) -> None:
    """A refused connection is told like every other failure."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    queue = Queue(reached_at(azurite, f"http://127.0.0.1:{port}/devstoreaccount1"), name)
    with pytest.raises(azure_sdk.ServiceDown):
        await queue.send(IDS, time_to_live_seconds=60)
    await queue.close()


async def test_a_failure_is_logged_by_queue_type_and_status(
    fronted: Queue, front: Front, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log names the queue, and nothing of the message."""
    front.planned.append(error(403, "AuthorizationFailure"))
    with pytest.raises(StateUnavailable):
        await fronted.send("the-text", time_to_live_seconds=60)
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.__dict__ | {"queue": name, "status": 403, "fault": "HttpResponseError"} == record.__dict__
    assert "the-text" not in caplog.text
    assert base64.b64encode(b"the-text").decode() not in caplog.text


async def test_the_sdk_logs_neither_addresses_nor_texts(
    queue: Queue, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even with every logger at DEBUG."""
    with caplog.at_level(logging.DEBUG):
        await queue.send("the-text", time_to_live_seconds=60)
    assert name not in caplog.text
    assert base64.b64encode(b"the-text").decode() not in caplog.text
    assert "authorization" not in caplog.text.lower()
    assert "http" not in caplog.text.lower()


async def test_a_redirect_is_not_followed(
    fronted: Queue, front: Front, front_server: tuple[Front, Server], name: str
) -> None:
    """A message and what it is signed with go to the configured address and nowhere else."""
    front.planned.append(RedirectResponse(f"{front_server[1].url}/devstoreaccount1/{name}/elsewhere"))
    with pytest.raises(StateUnavailable):
        await fronted.send(IDS, time_to_live_seconds=60)
    assert front.methods == ["POST"]


async def test_a_caller_who_gives_up_is_not_told_of_a_failure(fronted: Queue, front: Front) -> None:
    """Cancellation passes through as what it is."""
    front.planned.append(hang)
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await fronted.send(IDS, time_to_live_seconds=60)


async def test_no_proxy_of_the_environment_is_used(
    monkeypatch: pytest.MonkeyPatch, queue: Queue, azurite: Azurite, name: str
) -> None:
    """A message goes to the account itself."""
    for variable in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    await queue.send(IDS, time_to_live_seconds=60)
    monkeypatch.undo()
    assert await texts(azurite, name) == [IDS]


@pytest.mark.usefixtures("trusted")
async def test_the_managed_identity_opens_the_queue(
    certificates: Certificates, credential: ManagedIdentityCredential, name: str
) -> None:
    """Without a connection string the account's address and a token are enough, over TLS."""
    with Azurite(certificates=certificates) as azurite:
        queue = Queue(StateStorage(queue_url=azurite.queue_url), name, credential)
        await queue.send(IDS, time_to_live_seconds=60)
        await queue.close()
        async with QueueClient(azurite.queue_url, name, credential) as reader:
            (message,) = await reader.peek_messages()
    assert base64.b64decode(message.content).decode() == IDS


@pytest.mark.usefixtures("trusted")
async def test_a_challenge_for_another_resource_is_not_answered(
    certificates: Certificates, credential: ManagedIdentityCredential, name: str
) -> None:
    """Who takes the account's place gets no token of the gateway's for something else."""
    audiences: list[str] = []
    challenge = "Bearer authorization_uri=https://login.test/t/oauth2/authorize resource_id=https://vault.azure.net"

    async def challenging(scope: "Scope", receive: "Receive", send: "Send") -> None:
        token = dict(scope["headers"])[b"authorization"].decode()
        payload = token.split(".")[1]
        audiences.append(json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["aud"])
        await Response(status_code=401, headers={"WWW-Authenticate": challenge})(scope, receive, send)

    with Server(challenging, certificates=certificates) as server:
        queue = Queue(StateStorage(queue_url=server.url), name, credential)
        with pytest.raises(StateUnavailable):
            await queue.send(IDS, time_to_live_seconds=60)
        await queue.close()
    assert set(audiences) == {"https://storage.azure.com"}
