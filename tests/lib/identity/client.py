"""What a gateway of the tests proves itself with: a managed identity, a vault, a key with its certificate."""

import datetime as dt
from typing import Self

from azure.core.credentials import AccessToken
from azure.core.exceptions import ClientAuthenticationError
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import NameOID

from lib.errors import StateUnavailable
from tests.clock import Clock
from tests.lib.identity.authority import START


class Identity:
    """A managed identity whose tokens last a day."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.asked: list[tuple[str, ...]] = []
        self.away = False

    async def get_token(self, *scopes: str, **_: object) -> AccessToken:
        """A new token each time."""
        self.asked.append(scopes)
        if self.away:
            raise ClientAuthenticationError("the endpoint is away")
        return AccessToken(f"assertion-{len(self.asked)}", int(self.clock()) + 24 * 3600)

    async def close(self) -> None:
        """Nothing to close."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


class Vault:
    """Secrets by name."""

    def __init__(self, **secrets: str) -> None:
        self.secrets = {name.replace("_", "-"): value for name, value in secrets.items()}
        self.asked: list[str] = []
        self.ages: list[float] = []
        self.away = False

    async def secret_younger_than(self, seconds: float, name: str) -> str:
        """The secret, for those who know that it has changed."""
        self.ages.append(seconds)
        return await self.secret(name)

    async def secret(self, name: str) -> str:
        """The secret."""
        self.asked.append(name)
        if self.away:
            raise StateUnavailable
        return self.secrets[name]


def pem_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey, password: bytes = b"") -> str:
    """A private key in PEM."""
    encryption: KeySerializationEncryption = BestAvailableEncryption(password) if password else NoEncryption()
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption).decode()


def certificate_of(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> str:
    """A self-signed certificate in PEM."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "gateway")])
    start = dt.datetime.fromtimestamp(START, dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, start, start + dt.timedelta(days=30))
    return builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM).decode()
