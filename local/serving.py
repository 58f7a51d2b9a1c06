"""Serving: one ASGI application on a loopback port, in a thread of its own."""

import asyncio
import contextlib
import os
import socket
import sys
import threading
from typing import Self

import uvicorn
from starlette.types import ASGIApp

from local.certificates import Certificates

ADDRESS = "127.0.0.1"
SHUTDOWN_SECONDS = 1
LOOK_SECONDS = 0.002
DATE_SECONDS = 1


class PortTaken(RuntimeError):
    """The port that was asked for is not to be had; most likely another program listens on it."""


class Server:
    """One application behind one loopback port; `with Server(app) as server:` starts it and ends it.

    The port (0: any free one) is taken at construction, so that an application which must know its own address
    can be made from `url` and set as `app` before the start.
    """

    def __init__(
        self,
        app: ASGIApp | None = None,
        *,
        port: int = 0,
        host: str = "localhost",
        certificates: Certificates | None = None,
    ) -> None:
        """`host` is the name written into `url`; with `certificates` the server speaks TLS."""
        self.app = app
        self._certificates = certificates
        self._socket = listen(port)
        self.port: int = self._socket.getsockname()[1]
        self.url = f"{'https' if certificates else 'http'}://{host}:{self.port}"
        self._ready = threading.Event()
        self._server: _Announcing | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Returns once connections are accepted; raises RuntimeError where the application does not start."""
        if self.app is None:
            raise RuntimeError("the server has no application: set `app` before the start")
        self._server = _Announcing(self._config(self.app), self._ready)
        self._thread = threading.Thread(target=self._run, args=(self._server,), name=f"serving {self.url}", daemon=True)
        self._thread.start()
        self._ready.wait()
        if not self._server.started:
            self.stop()
            raise RuntimeError(f"the application of {self.url} did not start")

    def stop(self) -> None:
        """Ends the server and frees the port; a request still running after a second is cancelled."""
        if self._server is not None and self._thread is not None:
            self._server.end()
            self._thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _run(self, server: uvicorn.Server) -> None:
        sys.settrace(None)  # whoever measures the lines of a program does not mean those of an emulator beside it
        # uvicorn leaves a start that failed by SystemExit; `started` tells it apart.
        with contextlib.suppress(SystemExit):
            server.run(sockets=[self._socket])
        self._ready.set()

    def _config(self, app: ASGIApp) -> uvicorn.Config:
        certificates = self._certificates
        return uvicorn.Config(
            app,
            http="h11",
            ws="none",
            loop="asyncio",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ssl_certfile=certificates.certificate if certificates else None,
            ssl_keyfile=certificates.key if certificates else None,
        )


class _Announcing(uvicorn.Server):
    """Says when it is ready, and ends once it is told to: uvicorn's own looks, and waits, by the tenth of a second."""

    def __init__(self, config: uvicorn.Config, ready: threading.Event) -> None:
        super().__init__(config)
        self._ready = ready
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    def end(self) -> None:
        """Tells it, from another thread, to end."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._told.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().startup(sockets)
        self._ready.set()

    async def main_loop(self) -> None:
        while not await self.on_tick(0):  # which renews the date of the replies
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), DATE_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SHUTDOWN_SECONDS):
                while state.connections or state.tasks:  # noqa: ASYNC110  # uvicorn tells nobody of their end
                    await asyncio.sleep(LOOK_SECONDS)
        for task in state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


def listen(port: int, address: str = ADDRESS) -> socket.socket:
    """A socket that accepts connections there. Raises `PortTaken`, which says why not."""
    try:
        listener = socket.create_server((address, port))
    except OSError as error:
        reason = f"port {port} on {address} is not to be had ({os.strerror(error.errno or 0)})"
        raise PortTaken(f"{reason}: end the program that holds it") from error
    # asyncio sets this on sockets it has made itself alone; without it each reply waits for an acknowledgement
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
