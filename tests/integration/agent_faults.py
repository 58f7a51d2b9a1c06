"""What can go wrong with an agent, under the names that docs/failures.md has for it."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Protocol

from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from local import certificates, fabric
from local.certificates import Certificates
from local.fabric import Agent, Fabric, faults
from local.faults import hang
from local.sales import CLARIFICATION
from local.serving import ADDRESS, Server
from local.stack import FABRIC_AUDIENCE, Stack

QUESTION = "tools/call"
ALL = ("initialize", "notifications/initialized", "tools/list", QUESTION)
MANY = 20
"""More requests than one agent gets while its fault lasts."""
CLAIMS = json.dumps({"access_token": {"acrs": {"essential": True, "value": "c1"}}})
MEGABYTE = 2**20


class Peer:
    """One more way into the stack's Fabric, at an address of its own, which can break where no reply could tell."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._server = Server(certificates=stack.certificates)
        self._port = self._server.port
        self._held: socket.socket | None = None
        self._serve()

    @property
    def url(self) -> str:
        """Where it is."""
        return self._server.url

    def refuse(self) -> None:
        """Nobody listens there any more; the port stays ours."""
        self._server.stop()
        self._held = socket.socket()
        self._held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._held.bind((ADDRESS, self._port))

    def masquerade(self) -> None:
        """Somebody else listens there, who has a certificate of another authority."""
        self.close()
        self._open(certificates.issue(self._stack.folder / "stranger"))

    def mend(self) -> None:
        """As it was."""
        self.close()
        self._open(self._stack.certificates)

    def close(self) -> None:
        """Nobody listens there, and the port is anybody's."""
        self._server.stop()
        if self._held:
            self._held.close()

    def _open(self, shown: Certificates) -> None:
        self._server = Server(port=self._port, certificates=shown)
        self._serve()

    def _serve(self) -> None:
        self._server.app = fabric.build(
            self._stack.fabric,
            claims_of=lambda token: self._stack.issuer.verify(token, FABRIC_AUDIENCE),
            delay_seconds=0,
        )
        self._server.start()


@dataclass(frozen=True)
class Place:
    """Where something goes wrong: an agent, and the peer that it is asked at, if that is one of its own."""

    fabric: Fabric
    agent: Agent
    peer: Peer | None = None


class Fault(Protocol):
    """Something that goes wrong, and ends."""

    def begin(self, place: Place) -> None:
        """From now on."""
        ...

    def end(self, place: Place) -> None:
        """All is well again."""
        ...


@dataclass(frozen=True)
class Met:
    """What requests of these methods meet in the place of a reply, or in it."""

    app: ASGIApp
    methods: tuple[str, ...] = ALL

    def begin(self, place: Place) -> None:
        for method in self.methods:
            place.fabric.faults_at[place.agent.object_id].plan(method, *[self.app] * MANY)

    def end(self, place: Place) -> None:
        place.fabric.faults_at[place.agent.object_id].clear()


@dataclass(frozen=True)
class Changed:
    """Another agent in the place of the one that was discovered."""

    change: Callable[[Agent], Agent]

    def begin(self, place: Place) -> None:
        place.fabric.agents[place.agent.object_id] = self.change(place.agent)

    def end(self, place: Place) -> None:
        now = place.fabric.agents[place.agent.object_id]
        place.fabric.agents[place.agent.object_id] = replace(now, published=True)


@dataclass(frozen=True)
class Broken:
    """A peer that does not let anybody come to the agent."""

    breaks: Callable[[Peer], None]

    def begin(self, place: Place) -> None:
        assert place.peer
        self.breaks(place.peer)

    def end(self, place: Place) -> None:
        assert place.peer
        place.peer.mend()


async def endless(scope: Scope, receive: Receive, send: Send) -> None:
    """A stream of comments without end: each comes soon, all together never finish."""
    head = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    await send(head)
    gone = asyncio.create_task(hang(scope, receive, send))
    while not gone.done():
        await send({"type": "http.response.body", "body": b": still here\n\n", "more_body": True})
        await asyncio.wait([gone], timeout=0.1)


async def flood(scope: Scope, receive: Receive, send: Send) -> None:
    """50 MB of JSON, or as much of it as is taken."""
    await StreamingResponse(_megabytes(50), media_type="application/json")(scope, receive, send)


async def _megabytes(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b" " * MEGABYTE


async def bomb(scope: Scope, receive: Receive, send: Send) -> None:
    """A small body that would unfold into 50 MB."""
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    await Response(_packed(50), headers=headers)(scope, receive, send)


@cache
def _packed(megabytes: int) -> bytes:
    return gzip.compress(bytes(megabytes * MEGABYTE))


def error(status: int, code: str, retry_after: str = "") -> ASGIApp:
    """A refusal in the form that all of Fabric's have."""
    body = {"requestId": "r", "errorCode": code, "message": "Told by Fabric.", "isRetriable": False}
    return JSONResponse(body, status, _later(retry_after) | {"x-ms-public-api-error-code": code})


def plain(status: int, retry_after: str = "") -> ASGIApp:
    """A status, and nothing else to go by."""
    return Response(status_code=status, headers=_later(retry_after))


def _later(retry_after: str) -> dict[str, str]:
    return {"Retry-After": retry_after} if retry_after else {}


FAULTS: Mapping[str, Fault] = {
    "no reply until the deadline": Met(hang),
    "event stream without end": Met(endless),
    "connection refused": Broken(Peer.refuse),
    "certificate of another authority": Broken(Peer.masquerade),
    "connection reset within the reply": Met(faults.cut(20)),
    "reply of 50 MB": Met(flood),
    "gzip bomb": Met(bomb),
    "HTML page with 200": Met(HTMLResponse("<html>maintenance</html>")),
    "HTML page with 500": Met(HTMLResponse("<html>error</html>", 500)),
    "another JSON-RPC id": Met(faults.misaddress(), ("initialize", "tools/list", QUESTION)),
    "JSON-RPC error": Met(faults.refuse(-32603, "It broke."), ("initialize", "tools/list", QUESTION)),
    "401": Met(error(401, "InvalidToken")),
    "401 with claims": Met(faults.challenge(CLAIMS)),
    "403": Met(error(403, "InsufficientPrivileges")),
    "404": Met(error(404, "EntityNotFound")),
    "429, Retry-After 1": Met(plain(429, "1")),
    "429, Retry-After 600": Met(plain(429, "600")),
    "429, Retry-After unreadable": Met(plain(429, "soon")),
    "429 RequestBlocked, Retry-After 60": Met(error(429, "RequestBlocked", "60")),
    "429 CapacityLimitExceeded": Met(error(429, "CapacityLimitExceeded")),
    "400 FabricThrottled": Met(error(400, "FabricThrottled")),
    "400 CapacityNotActive": Met(error(400, "CapacityNotActive")),
    "430": Met(plain(430)),
    "500": Met(plain(500)),
    "503": Met(plain(503)),
    "503, Retry-After 1": Met(plain(503, "1")),
    "504": Met(plain(504)),
    "failed run, told as an answer": Met(faults.run_failed(), (QUESTION,)),
    "failed source, told as an answer": Met(faults.source_failed(), (QUESTION,)),
    "question back": Met(faults.say(CLARIFICATION), (QUESTION,)),
    "tool renamed": Changed(lambda agent: replace(agent, name=f"{agent.name} 2")),
    "no published version": Changed(lambda agent: replace(agent, published=False)),
}
"""By name; those that last until the deadline stand first."""
