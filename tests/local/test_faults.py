"""Planned faults and request counts."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route

from local.faults import Faults, drop, hang
from local.serving import Server

pytestmark = pytest.mark.stack


@pytest.fixture
def faults() -> Faults:
    """The faults of a fresh emulator."""
    return Faults()


@pytest.fixture
def url(faults: Faults) -> Iterator[str]:
    """An emulator with one guarded endpoint, `work`."""

    async def work(_request: Request) -> Response:
        return PlainTextResponse("done")

    with Server(Starlette(routes=[Route("/", faults.guard("work", work))])) as server:
        yield server.url


def test_faults_are_met_once_each_in_order_and_every_request_is_counted(faults: Faults, url: str) -> None:
    """After the last fault the endpoint works again."""
    faults.plan("work", Response("busy", 503, {"Retry-After": "7"}), RedirectResponse("/elsewhere"))
    busy, redirect, done = (httpx.get(url) for _ in range(3))
    assert (busy.status_code, busy.headers["retry-after"], busy.text) == (503, "7", "busy")
    assert (redirect.status_code, redirect.headers["location"]) == (307, "/elsewhere")
    assert done.text == "done"
    assert faults.calls == {"work": 3}


def test_a_dropped_connection_ends_without_a_byte(faults: Faults, url: str) -> None:
    """The client learns nothing about what happened to its request."""
    faults.plan("work", drop)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        httpx.get(url)
    assert httpx.get(url).text == "done"


async def test_a_hanging_endpoint_outlasts_the_client(faults: Faults, url: str) -> None:
    """Only the client's own patience ends the wait."""
    faults.plan("work", hang)
    async with httpx.AsyncClient(timeout=30) as client:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await client.get(url)
    assert faults.calls["work"] == 1


def test_forgotten_faults_are_not_met(faults: Faults, url: str) -> None:
    """A test may take its plan back."""
    faults.plan("work", drop, drop)
    faults.clear()
    assert httpx.get(url).text == "done"
