"""Rules for tokens got in somebody's name."""

import asyncio
from collections.abc import Iterator

import httpx
import pytest

from lib.errors import ConsentRequired, ReauthRequired, StateUnavailable, TokenExpired, UserRequired
from lib.identity.credentials import ClientCredential
from lib.identity.entra import EntraClient
from lib.identity.on_behalf_of import MOST_TOKENS, OnBehalfOf
from lib.identity.principal import Assertion, Principal, RefreshGrant
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
    return Principal(TENANT, PERSON, "user", "bearer", expires_at, Assertion(token, expires_at))


class Session:
    """A session that keeps renewed refresh tokens."""

    def __init__(self, *, away: bool = False) -> None:
        self.kept: list[str] = []
        self.away = away

    async def latest(self) -> str:
        """The one that is kept now."""
        return self.kept[-1]

    async def renewed(self, refresh_token: str) -> None:
        """Keeps one."""
        if self.away:
            raise StateUnavailable
        self.kept.append(refresh_token)

    def principal(self, refresh_token: str = "old") -> Principal:
        """The person whose session it is."""
        grant = RefreshGrant("session-1", refresh_token, self.renewed, self.latest)
        return Principal(TENANT, PERSON, "user", "session", START + 8 * 3600, grant)


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


async def test_a_token_belongs_to_its_grant_and_scope(world: World) -> None:
    """Not to the person: another token of theirs may have passed another policy."""
    told = [
        await world.tokens.token_for(bearer("alice on a laptop"), FABRIC),
        await world.tokens.token_for(bearer("alice on a phone"), FABRIC),
        await world.tokens.token_for(bearer("alice on a laptop"), GRAPH),
        await world.tokens.token_for(Session().principal(), FABRIC),
        await world.tokens.token_for_app(FABRIC),
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


async def test_the_gateways_own_token_is_kept_and_got_anew_too(world: World) -> None:
    """Whoever asked for it, a person or an app."""
    assert [await world.tokens.token_for_app(FABRIC) for _ in range(2)] == ["app 1"] * 2
    assert await world.tokens.token_for_app(FABRIC, rejected="app 1") == "app 2"
    assert await world.tokens.token_for_app(FABRIC) == "app 2"


async def test_an_app_has_nothing_to_ask_with(world: World) -> None:
    """On-behalf-of is for people."""
    with pytest.raises(UserRequired):
        await world.tokens.token_for(APP, FABRIC)
    assert world.asked == 0


async def test_a_session_keeps_the_refresh_token_that_comes_back(world: World) -> None:
    """Before the token is used; the cached one brings none."""
    session = Session()
    assert await world.tokens.token_for(session.principal(), FABRIC) == "old 1"
    assert await world.tokens.token_for(session.principal(), FABRIC) == "old 1"
    assert session.kept == ["after old"]


async def test_a_session_without_a_new_refresh_token_is_left_alone(world: World) -> None:
    """Entra may hand out none, or the same one."""
    session = Session()
    world.refusal = granted("fabric")
    await world.tokens.token_for(session.principal(), FABRIC)
    world.refusal = granted("graph", refresh_token="old")
    await world.tokens.token_for(session.principal(), GRAPH)
    assert session.kept == []


async def test_a_refresh_token_that_cannot_be_kept_costs_nobody_an_answer(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """The old one stays good."""
    assert await world.tokens.token_for(Session(away=True).principal(), FABRIC) == "old 1"
    assert "a renewed refresh token could not be kept" in caplog.text
    assert "after old" not in caplog.text


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


async def test_a_refresh_token_that_another_instance_has_renewed_is_looked_up_once(world: World) -> None:
    """Entra ends the old one; the session knows the new one, or the person has to sign in again."""
    session = Session()
    session.kept.append("newer")
    asked: list[str] = []

    def grant(form: dict[str, str]) -> httpx.Response:
        asked.append(form["refresh_token"])
        if form["refresh_token"] == "old":
            return refused("invalid_grant", 70043)
        return granted("fabric", refresh_token="newest")

    world.endpoint.grant = grant
    assert await world.tokens.token_for(session.principal(), FABRIC) == "fabric"
    assert asked == ["old", "newer"]
    assert session.kept == ["newer", "newest"]
    session.kept.append("old")
    with pytest.raises(ReauthRequired):
        await world.tokens.token_for(session.principal(), GRAPH)
    assert asked == ["old", "newer", "old"]
