"""Checks of the doctor whose peers need not be there; all others are tried on the stack."""

import base64
import json
import time
from datetime import UTC, datetime
from email.utils import format_datetime

import httpx
import pytest
from azure.core.exceptions import ClientAuthenticationError

from lib.errors import ConsentRequired, DeadlineExceeded, GatewayError, IdentityProviderUnavailable, StateUnavailable
from lib.identity.entra import Token
from lib.identity.on_behalf_of import OnBehalfOf
from lib.identity.principal import Assertion, Principal
from lib.settings import AZURITE, StateStorage
from lib.storage.key_vault import SecretVersion
from lib.storage.server_clock import ServerClock
from lib.storage.tables import Tables
from scripts.doctor import aadsts, examination
from scripts.doctor.checks import agents, azure_identity, entra, key_vault, person, public_address, storage
from scripts.doctor.overheard import Overheard
from scripts.doctor.patient import Patient
from scripts.findings import Finding
from tests.scripts.patients import CLIENT, TENANT, deployed, in_azure


class Refusing:
    """Whatever it is asked for, it raises this."""

    def __init__(self, fault: Exception) -> None:
        self._fault = fault

    async def refuse(self, *_: object, **__: object) -> Token:
        """Raises it."""
        raise self._fault

    get_token = versions = on_behalf_of = for_app = refuse


class Vault:
    """A vault of these versions."""

    def __init__(self, *versions: SecretVersion) -> None:
        self._versions = versions

    async def versions(self, _name: str) -> tuple[SecretVersion, ...]:
        """All of them."""
        return self._versions


async def test_a_machine_whose_clock_is_wrong_is_told() -> None:
    """Table Storage says what time it is, and a good token would be refused."""
    for seconds, status in ((0, "ok"), (30, "ok"), (300, "failed"), (-300, "failed")):
        clock, patient = ServerClock(), in_azure()
        clock.hear(format_datetime(datetime.fromtimestamp(time.time() + seconds, UTC), usegmt=True))
        patient.gateway.tables = Tables(StateStorage(connection_string=AZURITE), clock=clock)
        found = await storage.clock(patient)
        await patient.close()
        assert found.status == status, found
        assert ("behind" in found.detail) == (seconds == 300)


async def test_an_app_without_an_identity_is_told_which_one_it_lacks() -> None:
    """The one that is named, or the app's own."""
    for patient, words in ((in_azure(), "AZURE_CLIENT_ID"), (in_azure(AZURE_CLIENT_ID=None), "system-assigned")):
        patient.gateway.azure_credential = Refusing(ClientAuthenticationError("private"))  # type: ignore[assignment]
        found = await azure_identity.azure_identity(patient)
        assert (found.status, found.detail) == ("failed", "ClientAuthenticationError")
        assert words in found.cause


async def test_secrets_without_any_version_are_missing() -> None:
    """The list of a secret that never was may be empty instead of missing."""
    patient = in_azure()
    patient.gateway.key_vault = Vault()  # type: ignore[assignment]
    assert "az keyvault secret set --vault-name kv-gateway" in (await key_vault.sealing_key(patient)).cure
    assert "az ad app credential reset" in (await key_vault.client_secret(patient)).cure


async def test_a_young_key_is_waited_for_or_an_older_one_enabled_again() -> None:
    """Whoever disables the old version too early makes every record of it unreadable."""
    key, patient = base64.b64encode(bytes(32)).decode(), in_azure()
    young = SecretVersion("new", time.time() - 30, enabled=True, value=key)
    patient.gateway.key_vault = Vault(young)  # type: ignore[assignment]
    assert (await key_vault.sealing_key(patient)).cure == "wait 10 minutes"
    old = SecretVersion("old", time.time() - 3000, enabled=False)
    patient.gateway.key_vault = Vault(young, old)  # type: ignore[assignment]
    assert "--version old --enabled true" in (await key_vault.sealing_key(patient)).cure


async def test_a_secret_that_ends_is_told_in_time() -> None:
    """Thirty days before, and when it is too late."""
    patient = in_azure()
    for seconds, detail in ((-86400 * 1.5, "has ended"), (86400 * 3.5, "ends in 3 days")):
        version = SecretVersion("v", 1.0, enabled=True, value="x", expires=time.time() + seconds)
        patient.gateway.key_vault = Vault(version)  # type: ignore[assignment]
        assert (await key_vault.client_secret(patient)).detail == detail


async def test_a_vault_that_fails_is_told_for_its_secrets_too() -> None:
    """Between one call and the next anything may happen."""
    patient = in_azure()
    patient.gateway.key_vault = Refusing(StateUnavailable())  # type: ignore[assignment]
    for check in (key_vault.sealing_key, key_vault.client_secret):
        assert "nothing answers" in (await check(patient)).cause


async def test_a_credential_that_cannot_be_read_is_no_refusal_of_entras() -> None:
    """Key Vault's line has told of it."""
    patient = in_azure(CLIENT_CREDENTIAL="secret")
    for fault, status in ((StateUnavailable(), "skipped"), (IdentityProviderUnavailable(), "failed")):
        patient.gateway.on_behalf_of = OnBehalfOf(Refusing(fault))  # type: ignore[arg-type]
        assert (await entra.client_credential(patient, Overheard())).status == status


def fabric_token(**claims: object) -> str:
    """An access token for Fabric, unsigned."""
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.x"


class Giving(Refusing):
    """Entra gives this token."""

    def __init__(self, token: str) -> None:
        super().__init__(GatewayError())
        self._token = token

    async def on_behalf_of(self, *_: object) -> Token:  # type: ignore[override]
        """As asked for."""
        return Token(self._token, time.time() + 3600)


def with_person(patient: Patient) -> Patient:
    """The patient, once a person's token has been taken."""
    grant = Assertion("token", time.time() + 3600, time.time())
    patient.person = Principal(TENANT, CLIENT, "user", "bearer", time.time() + 3600, grant)
    return patient


@pytest.mark.parametrize(
    ("token", "status"),
    [
        (fabric_token(scp="Item.Read.All"), "failed"),
        (fabric_token(scp="Item.Read.All DataAgent.Execute.All"), "ok"),
        ("opaque", "ok"),
    ],
)
async def test_fabrics_permission_is_looked_for_in_its_token(token: str, status: str) -> None:
    """Without it every question would be a 403."""
    patient = with_person(in_azure())
    patient.gateway.on_behalf_of = OnBehalfOf(Giving(token))  # type: ignore[arg-type]
    found = await person.on_behalf_of(patient, Overheard())
    assert found.status == status
    assert ("az ad app permission add" in found.cure) == (status == "failed")


async def test_a_profile_that_is_not_to_be_had_is_no_failure() -> None:
    """It is an extra."""
    patient = with_person(in_azure())
    patient.gateway.on_behalf_of = OnBehalfOf(Refusing(ConsentRequired()))  # type: ignore[arg-type]
    assert (await person.profiles(patient)).status == "skipped"


async def test_keys_that_are_away_say_nothing_of_a_token() -> None:
    """Nor does the doctor then."""

    class Validator:
        async def validate(self, _token: str) -> None:
            raise IdentityProviderUnavailable

    patient = in_azure()
    patient.token = "a-token"
    patient.gateway.token_validator = Validator()  # type: ignore[assignment]
    assert (await person.token(patient)).status == "skipped"


@pytest.mark.parametrize(("body", "status"), [(b'{"status": "alive"}', "ok"), (b"hello", "failed"), (b"[]", "failed")])
async def test_the_public_address_has_to_lead_to_a_gateway(body: bytes, status: str) -> None:
    """A page that says 200 is none."""
    patient = in_azure(SESSIONS="off")
    transport = httpx.MockTransport(lambda _request: httpx.Response(200, content=body))
    patient.gateway.http = httpx.AsyncClient(transport=transport)
    found = await public_address.public_address(patient)
    await patient.close()
    assert found.status == status
    assert "redirect URI" not in found.detail


def test_an_unknown_refusal_of_entras_leads_to_its_own_page() -> None:
    """By its number, which is no secret."""
    found = aadsts.entra_refuses(in_azure(), "client credential", 123456)
    assert (found.detail, found.cure) == ("AADSTS123456", "https://login.microsoftonline.com/error?code=123456")


@pytest.mark.parametrize("number", sorted(aadsts._MEANINGS))
def test_every_meaning_can_be_told(number: int) -> None:
    """With the patient's own names in its command, and no gap left."""
    found = aadsts.entra_refuses(in_azure(), "client credential", number)
    assert found.cause
    assert found.cure
    assert "{client}" not in found.cure + found.cause


async def failing(_patient: Patient) -> Finding:
    """A check with a fault of its own."""
    raise LookupError("private")


async def endless(_patient: Patient) -> Finding:
    """A check that waits for what never comes."""
    import asyncio  # noqa: PLC0415

    await asyncio.Event().wait()
    raise AssertionError


async def test_a_check_that_fails_itself_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its type is told, never its text; and the examination goes on."""
    monkeypatch.setattr(examination, "CHECK_SECONDS", 0.01)
    for check, detail in ((failing, "no result"), (endless, "no end")):
        found = await examination._finding(examination.Step("x", check), in_azure())
        assert (found.status, found.detail) == ("failed", detail)
        assert "private" not in found.told()


async def test_what_the_doctor_opens_is_closed() -> None:
    """Whatever of it there is."""
    nothing, patient = Patient(in_azure().source), in_azure()
    await nothing.close()
    for name in ("tables", "key_vault", "http", "fabric_http", "entra"):
        getattr(patient.gateway, name)
    await patient.queue.close()
    await patient.close()
    assert patient.gateway.http.is_closed


@pytest.mark.parametrize("fault", [GatewayError(), ConsentRequired()])
def test_any_other_failure_of_an_agent_is_told_by_its_code(fault: GatewayError) -> None:
    """A new kind of failure must not be taken for none."""
    found = agents._refused(deployed(), "default", fault, "the person's")
    assert (found.status, found.detail) == ("failed", fault.code)


def test_a_silent_front_door_is_told() -> None:
    """It may be the way to it, or Fabric."""
    found = agents._front_door(deployed(), "default", DeadlineExceeded())
    assert (found.status, found.detail) == ("failed", "silent")
