"""Sign-ins under way: each one in a sealed cookie of the browser that began it, and good once.

A cookie, because a row for every `GET /login` would let anybody fill the table; a row only when the browser is back,
so that the same form cannot come twice.
"""

import base64
import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

from lib.errors import LoginFailed
from lib.storage.rows import Conflict
from lib.storage.sealing import Sealer, Unsealable

if TYPE_CHECKING:
    from lib.storage.row_keys import RowKeys
    from lib.storage.tables import Tables

FLOW_SECONDS = 600
TABLE = "flows"
FLOW_COOKIE = "__Host-flow-"
MOST_FLOWS = 5
"""How many tabs of a browser can sign in at once; each one has a cookie."""


@dataclass(frozen=True)
class Flow:
    """One sign-in under way. `issued_at` is in seconds since the epoch.

    `session` is the cookie of the session that the browser had when it began; it does not come along with Entra's form.
    `challenge_handle` is that of the challenge there which the sign-in is to answer, if it was begun for that.
    """

    state: str = field(repr=False)
    code_verifier: str = field(repr=False)
    nonce: str = field(repr=False)
    return_to: str
    issued_at: int
    session: str = field(default="", repr=False)
    challenge_handle: str = field(default="", repr=False)


def flow_cookie_name(state: str) -> str:
    """The name of the cookie that keeps the flow with this `state`: one for each tab that signs in."""
    return f"{FLOW_COOKIE}{hashlib.sha256(state.encode(errors='replace')).hexdigest()[:8]}"


class Flows:
    """Seals flows for their cookies, opens them again, and sees to it that each is used once."""

    def __init__(
        self, sealer: Sealer, tables: "Tables", keys: "RowKeys", *, now: Callable[[], float] = time.time
    ) -> None:
        self._sealer = sealer
        self._tables = tables
        self._keys = keys
        self._now = now

    async def seal(self, flow: Flow) -> str:
        """The value of the flow's cookie."""
        sealed = await self._sealer.seal(json.dumps(asdict(flow)).encode(), "flow")
        return base64.urlsafe_b64encode(sealed).decode().rstrip("=")

    async def open(self, value: str) -> Flow:
        """The flow in a cookie's value. Raises `LoginFailed` where there is none that was sealed here."""
        try:
            sealed = base64.b64decode(value + "=" * (-len(value) % 4), altchars=b"-_", validate=True)
            return Flow(**json.loads(await self._sealer.open(sealed, "flow")))
        except (ValueError, TypeError, Unsealable) as fault:  # TypeError: written by another release
            raise LoginFailed from fault

    async def spend(self, flow: Flow) -> None:
        """Uses the flow up. Raises `LoginFailed` where it was used before."""
        row, expires = await self._keys.row("flow", flow.state), int(self._now()) + FLOW_SECONDS
        try:
            await self._tables.insert(TABLE, row, "used", {"expires": expires})
        except Conflict as fault:
            raise LoginFailed from fault
