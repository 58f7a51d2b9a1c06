"""Rules for the tokens that callers bring."""

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from lib.errors import (
    Forbidden,
    GatewayError,
    GuestRejected,
    IdentityProviderUnavailable,
    InsufficientScope,
    TokenExpired,
    TokenInvalid,
    Unauthenticated,
)
from lib.identity.signing_keys import SigningKeys
from lib.identity.tokens import TokenValidator, bearer_of
from lib.web.request import Request
from tests.clock import Clock
from tests.lib.identity.authority import (
    CLIENT,
    HOST,
    OTHER_TENANT,
    PERSON,
    SPA,
    START,
    TENANT,
    Authority,
    Claims,
    app_claims,
    claims,
    issuer,
    jwk,
    mint,
    reply,
    rsa_key,
    settings,
)

NOW = int(START)
CONSUMERS = "https://login.microsoftonline.com/9188040d-6c67-4c5b-b112-36a304b66dad/v2.0"
PUBLIC_PEM = rsa_key("current").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.fixture
async def validator(authority: Authority, clock: Clock) -> AsyncIterator[TokenValidator]:
    """What validates for a gateway of one tenant."""
    async with authority.client() as http:
        yield TokenValidator(settings(), SigningKeys(http, HOST, [TENANT], now=clock), clock)


@pytest.fixture
async def validator_of_two(authority: Authority, clock: Clock) -> AsyncIterator[TokenValidator]:
    """What validates for a gateway of two tenants."""
    async with authority.client() as http:
        both = settings(ALLOWED_TENANTS=f"{TENANT},{OTHER_TENANT}")
        yield TokenValidator(both, SigningKeys(http, HOST, both.allowed_tenants, now=clock), clock)


def segment(value: object) -> str:
    """One segment of a token, over any value or bytes."""
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def forge(header: object, payload: object = None, signature: bytes = b"x") -> str:
    """A token of any header and payload, with any signature."""
    return f"{segment(header)}.{segment(claims() if payload is None else payload)}.{segment(signature)}"


def signed(header: object, payload: object) -> str:
    """A token of any header and payload, with the right signature over them."""
    text = f"{segment(header)}.{segment(payload)}"
    algorithm = RSAAlgorithm(RSAAlgorithm.SHA256)
    return f"{text}.{segment(algorithm.sign(text.encode(), rsa_key('current')))}"


def hs256(secret: bytes) -> str:
    """A token whose HMAC is keyed with what is public: the classic algorithm confusion."""
    text = f"{segment({'alg': 'HS256', 'typ': 'JWT', 'kid': 'current'})}.{segment(claims())}"
    return f"{text}.{segment(hmac.new(secret, text.encode(), hashlib.sha256).digest())}"


GOOD = {"alg": "RS256", "typ": "JWT", "kid": "current"}


async def test_a_persons_token_is_read(validator: TokenValidator) -> None:
    """Everything that the gateway goes by, from the claims."""
    token = mint(claims(scp="access_as_user other", roles=["Gateway.Operate"], login_hint="hint"))
    read = await validator.validate(token)
    assert (read.kind, read.tenant_id, read.object_id, read.client_id) == ("user", TENANT, PERSON, SPA)
    assert read.scopes == {"access_as_user", "other"}
    assert read.roles == {"Gateway.Operate"}
    assert (read.name, read.username) == ("Alice Arden", "alice@contoso.example")
    assert (read.sid, read.login_hint) == ("the-session", "hint")
    assert (read.issued_at, read.expires_at, read.token) == (NOW, NOW + 4000, token)


async def test_an_apps_token_is_read(validator: TokenValidator) -> None:
    """An app that says it is one, proved who it is and has the role."""
    read = await validator.validate(mint(app_claims()))
    assert (read.kind, read.name, read.username, read.sid) == ("app", "", "", "")
    assert read.roles == {"Query.All"}
    assert read.scopes == frozenset()


async def test_a_token_shows_nothing_of_itself(validator: TokenValidator) -> None:
    """Neither the token nor who it is about appears in a repr."""
    token = mint(claims(login_hint="a-hint"))
    shown = repr(await validator.validate(token))
    secrets = (token, PERSON, TENANT, "Alice", "alice@", "the-session", "a-hint")
    assert not [secret for secret in secrets if secret in shown]


@pytest.mark.parametrize("typ", ["JWT", "at+jwt"])
async def test_the_types_that_entra_writes_are_taken(validator: TokenValidator, typ: str) -> None:
    """RFC 9068's type as well as the older one."""
    await validator.validate(mint(claims(), typ=typ))


async def test_times_have_a_minute_of_leeway(validator: TokenValidator) -> None:
    """Clocks differ a little, in both directions."""
    await validator.validate(mint(claims(exp=NOW - 59, iat=NOW - 3600, nbf=NOW - 3600)))
    await validator.validate(mint(claims(iat=NOW + 60, nbf=NOW + 60)))
    with pytest.raises(TokenExpired):
        await validator.validate(mint(claims(exp=NOW - 60, iat=NOW - 3600, nbf=NOW - 3600)))


async def test_a_token_may_live_28_hours(validator: TokenValidator) -> None:
    """The longest life under continuous access evaluation."""
    await validator.validate(mint(claims(exp=NOW + 28 * 3600)))


ATTACKS = {
    "nothing": "",
    "two segments": "e30.e30",
    "four segments": mint(claims()) + ".e30",
    "five segments, an encrypted token": "e30.e30.e30.e30.e30",
    "no signature": mint(claims()).rpartition(".")[0] + ".",
    "a padded segment": mint(claims()) + "=",
    "a line break behind it": mint(claims()) + "\n",
    "too long": mint(claims(filler="x" * 12_000)),
    "a header that is too long": mint(claims(), filler="x" * 1_000),
    "a header that is no JSON": f"{segment(b'{')}.e30.e30",
    "a header that is a list": forge([]),
    "a header with a name twice": forge(b'{"alg":"RS256","alg":"RS256","typ":"JWT","kid":"current"}'),
    "alg none": forge({"alg": "none", "typ": "JWT", "kid": "current"}),
    "no alg": forge({"typ": "JWT", "kid": "current"}),
    "alg in small letters": forge(GOOD | {"alg": "rs256"}),
    "alg in a list": forge(GOOD | {"alg": ["RS256"]}),
    "alg PS256": jwt.encode(claims(), rsa_key("current"), "PS256", {"kid": "current"}),
    "alg RS512": jwt.encode(claims(), rsa_key("current"), "RS512", {"kid": "current"}),
    "HS256 keyed with the public key": hs256(PUBLIC_PEM),
    "HS256 keyed with nothing": hs256(b""),
    "no typ": mint(claims(), typ=None),
    "another typ": mint(claims(), typ="JOSE"),
    "typ in a list": forge(GOOD | {"typ": ["JWT"]}),
    "no kid": forge({"alg": "RS256", "typ": "JWT"}),
    "kid a number": forge(GOOD | {"kid": 5}),
    "kid empty": forge(GOOD | {"kid": ""}),
    "kid a path": forge(GOOD | {"kid": "../../dev/null"}),
    "kid of 129 characters": forge(GOOD | {"kid": "a" * 129}),
    "kid unknown": mint(claims(), kid="unknown"),
    "jku": mint(claims(), jku="https://evil.example/keys"),
    "jwk": signed(GOOD | {"jwk": jwk("x", rsa_key("other"))}, claims()),
    "x5u": mint(claims(), x5u="https://evil.example/certificate"),
    "x5c": mint(claims(), x5c=["MII"]),
    "crit": signed(GOOD | {"crit": ["exp"]}, claims()),
    "b64": signed(GOOD | {"b64": False}, claims()),
    "nonce, as Microsoft Graph's tokens have": mint(claims(), nonce="x"),
    "cty, a token within": mint(claims(), cty="JWT"),
    "zip": mint(claims(), zip="DEF"),
    "another key's signature": mint(claims(), key="other", kid="current"),
    "another payload under the signature": forge(GOOD).rpartition(".")[0] + "." + mint(claims()).rpartition(".")[2],
    "a signature of a length that base64 never has": f"{mint(claims()).rpartition('.')[0]}.abcde",
    "claims that are a list": signed(GOOD, []),
    "claims that are no JSON": signed(GOOD, b"{"),
    "a claim twice": signed(GOOD, json.dumps(claims()).replace("{", '{"aud":"x",', 1).encode()),
    "claims with NaN": signed(GOOD, json.dumps(claims(x=float("nan"))).encode()),
    "exp as text": signed(GOOD, claims(exp=str(NOW + 4000))),
    "exp 1e308": signed(GOOD, claims(exp=1e308)),
    "exp true": signed(GOOD, claims(exp=True)),
    "exp of a hundred digits": signed(GOOD, claims(exp=10**100)),
    "exp before iat": mint(claims(exp=NOW - 4000, nbf=NOW - 5000)),
    "a life of more than 28 hours": mint(claims(exp=NOW + 28 * 3600 + 1)),
    "iat a fraction": signed(GOOD, claims(iat=NOW + 0.5)),
    "iat in the future": mint(claims(iat=NOW + 61)),
    "nbf in the future": mint(claims(nbf=NOW + 61)),
    "iss of another host": mint(claims(iss=f"https://evil.example/{TENANT}/v2.0")),
    "iss that begins as ours": mint(claims(iss=f"{issuer(TENANT)}/more")),
    "iss in a list": signed(GOOD, claims(iss=[issuer(TENANT)])),
    "iss of another tenant": mint(claims(iss=issuer(OTHER_TENANT))),
    "tid of another tenant": mint(claims(tid=OTHER_TENANT)),
    "a tenant that is not allowed": mint(claims(iss=issuer(OTHER_TENANT), tid=OTHER_TENANT)),
    "tid no GUID": mint(claims(tid="contoso.com", iss=f"{HOST}/contoso.com/v2.0")),
    "a v1 token": mint(claims(ver="1.0", iss=f"https://sts.windows.net/{TENANT}/", appid=SPA)),
    "ver a number": mint(claims(ver=2.0)),
    "aud of another application": mint(claims(aud=SPA)),
    "aud as an address": mint(claims(aud=f"api://{CLIENT}")),
    "aud in a list": mint(claims(aud=[CLIENT])),
    "oid no GUID": mint(claims(oid="alice")),
    "oid in capitals": mint(claims(oid=PERSON.upper())),
    "azp no GUID": mint(claims(azp="spa")),
    "a client that is not on the list": mint(claims(azp=CLIENT.replace("8", "9"))),
    "an app that is not on the list": mint(app_claims(azp=CLIENT.replace("8", "9"))),
    "scp in a list": mint(claims(scp=["access_as_user"])),
    "scp a number": mint(claims(scp=5)),
    "neither scope nor kind": mint(claims(scp=None)),
    "an id token": mint(claims(scp=None, azp=None, azpacr=None, nonce="expected")),
    "roles without idtyp": mint(claims(scp=None, roles=["Query.All"])),
    "a person's roles alone": mint(claims(scp=None, roles=["Query.All"], idtyp="user")),
    "cnf, a token that is good with a proof alone": mint(claims(cnf={"kid": "x"})),
    "an app's cnf": mint(app_claims(cnf={"jwk": {}})),
    "cnf of nothing": mint(claims(cnf={})),
    "roles as text": mint(claims(roles="Gateway.Operate")),
    "roles of numbers": mint(claims(roles=[1])),
    "scopes and idtyp app": mint(claims(idtyp="app", roles=["Query.All"])),
    "idtyp a list": mint(claims(idtyp=["user"])),
    "an app that proved nothing": mint(app_claims(azpacr="0")),
    "an app that does not say how it proved itself": mint(app_claims(azpacr=None)),
    "name a number": mint(claims(name=5)),
    "login_hint a number": mint(claims(login_hint=5)),
}
MISSING = ("aud", "iss", "iat", "nbf", "exp", "azp", "oid", "sub", "tid", "ver")


@pytest.mark.parametrize("token", [pytest.param(token, id=name) for name, token in ATTACKS.items()])
async def test_a_token_that_must_not_pass_is_invalid(validator: TokenValidator, token: str) -> None:
    """One attack, one refusal, and always the same words."""
    with pytest.raises(TokenInvalid) as refusal:
        await validator.validate(token)
    assert refusal.value.detail == TokenInvalid.default_detail


@pytest.mark.parametrize("name", MISSING)
async def test_a_token_without_a_claim_it_must_have_is_invalid(validator: TokenValidator, name: str) -> None:
    """No check is skipped because there is nothing to check."""
    with pytest.raises(TokenInvalid):
        await validator.validate(mint(claims(**{name: None})))


@pytest.mark.parametrize(
    ("values", "scope"),
    [
        pytest.param(claims(scp="other"), "access_as_user", id="another scope"),
        pytest.param(claims(scp="access_as_user_not"), "access_as_user", id="a scope that begins as ours"),
        pytest.param(claims(scp=""), "access_as_user", id="an empty scope"),
        pytest.param(claims(scp="other\taccess_as_user"), "access_as_user", id="a scope behind a tab"),
        pytest.param(claims(scp="other\u2003access_as_user"), "access_as_user", id="a scope behind another space"),
        pytest.param(app_claims(roles=["Other"]), "Query.All", id="an app with another role"),
        pytest.param(app_claims(roles=None), "Query.All", id="an app without a role"),
    ],
)
async def test_a_token_without_the_right_is_told_which(validator: TokenValidator, values: Claims, scope: str) -> None:
    """The token is good and not enough: 403, with what to ask Entra for."""
    with pytest.raises(InsufficientScope) as refusal:
        await validator.validate(mint(values))
    assert refusal.value.scope == scope


async def test_a_key_signs_for_its_own_issuer_alone(validator: TokenValidator, authority: Authority) -> None:
    """A key that is published beside ours but belongs to personal accounts vouches for none of ours."""
    authority.keys[TENANT] = [jwk("consumers", rsa_key("other"), issuer=CONSUMERS)]
    with pytest.raises(TokenInvalid):
        await validator.validate(mint(claims(), key="other", kid="consumers"))


async def test_a_key_may_sign_for_every_tenant(validator: TokenValidator, authority: Authority) -> None:
    """The placeholder in the key's issuer stands for the token's tenant."""
    authority.keys[TENANT] = [jwk("current", rsa_key("current"), issuer=f"{HOST}/{{tenantid}}/v2.0")]
    assert (await validator.validate(mint(claims()))).tenant_id == TENANT
    with pytest.raises(TokenInvalid):  # of a tenant that is not allowed
        await validator.validate(mint(claims(tid=OTHER_TENANT, iss=issuer(OTHER_TENANT))))


async def test_each_of_two_tenants_is_validated_with_its_own_keys(
    validator_of_two: TokenValidator, authority: Authority
) -> None:
    """A token says whose keys to look among, and nothing else before it is proven."""
    theirs = claims(tid=OTHER_TENANT, iss=issuer(OTHER_TENANT))
    authority.keys[OTHER_TENANT] = [jwk("theirs", rsa_key("other"), issuer=issuer(OTHER_TENANT))]
    assert (await validator_of_two.validate(mint(theirs, key="other", kid="theirs"))).tenant_id == OTHER_TENANT
    assert (await validator_of_two.validate(mint(claims()))).tenant_id == TENANT
    for token in (mint(theirs), mint(claims(), key="other", kid="theirs")):
        with pytest.raises(TokenInvalid):
            await validator_of_two.validate(token)


@pytest.mark.parametrize(
    ("tenant", "iss"), [(OTHER_TENANT, issuer(TENANT)), (TENANT, issuer(OTHER_TENANT))], ids=["tid", "iss"]
)
async def test_a_token_is_of_one_tenant_alone(
    validator_of_two: TokenValidator, authority: Authority, tenant: str, iss: str
) -> None:
    """Entra signs for all its tenants with the same keys: only the claims tell them apart, and they must agree."""
    for any_tenant in (TENANT, OTHER_TENANT):
        authority.keys[any_tenant] = [jwk("current", rsa_key("current"), issuer=f"{HOST}/{{tenantid}}/v2.0")]
        good = mint(claims(tid=any_tenant, iss=issuer(any_tenant)))
        assert (await validator_of_two.validate(good)).tenant_id == any_tenant
    with pytest.raises(TokenInvalid):
        await validator_of_two.validate(mint(claims(tid=tenant, iss=iss)))


async def test_the_gateway_is_operated_from_its_own_tenant_alone(
    validator_of_two: TokenValidator, authority: Authority
) -> None:
    """The administrators of another tenant give its people what roles they like."""
    authority.keys[OTHER_TENANT] = [jwk("theirs", rsa_key("other"))]
    roles = ["Gateway.Operate", "Query.All"]
    theirs = claims(tid=OTHER_TENANT, iss=issuer(OTHER_TENANT), roles=roles)
    assert (await validator_of_two.validate(mint(theirs, key="other", kid="theirs"))).roles == {"Query.All"}
    assert (await validator_of_two.validate(mint(claims(roles=roles)))).roles == set(roles)


async def test_a_key_of_one_tenant_signs_for_no_other(validator_of_two: TokenValidator, authority: Authority) -> None:
    """Not even where the other publishes it."""
    authority.keys[OTHER_TENANT] = [jwk("ours", rsa_key("other"), issuer=issuer(TENANT))]
    with pytest.raises(TokenInvalid):
        await validator_of_two.validate(
            mint(claims(tid=OTHER_TENANT, iss=issuer(OTHER_TENANT)), key="other", kid="ours")
        )


@pytest.mark.parametrize("payload", [b"{", {"tid": 5}, {}, {"tid": "common"}, {"tid": CLIENT}])
async def test_a_token_of_no_tenant_is_invalid_before_any_key_is_fetched(
    validator_of_two: TokenValidator, authority: Authority, payload: object
) -> None:
    """Where several tenants are allowed, one that is none of them costs nothing."""
    with pytest.raises(TokenInvalid):
        await validator_of_two.validate(forge(GOOD, payload))
    assert not authority.calls


@pytest.mark.parametrize(
    "name",
    ["nothing", "too long", "a header that is too long", "alg none", "alg PS256", "no typ", "jku", "crit", "no kid"],
)
async def test_a_bad_header_costs_no_fetch(validator: TokenValidator, authority: Authority, name: str) -> None:
    """Cheap checks come first."""
    with pytest.raises(TokenInvalid):
        await validator.validate(ATTACKS[name])
    assert not authority.calls


async def test_an_outage_of_entra_is_not_the_tokens_fault(validator: TokenValidator, authority: Authority) -> None:
    """503, never 401."""
    authority.fault = lambda _: reply({}, 503)
    with pytest.raises(IdentityProviderUnavailable):
        await validator.validate(mint(claims()))


def outcome(validator: TokenValidator, token: str) -> GatewayError:
    """How a token that cannot be good is refused."""
    with pytest.raises((Unauthenticated, Forbidden)) as refusal:
        asyncio.run(validator.validate(token))
    return refusal.value


def known() -> TokenValidator:
    """A validator that knows its keys, for tests that have their own event loops."""
    authority, clock = Authority(), Clock()
    keys = SigningKeys(authority.client(), HOST, [TENANT], now=clock)
    asyncio.run(keys.ping())
    return TokenValidator(settings(), keys, clock)


@given(st.text() | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_whatever_comes_as_a_token_is_refused_in_our_words(token: str) -> None:
    """Any text at all ends in `TokenInvalid`."""
    assert isinstance(outcome(known(), token), TokenInvalid)


@given(st.lists(st.binary(min_size=1, max_size=80).map(segment), min_size=3, max_size=3))
def test_whatever_comes_in_three_segments_is_refused_in_our_words(segments: list[str]) -> None:
    """So does anything of a token's shape."""
    assert isinstance(outcome(known(), ".".join(segments)), TokenInvalid)


@given(st.binary(max_size=200), st.sampled_from(["", "typ", "kid"]))
def test_whatever_is_signed_is_refused_in_our_words(payload: bytes, left_out: str) -> None:
    """Even with a good signature, bytes that are no claims are just invalid."""
    header = {name: value for name, value in GOOD.items() if name != left_out}
    assert isinstance(outcome(known(), signed(header, payload)), TokenInvalid)


@given(st.integers(0, 10_000), st.integers(0, 63))
def test_one_character_changed_is_one_token_refused(position: int, step: int) -> None:
    """No character of a token is without meaning, but for the last bits of a segment that base64 leaves over."""
    token = mint(claims())
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    at = position % len(token)
    changed = token[:at] + alphabet[step] + token[at + 1 :]
    if changed.rpartition(".")[0] != token.rpartition(".")[0]:
        assert isinstance(outcome(known(), changed), TokenInvalid)


@pytest.mark.parametrize(
    ("header", "token"),
    [
        ("Bearer abc.DEF.1-_", "abc.DEF.1-_"),
        ("bearer abc", "abc"),
        ("BEARER abc", "abc"),
        (" Bearer abc ", "abc"),
    ],
)
def test_a_bearer_token_is_taken_from_its_header(header: str, token: str) -> None:
    """The scheme is case-insensitive (RFC 9110 section 11.1)."""
    assert bearer_of(Request("GET", headers={"authorization": header})) == token


@pytest.mark.parametrize(
    "header",
    [
        "",
        "Bearer",
        "Bearer ",
        "Bearer  abc",
        "Bearer\tabc",
        "Bearer abc def",
        "Bearer abc, Bearer def",
        "Basic YTpi",
        "abc",
        "Bearer a=b",
        "Bearer é",
        "Bearer abc\n.def",
    ],
)
def test_any_other_authorization_is_invalid(header: str) -> None:
    """What is there must be one bearer token: it is never passed over for a cookie."""
    with pytest.raises(TokenInvalid):
        bearer_of(Request("GET", headers={"authorization": header}))


def test_no_authorization_is_no_token() -> None:
    """Then the session may speak."""
    assert bearer_of(Request("GET")) is None


def id_claims(**changes: object) -> Claims:
    """The claims of an id token."""
    of_access = ("scp", "azp", "azpacr")
    return claims(**(dict.fromkeys(of_access) | {"nonce": "expected", "login_hint": "alice"} | changes))


async def test_an_id_token_tells_who_signed_in(validator: TokenValidator) -> None:
    """The person, and what Entra's logout page wants."""
    person = await validator.validate_id_token(mint(id_claims()), "expected")
    assert (person.tenant_id, person.object_id, person.name) == (TENANT, PERSON, "Alice Arden")
    assert (person.username, person.sid, person.login_hint) == ("alice@contoso.example", "the-session", "alice")
    assert "alice" not in repr(person).lower()


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(id_claims(nonce="another"), id="another sign-in's"),
        pytest.param(id_claims(nonce=None), id="no nonce"),
        pytest.param(id_claims(aud=SPA), id="another client's"),
        pytest.param(id_claims(tid=OTHER_TENANT, iss=issuer(OTHER_TENANT)), id="another tenant's"),
        pytest.param(id_claims(oid=None), id="nobody's"),
    ],
)
async def test_an_id_token_that_is_not_of_this_sign_in_is_invalid(validator: TokenValidator, values: Claims) -> None:
    """That it came from the token endpoint proves nothing."""
    with pytest.raises(TokenInvalid):
        await validator.validate_id_token(mint(values), "expected")


async def test_an_id_token_needs_its_signature(validator: TokenValidator) -> None:
    """As any token does."""
    with pytest.raises(TokenInvalid):
        await validator.validate_id_token(forge(GOOD, id_claims()), "expected")


async def test_an_id_token_is_no_access_token(validator: TokenValidator) -> None:
    """It has the same issuer and the same audience, and no right to anything."""
    with pytest.raises(TokenInvalid):
        await validator.validate(mint(id_claims(azp=SPA)))


@pytest.fixture
async def hospitable(authority: Authority, clock: Clock) -> AsyncIterator[TokenValidator]:
    """What validates for a gateway that lets guests in."""
    async with authority.client() as http:
        yield TokenValidator(settings(GUESTS="allow"), SigningKeys(http, HOST, [TENANT], now=clock), clock)


GUESTS = [
    pytest.param({"acct": 1}, id="acct 1"),
    pytest.param({"acct": "1"}, id="acct 1 as text"),
    pytest.param({"idp": "live.com"}, id="an idp that is no address"),
    pytest.param({"idp": f"https://sts.windows.net/{OTHER_TENANT}/"}, id="another tenant's idp"),
    pytest.param({"idp": f"https://sts.windows.net/{TENANT}"}, id="nearly the tenant's own idp"),
    pytest.param({"idp": f"https://sts.windows.net/{TENANT}/", "acct": 1}, id="a guest by acct alone"),
    pytest.param({"idp": issuer(OTHER_TENANT), "acct": 0}, id="another tenant's idp, as a member"),
]


@pytest.mark.parametrize("told", GUESTS)
async def test_a_guest_comes_in_where_guests_are_allowed(
    validator: TokenValidator, hospitable: TokenValidator, told: Claims
) -> None:
    """And else is told so, as a person whom signing in again does not help."""
    token, id_token = mint(claims(**told)), mint(id_claims(**told))
    with pytest.raises(GuestRejected):
        await validator.validate(token)
    with pytest.raises(GuestRejected):
        await validator.validate_id_token(id_token, "expected")
    assert (await hospitable.validate(token)).object_id == PERSON
    assert (await hospitable.validate_id_token(id_token, "expected")).object_id == PERSON


@pytest.mark.parametrize(
    "told",
    [{}, {"acct": 0}, {"acct": "0"}, {"idp": issuer(TENANT)}, {"idp": f"https://sts.windows.net/{TENANT}/"}],
    ids=str,
)
async def test_a_member_is_no_guest(validator: TokenValidator, told: Claims) -> None:
    """Told, or not told at all."""
    assert (await validator.validate(mint(claims(**told)))).object_id == PERSON
    assert (await validator.validate_id_token(mint(id_claims(**told)), "expected")).object_id == PERSON


@pytest.mark.parametrize("told", [{"acct": 2}, {"acct": True}, {"acct": "guest"}, {"idp": 5}, {"idp": ""}], ids=str)
async def test_who_tells_it_in_another_way_is_nobody(
    validator: TokenValidator, hospitable: TokenValidator, told: Claims
) -> None:
    """Entra writes neither claim so; whether guests may come does not matter."""
    for any_validator in (validator, hospitable):
        with pytest.raises(TokenInvalid):
            await any_validator.validate(mint(claims(**told)))


async def test_that_somebody_is_a_guest_is_believed_of_a_genuine_token_alone(validator: TokenValidator) -> None:
    """A forged one is told nothing, and one that is good for nothing here is told that first."""
    for token in (forge(GOOD, claims(acct=1)), mint(claims(acct=1, azp=CLIENT.replace("8", "9")))):
        with pytest.raises(TokenInvalid):
            await validator.validate(token)
    with pytest.raises(InsufficientScope):
        await validator.validate(mint(claims(acct=1, scp="other")))
    with pytest.raises(TokenInvalid):
        await validator.validate_id_token(mint(id_claims(acct=1, nonce="another")), "expected")


async def test_an_app_is_no_guest(validator: TokenValidator) -> None:
    """The claims are about people's accounts."""
    assert (await validator.validate(mint(app_claims(idp="https://sts.windows.net/elsewhere/")))).kind == "app"


async def test_how_strongly_somebody_signed_in_is_read(validator: TokenValidator) -> None:
    """The authentication contexts of conditional access; what is no list of texts proves none."""
    assert (await validator.validate(mint(claims(acrs=["c1", "c2"])))).acrs == {"c1", "c2"}
    for nothing in (None, "c1", ["c1", 1], {"c1": 1}, []):
        assert (await validator.validate(mint(claims(acrs=nothing)))).acrs == frozenset()
