"""Rules for the boundary that every request passes."""

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest

from lib.errors import (
    CapacityExceeded,
    ClientCredentialRejected,
    GatewayError,
    IdentityProviderUnavailable,
    InsufficientScope,
    NotReady,
    ReauthRequired,
    StateUnavailable,
    StepUpRequired,
    TokenExpired,
    TokenMissing,
)
from lib.telemetry import metrics
from lib.web.request import Request
from lib.web.response import Response, json_response, redirect
from lib.web.serve import MAX_BODY_BYTES, SECURITY_HEADERS, Handler, Site, serve
from tests.lib.telemetry.heard import hearing

TRACE = "0af7651916cd43dd8448eb211c80319c"
SITE = Site(frozenset({"https://app.contoso.com"}), "https://login.example/t/oauth2/v2.0/authorize")


async def hello(_gateway: None, _request: Request) -> Response:
    """A handler that answers."""
    return json_response({"hello": "world"})


def raising(fault: BaseException) -> Handler[None]:
    """A handler that fails."""

    async def handler(_gateway: None, _request: Request) -> Response:
        raise fault

    return handler


async def answer(
    handler: Handler[None] = hello, method: str = "GET", headers: Mapping[str, str] | None = None, body: bytes = b""
) -> Response:
    """The reply of a route whose GET and POST are `handler`."""
    request = Request(method, headers or {}, body=body, trace_id=TRACE)
    return await serve(None, request, "x", {"GET": handler, "POST": handler}, SITE)


def problem_of(response: Response) -> dict[str, Any]:
    """The problem in a reply, whose shape is checked on the way."""
    value: dict[str, Any] = json.loads(response.body)
    assert dict(response.headers)["Content-Type"] == "application/problem+json"
    assert value["status"] == response.status
    assert value["type"] == f"urn:fabric-gateway:problem:{value['code']}"
    assert value["trace_id"] == TRACE
    assert value["title"]
    assert value["detail"]
    return value


async def test_a_reply_carries_the_headers_that_all_replies_carry() -> None:
    """Security headers, the trace id in two forms and the time taken."""
    response = await answer()
    headers = dict(response.headers)
    assert response.status == 200
    assert json.loads(response.body) == {"hello": "world"}
    assert set(SECURITY_HEADERS) <= set(response.headers)
    assert headers["X-Request-Id"] == TRACE
    assert headers["traceparent"].startswith(f"00-{TRACE}-")
    assert headers["Server-Timing"].startswith("total;dur=")


async def test_a_handler_may_set_a_security_header_of_its_own() -> None:
    """A page needs another policy than an API: its own stands, and once."""

    async def handler(_gateway: None, _request: Request) -> Response:
        return json_response({}, headers=(("Content-Security-Policy", "default-src 'self'"),))

    response = await answer(handler)
    policies = [value for name, value in response.headers if name == "Content-Security-Policy"]
    assert policies == ["default-src 'self'"]


async def test_head_is_answered_as_get() -> None:
    """RFC 9110 section 9.3.2: the same headers, its length among them; the host's server leaves the body away."""
    head, get = await answer(method="HEAD"), await answer()
    assert (head.status, head.body) == (200, get.body)
    assert dict(head.headers)["Content-Type"] == "application/json"


@pytest.mark.parametrize("method", ["PUT", "DELETE", "TRACE", "BREW"])
async def test_another_method_is_told_which_ones_there_are(method: str) -> None:
    """405 comes with Allow (RFC 9110 section 15.5.6)."""
    response = await answer(method=method)
    assert problem_of(response)["code"] == "method_not_allowed"
    assert response.status == 405
    assert dict(response.headers)["Allow"] == "GET, POST, HEAD, OPTIONS"


async def test_a_preflight_of_a_known_page_is_answered() -> None:
    """A browser asks first; the reply is empty and names what is allowed."""
    response = await answer(method="OPTIONS", headers={"origin": "https://app.contoso.com"})
    headers = dict(response.headers)
    assert (response.status, response.body) == (204, b"")
    assert headers["Access-Control-Allow-Origin"] == "https://app.contoso.com"
    assert headers["Access-Control-Allow-Methods"] == "GET, POST, HEAD, OPTIONS"


async def test_a_body_past_the_limit_is_refused_before_the_handler_runs() -> None:
    """One byte too many is 413."""
    unreached = raising(AssertionError("the handler ran"))
    response = await answer(unreached, "POST", body=b"x" * (MAX_BODY_BYTES + 1))
    assert problem_of(response)["code"] == "payload_too_large"
    assert (await answer(method="POST", body=b"x" * MAX_BODY_BYTES)).status == 200


async def test_a_failure_is_a_problem_with_the_same_headers() -> None:
    """Errors are read by browsers too."""
    fault = CapacityExceeded(retry_after=30, members={"hint": "later"})
    response = await answer(raising(fault), headers={"origin": "https://app.contoso.com"})
    value = problem_of(response)
    headers = dict(response.headers)
    assert (response.status, value["code"], value["hint"]) == (503, "capacity_exceeded", "later")
    assert headers["Retry-After"] == "30"
    assert headers["Access-Control-Allow-Origin"] == "https://app.contoso.com"
    assert set(SECURITY_HEADERS) <= set(response.headers)


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (StateUnavailable(), "5"),
        (StateUnavailable(retry_after=11), "11"),
        (IdentityProviderUnavailable(retry_after=0), "0"),
        (ClientCredentialRejected(), "60"),
        (NotReady(), "60"),
        (CapacityExceeded(), None),
        (TokenExpired(), None),
    ],
    ids=str,
)
async def test_a_reply_tells_when_to_come_again(fault: GatewayError, told: str | None) -> None:
    """As the failure says; where it does not, and something of ours is away, after a while of that class."""
    assert dict((await answer(raising(fault))).headers).get("Retry-After") == told


@pytest.mark.parametrize(
    ("fault", "challenge"),
    [
        (TokenMissing(), 'Bearer realm=""'),
        (
            TokenExpired(),
            'Bearer realm="", error="invalid_token", error_description="The access token has expired"',
        ),
        (ReauthRequired(), 'Bearer realm="", error="invalid_token", error_description="Sign in again"'),
        (
            InsufficientScope("access_as_user"),
            'Bearer realm="", error="insufficient_scope", scope="access_as_user"',
        ),
        (
            StepUpRequired('{"access_token":{}}'),
            (
                'Bearer realm="", authorization_uri="https://login.example/t/oauth2/v2.0/authorize", '
                'error="insufficient_claims", claims="eyJhY2Nlc3NfdG9rZW4iOnt9fQ=="'
            ),
        ),
        (StepUpRequired('{"access_token":{}}', login_url="https://ask.contoso.com/api/login"), 'Bearer realm=""'),
    ],
    ids=lambda value: getattr(value, "code", ""),
)
async def test_a_challenge_tells_how_to_do_better(fault: GatewayError, challenge: str) -> None:
    """RFC 6750 section 3, in one header."""
    headers = dict((await answer(raising(fault))).headers)
    assert headers["WWW-Authenticate"] == challenge


async def test_who_was_signed_in_here_is_told_where_to_sign_in_more_strongly() -> None:
    """The claims stay here: a browser's session can do nothing with them."""
    login_url = "https://ask.contoso.com/api/login?step_up=handle"
    response = await answer(raising(StepUpRequired('{"access_token":{"acrs":{}}}', login_url=login_url)))
    value = problem_of(response)
    assert (response.status, value["code"], value["login_url"]) == (401, "step_up_required", login_url)
    assert "login_url" in value["detail"]
    assert b"acrs" not in response.body
    assert "login_url" not in problem_of(await answer(raising(StepUpRequired("{}"))))


async def test_an_unexpected_failure_tells_the_caller_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """The text of an exception may hold a secret: it is neither answered nor logged."""
    with caplog.at_level(logging.INFO):
        response = await answer(raising(RuntimeError("password=hunter2")))
    assert problem_of(response)["code"] == "internal_error"
    assert b"hunter2" not in response.body
    assert all("hunter2" not in record.getMessage() for record in caplog.records)


async def test_a_redirect_keeps_its_cookies_apart() -> None:
    """Set-Cookie comes as often as there are cookies."""

    async def handler(_gateway: None, _request: Request) -> Response:
        return redirect("/next", 303, headers=(("Set-Cookie", "a=1"), ("Set-Cookie", "b=2")))

    response = await answer(handler)
    assert [value for name, value in response.headers if name == "Set-Cookie"] == ["a=1", "b=2"]
    assert dict(response.headers)["Location"] == "/next"


@pytest.mark.parametrize(
    ("method", "handler", "told"),
    [
        ("GET", hello, {"http.request.method": "GET", "http.response.status_code": 200}),
        ("BREW", hello, {"http.request.method": "_OTHER", "http.response.status_code": 405}),
        (
            "POST",
            raising(StateUnavailable()),
            {
                "http.request.method": "POST",
                "http.response.status_code": 503,
                "error.type": "state_unavailable",
            },
        ),
    ],
    ids=["answered", "a method made up by the caller", "failed"],
)
async def test_a_request_is_a_span_below_the_hosts_and_a_number(
    method: str, handler: Handler[None], told: dict[str, object]
) -> None:
    """By the route's template; what the caller can make up is in neither. The reply names the span."""
    with hearing() as heard:
        request = Request(method, trace_id=TRACE, parent_id="b7ad6b7169203331", route="query/{id}")
        response = await serve(None, request, "x", {"GET": handler, "POST": handler}, SITE)
        (root,) = heard.spans
        assert (root.name, root.parent) == (f"{told['http.request.method']} query/{{id}}", "b7ad6b7169203331")
        assert root.failed == told.get("error.type", "")
        assert heard.of(metrics.SERVED) == [{"http.route": "query/{id}", **told}]
        assert dict(response.headers)["traceparent"] == f"00-{TRACE}-{root.id}-01"
