"""The smoke test against gateways on paper: a sound one, and each way of being unsound."""

import json
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from scripts import smoke
from scripts.findings import Finding
from scripts.visit import Visit
from tests.clock import Clock

URL = "https://gateway.contoso.com"
TENANT = "6f2c1d7e-3a4b-4c5d-8e9f-0a1b2c3d4e5f"
HEADERS = dict.fromkeys(smoke.HEADERS, "x")
AUTHORIZE = (
    f"https://login.microsoftonline.com/{TENANT}/oauth2/v2.0/authorize?code_challenge=c&code_challenge_method=S256"
    f"&state=s&redirect_uri={URL}/api/login/callback"
)
ANSWER = {"answer": {"markdown": "the answer"}, "cached": {"hit": False, "stale": False}}
OPERATION = {"Location": "/api/query/0123"}

type Reply = httpx.Response | Exception
type Key = str
"""Method and path."""


def problem(status: int, code: str, **headers: str) -> httpx.Response:
    """A failure as the gateway tells it."""
    return httpx.Response(status, json={"code": code}, headers={"Content-Type": "application/problem+json", **headers})


def sound() -> dict[Key, list[Reply]]:
    """The replies of a gateway in order; the last one of each is given again and again."""
    return {
        "GET /api/health": [httpx.Response(200, json={"status": "alive"}, headers=HEADERS)],
        "GET /api/health/ready": [httpx.Response(200, json={"status": "degraded"})],
        "GET /api/no-such-path": [problem(404, "not_found")],
        "POST /api/query": [problem(401, "token_missing", **{"WWW-Authenticate": 'Bearer realm=""'}), answer()],
        "OPTIONS /api/query": [httpx.Response(204)],
        "GET /api/login": [httpx.Response(302, headers={"Location": AUTHORIZE})],
        "GET http": [httpx.Response(308, headers={"Location": URL})],
        "GET /api/session": [httpx.Response(200, json={"kind": "user", "expires_at": "soon"})],
        "GET /api/agents": [httpx.Response(200, json={"agents": [{"name": "sales"}, {"name": "hr"}]})],
    }


def answer(**cached: bool) -> httpx.Response:
    """An answer of the agent's, or one that was kept."""
    return httpx.Response(200, json=ANSWER | {"cached": {"hit": False, "stale": False, **cached}})


class Gateway:
    """Replies as it was told to, and keeps what it was sent."""

    def __init__(self, replies: Mapping[Key, list[Reply]]) -> None:
        self.replies = {key: list(listed) for key, listed in replies.items()}
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """One reply."""
        self.requests.append(request)
        key = "GET http" if request.url.scheme == "http" else f"{request.method} {request.url.path}"
        listed = self.replies[key]
        reply = listed.pop(0) if len(listed) > 1 else listed[0]
        if isinstance(reply, Exception):
            raise reply
        return httpx.Response(reply.status_code, headers=reply.headers, content=reply.content)


async def looked(gateway: Gateway, *, url: str = URL, clock: Clock | None = None, **options: Any) -> dict[str, Finding]:
    """What a visit finds, by name."""
    told = clock or Clock()
    async with httpx.AsyncClient(transport=httpx.MockTransport(gateway)) as http:
        visit = Visit(http, url, url, clock=told, sleep=told.sleep, **{"token": "a-token", "tenant": TENANT, **options})
        return {finding.name: finding async for finding in smoke.look(visit)}


async def test_a_sound_gateway_passes_and_never_sees_head() -> None:
    """The host may answer HEAD by itself; and the token goes only where it is needed, over TLS."""
    gateway = Gateway(sound())
    findings = await looked(gateway)
    assert {finding.status for finding in findings.values()} == {"ok"}, findings
    assert list(findings) == [*smoke.FOR_ANYBODY, *smoke.WITH_A_TOKEN]
    assert {request.method for request in gateway.requests} == {"GET", "POST", "OPTIONS"}
    with_token = {request.url.path for request in gateway.requests if "authorization" in request.headers}
    assert with_token == {"/api/session", "/api/agents", "/api/query"}
    assert all(request.url.scheme == "https" for request in gateway.requests if "authorization" in request.headers)


async def test_the_agent_that_is_named_is_asked() -> None:
    """Else the first one that is listed."""
    for named, asked in (("hr", "hr"), ("", "sales")):
        gateway = Gateway(sound())
        assert (await looked(gateway, agent=named))["question"].status == "ok"
        bodies = [json.loads(request.content) for request in gateway.requests if request.method == "POST"]
        assert [body.get("agent") for body in bodies] == [None, asked, asked]


CHALLENGED = {"WWW-Authenticate": 'Bearer authorization_uri="https://login.microsoftonline.com/other/oauth2"'}
NO = httpx.Response(500, html="<h1>private</h1>")
EVERYBODY = {"Access-Control-Allow-Origin": "*"}


def to(location: str, status: int = 302) -> httpx.Response:
    """A redirect."""
    return httpx.Response(status, headers={"Location": location})


def listing(*agents: object) -> httpx.Response:
    """A list of agents."""
    return httpx.Response(200, json={"agents": agents})


ALIVE, READY, QUERY = "GET /api/health", "GET /api/health/ready", "POST /api/query"
LOGIN, SESSION, AGENTS = "GET /api/login", "GET /api/session", "GET /api/agents"
BARE = httpx.Response(200, json={"status": "alive"})
OTHER_CHALLENGE = problem(401, "token_missing", **CHALLENGED)

UNSOUND: dict[str, tuple[str, Key, Reply, str, str]] = {
    "another app": ("alive", ALIVE, httpx.Response(200, text="hello"), "200", "something else answers"),
    "no connection": ("alive", ALIVE, httpx.ConnectError("private"), "ConnectError", "does not answer"),
    "not ready": ("ready", READY, problem(503, "not_ready"), "503 not_ready", "a setting is wrong"),
    "headers lost": ("headers", ALIVE, BARE, "missing: cache-control", "takes headers away"),
    "no catch-all": ("unknown path", "GET /api/no-such-path", httpx.Response(404), "404", "`unmatched` is missing"),
    "open to strangers": ("no token", QUERY, answer(), "200, expected 401", "strangers are not asked"),
    "challenge of another tenant": ("no token", QUERY, OTHER_CHALLENGE, "401 of another tenant", "TENANT_ID"),
    "open to pages": ("foreign page", "OPTIONS /api/query", httpx.Response(204, headers=EVERYBODY), "let in", "CORS"),
    "sign-in failing": ("sign-in", LOGIN, problem(503, "not_ready"), "503 not_ready", "does not lead to Entra"),
    "sign-in without PKCE": ("sign-in", LOGIN, to(AUTHORIZE.replace("S256", "plain")), "no PKCE", "another release"),
    "another redirect": ("sign-in", LOGIN, to(AUTHORIZE.replace("contoso", "x")), "another redirect URI", "come back"),
    "another tenant": ("sign-in", LOGIN, to(AUTHORIZE.replace(TENANT, "other")), "another tenant", "TENANT_ID"),
    "plain http": ("tls only", "GET http", BARE, "200", "over plain http"),
    "redirect to http": ("tls only", "GET http", to("http://x", 301), "301", "over plain http"),
    "token refused": ("session", SESSION, problem(401, "token_invalid"), "401 token_invalid", "none for this gateway"),
    "agents not listed": ("agents", AGENTS, problem(503, "not_ready"), "503 not_ready", "cannot be listed"),
    "no agents": ("agents", AGENTS, listing(), "0 agents", "no agent at all"),
    "odd agents": ("agents", AGENTS, listing(1), "an odd reply", "another release"),
    "code without form": ("session", SESSION, problem(500, "<script>"), "500", "none for this gateway"),
    "reply without form": ("session", SESSION, NO, "500", "none for this gateway"),
}


@pytest.mark.parametrize(("name", "key", "reply", "detail", "cause"), UNSOUND.values(), ids=UNSOUND)
async def test_what_is_not_so_is_told(name: str, key: Key, reply: Reply, detail: str, cause: str) -> None:
    """In words of ours, with what to do; nothing that was received is repeated."""
    found = (await looked(Gateway(sound() | {key: [reply]})))[name]
    assert found.status == "failed"
    assert detail in found.detail
    assert cause in found.cause
    assert found.cure
    assert "private" not in found.told()
    assert "<script" not in found.told()


@pytest.mark.parametrize(
    ("replies", "detail"),
    [
        ([problem(429, "rate_limited")], "429 rate_limited"),
        ([httpx.Response(200, json={"answer": {"markdown": " \n"}, "cached": {}})], "empty"),
        ([answer(hit=True, stale=True)], "an earlier answer"),
        ([httpx.Response(200, json={"answer": None})], "an odd reply"),
        ([httpx.Response(202)], "202 without a place"),
        ([httpx.Response(202, headers={"Location": "@elsewhere.example/api/query/1"})], "202 without a place"),
        ([httpx.ReadTimeout("private")], "ReadTimeout"),
    ],
)
async def test_a_question_without_an_answer_fails_and_is_not_asked_again(replies: list[Reply], detail: str) -> None:
    """It may have cost something."""
    gateway = Gateway(sound())
    gateway.replies["POST /api/query"][1:] = replies
    findings = await looked(gateway)
    assert detail in findings["question"].detail
    assert "same question" not in findings
    assert {request.url.host for request in gateway.requests} == {"gateway.contoso.com"}


async def test_an_operation_is_waited_for() -> None:
    """However often it has to be looked for, until its time is over."""
    gateway, clock = Gateway(sound()), Clock()
    gateway.replies["POST /api/query"][1:] = [httpx.Response(202, headers=OPERATION)]
    gateway.replies["GET /api/query/0123"] = [httpx.Response(202), httpx.Response(202), answer(), answer(hit=True)]
    findings = await looked(gateway, clock=clock)
    assert findings["question"].detail == "10 characters in 6.0 s"
    assert findings["same question"].detail == "kept"
    gateway.replies["GET /api/query/0123"] = [httpx.Response(202)]
    gateway.replies["POST /api/query"] = [*sound()["POST /api/query"][:1], httpx.Response(202, headers=OPERATION)]
    before = clock.now
    assert "no answer in 230 s" in (await looked(gateway, clock=clock))["question"].detail
    assert 230 <= clock.now - before < 240


async def test_a_cold_start_is_waited_for() -> None:
    """Whatever the platform says until then."""
    gateway = Gateway(sound())
    gateway.replies["GET /api/health"][:0] = [httpx.ConnectError("private"), httpx.Response(503)]
    gateway.replies["GET /api/health/ready"][:0] = [problem(503, "not_ready")]
    assert {finding.status for finding in (await looked(gateway)).values()} == {"ok"}


async def test_what_does_not_start_is_not_waited_for_for_ever() -> None:
    """And what is not alive is not looked at any further."""
    clock = Clock()
    gateway = Gateway({"GET /api/health": [httpx.Response(503)]})
    findings = await looked(gateway, clock=clock, wait_seconds=60)
    assert list(findings) == ["alive", "everything else"]
    assert 60 <= sum(clock.slept) <= 62


async def test_sessions_may_be_off() -> None:
    """Then there is no sign-in."""
    gateway = Gateway(sound() | {"GET /api/login": [problem(404, "not_found")]})
    assert (await looked(gateway))["sign-in"].detail == "sessions are off"


@pytest.mark.parametrize("url", ["http://gateway.contoso.com", "http://localhost.example:7071"])
def test_a_token_never_goes_over_plain_http(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Not even once."""
    assert smoke.main(["--url", url], {"SMOKE_TOKEN": "a-token"}) == 1
    assert "a-token" not in "".join(capsys.readouterr())


async def test_http_may_be_refused_altogether() -> None:
    """As good as a redirect."""
    found = await looked(Gateway(sound() | {"GET http": [httpx.ConnectError("private")]}))
    assert found["tls only"].detail == "http is refused"


@pytest.mark.usefixtures("nothing_runs")
def test_without_an_address_and_without_a_stack_the_program_ends() -> None:
    """With what to do."""
    with pytest.raises(SystemExit, match="make run"):
        smoke.main([], {})
