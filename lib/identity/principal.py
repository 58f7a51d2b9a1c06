"""Who is asking, once it is proven, and what the gateway may act with on their behalf."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

from lib.errors import InsufficientScope

if TYPE_CHECKING:
    from lib.identity.sessions import Session, Sessions

OPERATOR_ROLE = "Gateway.Operate"
"""The app role of those who operate the gateway."""


@dataclass(frozen=True)
class Assertion:
    """The caller's own access token for the gateway: what on-behalf-of exchanges (RFC 7523).

    Times are in seconds since the epoch. `sid` is Entra's session, and `login_hint` what its logout page wants, where
    the token tells them.
    """

    token: str = field(repr=False)
    expires_at: float
    issued_at: float
    sid: str = field(default="", repr=False)
    login_hint: str = field(default="", repr=False)

    @cached_property
    def key(self) -> str:
        """A name for this grant that gives nothing of it away: tokens got with it are kept under this key."""
        return hashlib.sha256(self.token.encode()).hexdigest()


@dataclass(frozen=True)
class RefreshGrant:
    """The refresh token of a server-side sign-in: it is in the `session`, as `sessions` kept it when it was found."""

    session: "Session" = field(repr=False)
    sessions: "Sessions" = field(repr=False, compare=False)

    @property
    def key(self) -> str:
        """A name for this grant, which outlives each renewal."""
        return self.session.row.key


def grant_of(session: "Session", sessions: "Sessions") -> Assertion | RefreshGrant:
    """What Fabric tokens are got with in a session."""
    signed_in = session.signed_in
    if not signed_in.assertion:
        return RefreshGrant(session, sessions)
    return Assertion(
        signed_in.assertion,
        signed_in.assertion_expires_at,
        signed_in.assertion_issued_at,
        signed_in.sid,
        signed_in.login_hint,
    )


@dataclass(frozen=True)
class Principal:
    """A person or an app of a tenant. Identity is (tenant id, object id), never a name or an address.

    `name` and `username` are for display alone. `expires_at` (seconds since the epoch) is when the token or the
    session behind this request ends. `grant` is what Fabric tokens are got with; an app has none. `acrs` tell
    how strongly somebody has signed in: the authentication contexts of the token, or the claims that were answered.
    """

    tenant_id: str = field(repr=False)
    object_id: str = field(repr=False)
    kind: Literal["user", "app"]
    signed_in: Literal["bearer", "session"]
    expires_at: float
    grant: Assertion | RefreshGrant | None = field(default=None, repr=False)
    name: str = field(default="", repr=False)
    username: str = field(default="", repr=False)
    roles: frozenset[str] = frozenset()
    acrs: frozenset[str] = frozenset()

    def require(self, role: str) -> None:
        """Raises `InsufficientScope` for a principal without the app role `role`."""
        if role not in self.roles:
            raise InsufficientScope(role)

    def described(self) -> dict[str, Any]:
        """What the caller may read about themselves."""
        return {
            "tenant_id": self.tenant_id,
            "object_id": self.object_id,
            "kind": self.kind,
            "name": self.name,
            "username": self.username,
            "roles": sorted(self.roles),
            "signed_in": self.signed_in,
            "expires_at": datetime.fromtimestamp(self.expires_at, UTC).isoformat(timespec="seconds"),
        }
