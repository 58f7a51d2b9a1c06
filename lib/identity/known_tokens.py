"""Access tokens that proved to be genuine a moment ago, so that a client's next request costs no signature.

What is kept says that a token is one, and never that its bearer may still come in: whether it was revoked is looked at
each time. A token is found by its hash, so that nothing is compared with a secret.
"""

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable

from lib.identity.tokens import AccessToken, TokenValidator

KNOWN_SECONDS = 60
"""A key that Entra has withdrawn signs for no longer than that."""
MOST_KNOWN = 2_000


class KnownTokens:
    """Has a token validated that was not within the last minute. `now` is in seconds since the epoch."""

    def __init__(self, validator: TokenValidator, now: Callable[[], float] = time.time) -> None:
        self._validator = validator
        self._now = now
        self._known: OrderedDict[bytes, tuple[AccessToken, float]] = OrderedDict()

    async def validate(self, token: str) -> AccessToken:
        """The access token's claims. Raises what `TokenValidator.validate` raises."""
        digest, now = hashlib.sha256(token.encode()).digest(), self._now()
        if known := self._known.get(digest):
            access_token, validated_at = known
            if 0 <= now - validated_at < KNOWN_SECONDS and now < access_token.expires_at:
                return access_token
            del self._known[digest]
        access_token = await self._validator.validate(token)
        self._known[digest] = access_token, now
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)
        return access_token
