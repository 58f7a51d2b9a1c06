"""Asking over real sockets: connections that break, bodies that never end, and what the other side gets to see."""

import asyncio
import gzip
import json
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import httpx
import pytest

from lib.agents.addresses import AgentAddress
from lib.agents.data_agent import DataAgent
from lib.agents.failures import ServerFault, Unreached
from lib.agents.wire import MAX_BODY
from lib.errors import AgentFailed, DeadlineExceeded, GatewayError
from tests.clock import Clock
from tests.lib.agents.recorded import Wire, answer, in_events, in_json
from tests.lib.agents.upstream import Tokens, itself, said, soon, tools

pytestmark = pytest.mark.stack

type Behaviour = Callable[[asyncio.StreamWriter, str], Awaitable[None]]
"""What happens to the connection on which the question with that id has come."""


class Peer:
    """A server of few words: it answers the handshake, and meets a question with `behaviour`."""

    def __init__(self, behaviour: Behaviour) -> None:
        self._behaviour = behaviour
        self.connections = 0
        self.questions = 0
        self.left = asyncio.Event()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[DataAgent]:
        """The way to this server, on a port of its own."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, httpx.AsyncHTTPTransport(trust_env=False) as http:
            yield agent_at(port, http)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = next(
                    int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")
                )
                await self._reply(writer, json.loads(await reader.readexactly(length)))
        self.left.set()
        writer.close()

    async def _reply(self, writer: asyncio.StreamWriter, message: dict[str, str]) -> None:
        match message["method"]:
            case "initialize":
                await reply(writer, in_json(answer(message["id"], {"protocolVersion": "2025-06-18"})))
            case "tools/list":
                await reply(writer, in_json(answer(message["id"], tools())))
            case "tools/call":
                self.questions += 1
                await self._behaviour(writer, message["id"])
            case _:
                await reply(writer, (202, {}, b""))


def agent_at(port: int, http: httpx.AsyncHTTPTransport) -> DataAgent:
    """The way to an agent on this machine."""
    clock = Clock()
    return DataAgent(AgentAddress(f"http://127.0.0.1:{port}/", "w", "a", translated=False), http, sleep=clock.sleep)


async def reply(writer: asyncio.StreamWriter, wire: Wire) -> None:
    """A whole reply, after which the connection may be used again."""
    status, headers, body = wire
    await begin(writer, headers | {"content-length": str(len(body))}, body, status)


async def begin(writer: asyncio.StreamWriter, headers: dict[str, str], body: bytes = b"", status: int = 200) -> None:
    """The beginning of a reply, or all of it."""
    lines = [f"HTTP/1.1 {status} X", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    writer.write("\r\n".join(lines).encode() + body)
    await writer.drain()


JSON = {"content-type": "application/json"}
EVENTS = {"content-type": "text/event-stream"}


async def answered(writer: asyncio.StreamWriter, call_id: str) -> None:
    """An answer."""
    await reply(writer, in_json(answer(call_id, said("42"))))


async def closed(writer: asyncio.StreamWriter, _: str) -> None:
    """The end of the connection, without a word."""
    writer.close()


async def reset(writer: asyncio.StreamWriter, _: str) -> None:
    """A reset in the middle of a body."""
    await begin(writer, JSON | {"content-length": "1000"}, b'{"jsonrpc"')
    writer.transport.abort()


async def cut_off(writer: asyncio.StreamWriter, call_id: str) -> None:
    """A body in chunks whose last one never comes, although what came is a whole answer."""
    body = json.dumps(answer(call_id, said("42"))).encode()
    await begin(writer, JSON | {"transfer-encoding": "chunked"}, b"%x\r\n%s\r\n" % (len(body), body))
    writer.close()


async def garbled(writer: asyncio.StreamWriter, _: str) -> None:
    """Something that is not HTTP."""
    writer.write(b"SSH-2.0-x\r\n\r\n")
    await writer.drain()


async def silent(writer: asyncio.StreamWriter, _: str) -> None:
    """Half a reply, and then nothing."""
    await begin(writer, JSON | {"content-length": "1000"}, b"{")


async def dripping(writer: asyncio.StreamWriter, _: str) -> None:
    """A stream of comments, one by one, without end: each read is quick, all together never finish."""
    await begin(writer, EVENTS)
    while not writer.is_closing():
        writer.write(b": still here\n\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flooding(writer: asyncio.StreamWriter, _: str) -> None:
    """A body without end, as fast as it will go."""
    await begin(writer, JSON)
    while not writer.is_closing():
        writer.write(bytes(2**16))
        await writer.drain()


async def bombing(writer: asyncio.StreamWriter, _: str) -> None:
    """A small body that unfolds into more than is read."""
    await reply(writer, (200, JSON | {"content-encoding": "gzip"}, gzip.compress(bytes(2 * MAX_BODY))))


async def lingering(writer: asyncio.StreamWriter, call_id: str) -> None:
    """The answer in a stream that stays open."""
    await begin(writer, EVENTS, in_events(answer(call_id, said("42")))[2])


async def test_one_connection_serves_them_all() -> None:
    """Handshake and questions share a connection."""
    peer = Peer(answered)
    async with peer.serving() as agent:
        for _ in range(2):
            assert (await agent.ask("1", Tokens(), soon(), itself)).text == "42"
    assert (peer.connections, peer.questions) == (1, 2)


@pytest.mark.parametrize(
    ("behaviour", "expected"),
    [
        (closed, ServerFault),
        (reset, ServerFault),
        (cut_off, ServerFault),
        (garbled, ServerFault),
        (flooding, AgentFailed),
        (bombing, AgentFailed),
    ],
)
async def test_a_question_whose_reply_breaks_is_not_sent_again(
    behaviour: Behaviour, expected: type[GatewayError]
) -> None:
    """Once the question is out, a broken reply is a failure, and half an answer is none."""
    peer = Peer(behaviour)
    async with peer.serving() as agent:
        with pytest.raises(expected):
            await agent.ask("1", Tokens(), soon(), itself)
    assert peer.questions == 1


@pytest.mark.parametrize("behaviour", [silent, dripping])
async def test_a_reply_that_does_not_end_is_given_up_at_the_deadline(behaviour: Behaviour) -> None:
    """Neither silence nor a trickle holds the caller, and the connection is not kept."""
    peer = Peer(behaviour)
    async with peer.serving() as agent:
        with pytest.raises(DeadlineExceeded):
            await agent.ask("1", Tokens(), soon(0.2), itself)
        await asyncio.wait_for(peer.left.wait(), 5)
    assert peer.questions == 1


async def test_an_open_stream_is_left_behind() -> None:
    """The answer is taken as soon as it is there, and the connection is closed, not waited for."""
    peer = Peer(lingering)
    async with peer.serving() as agent:
        assert (await agent.ask("1", Tokens(), soon(), itself)).text == "42"
        await asyncio.wait_for(peer.left.wait(), 5)


async def test_nobody_there_is_tried_three_times(unused_tcp_port: int) -> None:
    """Where nothing listens the agent cannot be reached, and that is all."""
    async with httpx.AsyncHTTPTransport(trust_env=False) as http:
        with pytest.raises(Unreached):
            await agent_at(unused_tcp_port, http).ask("1", Tokens(), soon(), itself)
        with pytest.raises(Unreached):
            await agent_at(unused_tcp_port, http).ping()


async def test_a_token_with_a_line_end_goes_nowhere() -> None:
    """Such a header would be a second header: it is not sent, and the refusal does not quote it."""

    async def split(*, rejected: str | None = None) -> str:
        assert rejected is None
        return "secret\r\nX-Injected: 1"

    peer = Peer(answered)
    async with peer.serving() as agent:
        with pytest.raises(ServerFault) as failed:
            await agent.ask("1", split, soon(), itself)
    assert "secret" not in "".join(traceback.format_exception(failed.value))
    assert peer.questions == 0
