"""The identity room against the emulators: real TLS, real libraries, and every way the gateway proves itself."""

import asyncio
import logging
import re
import ssl
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from html import unescape
from pathlib import Path

import httpx
import pytest
from starlette.responses import JSONResponse, Response

from lib.errors import (
    ClientCredentialRejected,
    ConsentRequired,
    GatewayError,
    IdentityProviderUnavailable,
    LoginFailed,
    ReauthRequired,
    StepUpRequired,
)
from lib.identity import msal_http
from lib.identity.credentials import ClientCredential, azure_credential
from lib.identity.entra import EntraClient
from lib.identity.graph import Profile, profile
from lib.identity.on_behalf_of import OnBehalfOf
from lib.identity.principal import Assertion, Principal
from lib.identity.sign_in import SignIn
from lib.identity.signing_keys import SigningKeys
from lib.identity.tokens import TokenValidator
from lib.settings import Settings
from lib.storage.key_vault import KeyVault
from local import certificates, entra, graph, key_vault, managed_identity
from local.entra import Entra, Refused
from local.entra.grants import access_token
from local.entra.tenant import Access
from local.faults import drop, hang
from local.issuer import Issuer
from local.people import ALICE, BOB, GATEWAY_CLIENT_ID, MANAGED_IDENTITY_CLIENT_ID, SCRIPT_CLIENT_ID, TENANT_ID, Person
from local.serving import Server
from local.vault import Vault
from tests.lib.identity.authority import FABRIC, rsa_key, settings
from tests.lib.identity.client import certificate_of, pem_of

pytestmark = [pytest.mark.stack, pytest.mark.usefixtures("farewells")]

CERTIFICATE = certificate_of(rsa_key("client"))
CALLBACK = "https://ask.contoso.com/api/login/callback"


@dataclass
class Peers:
    """The emulators of one module, and where they are."""

    entra: Entra
    vault: Vault
    identity: managed_identity.ManagedIdentity
    issuer: Issuer
    urls: dict[str, str]
    ca: Path

    def settings(self, kind: str) -> Settings:
        """Settings that point to them."""
        return settings(
            ENVIRONMENT="development",
            CLIENT_CREDENTIAL=kind,
            CLIENT_ID=GATEWAY_CLIENT_ID,
            TENANT_ID=TENANT_ID,
            ALLOWED_CLIENTS=f"{GATEWAY_CLIENT_ID},{SCRIPT_CLIENT_ID}",
            AZURE_CLIENT_ID=MANAGED_IDENTITY_CLIENT_ID,
            KEY_VAULT_URL=self.urls["key_vault"],
            ENTRA_AUTHORITY_HOST=self.urls["entra"],
            GRAPH_URL=self.urls["graph"],
            IDENTITY_ENDPOINT=self.urls["managed_identity"] + managed_identity.PATH,
        )

    def token(self, person: Person) -> str:
        """A person's access token for the gateway, from a script."""
        return access_token(
            self.entra, SCRIPT_CLIENT_ID, "0", person, "sid", Access(GATEWAY_CLIENT_ID, ("access_as_user",))
        )


@pytest.fixture(scope="module")
def peers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Peers]:
    """Entra, Key Vault, Graph and a managed identity."""
    folder = tmp_path_factory.mktemp("peers")
    issued = certificates.issue(folder)
    with ExitStack() as running:
        servers = {
            "entra": Server(certificates=issued),
            "key_vault": Server(certificates=issued, host="127.0.0.1"),
            "graph": Server(certificates=issued),
            "managed_identity": Server(),
        }
        urls = {name: server.url for name, server in servers.items()}
        issuer, vault = Issuer(urls["entra"]), Vault()
        vault.put("client-secret", "hush")
        vault.put("client-certificate", pem_of(rsa_key("client")) + CERTIFICATE)
        tenant = Entra(issuer, entra.registrations(redirect_uris=[CALLBACK], secret="hush", certificate=CERTIFICATE))
        identity = managed_identity.ManagedIdentity(issuer, "header")
        servers["entra"].app = entra.build(tenant)
        servers["key_vault"].app = key_vault.build(key_vault.KeyVault(vault, issuer, urls["key_vault"]))
        servers["graph"].app = graph.build(graph.Graph(issuer, urls["graph"]))
        servers["managed_identity"].app = managed_identity.build(identity)
        for server in servers.values():
            running.enter_context(server)
        yield Peers(tenant, vault, identity, issuer, urls, issued.ca)


@dataclass
class Gateway:
    """The identity room, wired as the gateway wires it."""

    peers: Peers
    settings: Settings
    http: httpx.AsyncClient
    entra: EntraClient

    @property
    def validator(self) -> TokenValidator:
        """What validates tokens, with no key known yet."""
        keys = SigningKeys(self.http, self.settings.entra_authority_host, self.settings.allowed_tenants)
        return TokenValidator(self.settings, keys)

    def audience(self, token: str) -> str:
        """Checks that a token is the tenant's, for Fabric, and says whose it is."""
        oid: str = self.peers.issuer.verify(token, "https://api.fabric.microsoft.com")["oid"]
        return oid


@asynccontextmanager
async def made(peers: Peers, kind: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    """A gateway with a credential of that kind, closed in the end."""
    monkeypatch.setenv("SSL_CERT_FILE", str(peers.ca))
    # aiohttp, under the Azure SDK, makes its context once, when some other test imports it
    monkeypatch.setattr("aiohttp.connector._SSL_CONTEXT_VERIFIED", ssl.create_default_context())
    monkeypatch.setenv("IDENTITY_ENDPOINT", peers.urls["managed_identity"] + managed_identity.PATH)
    monkeypatch.setenv("IDENTITY_HEADER", peers.identity.header)
    told = peers.settings(kind)
    async with (
        azure_credential(told, told.managed_identity_client_id) as azure,
        httpx.AsyncClient(trust_env=False, verify=ssl.create_default_context()) as http,
    ):
        vault = KeyVault(told.key_vault_url, azure)
        client = EntraClient(told, ClientCredential(told, azure, vault))
        try:
            yield Gateway(peers, told, http, client)
        finally:
            peers.entra.faults.clear()
            client.close()
            await vault.close()


@pytest.fixture(params=["managed-identity", "certificate", "secret"])
async def gateway(
    request: pytest.FixtureRequest, peers: Peers, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Gateway]:
    """A gateway that proves itself in each of the three ways."""
    async with made(peers, request.param, monkeypatch) as ready:
        yield ready


@pytest.fixture
async def one_gateway(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Gateway]:
    """A gateway that proves itself with its managed identity."""
    async with made(peers, "managed-identity", monkeypatch) as ready:
        yield ready


async def test_a_persons_token_is_validated_and_exchanged(gateway: Gateway) -> None:
    """The whole way in and on, with each kind of credential."""
    read = await gateway.validator.validate(gateway.peers.token(ALICE))
    assert (read.kind, read.object_id, read.username) == ("user", ALICE.object_id, ALICE.username)
    token = await gateway.entra.on_behalf_of(read.tenant_id, read.token, FABRIC)
    assert gateway.audience(token.access_token) == ALICE.object_id


async def test_the_gateway_gets_a_token_of_its_own(gateway: Gateway) -> None:
    """For agents that are asked in the app's name."""
    token = await gateway.entra.for_app(FABRIC)
    assert gateway.peers.issuer.verify(token.access_token, "https://api.fabric.microsoft.com")["idtyp"] == "app"


async def test_a_person_signs_in_and_the_session_renews(gateway: Gateway) -> None:
    """From the sign-in page to a second Fabric token, by form_post and a refresh token."""
    sign_in = SignIn(gateway.settings, gateway.entra, gateway.validator)
    url, flow = await sign_in.begin("/api/app")
    signed_in = await sign_in.complete(await posted(gateway, url, {"person": "bob"}), flow, spend)
    assert (signed_in.object_id, signed_in.name) == (BOB.object_id, BOB.name)
    token = await gateway.entra.refresh(signed_in.tenant_id, signed_in.refresh_token, FABRIC)
    assert gateway.audience(token.access_token) == BOB.object_id
    assert token.refresh_token
    assert token.refresh_token != signed_in.refresh_token


async def test_a_stronger_sign_in_is_asked_for_and_shows_in_the_tokens(one_gateway: Gateway) -> None:
    """Entra refuses with the claims that it wants, the browser is sent there with them, and then they are had."""
    sign_in = SignIn(one_gateway.settings, one_gateway.entra, one_gateway.validator)
    url, flow = await sign_in.begin("/api/app")
    weak = await sign_in.complete(await posted(one_gateway, url, {"person": "bob"}), flow, spend)
    wanted = '{"access_token":{"acrs":{"essential":true,"value":"c1"}}}'
    with pytest.raises(StepUpRequired) as fault:
        await one_gateway.entra.refresh(TENANT_ID, weak.refresh_token, FABRIC, claims=wanted)
    challenged = replace(weak, challenge=fault.value.claims, challenge_handle="handle")
    url, flow = await sign_in.begin("/api/app", challenged)
    assert flow.challenge_handle == "handle"
    page = await one_gateway.http.get(url)
    assert '<button name="person" value="bob" autofocus>' in page.text, "Entra was told whom to expect"
    strong = await sign_in.complete(await posted(one_gateway, url, {"person": "bob"}), flow, spend)
    for claims, contexts in ((wanted, ["c1"]), ("", None)):
        token = await one_gateway.entra.refresh(TENANT_ID, strong.refresh_token, FABRIC, claims=claims)
        told = one_gateway.peers.issuer.verify(token.access_token, "https://api.fabric.microsoft.com")
        assert told.get("acrs") == contexts


async def test_a_declined_sign_in_has_failed(one_gateway: Gateway) -> None:
    """The person pressed Cancel."""
    sign_in = SignIn(one_gateway.settings, one_gateway.entra, one_gateway.validator)
    url, flow = await sign_in.begin("/api/app")
    with pytest.raises(LoginFailed):
        await sign_in.complete(await posted(one_gateway, url, {"deny": "1"}), flow, spend)


async def test_a_form_is_good_once(one_gateway: Gateway) -> None:
    """Entra redeems no code twice."""
    sign_in = SignIn(one_gateway.settings, one_gateway.entra, one_gateway.validator)
    url, flow = await sign_in.begin("/api/app")
    form = await posted(one_gateway, url, {"person": "alice"})
    await sign_in.complete(form, flow, spend)
    with pytest.raises(LoginFailed):
        await sign_in.complete(form, flow, spend)


async def test_fifty_requests_of_two_people_are_not_mixed_up(one_gateway: Gateway) -> None:
    """While Entra throttles now and then, each gets a token of their own or an honest failure."""
    faults = one_gateway.peers.entra.faults
    faults.plan("token", *(Response(status_code=429, headers={"Retry-After": "600"}) for _ in range(5)))
    people = [ALICE, BOB] * 25
    asked = (one_gateway.entra.on_behalf_of(TENANT_ID, one_gateway.peers.token(person), FABRIC) for person in people)
    told = await asyncio.gather(*asked, return_exceptions=True)
    failures = [fault for fault in told if isinstance(fault, BaseException)]
    assert [type(fault) for fault in failures] == [IdentityProviderUnavailable] * 5
    for person, token in zip(people, told, strict=True):
        if not isinstance(token, BaseException):
            assert one_gateway.audience(token.access_token) == person.object_id


async def test_a_token_with_retry_after_stays_its_persons(one_gateway: Gateway) -> None:
    """A proxy that adds the header to a success must not hand Alice's token to Bob."""
    body = {"token_type": "Bearer", "access_token": "alice's", "expires_in": 4200}
    one_gateway.peers.entra.faults.plan("token", JSONResponse(body, headers={"Retry-After": "600"}))
    alice = await one_gateway.entra.on_behalf_of(TENANT_ID, one_gateway.peers.token(ALICE), FABRIC)
    assert alice.access_token == "alice's"
    bob = await one_gateway.entra.on_behalf_of(TENANT_ID, one_gateway.peers.token(BOB), FABRIC)
    assert one_gateway.audience(bob.access_token) == BOB.object_id


@pytest.mark.parametrize(
    ("refused", "kind"),
    [
        (Refused(50079, claims={"access_token": {"capolids": {"essential": True}}}), StepUpRequired),
        (Refused(65001), ConsentRequired),
        (Refused(50173), ReauthRequired),
        (Refused(7000215), ClientCredentialRejected),
    ],
    ids=["step up", "consent", "revoked", "credential"],
)
async def test_entras_refusals_arrive_as_what_they_mean(
    one_gateway: Gateway, refused: Refused, kind: type[GatewayError]
) -> None:
    """In the shape that Entra gives them."""
    one_gateway.peers.entra.faults.plan("token", refused.reply())
    with pytest.raises(kind):
        await one_gateway.entra.on_behalf_of(TENANT_ID, one_gateway.peers.token(ALICE), FABRIC)


async def test_a_dropped_connection_is_tried_once_more(one_gateway: Gateway) -> None:
    """On a new connection."""
    one_gateway.peers.entra.faults.plan("token", drop)
    token = await one_gateway.entra.on_behalf_of(TENANT_ID, one_gateway.peers.token(ALICE), FABRIC)
    assert one_gateway.audience(token.access_token) == ALICE.object_id


async def test_an_entra_that_hangs_is_an_outage(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread's own timeout ends it, twice."""
    monkeypatch.setattr(msal_http, "TIMEOUT_SECONDS", 0.2)
    async with made(peers, "managed-identity", monkeypatch) as gateway:
        peers.entra.faults.plan("token", hang, hang)
        with pytest.raises(IdentityProviderUnavailable):
            await gateway.entra.for_app(FABRIC)


async def test_the_profile_comes_from_graph(one_gateway: Gateway) -> None:
    """With a token for Graph, on the person's behalf."""
    grant = Assertion(one_gateway.peers.token(ALICE), time.time() + 3600, time.time())
    principal = Principal(TENANT_ID, ALICE.object_id, "user", "bearer", grant.expires_at, grant)
    graph_url = one_gateway.settings.graph_url
    token = await OnBehalfOf(one_gateway.entra).token_for(principal, f"{graph_url}/User.Read")
    assert await profile(one_gateway.http, graph_url, token) == Profile(ALICE.name, ALICE.job_title, ALICE.office)
    assert await profile(one_gateway.http, graph_url, "no token") is None


async def test_no_secret_reaches_a_log(gateway: Gateway, caplog: pytest.LogCaptureFixture) -> None:
    """Neither ours nor msal's, at any level, whether a sign-in and an exchange succeed or fail."""
    caplog.set_level(logging.DEBUG, "lib")
    caplog.set_level(logging.DEBUG, "msal")
    sign_in = SignIn(gateway.settings, gateway.entra, gateway.validator)
    url, flow = await sign_in.begin("/api/app")
    form = await posted(gateway, url, {"person": "bob"})
    signed_in = await sign_in.complete(form, flow, spend)
    assertion = gateway.peers.token(ALICE)
    token = await gateway.entra.on_behalf_of(TENANT_ID, assertion, FABRIC)
    gateway.peers.entra.faults.plan(
        "token",
        Refused(65001).reply(),
        Response(f"<html>{token.access_token}"),
        Response(f"<html>{token.access_token}"),
    )
    for _ in range(2):
        with pytest.raises((ConsentRequired, IdentityProviderUnavailable)):
            await gateway.entra.on_behalf_of(TENANT_ID, assertion, FABRIC)
    with pytest.raises(LoginFailed):
        await sign_in.complete(form | {"state": "another"}, flow, spend)
    told = " ".join(f"{record.getMessage()} {record.__dict__}" for record in caplog.records)
    secrets = [assertion, token.access_token, signed_in.refresh_token, form["code"], flow.code_verifier, "hush"]
    assert told
    assert not [secret for secret in (*secrets, flow.state, flow.nonce, BOB.username, ALICE.username) if secret in told]


async def test_the_threads_end_with_the_client(peers: Peers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a gateway that is closed keeps the process alive."""
    async with made(peers, "managed-identity", monkeypatch) as gateway:
        await gateway.entra.for_app(FABRIC)
        threads = [thread for thread in threading.enumerate() if thread.name.startswith("entra")]
        assert threads
    for thread in threads:
        thread.join(5)
    assert not [thread for thread in threads if thread.is_alive()]


async def spend() -> None:
    """Uses nothing up: Entra itself takes each code once."""


async def posted(gateway: Gateway, url: str, choice: dict[str, str]) -> dict[str, str]:
    """What the browser posts back to the gateway, once the person has chosen."""
    page = await gateway.http.post(url, data=choice)
    return {unescape(name): unescape(value) for name, value in re.findall(r'name="([^"]*)" value="([^"]*)"', page.text)}
