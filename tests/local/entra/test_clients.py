"""How a client proves who it is at the token endpoint."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes

from local.entra import Entra, Refused, tokens
from local.entra.clients import authenticate
from local.issuer import Issuer
from local.people import (
    GATEWAY_CLIENT_ID,
    MANAGED_IDENTITY_CLIENT_ID,
    MANAGED_IDENTITY_OBJECT_ID,
    PARTNER_TENANT_ID,
    SCRIPT_CLIENT_ID,
)
from tests.local.entra.gateway import SECRET

EXCHANGE = "api://AzureADTokenExchange"
JWT_BEARER = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"


def proof(entra: Entra, client_id: str = GATEWAY_CLIENT_ID, **form: str) -> str:
    """What the tenant makes of a form."""
    return authenticate(form, entra.registrations[client_id], entra.issuer, entra.token_endpoint)


def refusal(entra: Entra, client_id: str = GATEWAY_CLIENT_ID, **form: str) -> int:
    """The code that the tenant refuses a form with."""
    with pytest.raises(Refused) as refused:
        proof(entra, client_id, **form)
    assert refused.value.error in {"invalid_client", "invalid_request"}
    return refused.value.code


def managed_identity_token(issuer: Issuer, **changes: Any) -> str:
    """A token of the managed identity for the token exchange, but for `changes`."""
    claims = tokens.app_claims(MANAGED_IDENTITY_CLIENT_ID, MANAGED_IDENTITY_OBJECT_ID, EXCHANGE)
    return tokens.lasting(issuer, 60, claims | changes)


def own_assertion(entra: Entra, key: trustme.LeafCert, algorithm: str = "PS256", **changes: Any) -> str:
    """An assertion as MSAL signs it with the certificate's key, but for `changes` of claims and header."""
    certificate = x509.load_pem_x509_certificate(key.cert_chain_pems[0].bytes())
    thumbprint = jwt.utils.base64url_encode(certificate.fingerprint(hashes.SHA256())).decode() + "="
    header = changes.pop("header", {"x5t#S256": thumbprint})
    now = entra.issuer.now()
    claims = {"aud": entra.token_endpoint, "iss": GATEWAY_CLIENT_ID, "sub": GATEWAY_CLIENT_ID, "exp": now + 600}
    return jwt.encode(claims | changes, key.private_key_pem.bytes(), algorithm, header)


def test_a_public_client_proves_nothing_and_must_not_try(entra: Entra) -> None:
    """A secret in a page or a script is no secret."""
    assert proof(entra, SCRIPT_CLIENT_ID) == tokens.PUBLIC
    assert refusal(entra, SCRIPT_CLIENT_ID, client_secret=SECRET) == 700025


def test_a_secret_proves_the_client(entra: Entra) -> None:
    """The right one alone."""
    assert proof(entra, client_secret=SECRET) == tokens.SECRET
    assert refusal(entra, client_secret=f"{SECRET} ") == 7000215
    assert refusal(entra) == 7000218


def test_a_client_without_a_secret_is_proved_by_none(entra: Entra) -> None:
    """Not by the empty one either."""
    without = replace(entra.registrations[GATEWAY_CLIENT_ID], secret=None)
    entra.registrations = {GATEWAY_CLIENT_ID: without}
    assert refusal(entra, client_secret="anything") == 7000215
    assert refusal(entra, client_secret="") == 7000218


def test_a_token_of_its_managed_identity_proves_the_client(entra: Entra) -> None:
    """The federated credential: no secret anywhere."""
    assertion = managed_identity_token(entra.issuer)
    assert proof(entra, client_assertion=assertion, client_assertion_type=JWT_BEARER) == tokens.ASSERTION
    assert refusal(entra, client_assertion=assertion, client_assertion_type="saml") == 700009


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"iss": "https://login.test/other/v2.0"}, 700211, id="another issuer"),
        pytest.param({"aud": "https://vault.test"}, 700212, id="another audience"),
        pytest.param({"sub": MANAGED_IDENTITY_CLIENT_ID}, 700213, id="the client id as subject"),
        pytest.param({"exp": 1_800_000_000}, 700024, id="expired"),
        pytest.param({"nbf": 1_800_000_001}, 700027, id="not valid yet"),
    ],
)
def test_another_token_of_the_tenant_does_not_prove_it(entra: Entra, changes: dict[str, Any], code: int) -> None:
    """Each claim of the federated credential has its own code."""
    assertion = managed_identity_token(entra.issuer, **changes)
    assert refusal(entra, client_assertion=assertion, client_assertion_type=JWT_BEARER) == code


def test_an_identity_of_its_home_tenant_proves_the_client_in_a_partner(entra: Entra, keys: Path) -> None:
    """There its service principal is the same application; an identity of the partner's own is nobody."""
    partner = Issuer(entra.issuer.base_url, keys, tenant_id=PARTNER_TENANT_ID, now=entra.issuer.now)
    client = entra.registrations[GATEWAY_CLIENT_ID]

    def proven(issuer: Issuer) -> str:
        form = {"client_assertion": managed_identity_token(issuer), "client_assertion_type": JWT_BEARER}
        return authenticate(form, client, partner, entra.token_endpoint, entra.issuer)

    assert proven(entra.issuer) == tokens.ASSERTION
    with pytest.raises(Refused) as refused:
        proven(partner)
    assert refused.value.code == 700211


def test_a_forged_token_does_not_prove_it(entra: Entra) -> None:
    """Signed with another key, or nothing like a token."""
    forged = managed_identity_token(Issuer(entra.issuer.base_url, now=entra.issuer.now))
    assert refusal(entra, client_assertion=forged, client_assertion_type=JWT_BEARER) == 700027
    for nonsense in ("x", "x.y.z", "W10.W10."):
        assert refusal(entra, client_assertion=nonsense, client_assertion_type=JWT_BEARER) == 50027


def test_a_client_without_a_federated_credential_is_proved_by_no_identity(entra: Entra) -> None:
    """A token without a subject does not match the credential that is not there."""
    without = replace(entra.registrations[GATEWAY_CLIENT_ID], federated_subject=None)
    entra.registrations = {GATEWAY_CLIENT_ID: without}
    assertion = managed_identity_token(entra.issuer, sub=None)
    assert refusal(entra, client_assertion=assertion, client_assertion_type=JWT_BEARER) == 700213


@pytest.mark.parametrize("algorithm", ["PS256", "RS256"])
def test_an_assertion_signed_with_its_certificate_proves_the_client(
    entra: Entra, own_certificate: trustme.LeafCert, algorithm: str
) -> None:
    """PS256 as MSAL signs today, RS256 as it did."""
    assertion = own_assertion(entra, own_certificate, algorithm)
    assert proof(entra, client_assertion=assertion, client_assertion_type=JWT_BEARER) == tokens.ASSERTION


def test_an_older_client_names_its_certificate_by_sha1(entra: Entra, own_certificate: trustme.LeafCert) -> None:
    """`x5t` (RFC 7515 section 4.1.7)."""
    certificate = x509.load_pem_x509_certificate(own_certificate.cert_chain_pems[0].bytes())
    thumbprint = jwt.utils.base64url_encode(certificate.fingerprint(hashes.SHA1())).decode()  # noqa: S303 - the RFC's
    assertion = own_assertion(entra, own_certificate, "RS256", header={"x5t": thumbprint})
    assert proof(entra, client_assertion=assertion, client_assertion_type=JWT_BEARER) == tokens.ASSERTION


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"aud": "https://login.test/other"}, 700023, id="for another endpoint"),
        pytest.param({"sub": SCRIPT_CLIENT_ID}, 700021, id="of another client"),
        pytest.param({"exp": 1_800_000_000}, 700024, id="expired"),
        pytest.param({"nbf": 1_800_000_001}, 700024, id="not valid yet"),
        pytest.param({"header": {}}, 700027, id="without a thumbprint"),
        pytest.param({"header": {"x5t#S256": "AAAA"}}, 700027, id="of another certificate"),
    ],
)
def test_another_assertion_does_not_prove_it(
    entra: Entra, own_certificate: trustme.LeafCert, changes: dict[str, Any], code: int
) -> None:
    """Each fault has its own code."""
    assertion = own_assertion(entra, own_certificate, **changes)
    assert refusal(entra, client_assertion=assertion, client_assertion_type=JWT_BEARER) == code


def test_an_assertion_of_another_key_under_its_thumbprint_does_not_prove_it(
    entra: Entra, own_certificate: trustme.LeafCert
) -> None:
    """The thumbprint is public; the key decides."""
    header = jwt.get_unverified_header(own_assertion(entra, own_certificate))
    other = trustme.CA().issue_cert("gateway.test", key_type=trustme.KeyType.RSA)
    forged = own_assertion(entra, other, header={"x5t#S256": header["x5t#S256"]})
    assert refusal(entra, client_assertion=forged, client_assertion_type=JWT_BEARER) == 700027


def test_a_client_without_a_certificate_is_proved_by_none(entra: Entra, own_certificate: trustme.LeafCert) -> None:
    """A self-made certificate is nobody's."""
    assertion = own_assertion(entra, own_certificate)
    without = replace(entra.registrations[GATEWAY_CLIENT_ID], certificate=None)
    entra.registrations = {GATEWAY_CLIENT_ID: without}
    assert refusal(entra, client_assertion=assertion, client_assertion_type=JWT_BEARER) == 700027
