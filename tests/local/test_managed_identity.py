"""The managed identity endpoint, in front of the real credential."""

import time
from collections.abc import Iterator

import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError
from azure.identity.aio import ManagedIdentityCredential
from starlette.responses import Response

from local.issuer import Issuer
from local.managed_identity import PATH, TOKEN_SECONDS, ManagedIdentity, build
from local.people import MANAGED_IDENTITY_CLIENT_ID, MANAGED_IDENTITY_OBJECT_ID
from local.serving import Server

pytestmark = pytest.mark.stack

QUERY = {"api-version": "2019-08-01", "resource": "https://vault.test", "client_id": MANAGED_IDENTITY_CLIENT_ID}


@pytest.fixture
def identity(issuer: Issuer) -> ManagedIdentity:
    """The identity and its guard."""
    return ManagedIdentity(issuer, "the header's value")


@pytest.fixture
def endpoint(identity: ManagedIdentity, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The address that App Service would put into the app's environment."""
    with Server(build(identity)) as server:
        monkeypatch.setenv("IDENTITY_ENDPOINT", server.url + PATH)
        monkeypatch.setenv("IDENTITY_HEADER", identity.header)
        yield server.url + PATH


@pytest.mark.usefixtures("endpoint")
@pytest.mark.parametrize("resource", ["https://0.0.1:8444", "api://AzureADTokenExchange", "https://storage.azure.com"])
async def test_the_credential_gets_an_app_only_token_for_any_resource(identity: ManagedIdentity, resource: str) -> None:
    """The subject is the identity's object id; the credential keeps the token and asks once."""
    async with ManagedIdentityCredential(client_id=MANAGED_IDENTITY_CLIENT_ID) as credential:
        token = await credential.get_token(f"{resource}/.default")
        assert await credential.get_token(f"{resource}/.default") == token
    claims = identity.issuer.verify(token.token, resource)
    assert claims["oid"] == claims["sub"] == MANAGED_IDENTITY_OBJECT_ID
    assert (claims["idtyp"], claims["azp"]) == ("app", MANAGED_IDENTITY_CLIENT_ID)
    assert token.expires_on == claims["exp"]
    assert token.expires_on == pytest.approx(time.time() + TOKEN_SECONDS, abs=60)
    assert identity.faults.calls["token"] == 1


@pytest.mark.usefixtures("endpoint")
async def test_a_user_assigned_identity_must_be_named() -> None:
    """Without a client id the system-assigned one is meant, and the app has none: a mistake that only Azure shows."""
    async with ManagedIdentityCredential() as credential:
        with pytest.raises(ClientAuthenticationError, match="Unable to load the proper Managed Identity"):
            await credential.get_token("https://vault.test/.default")


@pytest.mark.parametrize(
    ("changes", "header", "status"),
    [
        pytest.param({}, "wrong", 403, id="wrong header"),
        pytest.param({}, "", 403, id="no header"),
        pytest.param({"resource": ""}, "the header's value", 400, id="no resource"),
        pytest.param({"api-version": "2017-09-01"}, "the header's value", 400, id="another version"),
        pytest.param({"client_id": "another"}, "the header's value", 400, id="another identity"),
    ],
)
def test_a_faulty_request_gets_no_token(endpoint: str, changes: dict[str, str], header: str, status: int) -> None:
    """The header keeps other programs of the machine out."""
    reply = httpx.get(endpoint, params=QUERY | changes, headers={"X-IDENTITY-HEADER": header})
    assert reply.status_code == reply.json()["statusCode"] == status


def test_the_endpoint_can_fail(identity: ManagedIdentity, endpoint: str) -> None:
    """As planned."""
    identity.faults.plan("token", Response(status_code=500))
    replies = [httpx.get(endpoint, params=QUERY, headers={"X-IDENTITY-HEADER": identity.header}) for _ in range(2)]
    assert [reply.status_code for reply in replies] == [500, 200]


def test_the_header_shows_in_no_representation(identity: ManagedIdentity) -> None:
    """It is a secret of the machine."""
    assert identity.header not in repr(identity)
