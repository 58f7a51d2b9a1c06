"""App registrations, as the Azure CLI tells of them."""

from typing import Any

import pytest

from scripts.doctor.checks import registration
from tests.scripts.azure_cli import AzureCli
from tests.scripts.patients import CLIENT, IDENTITY, ITEM, TENANT, deployed

SHOW, SERVICE = f"ad app show --id {CLIENT}*", f"ad sp show --id {IDENTITY}*"
LIST = f"ad app federated-credential list --id {CLIENT}*"
API = {"requestedAccessTokenVersion": 2, "oauth2PermissionScopes": [{"value": "access_as_user"}]}
CALLBACK = "https://gateway.contoso.com/api/login/callback"
SOUND: dict[str, Any] = {"api": API, "web": {"redirectUris": [CALLBACK]}, "signInAudience": "AzureADMyOrg"}
OBJECT = "e95f7a12-8b3c-4d60-a1e4-2c7d90b6f005"
TRUST = {
    "subject": OBJECT,
    "issuer": f"https://login.microsoftonline.com/{TENANT}/v2.0",
    "audiences": ["api://AzureADTokenExchange"],
}


async def test_a_registration_that_fits_the_settings_is_in_order(azure_cli: AzureCli) -> None:
    """Nothing is asked for that the settings do not want."""
    azure_cli.answers(SHOW, SOUND)
    assert (await registration.application(deployed())).status == "ok"
    azure_cli.forget()
    azure_cli.answers(SHOW, SOUND | {"web": {"redirectUris": None}})
    assert (await registration.application(deployed(SESSIONS="off"))).status == "ok"


@pytest.mark.parametrize(
    ("change", "settings", "words", "command"),
    [
        ({"api": API | {"requestedAccessTokenVersion": None}}, {}, "version 1.0", '"requestedAccessTokenVersion": 2'),
        (
            {"web": {"redirectUris": ["https://x"]}},
            {},
            f"{CALLBACK} is missing",
            f"--web-redirect-uris https://x {CALLBACK}",
        ),
        ({"api": API | {"oauth2PermissionScopes": None}}, {}, "no scope access_as_user", "Expose an API"),
        ({}, {"ALLOWED_TENANTS": f"{TENANT},{ITEM}"}, "one tenant alone", "--sign-in-audience AzureADMultipleOrgs"),
    ],
)
async def test_a_registration_at_odds_is_told(
    azure_cli: AzureCli, change: dict[str, Any], settings: dict[str, str], words: str, command: str
) -> None:
    """With the command that mends it."""
    azure_cli.answers(SHOW, SOUND | change)
    found = await registration.application(deployed(**settings))
    assert (found.status, found.detail) == ("failed", "1 wrong")
    assert words in found.cause
    assert command in found.cure


async def test_a_managed_identity_that_is_trusted_is_in_order(azure_cli: AzureCli) -> None:
    """By its object id, whatever else is trusted."""
    azure_cli.answers(SERVICE, {"id": OBJECT})
    azure_cli.answers(LIST, [TRUST | {"subject": "repo:x"}, TRUST])
    assert (await registration.federated_credential(deployed())).status == "ok"


@pytest.mark.parametrize(
    "listed",
    [
        [],
        [TRUST | {"subject": IDENTITY}],
        [TRUST | {"issuer": f"https://login.microsoftonline.com/{TENANT}"}],
        [TRUST | {"audiences": [f"api://{CLIENT}"]}],
    ],
    ids=["none", "client id", "issuer", "audience"],
)
async def test_a_managed_identity_that_is_not_trusted_is_told(azure_cli: AzureCli, listed: list[object]) -> None:
    """Entra takes any of these in silence, and refuses the exchange."""
    azure_cli.answers(SERVICE, {"id": OBJECT})
    azure_cli.answers(LIST, listed)
    found = await registration.federated_credential(deployed())
    assert (found.status, found.detail) == ("failed", f"none of {len(listed)} fits")
    assert f"az ad app federated-credential create --id {CLIENT}" in found.cure


@pytest.mark.usefixtures("azure_cli")
async def test_a_registration_that_may_not_be_read_is_skipped() -> None:
    """Reading the directory is a right of its own."""
    assert (await registration.application(deployed())).cure == f"az ad app show --id {CLIENT}"
    assert (await registration.federated_credential(deployed())).status == "skipped"


async def test_another_credential_needs_no_trust() -> None:
    """Nothing is looked at then."""
    assert (await registration.federated_credential(deployed(CLIENT_CREDENTIAL="secret"))).status == "skipped"
