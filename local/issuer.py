"""The token issuer: one RSA key, the documents that publish it, and the tokens signed with it.

Every emulator that issues or checks a token shares one `Issuer`, as every service of a tenant trusts its Entra. Tests
sign with it whatever a gateway must refuse: any header, any claims, or the key of another `Issuer`.
"""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from jwt.algorithms import RSAAlgorithm

from local import private_files
from local.people import TENANT_ID


class TokenExpired(ValueError):
    """The token was good once."""


class Issuer:
    """Signs and verifies one tenant's tokens; `url` is their `iss`, `kid` names the key."""

    def __init__(
        self,
        base_url: str,
        folder: Path | None = None,
        *,
        tenant_id: str = TENANT_ID,
        now: Callable[[], float] = time.time,
    ) -> None:
        """The issuer at `base_url`; with a `folder` its key survives a restart, and so do the tokens.

        Tenants of one folder sign with the same key, as tenants of Entra do.
        """
        self.base_url = base_url
        self.tenant_id = tenant_id
        self.url = f"{base_url}/{tenant_id}/v2.0"
        self.now = now
        self._key = _load(folder / "signing-key.pem") if folder else _generate()
        self._public: dict[str, str] = RSAAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        self.kid = _thumbprint(self._public)

    def jwks(self) -> dict[str, Any]:
        """The JWK set as Entra's v2 endpoint publishes it: each key names its `issuer` and no `alg`."""
        key = {name: self._public[name] for name in ("kty", "n", "e")}
        return {"keys": [key | {"use": "sig", "kid": self.kid, "x5t": self.kid, "issuer": self.url}]}

    def sign(self, claims: Mapping[str, Any], **header: Any) -> str:
        """A compact JWS over `claims`; `header` members replace the usual ones, a member of None is left out.

        The signature is RS256 whatever the header says: a token that lies about its algorithm is a test's business.
        """
        usual = {"typ": "JWT", "alg": "RS256", "kid": self.kid}
        members = {name: value for name, value in (usual | header).items() if value is not None}
        signed = b".".join(_base64url(json.dumps(part, separators=(",", ":")).encode()) for part in (members, claims))
        signature = self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        return b".".join((signed, _base64url(signature))).decode()

    def verify(self, token: str, audience: str) -> dict[str, Any]:
        """The claims of a token signed here for `audience`; raises TokenExpired, or ValueError for any other fault."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                self._key.public_key(),
                algorithms=["RS256"],
                audience=audience,
                issuer=self.url,
                options={"require": ["exp", "nbf"], "verify_exp": False, "verify_nbf": False, "verify_iat": False},
            )
        except jwt.PyJWTError as error:
            raise ValueError(f"not a token for this audience: {type(error).__name__}") from None
        if not claims["nbf"] <= self.now():
            raise ValueError("the token is not valid yet")
        if not self.now() < claims["exp"]:
            raise TokenExpired("the token has expired")
        return claims


def _load(path: Path) -> rsa.RSAPrivateKey:
    if not path.is_file():
        pem = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        private_files.write(path, _generate().private_bytes(*pem))
    # The file is our own; to check its primes again takes longer than most tests.
    key = serialization.load_pem_private_key(path.read_bytes(), password=None, unsafe_skip_rsa_key_validation=True)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise TypeError(f"{path} holds no RSA key: delete it, and a new one is made")
    return key


def _generate() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _thumbprint(public: Mapping[str, str]) -> str:
    """RFC 7638: the key's own hash is its name."""
    members = json.dumps({name: public[name] for name in ("e", "kty", "n")}, separators=(",", ":"))
    return _base64url(hashlib.sha256(members.encode()).digest()).decode()


def _base64url(content: bytes) -> bytes:
    return base64.urlsafe_b64encode(content).rstrip(b"=")
