"""The Key Vault emulator, in front of the real clients: SecretClient with ManagedIdentityCredential, over TLS."""

import ssl
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest
from azure.core.exceptions import HttpResponseError, ResourceNotFoundError
from azure.identity.aio import ManagedIdentityCredential
from azure.keyvault.secrets.aio import SecretClient
from starlette.responses import Response

from local.certificates import Certificates
from local.entra import tokens
from local.issuer import Issuer
from local.key_vault import KeyVault, build
from local.managed_identity import PATH, ManagedIdentity
from local.managed_identity import build as build_identity
from local.people import MANAGED_IDENTITY_CLIENT_ID, MANAGED_IDENTITY_OBJECT_ID, TENANT_ID
from local.serving import Server
from local.vault import Vault

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("trusted")]

VERSION = {"api-version": "2026-04-01"}


@pytest.fixture(scope="module")
def served(certificates: Certificates, issuer: Issuer) -> Iterator[KeyVault]:
    """A vault at its own address."""
    server = Server(host="127.0.0.1", certificates=certificates)
    key_vault = KeyVault(Vault(), issuer, server.url)
    server.app = build(key_vault)
    with server:
        yield key_vault


@pytest.fixture
def key_vault(served: KeyVault) -> KeyVault:
    """The vault, empty, with nothing counted and nothing planned."""
    served.vault = Vault()
    served.faults.calls.clear()
    served.faults.clear()
    return served


@pytest.fixture(scope="module")
def identity_endpoint(issuer: Issuer) -> Iterator[str]:
    """The address of the managed identity."""
    with Server(build_identity(ManagedIdentity(issuer, "header"))) as server:
        yield server.url + PATH


@pytest.fixture
async def client(
    key_vault: KeyVault, identity_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[SecretClient]:
    """The real client, as the gateway makes it."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", identity_endpoint)
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    async with (
        ManagedIdentityCredential(client_id=MANAGED_IDENTITY_CLIENT_ID) as credential,
        SecretClient(key_vault.url, credential, retry_total=0) as client,
    ):
        yield client


@pytest.fixture
def raw(key_vault: KeyVault) -> Iterator[httpx.Client]:
    """A client that speaks HTTP by hand, with a good token."""
    claims = tokens.app_claims(MANAGED_IDENTITY_CLIENT_ID, MANAGED_IDENTITY_OBJECT_ID, key_vault.resource)
    headers = {"Authorization": f"Bearer {tokens.lasting(key_vault.issuer, 60, claims)}"}
    with httpx.Client(verify=ssl.create_default_context(), base_url=key_vault.url, headers=headers) as client:
        yield client


async def test_the_client_passes_the_challenge_and_reads_the_latest_version(
    client: SecretClient, key_vault: KeyVault
) -> None:
    """Its check of the challenge's resource holds for https://127.0.0.1 without being switched off."""
    key_vault.vault.put("sealing-key", "old")
    version = key_vault.vault.put("sealing-key", "new", created=1_700_000_000)
    secret = await client.get_secret("sealing-key")
    assert (secret.value, secret.name, secret.properties.version) == ("new", "sealing-key", version)
    assert secret.id == f"{key_vault.url}/secrets/sealing-key/{version}"
    created = secret.properties.created_on
    assert created is not None
    assert created.timestamp() == 1_700_000_000
    assert secret.properties.enabled is True


async def test_the_client_reads_one_version(client: SecretClient, key_vault: KeyVault) -> None:
    """By its id."""
    old = key_vault.vault.put("ring", "old")
    key_vault.vault.put("ring", "new")
    assert (await client.get_secret("ring", old)).value == "old"


async def test_the_client_lists_versions_page_by_page_without_values(client: SecretClient, key_vault: KeyVault) -> None:
    """Each with its own attributes."""
    versions = [key_vault.vault.put("ring", f"value {number}", created=number) for number in range(1, 6)]
    key_vault.vault.disable("ring", versions[1])
    await client.get_secret("ring")  # passes the challenge, so that pages alone are counted
    pages = client.list_properties_of_secret_versions("ring", max_page_size=2)
    found = [properties async for properties in pages]
    assert [properties.version for properties in found] == versions
    assert [properties.enabled for properties in found] == [True, False, True, True, True]
    assert [properties.created_on.timestamp() for properties in found if properties.created_on] == [1, 2, 3, 4, 5]
    assert key_vault.faults.calls["versions"] == 3


async def test_the_client_lists_secrets_by_name(client: SecretClient, key_vault: KeyVault) -> None:
    """One entry per secret, without a version."""
    for name in ("a", "b", "a"):
        key_vault.vault.put(name, "value")
    found = [properties async for properties in client.list_properties_of_secrets()]
    assert [(properties.name, properties.version) for properties in found] == [("a", None), ("b", None)]


async def test_the_client_sets_a_secret_and_disables_a_version(client: SecretClient, key_vault: KeyVault) -> None:
    """A disabled version's value is not given out, while the others are."""
    first = await client.set_secret("ring", "one")
    await client.set_secret("ring", "two")
    assert first.properties.version is not None
    updated = await client.update_secret_properties("ring", first.properties.version, enabled=False)
    assert updated.enabled is False
    with pytest.raises(HttpResponseError, match="not allowed on a disabled secret") as refused:
        await client.get_secret("ring", first.properties.version)
    assert refused.value.status_code == 403
    assert (await client.get_secret("ring")).value == "two"
    assert [secret.enabled for secret in key_vault.vault.versions("ring")] == [False, True]


async def test_a_secret_may_be_born_disabled(client: SecretClient, key_vault: KeyVault) -> None:
    """As its attributes say."""
    await client.set_secret("ring", "one", enabled=False)
    assert key_vault.vault.get("ring").enabled is False


async def test_what_does_not_exist_is_not_found(client: SecretClient, key_vault: KeyVault) -> None:
    """Secret, version, and the versions of none."""
    key_vault.vault.put("ring", "one")
    with pytest.raises(ResourceNotFoundError, match="SecretNotFound"):
        await client.get_secret("other")
    with pytest.raises(ResourceNotFoundError, match="SecretNotFound"):
        await client.get_secret("ring", "0" * 32)
    with pytest.raises(ResourceNotFoundError, match="SecretNotFound"):
        [properties async for properties in client.list_properties_of_secret_versions("other")]


async def test_the_vault_can_fail(client: SecretClient, key_vault: KeyVault) -> None:
    """As planned, for the next request of that kind."""
    key_vault.vault.put("ring", "one")
    assert (await client.get_secret("ring")).value == "one"
    key_vault.faults.plan("get", Response(status_code=429, headers={"Retry-After": "1"}))
    with pytest.raises(HttpResponseError) as refused:
        await client.get_secret("ring")
    assert refused.value.status_code == 429
    assert (await client.get_secret("ring")).value == "one"


@pytest.mark.parametrize("fault", ["no bearer", "another audience", "expired"])
def test_a_request_without_a_good_token_is_challenged(key_vault: KeyVault, raw: httpx.Client, fault: str) -> None:
    """The challenge names the tenant and the audience to ask a token for."""
    audience = "https://vault.test" if fault == "another audience" else key_vault.resource
    seconds = 0 if fault == "expired" else 60
    token = tokens.lasting(key_vault.issuer, seconds, {"aud": audience})
    scheme = "Basic" if fault == "no bearer" else "Bearer"
    reply = raw.get("/secrets/ring/", params=VERSION, headers={"Authorization": f"{scheme} {token}"})
    assert (reply.status_code, reply.json()["error"]["code"]) == (401, "Unauthorized")
    port = httpx.URL(key_vault.url).port
    expected = f'Bearer authorization="https://login.test/{TENANT_ID}", resource="https://0.0.1:{port}"'
    assert reply.headers["www-authenticate"] == expected


@pytest.mark.parametrize(
    ("method", "path", "query", "body"),
    [
        pytest.param("GET", "/secrets/ring", {}, "", id="no api-version"),
        pytest.param("PUT", "/secrets/a_b", VERSION, '{"value": "x"}', id="impossible name"),
        pytest.param("PUT", "/secrets/ring", VERSION, "{}", id="no value"),
        pytest.param("PUT", "/secrets/ring", VERSION, "[]", id="no object"),
        pytest.param("PUT", "/secrets/ring", VERSION, "{", id="no JSON"),
        pytest.param("GET", "/secrets", VERSION | {"maxresults": "26"}, "", id="too large a page"),
        pytest.param("GET", "/secrets", VERSION | {"maxresults": "x"}, "", id="a page of letters"),
    ],
)
def test_a_faulty_request_is_refused(
    raw: httpx.Client, method: str, path: str, query: dict[str, str], body: str
) -> None:
    """In Key Vault's error shape."""
    reply = raw.request(method, path, params=query, content=body)
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "BadParameter")


def test_an_update_that_changes_nothing_is_accepted(key_vault: KeyVault, raw: httpx.Client) -> None:
    """Attributes that the emulator does not keep are no fault."""
    version = key_vault.vault.put("ring", "one")
    reply = raw.patch(f"/secrets/ring/{version}", params=VERSION, json={"contentType": "text/plain"})
    assert reply.json()["attributes"]["enabled"] is True
    assert "value" not in reply.json()
