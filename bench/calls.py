"""How many calls one request costs: counted where they arrive, so exact, and the same each time.

`tests/bench/test_calls.py` holds them: these are promises, and no timings.
"""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from operator import sub

import httpx

from bench.row import Row
from bench.stage import Stage
from tests.lib.storage.front import Front

QUESTION = "What are the total sales by month?"
AT_ONCE = 32
ENDPOINTS = ("discovery", "keys", "authorize", "token", "logout")
"""Entra's."""
_METHODS = {
    "health": "`GET /health`.",
    "rejected": "`POST /query` with a token whose signature is not genuine.",
    "cached, bearer": "`POST /query` again by the same person with the same token.",
    "cached, session": "The same in a session.",
    "uncached, bearer": "A question never asked before, by somebody who has asked this instance another.",
    "uncached, session": "The same in a session.",
    "uncached, somebody new": "The first question of a person to this instance; another person has asked it before.",
    "the first of an instance": "The first question to a new process, which learns keys, secrets and tables by it.",
    f"{AT_ONCE} alike at once": f"{AT_ONCE} requests of one person with one question at the same time, all together.",
}
_TARGETS = {
    "cached, bearer": "0 of storage",
    "uncached, bearer": "≤ 4 of storage",
    "uncached, somebody new": "≤ 6 of storage",
    f"{AT_ONCE} alike at once": "1 question",
}


@dataclass(frozen=True)
class Calls:
    """Calls to Table Storage, to Entra, and to Fabric; and of those the ones that bring a question."""

    storage: int
    entra: int
    fabric: int
    questions: int

    def since(self, before: "Calls") -> "Calls":
        """What has come since then."""
        return Calls(*map(sub, self.numbers, before.numbers))

    @property
    def numbers(self) -> tuple[int, int, int, int]:
        """All four."""
        return self.storage, self.entra, self.fabric, self.questions


def rows(stage: Stage) -> Iterator[Row]:
    """The counts for each kind of request."""
    for name, calls in counts(stage).items():
        unit = "calls to storage / Entra / Fabric, and questions among the last"
        yield Row(f"{name}: calls", calls.numbers, unit, _METHODS[name], target=_TARGETS.get(name, ""))


@cache
def counts(stage: Stage) -> dict[str, Calls]:
    """The calls that each kind of request costs; counted once."""
    with stage.storage_front() as (front, storage), stage.people(5) as people:
        earliest, *tokens = (stage.token(person) for person in people)
        for token in (earliest, ""):  # the first process makes the tables, the second is counted
            with (
                stage.host({"STATE_STORAGE": storage}) as host,
                httpx.Client(base_url=host.url, trust_env=False, timeout=60) as http,
            ):
                if token:
                    _asked(http, {"Authorization": f"Bearer {token}"})()
                else:
                    counted = dict(_counted(stage, front, http, tokens))
    return counted


def _counted(stage: Stage, front: Front, http: httpx.Client, tokens: list[str]) -> Iterator[tuple[str, Calls]]:
    first, known, new, crowd = ({"Authorization": f"Bearer {token}"} for token in tokens)

    def cost(name: str, request: Callable[[], httpx.Response], status: int = 200) -> tuple[str, Calls]:
        before = _so_far(stage, front)
        reply = request()
        if reply.status_code != status:
            raise RuntimeError(f"{name}: {reply.status_code} {reply.text}")
        return name, _so_far(stage, front).since(before)

    asked = partial(_asked, http)

    def together() -> httpx.Response:
        with ThreadPoolExecutor(AT_ONCE) as threads:
            replies = list(threads.map(lambda _: asked(crowd, f"{QUESTION} All!")(), range(AT_ONCE)))
        return max(replies, key=lambda reply: reply.status_code)

    yield cost("the first of an instance", asked(first))
    asked(known)()
    page = _page(stage, http, known)
    asked(page)()
    yield cost("health", partial(http.get, "/api/health"))
    forged = {"Authorization": known["Authorization"][:-8] + known["Authorization"][-8:][::-1]}
    yield cost("rejected", asked(forged), 401)
    yield cost("cached, bearer", asked(known))
    yield cost("cached, session", asked(page))
    yield cost("uncached, bearer", asked(known, f"{QUESTION} And?"))
    yield cost("uncached, session", asked(page, f"{QUESTION} And then?"))
    yield cost("uncached, somebody new", asked(new))
    asked(crowd)()
    yield cost(f"{AT_ONCE} alike at once", together)


def _asked(http: httpx.Client, headers: Mapping[str, str], question: str = QUESTION) -> Callable[[], httpx.Response]:
    return partial(http.post, "/api/query", json={"question": question}, headers=headers)


def _so_far(stage: Stage, front: Front) -> Calls:
    fabric, entra = stage.stack.fabric, stage.stack.entra.faults.calls  # which counts kinds of grants besides
    return Calls(
        len(front.methods), sum(entra[endpoint] for endpoint in ENDPOINTS), fabric.calls.total(), len(fabric.asked)
    )


def _page(stage: Stage, http: httpx.Client, bearer: Mapping[str, str]) -> dict[str, str]:
    """What a page sends in a new session of who brings a token, which then has one question behind it."""
    reply = http.post("/api/login", headers=bearer)
    cookie = reply.headers["set-cookie"].partition(";")[0]
    http.cookies.clear()
    return {"X-CSRF": "1", "Origin": stage.stack.public_url, "Sec-Fetch-Site": "same-origin", "Cookie": cookie}
