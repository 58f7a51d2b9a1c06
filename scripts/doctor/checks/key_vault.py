"""Key Vault: that it can be reached and read, and that each secret is there, is what it should be, and stays so."""

import time
from http import HTTPStatus

from lib.errors import GatewayError, StateUnavailable
from lib.storage.key_vault import SecretVersion
from lib.storage.sealing import RIPE_SECONDS
from lib.storage.secret_keys import INDEX_KEY, SEALING_KEY, decode_key
from scripts.doctor.patient import Patient
from scripts.doctor.replies import Reply, Service, refusal, reply_to
from scripts.findings import Finding, failed, ok

NAME = "key vault"
SOON_SECONDS = 30 * 24 * 3600
_DAY = 24 * 3600
_NEW_KEY = '"$(openssl rand -base64 32)"'


async def key_vault(patient: Patient) -> Finding:
    """Whether the vault lets its secrets be read."""
    try:
        await patient.gateway.key_vault.ping()
    except StateUnavailable as fault:
        if (reply := reply_to(fault)).code not in {"SecretNotFound", "SecretDisabled"}:
            return refusal(patient, NAME, _service(patient), reply)
    return ok(NAME, patient.settings.key_vault_url)


async def index_key(patient: Patient) -> Finding:
    """The key that rows are named by."""
    try:
        value = await patient.gateway.key_vault.secret(INDEX_KEY)
    except StateUnavailable as fault:
        return _unreadable(patient, INDEX_KEY, reply_to(fault), _NEW_KEY)
    if decode_key(INDEX_KEY, value):
        return ok(INDEX_KEY, "32 bytes")
    cause = "its value is not 32 bytes in base64; with another key nobody's rows are found again"
    return failed(INDEX_KEY, "malformed", cause, _set(patient, INDEX_KEY, _NEW_KEY))


async def sealing_key(patient: Patient) -> Finding:
    """The ring of keys that records are sealed with."""
    try:
        versions = await patient.gateway.key_vault.versions(SEALING_KEY)
    except StateUnavailable as fault:
        return _unreadable(patient, SEALING_KEY, reply_to(fault), _NEW_KEY)
    enabled = [version for version in versions if version.enabled]
    if not enabled:
        cause = "every version of it is disabled, or there is none"
        return failed(SEALING_KEY, "no version", cause, _enable_or_set(patient, versions))
    if any(decode_key(SEALING_KEY, version.value) is None for version in enabled):
        cause = "an enabled version is not 32 bytes in base64, and is passed over"
        return failed(SEALING_KEY, "malformed", cause, _set(patient, SEALING_KEY, _NEW_KEY))
    age = time.time() - min(version.created for version in enabled)
    if age < RIPE_SECONDS:
        cause = "no enabled version is older than 10 minutes: instances may not have heard of it yet"
        disabled = [version for version in versions if not version.enabled]
        wait = f"wait {int(RIPE_SECONDS - age) // 60 + 1} minutes"
        return failed(SEALING_KEY, "too young", cause, _enable(patient, disabled[-1].version) if disabled else wait)
    return ok(SEALING_KEY, f"{len(enabled)} enabled of {len(versions)}")


async def client_secret(patient: Patient) -> Finding:
    """The client secret, where the gateway proves itself by one."""
    name = "client-secret"
    try:
        versions = await patient.gateway.key_vault.versions(name)
    except StateUnavailable as fault:
        return _unreadable(patient, name, reply_to(fault), "…")
    latest = max((version for version in versions if version.enabled), key=lambda each: each.created, default=None)
    if latest is None:
        return _unreadable(patient, name, Reply(HTTPStatus.NOT_FOUND, "SecretNotFound"), "…")
    return _good_for(patient, name, latest.expires)


async def client_certificate(patient: Patient) -> Finding:
    """The certificate, where the gateway proves itself by one."""
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415  # heavy

    from lib.identity.credentials import read_certificate  # noqa: PLC0415  # heavy

    name = "client-certificate"
    try:
        credential = read_certificate(await patient.gateway.key_vault.secret(name))
    except StateUnavailable as fault:
        return _unreadable(patient, name, reply_to(fault), "…")
    except GatewayError:
        cause = "its value is not a PEM of an RSA key, without a password, and its certificate"
        return failed(name, "malformed", cause, _import(patient))
    assert isinstance(credential, dict)  # noqa: S101  # as read_certificate makes it
    pem = credential["public_certificate"]
    assert isinstance(pem, str)  # noqa: S101
    return _good_for(patient, name, load_pem_x509_certificate(pem.encode()).not_valid_after_utc.timestamp())


def _good_for(patient: Patient, name: str, expires: float | None) -> Finding:
    """Whether it ends soon."""
    if expires is None:
        return ok(name, "there; its end is not noted in Key Vault")
    days = int((expires - time.time()) // _DAY)
    if expires - time.time() > SOON_SECONDS:
        return ok(name, f"good for {days} days")
    ends = f"ends in {days} days" if days >= 0 else "has ended"
    cure = _import(patient) if name == "client-certificate" else _renew(patient)
    return failed(name, ends, "what proves the gateway to Entra ends, and with it every answer for people", cure)


def _unreadable(patient: Patient, name: str, reply: Reply, value: str) -> Finding:
    if reply.code == "SecretDisabled":
        cure = f"az keyvault secret set-attributes --vault-name {patient.vault} --name {name} --enabled true"
        return failed(name, reply.told, "the latest version is disabled", cure)
    if reply.status == HTTPStatus.NOT_FOUND:
        cure = _import(patient) if name == "client-certificate" else _set(patient, name, value)
        return failed(
            name, "missing", f"the vault has no secret {name}", cure if name != "client-secret" else _renew(patient)
        )
    return refusal(patient, name, _service(patient), reply)


def _enable_or_set(patient: Patient, versions: tuple[SecretVersion, ...]) -> str:
    latest = max(versions, key=lambda each: each.created, default=None)
    return _enable(patient, latest.version) if latest else _set(patient, SEALING_KEY, _NEW_KEY)


def _enable(patient: Patient, version: str) -> str:
    options = f"--vault-name {patient.vault} --name {SEALING_KEY} --version {version}"
    return f"az keyvault secret set-attributes {options} --enabled true"


def _set(patient: Patient, name: str, value: str) -> str:
    return f"az keyvault secret set --vault-name {patient.vault} --name {name} --output none --value {value}"


def _import(patient: Patient) -> str:
    file = "--file key-and-certificate.pem --encoding utf-8"
    return f"az keyvault secret set --vault-name {patient.vault} --name client-certificate --output none {file}"


def _renew(patient: Patient) -> str:
    client = patient.settings.client_id
    password = f'"$(az ad app credential reset --id {client} --append --query password --output tsv)"'
    return _set(patient, "client-secret", password)


def _service(patient: Patient) -> Service:
    vault = patient.vault
    return Service(
        what=f"the vault {vault}",
        role="Key Vault Secrets User",
        scope=f'"$(az keyvault show --name {vault} --query id --output tsv)"',
        look=f"az keyvault show --name {vault} --query properties.vaultUri",
        open=f"az keyvault network-rule list --name {vault}",
        client_id=patient.settings.managed_identity_client_id,
    )
