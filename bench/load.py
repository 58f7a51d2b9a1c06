"""Load over HTTP: so many clients, each with one connection and one question at a time.

Requests are bytes made beforehand and replies are read as far as their length says, so that the clients take little of
the machine that they share with what they measure.
"""

import asyncio
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

type Make = Callable[[int, str], bytes]
"""The request of a client (by its number) with a question."""

LONGEST_WAIT = 4
"""Seconds for what is under way when the time is over: whoever has no reply by then has none."""
_REFUSED = (b'"isError":true', b'"error":')


@dataclass(frozen=True)
class Target:
    """Where questions go."""

    port: int
    make: Make


@dataclass(frozen=True)
class Load:
    """What came of it: replies a second, the middle of how long each took (seconds), and those that were none."""

    replies: int
    rate: float
    median: float
    failures: int


def request(path: str, headers: Mapping[str, str], body: Any) -> bytes:
    """One POST as bytes."""
    content = json.dumps(body).encode()
    lines = [f"POST {path} HTTP/1.1", "host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, f"content-length: {len(content)}", "", ""]).encode() + content


async def drive(target: Target, questions: Iterator[str], clients: int, seconds: float) -> Load:
    """Has the clients ask until the time is over or the questions are; each ends what it has begun."""
    began, took, failures = time.perf_counter(), list[float](), 0

    async def client(number: int) -> None:
        nonlocal failures
        connection = _Connection(target.port)
        try:
            for question in questions:
                at = time.perf_counter()
                succeeded = await connection.exchange(target.make(number, question))
                took.append(time.perf_counter() - at)
                failures += not succeeded
                if time.perf_counter() - began >= seconds:
                    break
        finally:
            await connection.close()

    with suppress(TimeoutError):
        async with asyncio.timeout(seconds + LONGEST_WAIT):
            await asyncio.gather(*map(client, range(clients)))
    return Load(len(took), len(took) / (time.perf_counter() - began), statistics.median(took or [math.nan]), failures)


class _Connection:
    """One that is opened when it is needed, and again where the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, message: bytes) -> bool:
        """Whether the reply to the message is a success."""
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(message)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        body = await _body(reader, head)
        if b"\r\nconnection: close" in head:
            await self.close()
        return head.split(b" ", 2)[1] == b"200" and not any(mark in body for mark in _REFUSED)

    async def close(self) -> None:
        """Closes it."""
        if self._streams:
            self._streams[1].close()
            with suppress(OSError):
                await self._streams[1].wait_closed()
            self._streams = None


async def _body(reader: asyncio.StreamReader, head: bytes) -> bytes:
    for line in head.split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return await reader.readexactly(int(line.partition(b":")[2]))
    body = b""
    while length := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
        body += await reader.readexactly(length)
        await reader.readexactly(2)
    await reader.readexactly(2)
    return body
