"""Serving an application on a loopback port."""

import socket
import ssl
import threading

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from local.certificates import Certificates
from local.faults import hang
from local.serving import PortTaken, Server

pytestmark = pytest.mark.stack

HELLO = PlainTextResponse("hello")


def test_a_server_accepts_as_soon_as_it_is_entered_and_frees_its_port_when_left() -> None:
    """The context manager starts and ends it."""
    with Server(HELLO) as server:
        assert httpx.get(server.url).text == "hello"
        assert server.url == f"http://localhost:{server.port}"
    with Server(PlainTextResponse("again"), port=server.port, host="127.0.0.1") as again:
        assert again.url == f"http://127.0.0.1:{server.port}"
        assert httpx.get(again.url).text == "again"


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
@pytest.mark.usefixtures("trusted")
def test_a_server_with_certificates_speaks_tls_that_clients_verify(certificates: Certificates, host: str) -> None:
    """A client that trusts the authority by environment connects without switching a check off."""
    with Server(HELLO, host=host, certificates=certificates) as server:
        assert server.url.startswith(f"https://{host}:")
        assert httpx.get(server.url, verify=ssl.create_default_context()).text == "hello"


def test_an_application_may_be_made_from_the_address_it_will_have() -> None:
    """The port is taken before the application exists."""
    server = Server()

    async def own_address(_request: Request) -> PlainTextResponse:
        return PlainTextResponse(server.url)

    server.app = Starlette(routes=[Route("/", own_address)])
    with server:
        assert httpx.get(server.url).text == server.url


def test_a_server_without_an_application_says_so() -> None:
    """Nothing is started."""
    server = Server()
    with pytest.raises(RuntimeError, match="no application"):
        server.start()
    server.stop()


def test_a_taken_port_is_named_in_the_error() -> None:
    """Two programs on one port is the first thing that goes wrong on a developer's machine."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(
            PortTaken, match=f"port {port} on 127.0.0.1 is not to be had .+: end the program that holds it"
        ):
            Server(HELLO, port=port)


def test_an_application_that_fails_to_start_is_an_error_and_not_a_hang() -> None:
    """The failure of a lifespan reaches whoever starts the server, and the port is free again."""

    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": scope["type"]})

    server = Server(broken)
    with pytest.raises(RuntimeError, match="did not start"):
        server.start()
    with Server(HELLO, port=server.port):
        pass


def test_a_request_still_running_does_not_keep_a_server_alive() -> None:
    """Leaving the server cancels what hangs, and the client hears of it."""
    reached = threading.Event()

    async def endless(_request: Request) -> ASGIApp:
        reached.set()
        return hang

    with Server(Starlette(routes=[Route("/", endless)])) as server:
        client = socket.create_connection(("127.0.0.1", server.port), timeout=5)
        client.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert reached.wait(5)
    with client:
        assert client.makefile("rb").read().startswith(b"HTTP/1.1 500 ")
