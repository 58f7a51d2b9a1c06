"""A fuzzer against every route, through Microsoft's runtime: whatever comes in, only documented replies go out."""

import json
import random
import re
import string
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from local.stack import Stack
from tests.integration.browser import Browser, app_token
from tests.integration.people import newcomers

ROOT = Path(__file__).parent.parent.parent
API = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
CODES = dict(re.findall(r"^\| `([a-z_]+)` \| ([0-9, ]+) \|", API, re.MULTILINE))
ROUTES = re.findall(r'@app\.route\("([^"]+)"\)', (ROOT / "function_app.py").read_text(encoding="utf-8"))
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "post")
HEADERS = (
    *("Accept", "Authorization", "Content-Type", "Content-Encoding", "Cookie", "Origin", "Prefer", "Sec-Fetch-Dest"),
    *("Sec-Fetch-Site", "X-CSRF", "traceparent", "tracestate", "X-Forwarded-For", "client-ip", "If-None-Match"),
    *("Idempotency-Key", "Range", "X-HTTP-Method-Override", "X-MS-CLIENT-PRINCIPAL", "Forwarded", "Host"),
)
SEEDS = (
    *("application/json", "text/csv;q=0.5, */*", "Bearer x.y.z", "__Host-session=", "1", "null", "same-origin"),
    *("https://evil.example", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "wait=5", "respond-async"),
    *("bytes=0-1", "127.0.0.1", "total sales", "sales", "state", "code", "", "\u202e", "%00", "../..", "{", "[", '"'),
    *("0", "-1", "NaN", "1e999", "\x7f", "é", "😀"),
)
FIELDS = ("question", "agent", "history", "return_to", "profile", "principal", "tenant", "sid", "state", "error", "x")
COUNT = 1_500
LIBRARY_WORDS = re.compile(rb"Traceback|File \"|azure\.|msal|pydantic|httpx|Exception\b")


class Fuzzer:
    """Makes requests of chance, many of them nearly right."""

    def __init__(self, seed: int, credentials: list[dict[str, str]]) -> None:
        self._chance = random.Random(seed)
        self._credentials = credentials

    def text(self) -> str:
        """A text between sense and nonsense."""
        chance = self._chance
        kind = chance.random()
        if kind < 0.7:
            return chance.choice(SEEDS)
        if kind < 0.9:
            return chance.choice(SEEDS) + "".join(chance.choices(string.printable[:95], k=chance.randint(0, 40)))
        return chance.choice(SEEDS) * chance.choice((1, 50, 3000))

    def path(self) -> str:
        """A route, or nearly one."""
        chance = self._chance
        path = re.sub(
            r"\{[^}]*\}", lambda _: chance.choice(("", "app.js", "..%2f", "%00", "x" * 300)), chance.choice(ROUTES)
        )
        if chance.random() < 0.1:
            path += chance.choice(("/", "//", "/..", ";x", "%20", "?", "/%2e%2e"))
        if chance.random() < 0.4:
            pairs = [(chance.choice(FIELDS), self.text()[:2000]) for _ in range(chance.randint(1, 3))]
            path += f"?{urlencode(pairs, errors='replace')}"
        return f"/api/{path}"

    def headers(self) -> dict[bytes, bytes]:
        """Some headers, and often a credential that is good."""
        chance = self._chance
        made = dict(chance.choice(self._credentials)) if chance.random() < 0.6 else {}
        for name in chance.sample(HEADERS, chance.randint(0, 4)):
            made.setdefault(name, re.sub(r"[\0-\x1f\x7f]", "", self.text())[:4000].strip())
        return {name.encode(): value.encode() for name, value in made.items()}

    def body(self) -> bytes:
        """JSON of some kind, or bytes of none."""
        chance = self._chance
        kind = chance.random()
        if kind < 0.3:
            return b""
        if kind < 0.8:
            value = {chance.choice(FIELDS): self.value(0) for _ in range(chance.randint(0, 3))}
            return json.dumps(value).encode(errors="replace")
        return bytes(chance.randrange(256) for _ in range(chance.choice((1, 20, 200, 40_000))))

    def value(self, depth: int) -> object:
        """A JSON value of any kind."""
        chance = self._chance
        kinds: list[object] = [None, True, 1e300, -1, self.text(), self.text()]
        if depth < 4:
            kinds += [[self.value(depth + 1)], {chance.choice(FIELDS): self.value(depth + 1)}]
        return chance.choice(kinds)

    def request(self) -> tuple[str, str, dict[bytes, bytes], bytes]:
        """Method, path, headers and body."""
        return self._chance.choice(METHODS), self.path(), self.headers(), self.body()


@pytest.fixture
def credentials(stack: Stack, browser: Browser) -> Iterator[list[dict[str, str]]]:
    """A token of a person, one of an app, and a session; of somebody whose sessions may end on the way."""
    with newcomers(stack, 1) as (person,):
        bearer = {"Authorization": f"Bearer {browser.token(person.key)}"}
        browser.call("POST", "/api/login", headers=bearer)
        page = {"X-CSRF": "1", "Origin": stack.public_url, "Content-Type": "application/json"}
        session = page | {"Cookie": f"__Host-session={browser.cookies['__Host-session']}"}
        yield [bearer, bearer | {"Content-Type": "application/json"}, session]
        assert app_token(stack)


@pytest.mark.parametrize("seed", [1, 2])
def test_whatever_comes_in_nothing_but_documented_replies_go_out(
    stack: Stack, credentials: list[dict[str, str]], seed: int
) -> None:
    """No 5xx, every failure a problem with a documented code, security headers on every reply."""
    app = {"Authorization": f"Bearer {app_token(stack)}", "Content-Type": "application/json"}
    fuzzer = Fuzzer(seed, [*credentials, app])
    statuses = Counter[int]()
    with httpx.Client(trust_env=False, timeout=30, base_url=stack.public_url) as client:
        for _ in range(COUNT // 2):
            method, path, headers, body = fuzzer.request()
            if path.startswith("/api/sessions") and method == "DELETE":
                headers.pop(b"Authorization", None)  # a revocation would lock the person out of the rest
            reply = client.request(method, path, headers=headers, content=body)
            statuses[reply.status_code] += 1
            told = f"{reply.status_code} {reply.text[:300]} <- {method} {path[:100]} {headers} {body[:200]!r}"
            assert reply.status_code < 500, told
            assert not LIBRARY_WORDS.search(reply.content) or reply.status_code == 200, told
            if "x-request-id" not in reply.headers:  # the host's own server has refused it
                assert reply.status_code in {400, 404, 413}, told
                continue
            assert reply.headers["x-content-type-options"] == "nosniff", told
            assert "default-src" in reply.headers["content-security-policy"], told
            if reply.status_code >= 400 and method != "HEAD":
                assert reply.headers["content-type"] == "application/problem+json", told
                value = reply.json()
                assert value["status"] == reply.status_code, told
                assert str(reply.status_code) in CODES[value["code"]].split(", "), told
                assert value["trace_id"] == reply.headers["x-request-id"], told
        assert client.get("/api/health").status_code == 200
    assert {200, 400, 401, 404, 405} <= set(statuses)
