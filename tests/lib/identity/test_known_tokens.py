"""Rules for tokens that are not looked at again at once: how long, how many, and what is never taken for known."""

from collections.abc import AsyncIterator

import pytest

from lib.errors import TokenExpired, TokenInvalid
from lib.identity import known_tokens
from lib.identity.known_tokens import KNOWN_SECONDS, KnownTokens
from lib.identity.signing_keys import SigningKeys
from lib.identity.tokens import LEEWAY_SECONDS, AccessToken, TokenValidator
from tests.clock import Clock
from tests.lib.identity.authority import HOST, START, TENANT, Authority, claims, mint, settings

NOW = int(START)


class Counting(TokenValidator):
    """A validator that tells how often it was asked."""

    asked = 0

    async def validate(self, token: str) -> AccessToken:
        self.asked += 1
        return await super().validate(token)


@pytest.fixture
async def validator(authority: Authority, clock: Clock) -> AsyncIterator[Counting]:
    """What validates for a gateway of one tenant."""
    async with authority.client() as http:
        yield Counting(settings(), SigningKeys(http, HOST, [TENANT], now=clock), clock)


@pytest.fixture
def tokens(validator: Counting, clock: Clock) -> KnownTokens:
    """The memory before it."""
    return KnownTokens(validator, clock)


async def test_a_token_is_validated_once_a_minute(tokens: KnownTokens, validator: Counting, clock: Clock) -> None:
    """Within it the same claims come back; a key that was withdrawn meanwhile is missed no longer than that."""
    token = mint(claims(exp=NOW + 3600))
    first = await tokens.validate(token)
    clock.advance(KNOWN_SECONDS - 1)
    assert await tokens.validate(token) == first
    assert validator.asked == 1
    clock.advance(1)
    assert await tokens.validate(token) == first
    assert validator.asked == 2


async def test_a_known_token_ends_when_it_ends(tokens: KnownTokens, validator: Counting, clock: Clock) -> None:
    """From then on the validator decides, who leaves a minute for clocks that differ."""
    token = mint(claims(exp=NOW + 10))
    await tokens.validate(token)
    clock.advance(11)
    await tokens.validate(token)
    assert validator.asked == 2
    clock.advance(LEEWAY_SECONDS)
    with pytest.raises(TokenExpired):
        await tokens.validate(token)


async def test_time_that_runs_backwards_makes_nothing_known(
    tokens: KnownTokens, validator: Counting, clock: Clock
) -> None:
    """Nobody can tell then for how long it was."""
    token = mint(claims(exp=NOW + 3600))
    await tokens.validate(token)
    clock.advance(-1)
    await tokens.validate(token)
    assert validator.asked == 2


async def test_a_token_that_was_refused_is_refused_again(tokens: KnownTokens, validator: Counting) -> None:
    """Only what is genuine is remembered; and a known token makes none like it known."""
    token = mint(claims())
    forged = token[:-8] + token[-8:][::-1]
    await tokens.validate(token)
    for _ in range(2):
        with pytest.raises(TokenInvalid):
            await tokens.validate(forged)
    assert validator.asked == 3


async def test_of_too_many_the_oldest_are_forgotten(
    tokens: KnownTokens, validator: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that no number of clients fills the memory."""
    monkeypatch.setattr(known_tokens, "MOST_KNOWN", 2)
    one, two, three = (mint(claims(exp=NOW + 600 + number)) for number in range(3))
    for token in (one, two, three, two, three, one):
        await tokens.validate(token)
    assert validator.asked == 4
