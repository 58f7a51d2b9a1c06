"""Rules for what the gateway proves itself with."""

import logging
from collections.abc import Callable

import pytest
from azure.identity import AzureCliCredential as BlockingAzureCli
from azure.identity import ManagedIdentityCredential as BlockingManagedIdentity
from azure.identity.aio import AzureCliCredential, ManagedIdentityCredential
from cryptography.hazmat.primitives.asymmetric import ec

from lib.errors import ClientCredentialRejected, IdentityProviderUnavailable, StateUnavailable
from lib.identity.credentials import ClientCredential, azure_credential, blocking_azure_credential, read_certificate
from tests.clock import Clock
from tests.lib.identity.authority import rsa_key, settings
from tests.lib.identity.client import Identity, Vault, certificate_of, pem_of

DEVELOPMENT = {"ENVIRONMENT": "development"}


@pytest.fixture
def identity(clock: Clock) -> Identity:
    """A managed identity."""
    return Identity(clock)


OURS, THEIRS = rsa_key("client"), rsa_key("other")
CURVE = ec.generate_private_key(ec.SECP256R1())


async def test_in_azure_the_credential_is_the_managed_identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the client id of the settings; in production nothing else will do."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", "http://127.0.0.1/msi/token")
    monkeypatch.setenv("IDENTITY_HEADER", "header")
    identity = "d4c0b8e6-5a19-47f3-8d72-9be6a3f0d004"
    with_endpoint = {"IDENTITY_ENDPOINT": "http://127.0.0.1/msi/token", **DEVELOPMENT}
    for told in (settings(AZURE_CLIENT_ID=identity), settings(AZURE_CLIENT_ID=identity, **with_endpoint), settings()):
        async with azure_credential(told, told.managed_identity_client_id) as credential:
            assert isinstance(credential, ManagedIdentityCredential)


async def test_a_developer_signs_in_with_the_azure_cli() -> None:
    """Only in development, and only where there is no managed identity."""
    async with azure_credential(settings(**DEVELOPMENT), None) as credential:
        assert isinstance(credential, AzureCliCredential)


async def test_the_managed_identitys_token_is_there_before_msal_wants_it(clock: Clock, identity: Identity) -> None:
    """It is asked for in the token exchange's name, and what msal calls only hands it over."""
    credential = await ClientCredential(settings(), identity, Vault(), clock).current()
    assert identity.asked == [("api://AzureADTokenExchange/.default",)]
    assert assertion_of(credential)() == "assertion-1"
    assert len(identity.asked) == 1


async def test_the_assertion_is_renewed_at_half_its_life(clock: Clock, identity: Identity) -> None:
    """What msal holds is the same credential, and the new assertion is in it."""
    credential = ClientCredential(settings(), identity, Vault(), clock)
    first = await credential.current()
    clock.advance(12 * 3600 - 1)
    assert await credential.current() is first
    assert assertion_of(first)() == "assertion-1"
    clock.advance(1)
    assert await credential.current() is first
    assert assertion_of(first)() == "assertion-2"


async def test_an_assertion_serves_on_while_the_identity_is_away(
    clock: Clock, identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    """The next attempt is a minute later."""
    credential = ClientCredential(settings(), identity, Vault(), clock)
    first = await credential.current()
    identity.away = True
    clock.advance(13 * 3600)
    for _ in range(3):
        assert await credential.current() is first
    assert (assertion_of(first)(), len(identity.asked)) == ("assertion-1", 2)
    assert [record.getMessage() for record in caplog.records] == ["the managed identity's token cannot be renewed"]
    told = vars(caplog.records[0])
    assert (told["event"], told["what"], told["levelname"]) == ("credential_trouble", "managed_identity", "ERROR")
    identity.away = False
    clock.advance(60)
    await credential.current()
    assert assertion_of(first)() == "assertion-3"


async def test_without_any_assertion_the_identity_provider_is_away(clock: Clock, identity: Identity) -> None:
    """It is a failure that passes: the next request tries again."""
    identity.away = True
    credential = ClientCredential(settings(), identity, Vault(), clock)
    with pytest.raises(IdentityProviderUnavailable):
        await credential.current()
    identity.away = False
    await credential.current()


async def test_a_secret_comes_from_key_vault_with_a_warning(
    clock: Clock, identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    """Its value stays out of the warning."""
    vault = Vault(client_secret="hush")
    credential = ClientCredential(settings(CLIENT_CREDENTIAL="secret"), identity, vault, clock)
    assert await credential.current() == "hush"
    assert vault.asked == ["client-secret"]
    assert "use a managed identity" in caplog.text
    assert "hush" not in caplog.text
    assert not identity.asked


@pytest.mark.parametrize("kind", ["managed-identity", "certificate"])
def test_the_better_credentials_need_no_warning(
    clock: Clock, identity: Identity, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """Only the secret is for development."""
    ClientCredential(settings(CLIENT_CREDENTIAL=kind), identity, Vault(), clock)
    assert not caplog.records


async def test_a_certificate_comes_in_msals_form(clock: Clock, identity: Identity) -> None:
    """Private key and certificate without a thumbprint: that is how msal takes PS256 and `x5t#S256`."""
    pem = pem_of(OURS) + certificate_of(OURS)
    credential = ClientCredential(
        settings(CLIENT_CREDENTIAL="certificate"), identity, Vault(client_certificate=pem), clock
    )
    first = await credential.current()
    assert first == {"private_key": pem_of(OURS).strip(), "public_certificate": certificate_of(OURS).strip()}
    assert await credential.current() is first


async def test_a_new_certificate_is_a_new_credential(clock: Clock, identity: Identity) -> None:
    """Another object: by that the client of Entra sees that msal has to be built anew."""
    vault = Vault(client_certificate=pem_of(OURS) + certificate_of(OURS))
    credential = ClientCredential(settings(CLIENT_CREDENTIAL="certificate"), identity, vault, clock)
    first = await credential.current()
    vault.secrets["client-certificate"] = pem_of(THEIRS) + certificate_of(THEIRS)
    second = await credential.current()
    assert isinstance(second, dict)
    assert (second is first, second["private_key"]) == (False, pem_of(THEIRS).strip())


async def test_the_known_credential_serves_on_while_key_vault_is_away(clock: Clock, identity: Identity) -> None:
    """Without a known one the caller learns that state is away."""
    vault = Vault(client_secret="hush")
    credential = ClientCredential(settings(CLIENT_CREDENTIAL="secret"), identity, vault, clock)
    vault.away = True
    with pytest.raises(StateUnavailable):
        await credential.current()
    vault.away = False
    await credential.current()
    vault.away = True
    assert await credential.current() == "hush"


async def test_a_credential_that_entra_rejects_is_read_anew_before_its_next_use(
    clock: Clock, identity: Identity
) -> None:
    """A secret can be replaced without an outage: the vault is asked for one that is less than a minute old, once."""
    vault = Vault(client_secret="hush")
    credential = ClientCredential(settings(CLIENT_CREDENTIAL="secret"), identity, vault, clock)
    await credential.current()
    vault.secrets["client-secret"] = "new"
    credential.reject()
    assert await credential.current() == "new"
    await credential.current()
    assert (vault.ages, len(vault.asked)) == ([60], 3)


async def test_a_certificate_spoilt_in_key_vault_does_not_replace_a_good_one(clock: Clock, identity: Identity) -> None:
    """What worked works on, and the log tells."""
    pem = pem_of(OURS) + certificate_of(OURS)
    vault = Vault(client_certificate=pem)
    credential = ClientCredential(settings(CLIENT_CREDENTIAL="certificate"), identity, vault, clock)
    first = await credential.current()
    vault.secrets["client-certificate"] = "nonsense"
    assert await credential.current() is first


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param(certificate_of(OURS) + pem_of(OURS), id="certificate first"),
        pytest.param(pem_of(OURS) + certificate_of(THEIRS) + certificate_of(OURS), id="a chain in any order"),
        pytest.param("Bag Attributes\n" + pem_of(OURS) + "\nsubject=x\n" + certificate_of(OURS), id="text between"),
        pytest.param((pem_of(OURS) + certificate_of(OURS)).replace("\n", "\r\n"), id="Windows line ends"),
    ],
)
def test_key_and_certificate_are_found_wherever_they_stand(pem: str) -> None:
    """Key Vault's own PEM has the key first; others do not."""
    credential = read_certificate(pem)
    assert isinstance(credential, dict)
    found = [str(credential[name]).replace("\r", "") for name in ("private_key", "public_certificate")]
    assert found == [pem_of(OURS).strip(), certificate_of(OURS).strip()]


@pytest.mark.parametrize(
    "pem",
    [
        pytest.param("", id="nothing"),
        pytest.param("MIIKcQIBAzCCCjcGCSqGSIb3DQEHAaCC", id="PKCS 12 in base64"),
        pytest.param(pem_of(OURS), id="no certificate"),
        pytest.param(certificate_of(OURS), id="no key"),
        pytest.param(pem_of(OURS) + certificate_of(THEIRS), id="another key's certificate"),
        pytest.param(pem_of(OURS, b"password") + certificate_of(OURS), id="a key under a password"),
        pytest.param(pem_of(CURVE) + certificate_of(CURVE), id="an elliptic curve"),
        pytest.param(pem_of(OURS).replace("M", "N") + certificate_of(OURS), id="a broken key"),
    ],
)
def test_a_secret_that_is_no_certificate_with_its_key_is_refused(pem: str, caplog: pytest.LogCaptureFixture) -> None:
    """A matter for those who operate the gateway: the log says what is wrong, without showing it."""
    with caplog.at_level(logging.ERROR), pytest.raises(ClientCredentialRejected):
        read_certificate(pem)
    assert "client-certificate holds no PEM" in caplog.text
    assert "PRIVATE KEY" not in caplog.text


def assertion_of(credential: object) -> Callable[[], str]:
    """What msal calls for the assertion."""
    assert isinstance(credential, dict)
    call: Callable[[], str] = credential["client_assertion"]
    return call


@pytest.mark.parametrize("endpoint", ["", "http://127.0.0.1/msi"], ids=["a developer's machine", "in Azure"])
def test_threads_have_a_credential_of_their_own(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the same kind: the managed identity, or the developer's sign-in at the Azure CLI."""
    monkeypatch.setenv("IDENTITY_ENDPOINT", endpoint)
    told = settings(**DEVELOPMENT, IDENTITY_ENDPOINT=endpoint)
    with blocking_azure_credential(told, "d4c0b8e6-5a19-47f3-8d72-9be6a3f0d004") as made:
        assert isinstance(made, BlockingManagedIdentity if endpoint else BlockingAzureCli)
