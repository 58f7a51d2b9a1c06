"""Whatever is sent, the reply is a 4xx problem with a stable code, and never a failure of ours."""

import json
import random
from typing import Any

import httpx
import pytest

from tests.integration.browser import Browser

ROUTES = (
    "agents", "app", "conversations", "conversations/x", "health", "health/ready", "login", "login/callback", "logout",
    "query", "session", "nothing/here",
)  # fmt: skip


def problem(reply: httpx.Response) -> dict[str, Any]:
    """The problem in a reply, whose form and headers are checked on the way."""
    assert reply.headers["content-type"] == "application/problem+json"
    value: dict[str, Any] = reply.json()
    assert value["status"] == reply.status_code
    assert {"type", "title", "detail", "code", "trace_id"} <= value.keys()
    assert reply.headers["x-request-id"] == value["trace_id"]
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-store"
    return value


@pytest.fixture
def headers(browser: Browser) -> dict[str, str]:
    """A caller who is welcome."""
    return {"Authorization": f"Bearer {browser.token('alice')}", "Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "question"),
        ({"question": None}, "question"),
        ({"question": 1}, "question"),
        ({"question": ["x"]}, "question"),
        ({"question": {"text": "x"}}, "question"),
        ({"question": ""}, "question"),
        ({"question": " \n"}, "question"),
        ({"question": "x" * 2001}, "question"),
        ({"question": "a\u0000b"}, "question"),
        ({"question": "a\u202eb"}, "question"),
        ({"question": "x", "agent": 1}, "agent"),
        ({"question": "x", "agent": ["sales"]}, "agent"),
        ({"question": "x", "history": "x"}, "history"),
        ({"question": "x", "history": ["x"]}, "history.0"),
        ({"question": "x", "history": [{"role": "user"}]}, "history.0.content"),
        ({"question": "x", "history": [{"content": "x"}]}, "history.0.role"),
        ({"question": "x", "history": [{"role": "system", "content": "x"}]}, "history.0.role"),
        ({"question": "x", "history": [{"role": "user", "content": 1}]}, "history.0.content"),
        ({"question": "x", "history": [{"role": "user", "content": "\u0007"}]}, "history.0.content"),
        ({"question": "x", "history": [{"role": "user", "content": "x", "more": 1}]}, "history.0.more"),
        ({"question": "x", "history": [{"role": "user", "content": "x"}] * 21}, "history"),
        ({"question": "x", "workspace": "x"}, "workspace"),
        ({"question": "x", "question ": "x"}, "question "),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else value,
)
def test_each_field_that_is_wrong_is_named(browser: Browser, headers: dict[str, str], body: object, field: str) -> None:
    """The caller sees which field to mend, in our words."""
    value = problem(browser.call("POST", "/api/query", content=json.dumps(body), headers=headers))
    assert (value["status"], value["code"]) == (400, "invalid_request")
    assert [error["field"] for error in value["errors"]] == [field]


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"", 400, "invalid_request"),
        (b"{", 400, "invalid_request"),
        (b"[]", 400, "invalid_request"),
        (b'{"question": "x", "question": "y"}', 400, "invalid_request"),
        (b'{"question": NaN}', 400, "invalid_request"),
        (b"\xff\xfe{\x00}\x00", 400, "invalid_request"),
        (b'{"question": "' + b"x" * 40_000 + b'"}', 413, "payload_too_large"),
    ],
    ids=["nothing", "cut short", "a list", "twice", "NaN", "UTF-16", "too large"],
)
def test_a_body_that_is_not_strict_json_is_refused(
    browser: Browser, headers: dict[str, str], content: bytes, status: int, code: str
) -> None:
    """Before anything is asked of anybody."""
    value = problem(browser.call("POST", "/api/query", content=content, headers=headers))
    assert (value["status"], value["code"]) == (status, code)


def test_another_media_type_is_refused(browser: Browser, headers: dict[str, str]) -> None:
    """A form cannot be passed off as a question."""
    reply = browser.call("POST", "/api/query", content=b"question=x", headers=headers | {"Content-Type": "text/plain"})
    assert problem(reply)["code"] == "unsupported_media_type"


@pytest.mark.parametrize("path", ROUTES)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD"])
def test_every_route_answers_every_method_properly(browser: Browser, path: str, method: str) -> None:
    """Right ones work or are refused with a code; wrong ones are told which there are."""
    reply = browser.call(method, f"/api/{path}")
    assert reply.status_code < 500
    if reply.status_code >= 400 and method != "HEAD":
        problem(reply)
    if reply.status_code == 405:
        assert method not in reply.headers["allow"].split(", ")


@pytest.mark.parametrize(
    "query", ["profile=everything", "profile=graph%00", "profile=%F0%9F%92%A9"], ids=["another", "null", "emoji"]
)
def test_a_query_parameter_is_held_to_its_values(browser: Browser, headers: dict[str, str], query: str) -> None:
    """Parameters are input like any other."""
    assert problem(browser.call("GET", f"/api/session?{query}", headers=headers))["code"] == "invalid_request"


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer  x", "Basic YTpi", "Bearer a b", "Bearer a.b.c", "Bearer " + "x" * 13_000, "Bearer ä"],
    ids=["empty", "no token", "two spaces", "basic", "two", "nonsense", "too long", "letters"],
)
def test_an_authorization_that_is_no_token_is_refused(browser: Browser, authorization: str) -> None:
    """401, with a challenge, whatever it is."""
    reply = browser.call("GET", "/api/session", headers={"Authorization": authorization.encode("latin-1")})
    assert problem(reply)["code"] == "token_invalid"
    assert reply.headers["www-authenticate"].startswith('Bearer realm=""')


@pytest.mark.parametrize("cookie", ["x", "a.b", "0" * 32 + "." + "A" * 43, "../..", "%00", '"x"'])
def test_a_session_cookie_that_is_none_is_refused(browser: Browser, cookie: str) -> None:
    """Nobody's session, and no error of ours."""
    browser.cookies["__Host-session"] = cookie
    value = problem(browser.call("GET", "/api/session"))
    assert value["code"] in {"session_expired", "token_missing"}


@pytest.mark.parametrize(
    ("content", "content_type"),
    [
        (b"", "application/x-www-form-urlencoded"),
        (b"state=x&state=y&code=z", "application/x-www-form-urlencoded"),
        (b"&".join(b"a%d=1" % number for number in range(50)), "application/x-www-form-urlencoded"),
        (b"state=%FF&code=%00", "application/x-www-form-urlencoded"),
        (b"\xff", "application/x-www-form-urlencoded"),
        (b"{}", "application/json"),
    ],
    ids=["empty", "twice", "many", "odd bytes", "not ASCII", "JSON"],
)
def test_a_callback_form_that_is_odd_is_refused(browser: Browser, content: bytes, content_type: str) -> None:
    """The callback takes Entra's form alone."""
    reply = browser.call("POST", "/api/login/callback", content=content, headers={"Content-Type": content_type})
    assert problem(reply)["code"] in {"login_failed", "invalid_request", "unsupported_media_type"}


def test_a_thousand_random_bodies_make_no_failure_of_ours(browser: Browser, headers: dict[str, str]) -> None:
    """Bytes, texts and JSON of every shape, with a valid question among them now and then."""
    chance = random.Random(20261122)  # the same bodies each time, so that a failure can be seen again
    seen = set()
    for _ in range(1000):
        reply = browser.call("POST", "/api/query", content=_body(chance), headers=headers, cookies=False)
        assert reply.status_code < 500, reply.text
        seen.add("answered" if reply.is_success else problem(reply)["code"])
    assert seen >= {"invalid_request", "payload_too_large"}


def _body(chance: random.Random) -> bytes:
    match chance.randrange(4):
        case 0:
            return chance.randbytes(chance.randrange(200))
        case 1:
            return json.dumps(_value(chance, 4)).encode()
        case 2:
            wrong = {chance.choice(["x", "Question", "question\u0000", "history"]): _value(chance, 3)}
            return json.dumps({"question": "total sales", "nonsense": 1} | wrong).encode()
        case _:
            return b'{"question": "' + chance.randbytes(chance.randrange(40_000)).hex().encode() + b'"}'


def _value(chance: random.Random, depth: int) -> object:
    kinds = [None, True, -1, 1e300, "text", "\ud800", "\x00", 10**400]
    if depth == 0 or chance.random() < 0.5:
        return chance.choice(kinds)
    if chance.random() < 0.5:
        return [_value(chance, depth - 1) for _ in range(chance.randrange(4))]
    return {chance.choice(["question", "agent", "history", "", "x" * 300]): _value(chance, depth - 1) for _ in range(3)}
