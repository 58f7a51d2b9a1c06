"""Rules for tokens got in somebody's name."""

import asyncio
from collections.abc import Callable, Iterator
from itertools import count

import httpx
import pytest
from starlette.responses import Response

from lib.errors import ConsentRequired, ReauthRequired, SessionExpired, TokenExpired, UserRequired
from lib.identity.auth import principal_of_session
from lib.identity.credentials import ClientCredential
from lib.identity.entra import EntraClient
from lib.identity.on_behalf_of import MOST_TOKENS, OnBehalfOf
from lib.identity.principal import Assertion, Principal, grant_of
from lib.identity.sessions import Session, Sessions, SignedIn
from lib.storage.key_vault import KeyVault
from lib.storage.row_keys import RowKeys
from lib.storage.sealing import KeyRing, Sealer
from lib.storage.tables import Tables
from lib.telemetry import metrics
from tests.clock import Clock
from tests.lib.identity.authority import (
    FABRIC,
    PERSON,
    START,
    TENANT,
    TokenEndpoint,
    granted,
    refused,
    settings,
)
from tests.lib.identity.client import Identity, Vault
from tests.lib.storage.front import Front
from tests.lib.telemetry.heard import hearing

GRAPH = "https://graph.microsoft.com/User.Read"


class World:
    """What tokens are got from: each one says which request it came with, and for whom."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.endpoint = TokenEndpoint(self.grant)
        self.seconds = 4200
        self.refusal: httpx.Response | None = None
        told = settings(CLIENT_CREDENTIAL="secret")
        credential = ClientCredential(told, Identity(self.clock), Vault(client_secret="hush"), self.clock)
        self.entra = EntraClient(told, credential, transport=self.endpoint.transport, now=self.clock)
        self.tokens = OnBehalfOf(self.entra, self.clock)

    def grant(self, form: dict[str, str]) -> httpx.Response:
        """The reply of Entra."""
        if self.refusal:
            return self.refusal
        who = form.get("assertion") or form.get("refresh_token") or "app"
        return granted(f"{who} {self.asked}", expires_in=self.seconds, refresh_token=f"after {who}")

    @property
    def asked(self) -> int:
        """How often Entra was asked."""
        return len(self.endpoint.requests)


@pytest.fixture
def world() -> Iterator[World]:
    """A world that is closed in the end."""
    made = World()
    yield made
    made.entra.close()


def bearer(token: str = "alice", expires_at: float = START + 4000) -> Principal:
    """A person who brings an access token."""
    return Principal(TENANT, PERSON, "user", "bearer", expires_at, Assertion(token, expires_at, START))


class Instance:
    """One of several processes: it has sessions and tokens of its own, over the same table and the same Entra."""

    def __init__(self, world: World, tables: Tables, vault: KeyVault) -> None:
        sealer = Sealer(KeyRing(vault, now=world.clock))
        self.sessions = Sessions(
            tables, sealer, RowKeys(vault), idle_seconds=1800, absolute_seconds=8 * 3600, now=world.clock
        )
        self.tokens = OnBehalfOf(world.entra, world.clock)

    async def signed_in(self, claims: str = "") -> str:
        """The cookie of a new session."""
        cookie, _ = await self.sessions.open(SignedIn(TENANT, PERSON, refresh_token="old", claims=claims))
        return cookie

    async def found(self, cookie: str) -> Session:
        """The session as this instance finds it."""
        return await self.sessions.find(cookie)

    async def principal(self, cookie: str) -> Principal:
        """The person of a request with that cookie."""
        return principal_of_session(await self.found(cookie), self.sessions)

    async def kept(self, cookie: str) -> str:
        """The refresh token that the session has now."""
        return (await self.found(cookie)).signed_in.refresh_token


@pytest.fixture
def instance(world: World, key_vault_client: KeyVault, tables: Tables) -> Instance:
    """One instance."""
    return Instance(world, tables, key_vault_client)


@pytest.fixture
def another(world: World, key_vault_client: KeyVault, tables: Tables) -> Instance:
    """A second one."""
    return Instance(world, tables, key_vault_client)


APP = Principal(TENANT, PERSON, "app", "bearer", START + 4000)


async def test_a_token_is_got_once_and_used_again(world: World) -> None:
    """For as long as an hour."""
    assert [await world.tokens.token_for(bearer(), FABRIC) for _ in range(3)] == ["alice 1"] * 3
    world.clock.advance(3599)
    assert await world.tokens.token_for(bearer(), FABRIC) == "alice 1"
    world.clock.advance(1)
    assert await world.tokens.token_for(bearer(), FABRIC) == "alice 2"


@pytest.mark.parametrize(
    ("seconds", "assertion_seconds", "kept"),
    [
        pytest.param(4200, 2000, 2000, id="the assertion ends first"),
        pytest.param(28 * 3600, 28 * 3600, 3600, id="an hour is the longest"),
        pytest.param(1000, 4000, 700, id="the token ends first"),
    ],
)
async def test_a_token_is_kept_no_longer_than_all_agree(
    world: World, seconds: int, assertion_seconds: int, kept: int
) -> None:
    """The least of token, assertion and an hour."""
    world.seconds = seconds
    principal = bearer(expires_at=START + assertion_seconds)
    await world.tokens.token_for(principal, FABRIC)
    world.clock.advance(kept - 1)
    await world.tokens.token_for(principal, FABRIC)
    assert world.asked == 1
    world.clock.advance(1)
    await world.tokens.token_for(principal, FABRIC)
    assert world.asked == 2


async def test_a_token_that_ends_at_once_is_used_and_not_kept(world: World) -> None:
    """It is good for the question at hand."""
    world.seconds = 300
    assert await world.tokens.token_for(bearer(), FABRIC) == "alice 1"
    assert await world.tokens.token_for(bearer(), FABRIC) == "alice 2"
    assert not world.tokens._known


@pytest.mark.stack
async def test_a_token_belongs_to_its_grant_and_scope(instance: Instance) -> None:
    """Not to the person: another token of theirs may have passed another policy."""
    session = await instance.principal(await instance.signed_in())
    told = [
        await instance.tokens.token_for(bearer("alice on a laptop"), FABRIC),
        await instance.tokens.token_for(bearer("alice on a phone"), FABRIC),
        await instance.tokens.token_for(bearer("alice on a laptop"), GRAPH),
        await instance.tokens.token_for(session, FABRIC),
        await instance.tokens.token_for_app(FABRIC),
    ]
    assert told == ["alice on a laptop 1", "alice on a phone 2", "alice on a laptop 3", "old 4", "app 5"]


async def test_fifty_people_at_once_get_their_own(world: World) -> None:
    """Nothing is mixed up on the way through the cache either."""
    people = [f"person{n}" for n in range(50)]
    for _ in range(2):
        told = await asyncio.gather(*(world.tokens.token_for(bearer(person), FABRIC) for person in people))
        assert [token.split()[0] for token in told] == people
    assert world.asked == 50


async def test_a_person_who_asks_fifty_times_at_once_costs_one_exchange(world: World) -> None:
    """They share the flight, and a cancelled first caller does not end it."""
    first = asyncio.create_task(world.tokens.token_for(bearer(), FABRIC))
    others = [asyncio.create_task(world.tokens.token_for(bearer(), FABRIC)) for _ in range(49)]
    await asyncio.sleep(0)
    first.cancel()
    assert await asyncio.gather(*others) == ["alice 1"] * 49
    assert first.cancelled()
    assert world.asked == 1


async def test_a_failure_is_shared_by_those_who_wait_and_not_kept(world: World) -> None:
    """The next caller asks again."""
    world.refusal = refused("invalid_grant", 65001)
    told = await asyncio.gather(*(world.tokens.token_for(bearer(), FABRIC) for _ in range(5)), return_exceptions=True)
    assert [type(fault) for fault in told] == [ConsentRequired] * 5
    assert world.asked == 1
    world.refusal = None
    assert await world.tokens.token_for(bearer(), FABRIC) == "alice 2"


async def test_an_expired_assertion_is_told(world: World) -> None:
    """Entra's word, in ours."""
    world.refusal = refused("invalid_grant", 500133)
    with pytest.raises(TokenExpired):
        await world.tokens.token_for(bearer(), FABRIC)


async def test_a_rejected_token_is_got_anew(world: World) -> None:
    """After the service did not take it. The others' stay."""
    for principal in (bearer(), bearer("bob")):
        await world.tokens.token_for(principal, FABRIC)
    await world.tokens.token_for(bearer(), GRAPH)
    assert await world.tokens.token_for(bearer(), FABRIC, rejected="alice 1") == "alice 4"
    assert await world.tokens.token_for(bearer(), FABRIC) == "alice 4"
    assert await world.tokens.token_for(bearer("bob"), FABRIC) == "bob 2"
    assert await world.tokens.token_for(bearer(), GRAPH) == "alice 3"


async def test_a_token_rejected_twice_is_got_anew_once(world: World) -> None:
    """Of two requests that the service turned away, the later one finds what the earlier one got."""
    await world.tokens.token_for(bearer(), FABRIC)
    assert await world.tokens.token_for(bearer(), FABRIC, rejected="alice 1") == "alice 2"
    assert await world.tokens.token_for(bearer(), FABRIC, rejected="alice 1") == "alice 2"


async def test_what_was_got_with_a_grant_that_has_ended_is_forgotten(world: World) -> None:
    """For every scope; others' tokens stay, and to forget twice is no fault."""
    laptop, phone = bearer("alice on a laptop"), bearer("alice on a phone")
    for principal in (laptop, phone):
        for scope in (FABRIC, GRAPH):
            await world.tokens.token_for(principal, scope)
    assert laptop.grant
    for _ in range(2):
        world.tokens.forget(laptop.grant)
    assert {key for key, _ in world.tokens._known} == {phone.grant.key if phone.grant else ""}
    assert await world.tokens.token_for(phone, GRAPH) == "alice on a phone 4"
    assert await world.tokens.token_for(laptop, FABRIC) == "alice on a laptop 5"


@pytest.mark.stack
async def test_a_session_that_was_ended_is_forgotten_by_what_it_was(instance: Instance) -> None:
    """Whichever state of it was read when it ended."""
    cookie = await instance.signed_in()
    await instance.tokens.token_for(await instance.principal(cookie), FABRIC)
    assert instance.tokens._known
    ended = await instance.sessions.end(cookie)
    assert ended
    instance.tokens.forget(grant_of(ended, instance.sessions))
    assert not instance.tokens._known


async def test_the_gateways_own_token_is_kept_and_got_anew_too(world: World) -> None:
    """Whoever asked for it, a person or an app."""
    assert [await world.tokens.token_for_app(FABRIC) for _ in range(2)] == ["app 1"] * 2
    assert await world.tokens.token_for_app(FABRIC, rejected="app 1") == "app 2"
    assert await world.tokens.token_for_app(FABRIC) == "app 2"


async def test_a_token_that_has_to_last_is_got_anew_where_the_known_one_does_not(world: World) -> None:
    """A question that waits in a queue takes one along; who needs none for later uses the newer one too."""
    assert await world.tokens.token_for(bearer(), FABRIC) == "alice 1"
    world.clock.advance(3600 - 901)
    assert await world.tokens.token_for(bearer(), FABRIC, lasting=900) == "alice 1"
    world.clock.advance(1)
    assert await world.tokens.token_for(bearer(), FABRIC) == "alice 1"
    assert await world.tokens.token_for(bearer(), FABRIC, lasting=900) == "alice 2"
    assert await world.tokens.token_for(bearer(), FABRIC) == "alice 2"
    assert world.asked == 2


async def test_a_token_that_is_never_good_for_so_long_is_used_all_the_same(world: World) -> None:
    """Nobody has a better one: each time another is asked for, and each is given."""
    world.seconds = 600
    told = [await world.tokens.token_for(bearer(), FABRIC, lasting=900) for _ in range(2)]
    assert told == ["alice 1", "alice 2"]
    assert await world.tokens.token_for(bearer(), FABRIC) == "alice 2"


async def test_an_app_has_nothing_to_ask_with(world: World) -> None:
    """On-behalf-of is for people."""
    with pytest.raises(UserRequired):
        await world.tokens.token_for(APP, FABRIC)
    assert world.asked == 0


async def test_the_tokens_kept_are_bounded(world: World) -> None:
    """The one that was not used for longest goes first."""
    world.tokens._known.update({(f"person{n}", FABRIC): ("x", START + 1000) for n in range(MOST_TOKENS - 1)})
    await world.tokens.token_for(bearer(), FABRIC)
    await world.tokens.token_for(bearer("bob"), FABRIC)
    assert len(world.tokens._known) == MOST_TOKENS
    assert ("person0", FABRIC) not in world.tokens._known
    world.tokens._known.move_to_end((bearer().grant.key, FABRIC), last=False)  # type: ignore[union-attr]  # it has one
    await world.tokens.token_for(bearer(), FABRIC)
    await world.tokens.token_for(bearer("carol"), FABRIC)
    assert await world.tokens.token_for(bearer(), FABRIC) == "alice 1"


@pytest.mark.stack
async def test_a_session_keeps_the_refresh_token_that_comes_back(world: World, instance: Instance) -> None:
    """Before the token is used; the cached one brings none."""
    cookie = await instance.signed_in()
    for _ in range(2):
        assert await instance.tokens.token_for(await instance.principal(cookie), FABRIC) == "old 1"
    assert await instance.kept(cookie) == "after old"
    assert world.asked == 1


@pytest.mark.stack
async def test_a_session_without_a_new_refresh_token_is_left_alone(world: World, instance: Instance) -> None:
    """Entra may hand out none, or the same one."""
    cookie = await instance.signed_in()
    before = await instance.found(cookie)
    world.refusal = granted("fabric")
    await instance.tokens.token_for(await instance.principal(cookie), FABRIC)
    world.refusal = granted("graph", refresh_token="old")
    await instance.tokens.token_for(await instance.principal(cookie), GRAPH)
    assert (await instance.found(cookie)).row.etag == before.row.etag


@pytest.mark.stack
@pytest.mark.parametrize("failing", [1, 2], ids=["the write", "the look who was faster"])
async def test_a_refresh_token_that_cannot_be_kept_costs_nobody_an_answer(
    world: World,
    key_vault_client: KeyVault,
    fronted: Tables,
    front: Front,
    caplog: pytest.LogCaptureFixture,
    failing: int,
) -> None:
    """The old one stays good."""
    instance = Instance(world, fronted, key_vault_client)
    cookie = await instance.signed_in()
    principal = await instance.principal(cookie)
    away = [Response(status_code=503)] * 2
    front.planned.extend([Response(status_code=412), *away] if failing > 1 else away[:1])
    assert await instance.tokens.token_for(principal, FABRIC) == "old 1"
    assert "a renewed refresh token could not be kept" in caplog.text
    assert "after old" not in caplog.text
    assert await instance.kept(cookie) == "old"


@pytest.mark.stack
async def test_a_session_asks_for_what_its_sign_in_has_answered(world: World, instance: Instance) -> None:
    """A stronger sign-in would be asked for again at once, if the tokens did not tell of it."""
    cookie = await instance.signed_in('{"access_token":{"acrs":{"value":"c1"}}}')
    await instance.tokens.token_for(await instance.principal(cookie), FABRIC)
    assert '"acrs":{"value":"c1"}' in world.endpoint.forms[0]["claims"]


@pytest.mark.stack
async def test_of_two_instances_that_renew_at_once_the_later_adopts_what_the_first_has_kept(
    world: World, instance: Instance, another: Instance
) -> None:
    """Both have a token; the session has one refresh token, with which both renew from then on."""
    world.endpoint.grant = always_another()
    cookie = await instance.signed_in()
    one, other = await instance.principal(cookie), await another.principal(cookie)
    assert await instance.tokens.token_for(one, FABRIC) == "old+"
    assert await another.tokens.token_for(other, FABRIC) == "old+"
    assert await instance.kept(cookie) == await another.kept(cookie) == "old+1"
    for asked in (instance, another):
        await asked.tokens.token_for(await asked.principal(cookie), GRAPH)
    assert [form["refresh_token"] for form in world.endpoint.forms] == ["old", "old", "old+1", "old+1+3"]


@pytest.mark.stack
async def test_ten_renewals_at_once_keep_one_refresh_token(
    world: World, key_vault_client: KeyVault, tables: Tables
) -> None:
    """Whichever it is, it is one that Entra has handed out, and nobody's request fails."""
    instances = [Instance(world, tables, key_vault_client) for _ in range(10)]
    world.endpoint.grant = always_another()
    cookie = await instances[0].signed_in()
    people = [await each.principal(cookie) for each in instances]
    await asyncio.gather(*(each.tokens.token_for(who, FABRIC) for each, who in zip(instances, people, strict=True)))
    assert await instances[0].kept(cookie) in {f"old+{n}" for n in range(1, 11)}
    assert [form["refresh_token"] for form in world.endpoint.forms] == ["old"] * 10


@pytest.mark.stack
async def test_a_refresh_token_that_another_instance_has_used_up_is_looked_up_and_renewed(
    world: World, instance: Instance, another: Instance
) -> None:
    """Where Entra ends the old one, the session knows the new one; and what comes of that is kept as well."""
    world.endpoint.grant = one_use()
    cookie = await instance.signed_in()
    late = await another.principal(cookie)
    await instance.tokens.token_for(await instance.principal(cookie), FABRIC)
    assert await another.tokens.token_for(late, FABRIC) == "old++"
    assert [form["refresh_token"] for form in world.endpoint.forms] == ["old", "old", "old+"]
    assert await instance.kept(cookie) == "old++"
    assert await another.tokens.token_for(late, GRAPH) == "old+++"


@pytest.mark.stack
async def test_a_refused_refresh_token_that_nobody_has_renewed_ends_it(world: World, instance: Instance) -> None:
    """The person has to sign in again; Entra is not asked the same twice."""
    cookie = await instance.signed_in()
    world.refusal = refused("invalid_grant", 70043)
    with pytest.raises(ReauthRequired):
        await instance.tokens.token_for(await instance.principal(cookie), FABRIC)
    assert world.asked == 1


@pytest.mark.stack
async def test_the_second_refusal_is_the_last(world: World, instance: Instance, another: Instance) -> None:
    """Who is refused with what is kept now, too, has to sign in again."""
    cookie = await instance.signed_in()
    late = await another.principal(cookie)
    await instance.tokens.token_for(await instance.principal(cookie), FABRIC)
    world.endpoint.grant = lambda _: refused("invalid_grant", 50173)
    with pytest.raises(ReauthRequired):
        await another.tokens.token_for(late, FABRIC)
    assert [form["refresh_token"] for form in world.endpoint.forms] == ["old", "old", "after old"]


@pytest.mark.stack
@pytest.mark.parametrize("refusal", [False, True], ids=["renewed", "refused"])
async def test_a_session_that_was_ended_meanwhile_does_not_go_on(
    world: World, instance: Instance, another: Instance, *, refusal: bool
) -> None:
    """Signed out elsewhere while Entra was asked: no token is handed out or kept, and no row comes back."""
    cookie = await instance.signed_in()
    late = await another.principal(cookie)
    await instance.sessions.end(cookie)
    if refusal:
        world.endpoint.grant = lambda _: refused("invalid_grant", 70043)
    for _ in range(2):
        with pytest.raises(SessionExpired):
            await another.tokens.token_for(late, FABRIC)
    assert world.asked == 2
    assert not another.tokens._known
    with pytest.raises(SessionExpired):
        await instance.found(cookie)


def always_another() -> Callable[[dict[str, str]], httpx.Response]:
    """An Entra that hands out another refresh token each time, and lets all of them count."""
    numbers = count(1)

    def grant(form: dict[str, str]) -> httpx.Response:
        token = form["refresh_token"]
        return granted(f"{token}+", refresh_token=f"{token}+{next(numbers)}")

    return grant


def one_use() -> Callable[[dict[str, str]], httpx.Response]:
    """An Entra that ends a refresh token when it is used."""
    used: set[str] = set()

    def grant(form: dict[str, str]) -> httpx.Response:
        token = form["refresh_token"]
        if token in used:
            return refused("invalid_grant", 70043)
        used.add(token)
        return granted(f"{token}+", refresh_token=f"{token}+")

    return grant


async def test_tokens_are_counted_by_how_they_were_got(world: World) -> None:
    """Each use is a step; one that is known costs no request."""
    with hearing() as heard:
        for _ in range(2):
            await world.tokens.token_for(bearer(), FABRIC)
        await world.tokens.token_for_app(FABRIC)
        world.refusal = refused("invalid_grant")
        with pytest.raises(ReauthRequired):
            await world.tokens.token_for(bearer("bob"), FABRIC)
    assert [tuple(names.values()) for names in heard.of(metrics.TOKENS)] == [
        ("on_behalf_of", "acquired"),
        ("on_behalf_of", "kept"),
        ("app", "acquired"),
        ("on_behalf_of", "failed"),
    ]
    steps = [(one.facts["result"], one.failed) for one in heard.spans if one.name == "delegate"]
    assert steps == [("asked", ""), ("kept", ""), ("asked", ""), ("asked", "reauth_required")]
    assert [one.name for one in heard.spans if one.kind == "client"] == ["POST entra"] * 3
