"""What the gateway proves itself with: to Azure's services as a managed identity, to Entra as an application.

Secretless first: a user-assigned managed identity stands in as federated credential of the app registration
(https://learn.microsoft.com/entra/workload-id/workload-identity-federation-config-app-trust-managed-identity).
A certificate or, for development, a secret comes from Key Vault.
"""

import logging
import re
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from lib.errors import ClientCredentialRejected, GatewayError, IdentityProviderUnavailable
from lib.settings import Settings
from lib.traffic.single_flight import SingleFlight

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.identity import AzureCliCredential as BlockingAzureCliCredential
    from azure.identity import ManagedIdentityCredential as BlockingManagedIdentityCredential
    from azure.identity.aio import AzureCliCredential, ManagedIdentityCredential

TOKEN_EXCHANGE = "api://AzureADTokenExchange/.default"  # noqa: S105  # an audience, not a secret
RETRY_SECONDS = 60
CONNECT_SECONDS, READ_SECONDS = 3, 5

type MsalCredential = str | dict[str, str | Callable[[], str]]
"""What msal takes as `client_credential`."""

_log = logging.getLogger(__name__)
_PEM_BLOCK = re.compile(r"-----BEGIN ([A-Z ]+)-----[A-Za-z0-9+/=\s]+-----END \1-----")


def azure_credential(settings: Settings, client_id: str | None) -> "ManagedIdentityCredential | AzureCliCredential":
    """The credential for Azure's own services: the managed identity `client_id`, or the system-assigned one.

    Where there is none, on a developer's machine, it is the developer's own sign-in at the Azure CLI. Who asks for
    the credential closes it.
    """
    from azure.identity.aio import AzureCliCredential, ManagedIdentityCredential  # noqa: PLC0415  # heavy

    if not settings.managed_identity:
        return AzureCliCredential(tenant_id=settings.tenant_id)
    return ManagedIdentityCredential(
        client_id=client_id,
        retry_total=1,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
    )


def blocking_azure_credential(
    settings: Settings, client_id: str | None
) -> "BlockingManagedIdentityCredential | BlockingAzureCliCredential":
    """The same for threads, of which one that waits keeps nobody else waiting."""
    from azure.identity import AzureCliCredential, ManagedIdentityCredential  # noqa: PLC0415  # heavy

    if not settings.managed_identity:
        return AzureCliCredential(tenant_id=settings.tenant_id)
    return ManagedIdentityCredential(
        client_id=client_id,
        retry_total=1,
        connection_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
    )


class Secrets(Protocol):
    """What is wanted of Key Vault."""

    async def secret(self, name: str) -> str:
        """A secret's value; it may be an hour old."""
        ...

    async def secret_younger_than(self, seconds: float, name: str) -> str:
        """A secret's value that is not older than that."""
        ...


class ClientCredential:
    """The app registration's credential, of the kind that the settings name.

    Where it cannot be read again, the one known serves on. A secret or certificate is read anew every hour, and once
    Entra has rejected it: a new version of it counts at the latest a minute after the old one stopped to.
    """

    def __init__(
        self,
        settings: Settings,
        azure: "AsyncTokenCredential",
        vault: "Secrets",
        now: Callable[[], float] = time.time,
    ) -> None:
        """`azure` is the managed identity."""
        self._kind = settings.client_credential
        self._azure = azure
        self._vault = vault
        self._now = now
        self._assertion = ""
        self._renew_at = 0.0
        self._renewals = SingleFlight[None]()
        self._federated: MsalCredential = {"client_assertion": lambda: self._assertion}
        self._rejected = False
        self._read = ""
        self._credential: MsalCredential = ""
        if self._kind == "secret":
            _log.warning("the client credential is a secret; use a managed identity or a certificate in production")

    async def current(self) -> MsalCredential:
        """The credential for msal: the same object until it changes.

        Raises, while none is known, `IdentityProviderUnavailable`, `ClientCredentialRejected` or what `secret` raises.
        """
        if self._kind != "managed-identity":
            return await self._from_key_vault()
        if self._now() >= self._renew_at:
            await self._renewals.run(TOKEN_EXCHANGE, self._renew_assertion)
        return self._federated

    def reject(self) -> None:
        """Entra does not take the credential: Key Vault's is read anew before its next use, once a minute at most."""
        self._tell_trouble("entra rejects the client credential")
        self._rejected = True

    def _tell_trouble(self, text: str, **facts: str) -> None:
        what = "managed_identity" if self._kind == "managed-identity" else f"client_{self._kind}"
        _log.error(text, extra={"event": "credential_trouble", "what": what, **facts})

    async def _from_key_vault(self) -> MsalCredential:
        try:
            name = f"client-{self._kind}"
            if self._rejected:
                read = await self._vault.secret_younger_than(RETRY_SECONDS, name)
            else:
                read = await self._vault.secret(name)
            self._rejected = False
            if read != self._read:
                self._credential = read_certificate(read) if self._kind == "certificate" else read
                self._read = read
        except GatewayError as fault:
            self._tell_trouble("the client credential cannot be read again", code=fault.code)
            if not self._read:
                raise
        return self._credential

    async def _renew_assertion(self) -> None:
        """Prefetches the managed identity's token, so that msal, in its thread, finds it without any I/O."""
        from azure.core.exceptions import AzureError  # noqa: PLC0415  # heavy

        asked_at = self._now()
        try:
            token = await self._azure.get_token(TOKEN_EXCHANGE)
        except AzureError as fault:
            self._tell_trouble("the managed identity's token cannot be renewed", fault=type(fault).__name__)
            if not self._assertion:
                raise IdentityProviderUnavailable from fault
            self._renew_at = asked_at + RETRY_SECONDS
            return
        self._assertion = token.token
        self._renew_at = asked_at + (token.expires_on - asked_at) / 2


def read_certificate(pem: str) -> MsalCredential:
    """A private key and its certificate, in PEM and in any order, as msal wants them for PS256 and `x5t#S256`.

    Further certificates (the chain) are left out. Raises `ClientCredentialRejected` where the two do not belong
    together or are not there.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415  # heavy
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey  # noqa: PLC0415  # heavy
    from cryptography.hazmat.primitives.serialization import load_pem_private_key  # noqa: PLC0415  # heavy
    from cryptography.x509 import load_pem_x509_certificate  # noqa: PLC0415  # heavy

    blocks = [(block[1], block[0]) for block in _PEM_BLOCK.finditer(pem)]
    key_pem = next((text for label, text in blocks if label.endswith("PRIVATE KEY")), "")
    certificate_pems = [text for label, text in blocks if label == "CERTIFICATE"]
    try:
        key = load_pem_private_key(key_pem.encode(), password=None)
        for certificate_pem in certificate_pems:
            certificate = load_pem_x509_certificate(certificate_pem.encode())
            if isinstance(key, RSAPrivateKey) and certificate.public_key() == key.public_key():
                return {"private_key": key_pem, "public_certificate": certificate_pem}
    except (ValueError, TypeError, UnsupportedAlgorithm):  # no key, none that is known, or one under a password
        pass
    trouble = {"event": "credential_trouble", "what": "client_certificate"}
    _log.error("client-certificate holds no PEM of an RSA key, without a password, and its certificate", extra=trouble)
    raise ClientCredentialRejected
