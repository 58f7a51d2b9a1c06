"""Rules for keeping Entra's signing keys."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from lib.errors import IdentityProviderUnavailable, TokenInvalid
from lib.identity.signing_keys import MOST_ABSENT, SigningKeys
from lib.telemetry import metrics
from tests.clock import Clock
from tests.lib.identity.authority import HOST, OTHER_TENANT, TENANT, Authority, issuer, jwk, rsa_key
from tests.lib.telemetry.heard import hearing

MINUTE, HOUR = 60, 3600


def away(_: httpx.Request) -> httpx.Response:
    """An outage."""
    raise httpx.ConnectError("no route")


class Stalled(httpx.AsyncByteStream):
    """A body that does not come until it is let go, and is nothing then."""

    def __init__(self) -> None:
        self.awaited = asyncio.Event()
        self.let_go = asyncio.Event()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.awaited.set()
        await self.let_go.wait()
        yield b""


@pytest.fixture
async def keys(authority: Authority, clock: Clock) -> AsyncIterator[SigningKeys]:
    """The keys of two tenants of it, without any spread."""
    async with authority.client() as http:
        yield SigningKeys(http, HOST, (TENANT, OTHER_TENANT), now=clock, chance=lambda: 0.5)


async def settle(keys: SigningKeys) -> None:
    """Waits for what goes on behind the requests."""
    await asyncio.gather(*keys._background)


async def test_a_key_is_fetched_once(keys: SigningKeys, authority: Authority) -> None:
    """The first token of a key pays, the others do not."""
    for _ in range(3):
        assert (await keys.key(TENANT, "current")).public_key == rsa_key("current").public_key()
    assert authority.calls == {"discovery": 1, "keys": 1}


async def test_each_tenant_has_its_own_keys(keys: SigningKeys, authority: Authority) -> None:
    """A key that one tenant publishes is no key of another."""
    authority.keys[OTHER_TENANT] = [jwk("theirs", rsa_key("other"))]
    await keys.key(OTHER_TENANT, "theirs")
    with pytest.raises(TokenInvalid):
        await keys.key(TENANT, "theirs")


async def test_a_tenant_that_is_not_allowed_is_never_asked_about(keys: SigningKeys, authority: Authority) -> None:
    """A token cannot make the gateway fetch whose keys it likes."""
    with pytest.raises(TokenInvalid):
        await keys.key("00000000-0000-0000-0000-000000000001", "current")
    assert not authority.calls


async def test_a_cold_start_of_fifty_requests_fetches_once(keys: SigningKeys, authority: Authority) -> None:
    """They share one fetch."""
    await asyncio.gather(*(keys.key(TENANT, "current") for _ in range(50)))
    assert authority.calls == {"discovery": 1, "keys": 1}


async def test_a_storm_of_unknown_keys_fetches_once(keys: SigningKeys, authority: Authority) -> None:
    """A hundred key ids nobody knows, at once and one after another: one fetch, and each is refused."""
    told = await asyncio.gather(*(keys.key(TENANT, f"unknown{n}") for n in range(100)), return_exceptions=True)
    assert all(isinstance(fault, TokenInvalid) for fault in told)
    for n in range(100):
        with pytest.raises(TokenInvalid):
            await keys.key(TENANT, f"later{n}")
    assert authority.calls == {"discovery": 1, "keys": 1}


async def test_an_unknown_key_asks_again_after_five_minutes(
    keys: SigningKeys, authority: Authority, clock: Clock
) -> None:
    """A key that rolled over is found on the way, at most every five minutes."""
    await keys.key(TENANT, "current")
    authority.keys[TENANT].append(jwk("new", rsa_key("other"), issuer=issuer(TENANT)))
    clock.advance(5 * MINUTE - 1)
    with pytest.raises(TokenInvalid):
        await keys.key(TENANT, "new")
    clock.advance(MINUTE)
    assert (await keys.key(TENANT, "new")).public_key == rsa_key("other").public_key()
    assert authority.calls["keys"] == 2


async def test_a_key_found_absent_is_not_sought_for_a_minute(
    keys: SigningKeys, authority: Authority, clock: Clock
) -> None:
    """One bad token in a loop cannot use up the fetches."""
    clock.advance(-2)
    await keys.key(TENANT, "current")
    clock.advance(5 * MINUTE - 1)
    with pytest.raises(TokenInvalid):
        await keys.key(TENANT, "bad")
    clock.advance(59)
    with pytest.raises(TokenInvalid):
        await keys.key(TENANT, "bad")
    assert authority.calls["keys"] == 1
    clock.advance(1)
    with pytest.raises(TokenInvalid):
        await keys.key(TENANT, "bad")
    assert authority.calls["keys"] == 2


async def test_the_absent_keys_remembered_are_bounded(keys: SigningKeys) -> None:
    """Whoever makes up key ids fills no memory."""
    for n in range(MOST_ABSENT + 10):
        with pytest.raises(TokenInvalid):
            await keys.key(TENANT, f"unknown{n}")
    absent = keys._tenants[TENANT]._absent
    assert len(absent) == MOST_ABSENT
    assert "unknown0" not in absent


async def test_the_keys_are_refreshed_each_hour_behind_a_request(
    keys: SigningKeys, authority: Authority, clock: Clock
) -> None:
    """The request that finds them an hour old does not wait, and those beside it start no second refresh."""
    await keys.key(TENANT, "current")
    clock.advance(HOUR - 1)
    await keys.key(TENANT, "current")
    assert not keys._background
    clock.advance(1)
    for _ in range(5):
        await keys.key(TENANT, "current")
    assert (len(keys._background), authority.calls["keys"]) == (1, 1)
    await settle(keys)
    assert authority.calls["keys"] == 2
    await keys.key(TENANT, "current")
    assert authority.calls["keys"] == 2


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 0.9 * HOUR), (1.0, 1.1 * HOUR)])
async def test_instances_do_not_refresh_together(
    authority: Authority, clock: Clock, chance: float, seconds: float
) -> None:
    """The hour is spread by a tenth."""
    async with authority.client() as http:
        keys = SigningKeys(http, HOST, [TENANT], now=clock, chance=lambda: chance)
        await keys.key(TENANT, "current")
        clock.advance(seconds - 1)
        await keys.key(TENANT, "current")
        assert not keys._background
        clock.advance(1)
        await keys.key(TENANT, "current")
        await settle(keys)
    assert authority.calls["keys"] == 2


async def test_an_outage_keeps_the_known_keys(keys: SigningKeys, authority: Authority, clock: Clock) -> None:
    """For 24 hours after they were last published, and not a second longer."""
    await keys.key(TENANT, "current")
    authority.fault = away
    with hearing() as heard:
        for _ in range(23):
            clock.advance(HOUR)
            await keys.key(TENANT, "current")
            await settle(keys)
        assert heard.of(metrics.DEGRADED) == [{"mode": "keys_kept"}] * 23
    clock.advance(HOUR - 1)
    await keys.key(TENANT, "current")
    await settle(keys)
    clock.advance(61)
    with pytest.raises(IdentityProviderUnavailable):
        await keys.key(TENANT, "current")


async def test_a_refresh_that_failed_is_tried_again_soon(keys: SigningKeys, authority: Authority, clock: Clock) -> None:
    """Behind a request five seconds later, not an hour later."""
    await keys.key(TENANT, "current")
    authority.fault = away
    clock.advance(HOUR)
    for tried in (2, 2, 3):
        await keys.key(TENANT, "current")
        await settle(keys)
        assert authority.calls["discovery"] == tried
        clock.advance(2.5)


async def test_each_refresh_prolongs_the_keys_it_lists(keys: SigningKeys, authority: Authority, clock: Clock) -> None:
    """A key that is published no more ends 24 hours after it last was, one that is lives on."""
    authority.keys[TENANT].append(jwk("old", rsa_key("other"), issuer=issuer(TENANT)))
    await keys.key(TENANT, "old")
    authority.keys[TENANT].pop()
    for _ in range(23):
        clock.advance(HOUR)
        await keys.key(TENANT, "current")
        await settle(keys)
        await keys.key(TENANT, "old")
    clock.advance(HOUR)
    await keys.key(TENANT, "current")
    await settle(keys)
    with pytest.raises(TokenInvalid):
        await keys.key(TENANT, "old")
    assert list(keys._tenants[TENANT]._keys) == ["current"]


async def test_an_outage_with_nothing_known_is_503_and_backs_off(
    keys: SigningKeys, authority: Authority, clock: Clock
) -> None:
    """Never 401; the attempts are 5, 10, 20, 40, then 60 seconds apart, and in between nothing is sent."""
    authority.fault = away
    for failures, wait in enumerate((5, 10, 20, 40, 60, 60), start=1):
        for _ in range(3):
            with pytest.raises(IdentityProviderUnavailable) as fault:
                await keys.key(TENANT, "current")
            assert fault.value.retry_after == wait
        assert authority.calls["discovery"] == failures
        clock.advance(wait - 0.5)
        with pytest.raises(IdentityProviderUnavailable):
            await keys.key(TENANT, "current")
        assert authority.calls["discovery"] == failures
        clock.advance(0.5)
    authority.fault = None
    await keys.key(TENANT, "current")


async def test_an_unknown_key_in_an_outage_is_503(keys: SigningKeys, authority: Authority, clock: Clock) -> None:
    """It may have been published a minute ago: nobody can tell, so it is not the token's fault."""
    await keys.key(TENANT, "current")
    authority.fault = away
    clock.advance(6 * MINUTE)
    with pytest.raises(IdentityProviderUnavailable):
        await keys.key(TENANT, "new")
    await keys.key(TENANT, "current")


async def test_a_storm_of_unknown_keys_in_an_outage_fetches_once(
    keys: SigningKeys, authority: Authority, clock: Clock
) -> None:
    """An attempt that fails counts as one, and the known keys wait for none of them."""
    await keys.key(TENANT, "current")
    authority.fault = away
    clock.advance(6 * MINUTE)
    told = await asyncio.gather(*(keys.key(TENANT, f"unknown{n}") for n in range(100)), return_exceptions=True)
    assert all(isinstance(fault, IdentityProviderUnavailable) for fault in told)
    for n in range(100):
        with pytest.raises(IdentityProviderUnavailable):
            await keys.key(TENANT, f"later{n}")
        await keys.key(TENANT, "current")
    assert authority.calls["discovery"] == 2


async def test_a_known_key_does_not_wait_for_an_unknown_one(
    keys: SigningKeys, authority: Authority, clock: Clock
) -> None:
    """While Entra takes its time over a key id that somebody made up, everybody else goes on."""
    await keys.key(TENANT, "current")
    clock.advance(6 * MINUTE)
    stalled = Stalled()
    authority.fault = lambda _: httpx.Response(200, stream=stalled)
    seeking = asyncio.create_task(keys.key(TENANT, "unknown"))
    await stalled.awaited.wait()
    assert (await keys.key(TENANT, "current")).issuer == issuer(TENANT)
    assert not seeking.done()
    stalled.let_go.set()
    with pytest.raises(IdentityProviderUnavailable):
        await seeking


async def test_one_tenants_outage_is_not_anothers(keys: SigningKeys, authority: Authority) -> None:
    """Each is asked, kept and counted for itself."""
    authority.keys[OTHER_TENANT] = []
    with pytest.raises(IdentityProviderUnavailable):
        await keys.key(OTHER_TENANT, "current")
    assert (await keys.key(TENANT, "current")).issuer == issuer(TENANT)


@pytest.mark.parametrize(
    "keys_served",
    [
        pytest.param([], id="an empty set"),
        pytest.param([{"kty": "RSA", "use": "sig", "kid": "current"}], id="a set that cannot be read"),
    ],
)
async def test_unusable_metadata_replaces_nothing(
    keys: SigningKeys, authority: Authority, clock: Clock, keys_served: list[dict[str, object]]
) -> None:
    """What is known stays until something usable comes."""
    await keys.key(TENANT, "current")
    authority.keys[TENANT] = keys_served
    clock.advance(HOUR)
    await keys.key(TENANT, "current")
    await settle(keys)
    assert (await keys.key(TENANT, "current")).public_key == rsa_key("current").public_key()


async def test_a_caller_who_leaves_does_not_stop_the_fetch(keys: SigningKeys, authority: Authority) -> None:
    """The first request is cancelled; those that joined it get their key."""
    first = asyncio.create_task(keys.key(TENANT, "current"))
    second = asyncio.create_task(keys.key(TENANT, "current"))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).issuer == issuer(TENANT)
    assert first.cancelled()
    assert authority.calls == {"discovery": 1, "keys": 1}


async def test_a_ping_fetches_what_is_missing_and_no_more(keys: SigningKeys, authority: Authority) -> None:
    """Readiness warms the keys, and asks no further while they are there."""
    await keys.ping()
    await keys.ping()
    assert authority.calls == {"discovery": 2, "keys": 2}


async def test_a_ping_fails_while_no_keys_are_known(keys: SigningKeys, authority: Authority) -> None:
    """It does not hammer an Entra that is away either."""
    authority.fault = away
    for _ in range(2):
        with pytest.raises(IdentityProviderUnavailable):
            await keys.ping()
    assert authority.calls == {"discovery": 2}


async def test_a_ping_passes_with_one_tenant_missing(keys: SigningKeys, authority: Authority) -> None:
    """A tenant that is gone must not take the gateway away from the others."""
    authority.keys[OTHER_TENANT] = []
    await keys.ping()
