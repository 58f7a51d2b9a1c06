"""Key Vault by the real SDK and a managed identity, against the emulated vault."""

import logging

import pytest
from azure.identity.aio import ManagedIdentityCredential
from starlette.responses import JSONResponse
from starlette.types import ASGIApp

from lib.errors import StateUnavailable
from lib.storage import azure_sdk
from lib.storage.key_vault import KeyVault, SecretVersion
from local.faults import drop, hang
from tests.clock import Clock
from tests.lib.conftest import RunningVault

pytestmark = pytest.mark.stack

FORBIDDEN = JSONResponse({"error": {"code": "Forbidden", "message": "No."}}, 403)
THROTTLED = JSONResponse({"error": {"code": "Throttled", "message": "Later."}}, 429, {"Retry-After": "60"})


async def test_a_secret_is_its_latest_version(key_vault_client: KeyVault, vault: RunningVault) -> None:
    """Asked for once within the hour, by the managed identity's token."""
    vault.content.put("client-secret", "old")
    vault.content.put("client-secret", "new")
    assert [await key_vault_client.secret("client-secret") for _ in range(3)] == ["new"] * 3
    assert await key_vault_client.secret("index-key") == vault.content.get("index-key").value


async def test_a_new_version_is_met_within_the_hour(
    key_vault_client: KeyVault, vault: RunningVault, clock: Clock
) -> None:
    """The old value counts until then."""
    vault.content.put("client-secret", "old")
    assert await key_vault_client.secret("client-secret") == "old"
    vault.content.put("client-secret", "new")
    clock.advance(3599)
    assert await key_vault_client.secret("client-secret") == "old"
    clock.advance(1)
    assert await key_vault_client.secret("client-secret") == "new"


async def test_a_new_version_is_met_at_once_by_those_who_know_of_it(
    key_vault_client: KeyVault, vault: RunningVault, clock: Clock
) -> None:
    """The vault is asked before the hour is over, and everybody gets the new value from then on."""
    vault.content.put("client-secret", "old")
    assert await key_vault_client.secret("client-secret") == "old"
    vault.content.put("client-secret", "new")
    clock.advance(60)
    assert await key_vault_client.secret_younger_than(61, "client-secret") == "old"
    assert await key_vault_client.secret_younger_than(60, "client-secret") == "new"
    assert await key_vault_client.secret("client-secret") == "new"


@pytest.mark.parametrize("fault", [drop, FORBIDDEN], ids=["cut", "forbidden"])
async def test_a_secret_outlives_an_outage(
    key_vault_client: KeyVault, vault: RunningVault, clock: Clock, fault: ASGIApp
) -> None:
    """What was read once is served while the vault is away."""
    known = await key_vault_client.secret("index-key")
    clock.advance(3600)
    vault.faults.plan("get", *[fault] * 8)
    assert await key_vault_client.secret("index-key") == known


@pytest.mark.parametrize(
    "fault", [drop, hang, FORBIDDEN, THROTTLED], ids=["cut", "silent", "forbidden", "throttled for long"]
)
async def test_a_vault_that_was_never_reached_is_state_unavailable(
    monkeypatch: pytest.MonkeyPatch, key_vault_client: KeyVault, vault: RunningVault, fault: ASGIApp
) -> None:
    """However it fails, within a bounded time, and without a word of the SDK's."""
    monkeypatch.setattr(azure_sdk, "CALL_SECONDS", 0.5)
    vault.faults.plan("get", *[fault] * 8)
    with pytest.raises(StateUnavailable) as raised:
        await key_vault_client.secret("index-key")
    assert raised.value.detail == StateUnavailable.default_detail


async def test_one_hiccup_goes_unnoticed(key_vault_client: KeyVault, vault: RunningVault) -> None:
    """A call is repeated once."""
    await key_vault_client.ping()
    vault.faults.plan("get", drop)
    await key_vault_client.ping()


async def test_a_missing_secret_is_named_in_the_log(
    key_vault_client: KeyVault, caplog: pytest.LogCaptureFixture
) -> None:
    """Those who operate the gateway learn which one to create."""
    with pytest.raises(StateUnavailable):
        await key_vault_client.secret("client-secret")
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.__dict__ | {"secret": "client-secret", "status": 404} == record.__dict__


async def test_versions_have_values_unless_they_are_disabled(key_vault_client: KeyVault, vault: RunningVault) -> None:
    """However many pages the list has."""
    born = vault.content.get("sealing-key").created
    known = {
        vault.content.put("sealing-key", f"value {number}", created=born + number): number for number in range(1, 30)
    }
    disabled = next(iter(known))
    vault.content.disable("sealing-key", disabled)
    versions = {version.version: version for version in await key_vault_client.versions("sealing-key")}
    assert len(versions) == 30
    for version, number in known.items():
        enabled = version != disabled
        value = f"value {number}" if enabled else ""
        assert versions[version] == SecretVersion(version, born + number, enabled, value)


async def test_a_version_tells_when_it_ends_where_its_owner_has_said_so(
    key_vault_client: KeyVault, vault: RunningVault
) -> None:
    """What has to be renewed can be told in time."""
    vault.content.put("client-secret", "one")
    vault.content.put("client-secret", "two", expires=1_900_000_000)
    told = {version.value: version.expires for version in await key_vault_client.versions("client-secret")}
    assert told == {"one": None, "two": 1_900_000_000.0}


async def test_ping_asks_the_vault_each_time(key_vault_client: KeyVault, vault: RunningVault) -> None:
    """A value in memory says nothing about the vault."""
    await key_vault_client.secret("index-key")
    await key_vault_client.ping()
    vault.faults.plan("get", *[FORBIDDEN] * 2)
    with pytest.raises(StateUnavailable):
        await key_vault_client.ping()


@pytest.mark.usefixtures("trusted")
async def test_a_challenge_for_another_resource_is_not_answered(
    vault: RunningVault, credential: ManagedIdentityCredential
) -> None:
    """Who takes the vault's place gets no token of the gateway's for something else."""
    challenge = {"WWW-Authenticate": 'Bearer authorization="https://login.test/t", resource="https://elsewhere.test"'}
    vault.faults.plan("get", *[JSONResponse({}, 401, challenge)] * 4)
    client = KeyVault(vault.url, credential)
    with pytest.raises(StateUnavailable):
        await client.secret("index-key")
    await client.close()


async def test_the_sdk_logs_neither_addresses_nor_values(
    key_vault_client: KeyVault, vault: RunningVault, caplog: pytest.LogCaptureFixture
) -> None:
    """Not even with every logger at DEBUG."""
    vault.content.put("client-secret", "the-value")
    with caplog.at_level(logging.DEBUG):
        await key_vault_client.secret("client-secret")
    logged = [record.getMessage() for record in caplog.records if not record.name.startswith("uvicorn")]
    assert not [message for message in logged if "the-value" in message]
    assert not [message for message in logged if "client-secret" in message or vault.url in message]


def test_a_versions_value_is_not_part_of_its_repr() -> None:
    """A version can be logged."""
    assert "secret" not in repr(SecretVersion("v", 1.0, enabled=True, value="secret"))


async def test_a_secret_that_is_missing_or_not_for_us_is_told_as_trouble(
    key_vault_client: KeyVault, vault: RunningVault, caplog: pytest.LogCaptureFixture
) -> None:
    """No waiting mends it: somebody has to. A vault that is away is an outage, which is told elsewhere."""
    vault.faults.plan("get", FORBIDDEN)
    for name in ("index-key", "no-such-secret"):
        with pytest.raises(StateUnavailable):
            await key_vault_client.secret(name)
    vault.faults.plan("get", *[drop] * 8)
    with pytest.raises(StateUnavailable):
        await key_vault_client.ping()
    told = [vars(record) for record in caplog.records if vars(record).get("event") == "credential_trouble"]
    assert [(line["what"], line["secret"], line["levelname"]) for line in told] == [
        ("key_vault", "index-key", "ERROR"),
        ("key_vault", "no-such-secret", "ERROR"),
    ]
