"""Rules for the profile that Microsoft Graph keeps."""

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.identity.graph import Profile, profile
from tests.lib.identity.authority import raw, reply

GRAPH = "https://graph.microsoft.com"
ALICE = {"displayName": "Alice Arden", "jobTitle": "Sales lead", "officeLocation": "Oslo"}


async def asked(response: httpx.Response | Exception) -> tuple[Profile | None, list[httpx.Request]]:
    """The profile that comes of a reply, and what was sent for it."""
    sent = []

    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        if isinstance(response, Exception):
            raise response
        return response

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), follow_redirects=True) as http:
        return await profile(http, GRAPH, "graph-token"), sent


async def test_a_profile_is_read() -> None:
    """Three fields, asked for by name, with the person's own token."""
    told, (request,) = await asked(reply(ALICE))
    assert told == Profile("Alice Arden", "Sales lead", "Oslo")
    assert request.headers["Authorization"] == "Bearer graph-token"
    assert str(request.url) == f"{GRAPH}/v1.0/me?$select=displayName,jobTitle,officeLocation"


async def test_what_graph_does_not_know_is_empty() -> None:
    """Many people have neither title nor office."""
    told, _ = await asked(reply(ALICE | {"jobTitle": None, "officeLocation": 5}))
    assert told == Profile("Alice Arden", "", "")


@pytest.mark.parametrize(
    "response",
    [
        pytest.param(reply({}, 401), id="refused"),
        pytest.param(reply({}, 503), id="away"),
        pytest.param(raw(b"", 302, Location="https://evil.example/"), id="a redirect"),
        pytest.param(raw(b"[]"), id="a list"),
        pytest.param(raw(b"<html>"), id="a page"),
        pytest.param(httpx.ConnectError("down"), id="no connection"),
        pytest.param(httpx.ReadTimeout("slow"), id="no reply in time"),
        pytest.param(raw(b'{"displayName": "' + b"x" * 2**20 + b'"}'), id="a reply without end"),
    ],
)
async def test_a_profile_that_cannot_be_had_is_none(
    response: httpx.Response | Exception, caplog: pytest.LogCaptureFixture
) -> None:
    """Who one is does not depend on Graph; the log counts it."""
    told, sent = await asked(response)
    assert told is None
    assert len(sent) == 1
    assert [record.getMessage() for record in caplog.records] == ["the profile cannot be read"]


async def test_a_profile_shows_nothing_of_the_person() -> None:
    """Not in a repr."""
    told, _ = await asked(reply(ALICE))
    assert not [text for text in ALICE.values() if text in repr(told)]


@given(st.binary())
async def test_whatever_is_served_is_a_profile_or_none(body: bytes) -> None:
    """Any bytes at all."""
    told, _ = await asked(raw(body))
    assert told is None or isinstance(told, Profile)
