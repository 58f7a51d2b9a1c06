"""Tokens through the runtime: one fault each, a documented refusal for each, and nobody else hears of it.

Every token here is signed as its case says, with the tenant's own key unless the key is the fault: what is refused is
refused for the one thing that is wrong.
"""

import base64
import hashlib
import hmac
import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest
from azure.data.tables import TableServiceClient
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key
from jwt.algorithms import ECAlgorithm, RSAAlgorithm, RSAPSSAlgorithm

from local.entra import tokens
from local.entra.grants import access_token
from local.entra.tenant import GATEWAY_SCOPE, Access
from local.people import ALICE, GATEWAY_CLIENT_ID, PARTNER_TENANT_ID, PEOPLE, SCRIPT_CLIENT_ID, TENANT_ID
from local.stack import Stack
from tests.integration.browser import Browser, app_token

STRANGER_ID = "0c7d1e2f-3a4b-4c5d-8e6f-708192a3b00a"
ALICE_TOO = replace(ALICE, key="alice-too", object_id="a11ce000-0000-4000-8000-00000000a22c")
PERSONAL = "9188040d-6c67-4c5b-b112-36a304b66dad"
HOUR = 3600

type Sign = Callable[[bytes], bytes]


class Mint:
    """Makes tokens of any header and claims; a change to None leaves a member out."""

    def __init__(self, stack: Stack) -> None:
        key = load_pem_private_key((stack.folder / "signing-key.pem").read_bytes(), None)
        assert isinstance(key, rsa.RSAPrivateKey)
        self.stack = stack
        self.key = key
        self.pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        self.entra = stack.urls["entra"]
        self.now = int(time.time())
        self.header = {"alg": "RS256", "typ": "JWT", "kid": stack.issuer.kid}

    def claims(self, **changes: object) -> dict[str, Any]:
        """The claims of a person's token for the gateway."""
        frame = {"iss": self.stack.issuer.url, "iat": self.now, "nbf": self.now, "exp": self.now + HOUR}
        person = tokens.person_claims(ALICE_TOO, GATEWAY_CLIENT_ID, "a-session")
        client = {"azp": SCRIPT_CLIENT_ID, "azpacr": "0", "scp": GATEWAY_SCOPE, "tid": TENANT_ID, "ver": "2.0"}
        return _changed(frame | person | client, changes)

    def app_claims(self, **changes: object) -> dict[str, Any]:
        """The claims of an app's token for the gateway."""
        person = dict.fromkeys(("name", "preferred_username", "scp", "sid", "acct"))
        return self.claims(**(person | {"idtyp": "app", "azpacr": "2", "roles": ["Query.All"]} | changes))

    def __call__(self, **changes: object) -> str:
        """A person's token with other claims."""
        return self.sign(self.header, self.claims(**changes))

    def app(self, **changes: object) -> str:
        """An app's token with other claims."""
        return self.sign(self.header, self.app_claims(**changes))

    def headed(self, **changes: object) -> str:
        """A person's token with another header."""
        return self.sign(_changed(self.header, changes), self.claims())

    def sign(self, header: object, claims: object, sign: Sign | None = None) -> str:
        """A token of any header and payload, values or bytes, signed by RS256 unless told otherwise."""
        text = f"{_segment(header)}.{_segment(claims)}"
        return f"{text}.{_segment((sign or self.rs256)(text.encode()))}"

    def rs256(self, text: bytes) -> bytes:
        """The tenant's signature."""
        return RSAAlgorithm(RSAAlgorithm.SHA256).sign(text, self.key)

    def as_algorithm(self, name: str, sign: Sign) -> str:
        """A token that is signed as its header says, by an algorithm that is not ours."""
        return self.sign(self.header | {"alg": name}, self.claims(), sign)

    def hmac(self, secret: bytes) -> str:
        """A token whose HMAC is keyed with what everybody knows: the classic confusion of algorithms."""
        return self.as_algorithm("HS256", lambda text: hmac.digest(secret, text, hashlib.sha256))

    def twice(self, name: str, first: object, value: object) -> str:
        """A token with a claim of `value` behind another of the same name."""
        rest = json.dumps(self.claims(**{name: None}))[1:]
        return self.sign(self.header, f'{{"{name}":{json.dumps(first)},"{name}":{json.dumps(value)},{rest}'.encode())


def _changed(members: dict[str, Any], changes: dict[str, object]) -> dict[str, Any]:
    return {name: value for name, value in (members | changes).items() if value is not None}


def _segment(value: object) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _other_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _by(key: rsa.RSAPrivateKey) -> Sign:
    return lambda text: RSAAlgorithm(RSAAlgorithm.SHA256).sign(text, key)


def _jwk(key: rsa.RSAPrivateKey) -> dict[str, Any]:
    public: dict[str, Any] = RSAAlgorithm.to_jwk(key.public_key(), as_dict=True)
    return public | {"kid": "mine", "use": "sig"}


def _with_key(mint: Mint, **header: object) -> str:
    key = _other_key()
    return mint.sign(mint.header | {"jwk": _jwk(key)} | header, mint.claims(), _by(key))


FORMS: dict[str, Callable[[Mint], str]] = {
    "two segments": lambda mint: mint().rpartition(".")[0],
    "four segments": lambda mint: mint() + ".e30",
    "five segments, an encrypted token": lambda mint: f"{_segment(mint.header)}.a2V5.aXY.dGV4dA.dGFn",
    "an empty signature": lambda mint: mint().rpartition(".")[0] + ".",
    "padded": lambda mint: mint() + "=",
    "a padded header": lambda mint: f"{_segment(mint.header)}==." + mint().partition(".")[2],
    "base64 instead of base64url": lambda mint: mint().replace(".", "/.", 1),
    "longer than 12 KiB": lambda mint: mint(filler="x" * 9_000),
    "a refresh token": lambda mint: f"1.{mint()}",
}
HEADERS: dict[str, Callable[[Mint], str]] = {
    "alg none, signed": lambda mint: mint.headed(alg="none"),
    "alg none, with a signature of nothing": lambda mint: mint.sign(
        mint.header | {"alg": "none"}, mint.claims(), lambda _: b"\0"
    ),
    "alg nOnE": lambda mint: mint.headed(alg="nOnE"),
    "HS256 with the public key": lambda mint: mint.hmac(mint.pem),
    "HS256 with the public key's line ends cut": lambda mint: mint.hmac(mint.pem.strip()),
    "HS256 with nothing": lambda mint: mint.hmac(b""),
    "RS384": lambda mint: mint.as_algorithm(
        "RS384", lambda text: RSAAlgorithm(RSAAlgorithm.SHA384).sign(text, mint.key)
    ),
    "RS512": lambda mint: mint.as_algorithm(
        "RS512", lambda text: RSAAlgorithm(RSAAlgorithm.SHA512).sign(text, mint.key)
    ),
    "PS256": lambda mint: mint.as_algorithm(
        "PS256", lambda text: RSAPSSAlgorithm(RSAPSSAlgorithm.SHA256).sign(text, mint.key)
    ),
    "ES256": lambda mint: mint.as_algorithm(
        "ES256", lambda text: ECAlgorithm(ECAlgorithm.SHA256).sign(text, ec.generate_private_key(ec.SECP256R1()))
    ),
    "PS256 under RS256's name": lambda mint: mint.sign(
        mint.header, mint.claims(), lambda text: RSAPSSAlgorithm(RSAPSSAlgorithm.SHA256).sign(text, mint.key)
    ),
    "alg in small letters": lambda mint: mint.headed(alg="rs256"),
    "alg in a list": lambda mint: mint.headed(alg=["RS256"]),
    "alg missing": lambda mint: mint.headed(alg=None),
    "typ missing": lambda mint: mint.headed(typ=None),
    "typ of something else": lambda mint: mint.headed(typ="dpop+jwt"),
    "typ in other letters": lambda mint: mint.headed(typ="jwt"),
    "typ a number": lambda mint: mint.headed(typ=1),
    "kid missing": lambda mint: mint.headed(kid=None),
    "kid empty": lambda mint: mint.headed(kid=""),
    "kid a number": lambda mint: mint.headed(kid=1),
    "kid a path": lambda mint: mint.headed(kid="../../../dev/null"),
    "kid a query": lambda mint: mint.headed(kid="x' OR '1'='1"),
    "kid unknown": lambda mint: mint.headed(kid=uuid.uuid4().hex),
    "kid of 129 characters": lambda mint: mint.headed(kid="k" * 129),
    "crit": lambda mint: mint.headed(crit=["exp"]),
    "b64": lambda mint: mint.headed(b64=False),
    "b64 and crit": lambda mint: mint.headed(b64=False, crit=["b64"]),
    "jku": lambda mint: mint.headed(jku="https://evil.example/keys"),
    "jwk": _with_key,
    "jwk of its own kid": lambda mint: _with_key(mint, kid="mine"),
    "x5u": lambda mint: mint.headed(x5u="https://evil.example/certificate"),
    "x5c": lambda mint: mint.headed(x5c=["MIIB"]),
    "nonce, as Graph's tokens have": lambda mint: mint.headed(nonce="n"),
    "cty": lambda mint: mint.headed(cty="JWT"),
    "zip": lambda mint: mint.headed(zip="DEF"),
    "a header of more than 1 KiB": lambda mint: mint.headed(filler="x" * 1024),
    "a member twice, the good one last": lambda mint: mint.sign(
        json.dumps(mint.header).replace("{", '{"alg":"none",', 1).encode(), mint.claims()
    ),
    "a member twice, alike": lambda mint: mint.sign(
        json.dumps(mint.header).replace("{", '{"typ":"JWT",', 1).encode(), mint.claims()
    ),
    "a member twice, once escaped": lambda mint: mint.sign(
        json.dumps(mint.header).replace("{", '{"\\u0061lg":"RS256",', 1).encode(), mint.claims()
    ),
    "a header that is a list": lambda mint: mint.sign([mint.header], mint.claims()),
    "a header in UTF-16": lambda mint: mint.sign(json.dumps(mint.header).encode("utf-16"), mint.claims()),
}
SIGNATURES: dict[str, Callable[[Mint], str]] = {
    "another key's": lambda mint: mint.sign(mint.header, mint.claims(), _by(_other_key())),
    "another token's": lambda mint: mint(name="Mallory").rpartition(".")[0] + "." + mint().rpartition(".")[2],
    "cut short": lambda mint: mint()[:-6],
    "a single byte": lambda mint: mint.sign(mint.header, mint.claims(), lambda _: b"x"),
}
CLAIMS: dict[str, Callable[[Mint], str]] = {
    "claims that are a list": lambda mint: mint.sign(mint.header, [mint.claims()]),
    "claims that are no JSON": lambda mint: mint.sign(mint.header, b"{"),
    "claims with a byte order mark": lambda mint: mint.sign(
        mint.header, b"\xef\xbb\xbf" + json.dumps(mint.claims()).encode()
    ),
    "NaN": lambda mint: mint(extra=float("nan")),
    "aud twice": lambda mint: mint.twice("aud", "another", GATEWAY_CLIENT_ID),
    "tid twice": lambda mint: mint.twice("tid", PARTNER_TENANT_ID, TENANT_ID),
    "oid twice": lambda mint: mint.twice("oid", ALICE.object_id, ALICE_TOO.object_id),
    "exp twice": lambda mint: mint.twice("exp", mint.now - HOUR, mint.now + HOUR),
    "exp as text": lambda mint: mint(exp=str(mint.now + HOUR)),
    "exp with a fraction": lambda mint: mint(exp=mint.now + HOUR + 0.5),
    "exp 1e308": lambda mint: mint(exp=1e308),
    "exp true": lambda mint: mint(exp=True),
    "exp of a hundred digits": lambda mint: mint(exp=10**100),
    "exp in a list": lambda mint: mint(exp=[mint.now + HOUR]),
    "exp negative": lambda mint: mint(exp=-1),
    "nbf as text": lambda mint: mint(nbf=str(mint.now)),
    "nbf false": lambda mint: mint(nbf=False),
    "iat as text": lambda mint: mint(iat=str(mint.now)),
    "iat with a fraction": lambda mint: mint(iat=mint.now + 0.5),
    "iat of long ago": lambda mint: mint(iat=0),
    "iat in the future": lambda mint: mint(iat=mint.now + HOUR, exp=mint.now + 2 * HOUR),
    "nbf in the future": lambda mint: mint(nbf=mint.now + HOUR, exp=mint.now + 2 * HOUR),
    "exp before iat": lambda mint: mint(exp=mint.now - 2 * HOUR, iat=mint.now - HOUR, nbf=mint.now - HOUR),
    "a life of more than 28 hours": lambda mint: mint(exp=mint.now + 28 * HOUR + 1),
    "ver 1.0": lambda mint: mint(ver="1.0"),
    "ver a number": lambda mint: mint(ver=2.0),
    "a token of version 1": lambda mint: mint(ver="1.0", iss=f"https://sts.windows.net/{TENANT_ID}/"),
    "iss of version 1": lambda mint: mint(iss=f"https://sts.windows.net/{TENANT_ID}/"),
    "iss of another host": lambda mint: mint(iss=f"https://login.microsoftonline.com/{TENANT_ID}/v2.0"),
    "iss with a slash": lambda mint: mint(iss=f"{mint.stack.issuer.url}/"),
    "iss in capitals": lambda mint: mint(iss=mint.stack.issuer.url.upper()),
    "iss in a list": lambda mint: mint(iss=[mint.stack.issuer.url]),
    "iss of another tenant": lambda mint: mint(iss=f"{mint.entra}/{PARTNER_TENANT_ID}/v2.0"),
    "iss of every tenant": lambda mint: mint(iss=f"{mint.entra}/{{tenantid}}/v2.0"),
    "tid of another tenant": lambda mint: mint(tid=PARTNER_TENANT_ID),
    "tid in capitals": lambda mint: mint(tid=TENANT_ID.upper()),
    "tid a domain": lambda mint: mint(tid="contoso.com", iss=f"{mint.entra}/contoso.com/v2.0"),
    "a tenant that is not on the list": lambda mint: mint(tid=STRANGER_ID, iss=f"{mint.entra}/{STRANGER_ID}/v2.0"),
    "a personal account": lambda mint: mint(tid=PERSONAL, iss=f"{mint.entra}/{PERSONAL}/v2.0"),
    "aud of another application": lambda mint: mint(aud=SCRIPT_CLIENT_ID),
    "aud of Fabric": lambda mint: mint(aud="https://api.fabric.microsoft.com"),
    "aud an address": lambda mint: mint(aud=f"api://{GATEWAY_CLIENT_ID}"),
    "aud in capitals": lambda mint: mint(aud=GATEWAY_CLIENT_ID.upper()),
    "aud a list of one": lambda mint: mint(aud=[GATEWAY_CLIENT_ID]),
    "aud a list of two": lambda mint: mint(aud=[GATEWAY_CLIENT_ID, SCRIPT_CLIENT_ID]),
    "oid no GUID": lambda mint: mint(oid="alice"),
    "oid a GUID in capitals": lambda mint: mint(oid=ALICE_TOO.object_id.upper()),
    "oid a key": lambda mint: mint(oid=f"{ALICE.object_id}/standing"),
    "sub empty": lambda mint: mint(sub=""),
    "sub a number": lambda mint: mint(sub=1),
    "scp in a list": lambda mint: mint(scp=[GATEWAY_SCOPE]),
    "scp a number": lambda mint: mint(scp=1),
    "neither scope nor role, as an id token": lambda mint: mint(scp=None),
    "roles alone": lambda mint: mint(scp=None, roles=["Query.All"]),
    "roles alone, of a person": lambda mint: mint(scp=None, roles=["Query.All"], idtyp="user"),
    "cnf, which takes a proof of possession": lambda mint: mint(cnf={"kid": "x"}),
    "scp and idtyp app": lambda mint: mint(idtyp="app", roles=["Query.All"], azpacr="2"),
    "idtyp something else": lambda mint: mint(idtyp="device"),
    "idtyp a list": lambda mint: mint(idtyp=["user"]),
    "roles as text": lambda mint: mint(roles="Gateway.Operate"),
    "roles of numbers": lambda mint: mint(roles=[1]),
    "an app that proved nothing": lambda mint: mint.app(azpacr="0"),
    "an app whose proof is a number": lambda mint: mint.app(azpacr=2),
    "an app that does not say what it proved": lambda mint: mint.app(azpacr=None),
    "a client that is not on the list": lambda mint: mint(azp=STRANGER_ID),
    "an app that is not on the list": lambda mint: mint.app(azp=STRANGER_ID),
    "azp no GUID": lambda mint: mint(azp="script"),
    "appid instead of azp": lambda mint: mint(azp=None, appid=SCRIPT_CLIENT_ID),
    "acct that is neither": lambda mint: mint(acct=2),
    "acct true": lambda mint: mint(acct=True),
    "idp a number": lambda mint: mint(idp=1),
    **{
        f"{name} missing": lambda mint, name=name: mint(**{name: None})  # type: ignore[misc]  # mypy: no default in a lambda
        for name in ("aud", "iss", "iat", "nbf", "exp", "azp", "oid", "sub", "tid", "ver")
    },
}
EXPIRED: dict[str, Callable[[Mint], str]] = {
    "expired two minutes ago": lambda mint: mint(exp=mint.now - 120, iat=mint.now - HOUR, nbf=mint.now - HOUR),
    "expired a year ago": lambda mint: mint(
        exp=mint.now - 8760 * HOUR, iat=mint.now - 8761 * HOUR, nbf=mint.now - 8761 * HOUR
    ),
}
GUESTS: dict[str, Callable[[Mint], str]] = {
    "a guest": lambda mint: mint(acct=1),
    "a guest, as text": lambda mint: mint(acct="1"),
    "an account of another tenant": lambda mint: mint(idp=f"https://sts.windows.net/{PARTNER_TENANT_ID}/"),
    "a personal account as a guest": lambda mint: mint(acct=None, idp="live.com"),
}
LACKING: dict[str, tuple[str, Callable[[Mint], str]]] = {
    "another scope": ("access_as_user", lambda mint: mint(scp="User.Read")),
    "a scope that begins as ours": ("access_as_user", lambda mint: mint(scp="access_as_user.all")),
    "an empty scope": ("access_as_user", lambda mint: mint(scp="")),
    "a scope behind a tab": ("access_as_user", lambda mint: mint(scp="User.Read\taccess_as_user")),
    "an app without a role": ("Query.All", lambda mint: mint.app(roles=None)),
    "an app with another role": ("Query.All", lambda mint: mint.app(roles=["Gateway.Operate"])),
}
WELCOME: dict[str, Callable[[Mint], str]] = {
    "as it should be": lambda mint: mint(),
    "of the newer type": lambda mint: mint.headed(typ="at+jwt"),
    "with a thumbprint": lambda mint: mint.headed(x5t=mint.stack.issuer.kid),
    "of a person who says so": lambda mint: mint(idtyp="user"),
    "with more scopes": lambda mint: mint(scp="profile access_as_user"),
    "with roles besides": lambda mint: mint(roles=["Query.All"]),
    "of a member": lambda mint: mint(acct="0", idp=mint.stack.issuer.url),
    "of a member, by the tenant's older name": lambda mint: mint(idp=f"https://sts.windows.net/{TENANT_ID}/"),
    "of a member of whom nothing is told": lambda mint: mint(acct=None),
    "expired this moment": lambda mint: mint(exp=mint.now - 5, iat=mint.now - HOUR, nbf=mint.now - HOUR),
    "of a clock that is early": lambda mint: mint(iat=mint.now + 30, nbf=mint.now + 30),
    "with two hundred groups": lambda mint: mint(groups=[str(uuid.UUID(int=number)) for number in range(200)]),
    "of 28 hours": lambda mint: mint(exp=mint.now + 28 * HOUR),
    "of an app": lambda mint: mint.app(),
}
INVALID = FORMS | HEADERS | {f"a signature: {name}": case for name, case in SIGNATURES.items()} | CLAIMS
BAD_TOKEN = 'Bearer realm="", error="invalid_token", error_description="The access token {}"'


@pytest.fixture
def mint(stack: Stack) -> Mint:
    """What mints as the stack's tenant does, at the time of the test."""
    return Mint(stack)


@pytest.fixture
def refused(browser: Browser, stack: Stack, secrets_seen: set[str]) -> Iterator[Callable[..., str]]:
    """Sends a token to ask and to sign in, checks the refusal and its one challenge, and gives the challenge.

    Nothing may come of it: no row, no call to Fabric, no exchange at Entra, no cookie.
    """
    before = _traces(stack)

    def send(token: str, status: int, code: str) -> str:
        secrets_seen.add(token)
        headers = {"Authorization": f"Bearer {token}"}
        replies = [
            browser.call("POST", "/api/query", json={"question": "total sales", "agent": "sales"}, headers=headers),
            browser.call("POST", "/api/login", headers=headers),
        ]
        assert [_told(reply) for reply in replies] == [(status, status, code)] * 2
        challenges = [reply.headers.get_list("www-authenticate") for reply in replies]
        assert challenges[0] == challenges[1]
        assert len(challenges[0]) <= 1
        return "".join(challenges[0])

    yield send
    assert _traces(stack) == before
    assert not browser.cookies


def _told(reply: httpx.Response) -> tuple[int, int, str]:
    assert reply.headers["content-type"] == "application/problem+json", reply.text
    assert reply.headers["cache-control"] == "no-store"
    problem = reply.json()
    return reply.status_code, problem["status"], problem["code"]


def _traces(stack: Stack) -> dict[str, object]:
    """What a request that came in would leave behind."""
    exchanges = {name: count for name, count in stack.entra.calls.items() if name not in {"keys", "discovery"}}
    return {"rows": _rows(stack), "fabric": dict(stack.fabric.calls), "entra": exchanges}


def _rows(stack: Stack, *tables: str) -> dict[tuple[str, str, str], str]:
    """The rows of these tables, or of all, with the tags that each change renews."""
    with TableServiceClient.from_connection_string(stack.azurite.connection_string) as service:
        return {
            (table.name, row["PartitionKey"], row["RowKey"]): str(row.metadata["etag"])
            for table in service.list_tables()
            if not tables or table.name in tables
            for row in service.get_table_client(table.name).list_entities()
        }


@pytest.mark.parametrize("case", INVALID)
def test_a_token_that_is_not_right_is_invalid(refused: Callable[..., str], mint: Mint, case: str) -> None:
    """401 in the same words, whatever is wrong with it."""
    assert refused(INVALID[case](mint), 401, "token_invalid") == BAD_TOKEN.format("is not valid")


@pytest.mark.parametrize("case", EXPIRED)
def test_a_token_that_was_good_once_is_expired(refused: Callable[..., str], mint: Mint, case: str) -> None:
    """401, with a code that tells a client to get another one."""
    assert refused(EXPIRED[case](mint), 401, "token_expired") == BAD_TOKEN.format("has expired")


@pytest.mark.parametrize("case", GUESTS)
def test_a_guest_is_told_so(refused: Callable[..., str], mint: Mint, case: str) -> None:
    """403 without a challenge: no other token would help."""
    assert refused(GUESTS[case](mint), 403, "guest_rejected") == ""


@pytest.mark.parametrize("case", LACKING)
def test_a_token_that_lacks_something_is_told_what(refused: Callable[..., str], mint: Mint, case: str) -> None:
    """403 with what to ask Entra for."""
    scope, token = LACKING[case]
    challenge = refused(token(mint), 403, "insufficient_scope")
    assert challenge == f'Bearer realm="", error="insufficient_scope", scope="{scope}"'


def test_an_app_that_is_welcome_gets_no_session_and_no_answer_for_people(
    refused: Callable[..., str], stack: Stack
) -> None:
    """403: the agent answers people, and only people have browsers."""
    assert refused(app_token(stack), 403, "user_required") == ""


@pytest.mark.parametrize("case", WELCOME)
def test_a_token_that_is_only_a_little_different_is_welcome(
    browser: Browser, mint: Mint, secrets_seen: set[str], case: str
) -> None:
    """What is refused above is refused for its fault, and not for being made here."""
    token = WELCOME[case](mint)
    secrets_seen.add(token)
    reply = browser.call("GET", "/api/session", headers={"Authorization": f"Bearer {token}"})
    assert reply.status_code == 200, reply.text
    assert reply.json()["object_id"] == ALICE_TOO.object_id
    assert "www-authenticate" not in reply.headers


def test_no_token_is_met_with_a_challenge_that_names_no_error(browser: Browser, stack: Stack) -> None:
    """RFC 6750 section 3.1: who did not try has made no mistake."""
    before = _traces(stack)
    for method, path in (("POST", "/api/query"), ("POST", "/api/login"), ("GET", "/api/agents")):
        reply = browser.call(method, path, json={"question": "total sales"} if path == "/api/query" else None)
        assert _told(reply) == (401, 401, "token_missing")
        assert reply.headers.get_list("www-authenticate") == ['Bearer realm=""']
    assert _traces(stack) == before


@pytest.mark.parametrize(
    "where",
    [
        lambda token: {"headers": [("Authorization", f"Bearer {token}"), ("Authorization", f"Bearer {token}")]},
        lambda token: {"headers": [("Authorization", f"Bearer {token}"), ("Authorization", "Basic YTpi")]},
        lambda token: {"headers": {"Authorization": f"Bearer {token}, Bearer {token}"}},
        lambda token: {"headers": {"Authorization": f"Token {token}"}},
        lambda token: {"headers": {"Authorization": token}},
    ],
    ids=["twice", "with another scheme", "twice in one", "under another scheme", "bare"],
)
def test_a_good_token_comes_once_and_as_a_bearer(
    stack: Stack, browser: Browser, where: Callable[[str], dict[str, Any]]
) -> None:
    """Where two could be meant, none is."""
    reply = httpx.get(f"{stack.public_url}/api/session", trust_env=False, **where(browser.token("alice")))
    assert _told(reply) == (401, 401, "token_invalid")


@pytest.mark.parametrize(
    "where",
    [
        lambda token: {"params": {"access_token": token}},
        lambda token: {"headers": {"Cookie": f"access_token={token}; __Host-session={token}"}},
        lambda token: {"headers": {"X-MS-TOKEN-AAD-ACCESS-TOKEN": token, "X-MS-CLIENT-PRINCIPAL-ID": ALICE.object_id}},
        lambda token: {"headers": {"X-MS-CLIENT-PRINCIPAL": _segment({"claims": [{"typ": "oid", "val": token}]})}},
        lambda token: {"headers": {"Proxy-Authorization": f"Bearer {token}", "X-Forwarded-Authorization": token}},
    ],
    ids=["query", "cookie", "Easy Auth's token", "Easy Auth's principal", "other headers"],
)
def test_a_good_token_elsewhere_is_none(stack: Stack, browser: Browser, where: Callable[[str], dict[str, Any]]) -> None:
    """One place alone says who asks; what App Service would set is what anybody can send."""
    reply = httpx.get(f"{stack.public_url}/api/session", trust_env=False, **where(browser.token("alice")))
    assert reply.status_code == 401
    assert reply.json()["code"] in {"token_missing", "session_expired"}


def test_a_guest_who_signs_in_is_sent_back_without_a_session(browser: Browser, stack: Stack) -> None:
    """The page that began hears why; nothing is kept of the sign-in."""
    guest = replace(ALICE_TOO, key="guest", home_tenant_id=PARTNER_TENANT_ID)
    before = _rows(stack, "sessions", "sids")
    stack.entra.people = PEOPLE | {"guest": guest}
    try:
        reply = browser.sign_in("guest", return_to="/api/app")
    finally:
        stack.entra.people = PEOPLE
    assert (reply.status_code, reply.headers["location"]) == (303, "/api/app?error=guest_rejected")
    assert not browser.cookies
    assert _rows(stack, "sessions", "sids") == before


def test_a_guests_own_token_says_so(refused: Callable[..., str], stack: Stack) -> None:
    """As Entra issues it, where the registration asks for `acct`."""
    guest = replace(ALICE_TOO, home_tenant_id=PARTNER_TENANT_ID)
    access = Access(GATEWAY_CLIENT_ID, (GATEWAY_SCOPE,))
    token = access_token(stack.entra, SCRIPT_CLIENT_ID, tokens.PUBLIC, guest, "a-session", access)
    assert refused(token, 403, "guest_rejected") == ""
