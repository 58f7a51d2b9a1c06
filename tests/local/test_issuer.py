"""The token issuer, checked with PyJWT as a second opinion."""

import json
import stat
from pathlib import Path
from typing import Any

import jwt
import pytest
from jwt.algorithms import RSAAlgorithm

from local.issuer import Issuer, TokenExpired

CLAIMS: dict[str, Any] = {"aud": "me", "nbf": 100, "exp": 200}


@pytest.fixture
def clock() -> list[float]:
    """The time now, for a test to set."""
    return [150.0]


@pytest.fixture
def timed(keys: Path, clock: list[float]) -> Issuer:
    """An issuer that reads `clock`."""
    return Issuer("https://login.test", keys, now=lambda: clock[0])


def good(issuer: Issuer, **claims: Any) -> str:
    """A token that verifies, but for these claims."""
    return issuer.sign({**CLAIMS, "iss": issuer.url, **claims})


def test_the_published_key_verifies_what_the_issuer_signs(issuer: Issuer) -> None:
    """A client that has the JWK set alone can check a token."""
    token = issuer.sign({"aud": "me", "iss": issuer.url, "exp": 4e9})
    (key,) = jwt.PyJWKSet.from_dict(issuer.jwks()).keys
    assert jwt.decode(token, key, algorithms=["RS256"], audience="me", issuer=issuer.url)["exp"] == 4e9
    assert jwt.get_unverified_header(token) == {"typ": "JWT", "alg": "RS256", "kid": issuer.kid}
    assert key.key_id == issuer.kid


def test_the_key_set_has_the_members_of_entras(issuer: Issuer) -> None:
    """Each key names its issuer and its use, and no algorithm; nothing of the private half is published."""
    (key,) = issuer.jwks()["keys"]
    assert set(key) == {"kty", "use", "kid", "x5t", "n", "e", "issuer"}
    assert (key["kty"], key["use"], key["issuer"]) == ("RSA", "sig", issuer.url)
    assert RSAAlgorithm.from_jwk(key).key_size == 2048


def test_a_key_in_a_folder_survives_a_restart_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    """A token signed before the restart verifies after it; a key that is not kept is another one each time."""
    token = good(Issuer("https://login.test", tmp_path))
    again = Issuer("https://login.test", tmp_path, now=lambda: 150)
    assert again.verify(token, "me")["aud"] == "me"
    assert stat.S_IMODE((tmp_path / "signing-key.pem").stat().st_mode) == 0o600
    assert Issuer("https://login.test").kid != again.kid


def test_tenants_of_one_folder_share_the_key_and_nothing_else(tmp_path: Path) -> None:
    """As tenants of Entra do: the issuer alone tells their tokens apart."""
    here, there = (Issuer("https://login.test", tmp_path, tenant_id=tenant, now=lambda: 150) for tenant in ("a", "b"))
    assert (here.url, here.kid) == ("https://login.test/a/v2.0", there.kid)
    with pytest.raises(ValueError, match="InvalidIssuerError"):
        there.verify(good(here), "me")


def test_a_folder_with_a_key_of_another_kind_is_refused(tmp_path: Path) -> None:
    """The error names the file and says what to do."""
    (tmp_path / "signing-key.pem").write_text(
        "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g\n"
        "-----END PRIVATE KEY-----\n"
    )
    with pytest.raises(TypeError, match="no RSA key: delete it"):
        Issuer("https://login.test", tmp_path)


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        pytest.param({"alg": "none"}, {"typ": "JWT", "alg": "none"}, id="another algorithm"),
        pytest.param({"typ": None}, {"alg": "RS256"}, id="a member left out"),
        pytest.param(
            {"crit": ["x"], "kid": 7}, {"typ": "JWT", "alg": "RS256", "crit": ["x"], "kid": 7}, id="any value"
        ),
    ],
)
def test_a_token_may_say_anything_in_its_header(
    issuer: Issuer, header: dict[str, Any], expected: dict[str, Any]
) -> None:
    """Tests mint what a gateway must refuse."""
    segment = issuer.sign({}, **header).partition(".")[0]
    assert json.loads(jwt.utils.base64url_decode(segment)) == {"kid": issuer.kid} | expected


@pytest.mark.parametrize(
    "claims",
    [
        pytest.param({"aud": "you"}, id="for another audience"),
        pytest.param({"iss": "https://login.test/other/v2.0"}, id="of another issuer"),
        pytest.param({"nbf": 151}, id="not valid yet"),
        pytest.param({"nbf": None}, id="without a beginning"),
        pytest.param({"exp": None}, id="without an end"),
    ],
)
def test_a_faulty_token_does_not_verify(timed: Issuer, claims: dict[str, Any]) -> None:
    """Every service of the tenant refuses it."""
    with pytest.raises(ValueError, match="token"):
        timed.verify(good(timed, **claims), "me")


def test_the_signature_of_another_key_does_not_verify(timed: Issuer) -> None:
    """Another issuer with the same address is another tenant's business."""
    with pytest.raises(ValueError, match="InvalidSignatureError"):
        timed.verify(good(Issuer("https://login.test")), "me")


def test_a_token_expires_on_the_second(timed: Issuer, clock: list[float]) -> None:
    """Expiry is told apart from every other fault, as Entra tells it apart."""
    clock[0] = 199.9
    assert timed.verify(good(timed), "me") == CLAIMS | {"iss": timed.url}
    clock[0] = 200
    with pytest.raises(TokenExpired):
        timed.verify(good(timed), "me")
