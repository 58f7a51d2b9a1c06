"""The Microsoft Graph emulator."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from starlette.responses import Response

from local.entra import tokens
from local.graph import Graph, build
from local.issuer import Issuer
from local.people import ALICE, MANAGED_IDENTITY_CLIENT_ID, MANAGED_IDENTITY_OBJECT_ID

URL = "https://graph.test"


@pytest.fixture
def graph(issuer: Issuer) -> Graph:
    """Graph without a server."""
    return Graph(issuer, URL)


@pytest.fixture
async def client(graph: Graph) -> AsyncIterator[httpx.AsyncClient]:
    """An HTTP client of Graph's, in process."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(build(graph)), base_url=URL) as client:
        yield client


def bearer(graph: Graph, **changes: Any) -> dict[str, str]:
    """The header with a token of Alice's, but for `changes` of its claims."""
    claims = tokens.person_claims(ALICE, URL, "s") | {"scp": "openid User.Read"} | changes
    return {"Authorization": f"Bearer {tokens.lasting(graph.issuer, 60, claims)}"}


async def test_a_person_reads_their_own_profile(client: httpx.AsyncClient, graph: Graph) -> None:
    """The selected properties, and no other."""
    reply = await client.get("/v1.0/me", params={"$select": "displayName, jobTitle"}, headers=bearer(graph))
    assert reply.json() == {
        "@odata.context": f"{URL}/v1.0/$metadata#users(displayName,jobTitle)/$entity",
        "displayName": ALICE.name,
        "jobTitle": ALICE.job_title,
    }


async def test_without_a_selection_the_whole_profile_is_told(client: httpx.AsyncClient, graph: Graph) -> None:
    """Name, title, office, user name and id."""
    profile = (await client.get("/v1.0/me", headers=bearer(graph))).json()
    del profile["@odata.context"]
    assert profile == {
        "displayName": ALICE.name,
        "jobTitle": ALICE.job_title,
        "officeLocation": ALICE.office,
        "userPrincipalName": ALICE.username,
        "id": ALICE.object_id,
    }


@pytest.mark.parametrize(
    ("changes", "status", "code"),
    [
        pytest.param({"aud": "https://other.test"}, 401, "InvalidAuthenticationToken", id="for another audience"),
        pytest.param({"exp": 0}, 401, "InvalidAuthenticationToken", id="expired"),
        pytest.param({"scp": "User.ReadBasic.All"}, 403, "Authorization_RequestDenied", id="without User.Read"),
        pytest.param({"oid": "nobody"}, 404, "Request_ResourceNotFound", id="of nobody here"),
    ],
)
async def test_a_token_that_does_not_serve_is_refused(
    client: httpx.AsyncClient, graph: Graph, changes: dict[str, Any], status: int, code: str
) -> None:
    """In Graph's error shape."""
    reply = await client.get("/v1.0/me", headers=bearer(graph, **changes))
    assert (reply.status_code, reply.json()["error"]["code"]) == (status, code)
    assert reply.json()["error"]["innerError"].keys() == {"date", "request-id"}


async def test_no_token_and_an_app_only_one_are_refused(client: httpx.AsyncClient, graph: Graph) -> None:
    """There is no `me` without a person."""
    none = await client.get("/v1.0/me")
    assert (none.status_code, none.json()["error"]["message"]) == (401, "Access token is empty.")
    claims = tokens.app_claims(MANAGED_IDENTITY_CLIENT_ID, MANAGED_IDENTITY_OBJECT_ID, URL)
    token = tokens.lasting(graph.issuer, 60, claims)
    app = await client.get("/v1.0/me", headers={"Authorization": f"Bearer {token}"})
    assert (app.status_code, app.json()["error"]["code"]) == (400, "BadRequest")


async def test_an_unknown_property_is_refused(client: httpx.AsyncClient, graph: Graph) -> None:
    """A typing error shows at once."""
    reply = await client.get("/v1.0/me", params={"$select": "displayName,jobtitle"}, headers=bearer(graph))
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "BadRequest")


async def test_graph_can_fail(client: httpx.AsyncClient, graph: Graph) -> None:
    """As planned, counted like every request."""
    graph.faults.plan("me", Response(status_code=503))
    assert (await client.get("/v1.0/me", headers=bearer(graph))).status_code == 503
    assert (await client.get("/v1.0/me", headers=bearer(graph))).status_code == 200
    assert graph.faults.calls == {"me": 2}
