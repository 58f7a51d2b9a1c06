"""A visit to a gateway, as one of its callers: the address, what is sent there, and for how long it is waited."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

REQUEST_SECONDS = 30
PAUSE_SECONDS = 2
PATIENCE_SECONDS = 20
"""How long one request waits for an answer before another one looks for it: less than any proxy on the way does."""
QUESTION = "total sales by month"

_WORD = re.compile(r"[A-Za-z0-9_:.+-]{1,64}")
_LOOK = "python -m scripts.doctor --app NAME --resource-group GROUP"


class Unmet(Exception):
    """What was expected of the gateway is not so: what was seen, and what to do."""

    def __init__(self, detail: str, cause: str, cure: str = _LOOK) -> None:
        super().__init__(detail)
        self.detail, self.cause, self.cure = detail, cause, cure


class NotChecked(Exception):
    """Nothing can be said, for a reason that is no fault."""


@dataclass
class Visit:
    """One look at a gateway: how it is reached, and what has been learnt of it."""

    http: httpx.AsyncClient
    url: str
    public_url: str
    tenant: str = ""
    agent: str = ""
    question: str = field(default=QUESTION, repr=False)
    token: str = field(default="", repr=False)
    wait_seconds: float = 60
    answer_seconds: float = 230
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """The reply to GET: never HEAD, which the host may answer by itself."""
        return await self.http.get(f"{self.url}{path}", headers=headers)

    @property
    def bearer(self) -> dict[str, str]:
        """The header of somebody who brings the token."""
        return {"Authorization": f"Bearer {self.token}"}

    async def until(self, path: str) -> httpx.Response:
        """The first 200, or the last reply once the wait is over: a cold start takes its time."""
        end = self.clock() + self.wait_seconds
        while True:
            try:
                reply = await self.get(path)
            except httpx.TransportError:
                if self.clock() >= end:
                    raise
            else:
                if reply.status_code == httpx.codes.OK or self.clock() >= end:
                    return reply
            await self.sleep(PAUSE_SECONDS)

    async def ask(self) -> dict[str, Any]:
        """The reply to the question, now or as an operation. Raises `Unmet` where it is not an answer."""
        end = self.clock() + self.answer_seconds
        patient = {**self.bearer, "Prefer": f"wait={PATIENCE_SECONDS}"}
        body = {"question": self.question, **({"agent": self.agent} if self.agent else {})}
        reply = await self.http.post(f"{self.url}/api/query", json=body, headers=patient)
        location = reply.headers.get("location", "")
        if reply.status_code == httpx.codes.ACCEPTED and not location.startswith("/api/query/"):
            raise Unmet("202 without a place", "it is not told where the answer will be: another release, or a proxy")
        while reply.status_code == httpx.codes.ACCEPTED and self.clock() < end:
            await self.sleep(PAUSE_SECONDS)
            reply = await self.get(location, **patient)
        if reply.status_code == httpx.codes.ACCEPTED:
            cause = "the question is not answered in time: the queue's function does not run, or the agent is slow"
            raise Unmet(f"no answer in {self.answer_seconds:.0f} s", cause)
        if reply.status_code != httpx.codes.OK:
            raise Unmet(seen(reply), "the question was refused, or failed: docs/api.md says what the code means")
        return json_of(reply)


def json_of(reply: httpx.Response) -> dict[str, Any]:
    """The JSON object in a reply; an empty one where there is none."""
    try:
        value: object = reply.json()
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def seen(reply: httpx.Response) -> str:
    """The status and, where it is a problem, its code."""
    return f"{reply.status_code} {word(json_of(reply).get('code'))}".rstrip()


def word(value: object) -> str:
    """A name, code or time that may be printed; empty where it is anything else, for anybody may have replied."""
    return value if isinstance(value, str) and _WORD.fullmatch(value) else ""
