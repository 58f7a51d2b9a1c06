"""Client authentication at the token endpoint: federated identity, certificate or secret (RFC 7521, RFC 7523)."""

import base64
import hmac
import json
from collections.abc import Mapping, Sequence
from typing import Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa

from local.entra import tokens
from local.entra.errors import Refused
from local.entra.tenant import Registration
from local.issuer import Issuer, TokenExpired

TOKEN_EXCHANGE = "api://AzureADTokenExchange"  # noqa: S105 - an audience, not a secret
_JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def authenticate(
    form: Mapping[str, str],
    client: Registration,
    issuer: Issuer,
    token_endpoint: str,
    home: Issuer | None = None,
) -> str:
    """How the client proved who it is, as the value of `azpacr`; raises Refused where it did not.

    `home` is the issuer of the client's managed identity, where that lives in another tenant.
    """
    assertion, secret = form.get("client_assertion"), form.get("client_secret")
    if client.is_public:
        if assertion or secret:
            raise Refused(700025)
        return tokens.PUBLIC
    if assertion:
        if form.get("client_assertion_type") != _JWT_BEARER:
            raise Refused(700009, parameter="client_assertion_type")
        _check_assertion(assertion, client, issuer, token_endpoint, home or issuer)
        return tokens.ASSERTION
    if not secret:
        raise Refused(7000218)
    if not hmac.compare_digest(secret.encode(), (client.secret or "").encode()):
        raise Refused(7000215)
    return tokens.SECRET


def _check_assertion(assertion: str, client: Registration, issuer: Issuer, token_endpoint: str, home: Issuer) -> None:
    header, claims = _unverified(assertion)
    if claims.get("iss") == client.client_id:
        _check_certificate(assertion, header, client, (token_endpoint, issuer.url))
        _check_own_claims(claims, client, issuer.now())
    else:
        _check_federated(assertion, claims, client, home)


def _check_federated(assertion: str, unverified: Mapping[str, Any], client: Registration, issuer: Issuer) -> None:
    expected = (("iss", issuer.url, 700211), ("aud", TOKEN_EXCHANGE, 700212), ("sub", client.federated_subject, 700213))
    for name, value, code in expected:
        if value is None or unverified.get(name) != value:
            raise Refused(code)
    try:
        issuer.verify(assertion, TOKEN_EXCHANGE)
    except TokenExpired:
        raise Refused(700024) from None
    except ValueError:
        raise Refused(700027) from None


def _check_certificate(
    assertion: str, header: Mapping[str, Any], client: Registration, audiences: Sequence[str]
) -> None:
    if not client.certificate:
        raise Refused(700027)
    certificate = x509.load_pem_x509_certificate(client.certificate.encode())
    key = certificate.public_key()
    if not (_names(header, certificate) and isinstance(key, rsa.RSAPublicKey)):
        raise Refused(700027)
    try:
        jwt.decode(
            assertion,
            key,
            algorithms=["PS256", "RS256"],
            audience=audiences,
            options={"verify_exp": False, "verify_nbf": False, "verify_iat": False},
        )
    except jwt.InvalidAudienceError:
        raise Refused(700023) from None
    except jwt.PyJWTError:
        raise Refused(700027) from None


def _check_own_claims(claims: Mapping[str, Any], client: Registration, now: float) -> None:
    if claims.get("sub") != client.client_id:
        raise Refused(700021)
    if not claims.get("nbf", 0) <= now < claims.get("exp", 0):
        raise Refused(700024)


def _names(header: Mapping[str, Any], certificate: x509.Certificate) -> bool:
    """Whether the header's thumbprint is the certificate's: `x5t#S256`, or the older SHA-1 `x5t` (RFC 7515)."""
    for name, algorithm in (("x5t#S256", hashes.SHA256()), ("x5t", hashes.SHA1())):  # noqa: S303 - the RFC's choice
        if name in header:
            expected = base64.urlsafe_b64encode(certificate.fingerprint(algorithm)).decode().rstrip("=")
            return str(header[name]).rstrip("=") == expected
    return False


def _unverified(assertion: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token nobody has checked yet."""
    try:
        header, claims = (json.loads(base64.urlsafe_b64decode(part + "==")) for part in assertion.split(".")[:2])
    except ValueError:
        raise Refused(50027) from None
    if not (isinstance(header, dict) and isinstance(claims, dict)):
        raise Refused(50027)
    return header, claims
