"""Rules for msal's way to Entra."""

import logging
from collections.abc import Callable

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.errors import IdentityProviderUnavailable
from lib.identity.msal_http import LONGEST_REPLY, MsalHttp, NoReplies, NoTokens
from tests.lib.identity.authority import HOST, TENANT, TokenEndpoint, claims, granted, mint, raw, refused, reply

TOKEN_URL = f"{HOST}/{TENANT}/oauth2/v2.0/token"


def posted(response: Callable[[], httpx.Response] | httpx.Response) -> httpx.Response:
    """What msal gets to see of a reply."""
    endpoint = TokenEndpoint(lambda _: response() if callable(response) else response)
    http = MsalHttp(HOST, endpoint.transport)
    try:
        return http.post(TOKEN_URL, data={"a": "b"}, headers={})
    finally:
        http.close()


def test_nothing_stays_in_the_caches() -> None:
    """They are there because msal wants some."""
    replies, tokens = NoReplies(), NoTokens()  # type: ignore[no-untyped-call]  # msal has no types
    replies["POST"] = "a token"
    tokens.add({"response": {"access_token": "a token"}})
    assert not replies
    assert list(tokens.search("AccessToken")) == []  # type: ignore[no-untyped-call]  # msal has no types


def test_a_tenants_endpoints_are_known_without_asking() -> None:
    """No reply of anybody's can say where the credential goes."""
    endpoint = TokenEndpoint(lambda _: raw(b"", 500))
    http = MsalHttp(HOST, endpoint.transport)
    found = http.get(f"{HOST}/{TENANT}/v2.0/.well-known/openid-configuration", headers={}).json()
    assert found["token_endpoint"] == TOKEN_URL
    assert found["authorization_endpoint"] == f"{HOST}/{TENANT}/oauth2/v2.0/authorize"
    assert endpoint.requests == []
    http.close()


@pytest.mark.parametrize(
    "url",
    [
        f"{HOST}/common/discovery/instance",
        f"https://evil.example/{TENANT}/v2.0/.well-known/openid-configuration",
        f"{HOST}.evil.example/{TENANT}/v2.0/.well-known/openid-configuration",
    ],
)
def test_nothing_else_is_looked_up(url: str) -> None:
    """Were msal to ask for more, a test would fail."""
    http = MsalHttp(HOST)
    with pytest.raises(ValueError, match="not an address"):
        http.get(url)
    http.close()


def test_nothing_is_posted_elsewhere() -> None:
    """The client's credential goes to the authority alone."""
    http = MsalHttp(HOST)
    with pytest.raises(ValueError, match="not an address"):
        http.post("https://login.microsoftonline.com.evil.example/token", data={}, headers={})
    http.close()


def test_an_answer_is_passed_on_without_its_headers() -> None:
    """By `Retry-After` msal decides what to keep: it gets to see none."""
    answer = posted(reply({"access_token": "x", "expires_in": 5}, Retry_After="600", Set_Cookie="a=b"))
    assert (answer.status_code, answer.json()) == (200, {"access_token": "x", "expires_in": 5})
    assert not {"retry-after", "set-cookie"} & answer.headers.keys()


def test_what_entra_says_about_people_goes_no_further() -> None:
    """`error_description` names them; the codes do not."""
    answer = posted(refused("invalid_grant", 65001, suberror="consent_required"))
    assert answer.status_code == 400
    assert answer.json() == {
        "error": "invalid_grant",
        "error_codes": [65001],
        "suberror": "consent_required",
        "correlation_id": TENANT,
    }


@pytest.mark.parametrize(
    ("response", "retry_after"),
    [
        pytest.param(raw(b"", 429, Retry_After="7"), 7, id="throttled"),
        pytest.param(refused("temporarily_unavailable", status=429), None, id="throttled without a time"),
        pytest.param(raw(b"", 503, Retry_After="7200"), 60, id="away for hours"),
        pytest.param(raw(b"", 503, Retry_After="Wed, 21 Oct 2026 07:28:00 GMT"), None, id="away until a date"),
        pytest.param(raw(b"", 503, Retry_After="9" * 5000), None, id="away for ever"),
        pytest.param(raw(b"", 503, Retry_After="-1"), None, id="away until yesterday"),
        pytest.param(raw(b"", 500), None, id="broken"),
        pytest.param(raw(b"", 307, Location="https://evil.example/"), None, id="a redirect"),
        pytest.param(raw(b"", 204), None, id="no content"),
        pytest.param(raw(b"<html>a token</html>"), None, id="a page"),
        pytest.param(raw(b"[]"), None, id="a list"),
        pytest.param(granted(id_token="x"), None, id="an id token that is none"),
        pytest.param(granted(id_token="a.b.c"), None, id="an id token without claims"),
        pytest.param(granted(id_token=5), None, id="an id token that is a number"),
    ],
)
def test_what_is_no_answer_is_an_outage(
    response: httpx.Response, retry_after: int | None, caplog: pytest.LogCaptureFixture
) -> None:
    """It never reaches msal, which so cannot keep it, follow it or write it to a log."""
    with caplog.at_level(logging.DEBUG, "msal"), pytest.raises(IdentityProviderUnavailable) as fault:
        posted(response)
    assert fault.value.retry_after == retry_after
    assert [record for record in caplog.records if record.name.startswith("msal")] == []


def test_that_entra_throttles_is_told(caplog: pytest.LogCaptureFixture) -> None:
    """With the time it asks for, and nothing else of its reply."""
    with pytest.raises(IdentityProviderUnavailable):
        posted(raw(b"a text of entra's", 429, Retry_After="7"))
    (line,) = caplog.records
    told = {name: vars(line)[name] for name in ("event", "peer", "status", "retry_after")}
    assert told == {"event": "upstream_throttled", "peer": "entra", "status": 429, "retry_after": 7}


@pytest.mark.parametrize("fault", [httpx.ConnectError, httpx.ReadTimeout, httpx.RemoteProtocolError])
def test_a_network_failure_is_an_outage(fault: type[httpx.TransportError]) -> None:
    """Whichever way the network fails."""

    def fail() -> httpx.Response:
        raise fault("down")

    with pytest.raises(IdentityProviderUnavailable):
        posted(fail)


def test_a_form_is_written_as_text() -> None:
    """Msal makes some values bytes, and some numbers."""
    endpoint = TokenEndpoint(lambda _: granted())
    http = MsalHttp(HOST, endpoint.transport)
    http.post(TOKEN_URL, data={"client_assertion": b"a.b.c", "client_info": 1, "scope": "a b"}, headers={"X-A": "b"})
    assert endpoint.forms == [{"client_assertion": "a.b.c", "client_info": "1", "scope": "a b"}]
    sent = endpoint.requests[0].headers
    assert (sent["Content-Type"], sent["X-A"]) == ("application/x-www-form-urlencoded", "b")
    http.close()


def test_no_cookie_is_kept() -> None:
    """What Entra sets for one person's request must not come along with the next one's."""
    endpoint = TokenEndpoint(lambda _: reply({"access_token": "x"}, Set_Cookie="esctx=alice; Path=/; Secure"))
    http = MsalHttp(HOST, endpoint.transport)
    for _ in range(2):
        http.post(TOKEN_URL, data={}, headers={})
    assert [request.headers.get("Cookie") for request in endpoint.requests] == [None, None]
    http.close()


def test_the_environment_does_not_decide_about_connections() -> None:
    """No proxy, no password file, no other certificates than OpenSSL's own."""
    http = MsalHttp(HOST)
    assert not http._client.trust_env
    assert not http._client.follow_redirects
    http.close()


def test_an_id_token_is_passed_on() -> None:
    """It has the claims that msal reads."""
    token = mint(claims())
    assert posted(granted(id_token=token)).json()["id_token"] == token


@given(st.binary())
def test_whatever_is_served_either_is_an_answer_or_an_outage(body: bytes) -> None:
    """Any bytes at all end in an object or in the one error."""
    try:
        assert isinstance(posted(raw(body)).json(), dict)
    except IdentityProviderUnavailable as fault:
        assert fault.__cause__ is None  # the bytes do not travel in a cause either


def test_a_reply_without_end_is_no_answer() -> None:
    """What is too long is not read to its end, and nothing is unpacked."""
    with pytest.raises(IdentityProviderUnavailable):
        posted(raw(b'{"access_token": "' + b"x" * LONGEST_REPLY + b'"}'))


def test_a_reply_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each read in time is not the whole in time: a thread is held for as long as the reply may take, no longer."""
    times = iter([0.0, 1.0, 6.0])
    monkeypatch.setattr("lib.identity.msal_http.time.monotonic", lambda: next(times, 6.0))
    with pytest.raises(IdentityProviderUnavailable):
        posted(httpx.Response(200, content=iter([b'{"access_token":', b'"x"}'])))
