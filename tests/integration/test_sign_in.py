"""Signing in and out, by hand-driven HTTP through the emulated Entra."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import httpx
import jwt
import pytest
from azure.data.tables import TableServiceClient
from starlette.responses import Response

from local.entra import tokens
from local.entra.tenant import GATEWAY_SCOPE, Access
from local.people import ALICE, BOB, GATEWAY_CLIENT_ID, SCRIPT_CLIENT_ID, TENANT_ID
from local.stack import Host, Stack, free_port
from tests.integration.browser import Browser, app_token
from tests.integration.people import newcomers


def test_a_browser_signs_in_by_redirect_and_has_a_session(browser: Browser) -> None:
    """302 to Entra, a person picked, the form back, 303 to where the page wanted, and the cookie works."""
    reply = browser.sign_in("alice", return_to="/api/app?view=1")
    assert reply.status_code == 303
    assert reply.headers["location"] == "/api/app?view=1"
    session = browser.call("GET", "/api/session").json()
    assert session["object_id"] == ALICE.object_id
    assert session["tenant_id"] == TENANT_ID
    assert (session["name"], session["signed_in"], session["kind"]) == ("Alice Arden", "session", "user")


def test_the_redirect_to_entra_asks_for_a_code_with_every_protection(browser: Browser, stack: Stack) -> None:
    """PKCE, state, nonce and form_post; and the flow cookie comes back from another site."""
    reply = browser.call("GET", "/api/login")
    location = urlsplit(reply.headers["location"])
    asked = {name: values[0] for name, values in parse_qs(location.query).items()}
    assert reply.headers["location"].startswith(f"{stack.urls['entra']}/{TENANT_ID}/oauth2/v2.0/authorize?")
    assert asked["client_id"] == GATEWAY_CLIENT_ID
    assert (asked["response_type"], asked["response_mode"]) == ("code", "form_post")
    assert asked["code_challenge_method"] == "S256"
    assert min(len(asked[name]) for name in ("state", "nonce", "code_challenge")) >= 43
    assert asked["redirect_uri"] == f"{stack.public_url}/api/login/callback"
    assert "offline_access" in asked["scope"]
    assert "samesite=none" in reply.headers["set-cookie"].lower()


def test_the_session_cookie_is_strict_and_the_flow_cookie_is_forgotten(browser: Browser) -> None:
    """After the callback only the session is left in the browser."""
    reply = browser.sign_in("alice")
    session = next(value for value in reply.headers.get_list("set-cookie") if value.startswith("__Host-session="))
    assert "samesite=strict" in session.lower()
    assert list(browser.cookies) == ["__Host-session"]


@pytest.mark.parametrize(
    "return_to", ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/a\nb"]
)
def test_nobody_is_sent_elsewhere_after_signing_in(browser: Browser, return_to: str) -> None:
    """An open redirect would lend our name to a phishing page."""
    reply = browser.call("GET", "/api/login", params={"return_to": return_to})
    assert (reply.status_code, reply.json()["code"]) == (400, "invalid_request")


def test_a_page_of_an_allowed_origin_gets_its_people_back(browser: Browser) -> None:
    """A web client on another host of the company."""
    reply = browser.sign_in("alice", return_to="https://app.contoso.example/ask")
    assert reply.headers["location"] == "https://app.contoso.example/ask"


def test_a_declined_sign_in_goes_back_with_its_code(browser: Browser) -> None:
    """The page that asked for the sign-in can tell its reader."""
    begun = browser.call("GET", "/api/login", params={"return_to": "/api/app"})
    state = parse_qs(urlsplit(begun.headers["location"]).query)["state"][0]
    reply = browser.come_back({"state": state, "error": "access_denied", "error_description": "<script>"})
    assert (reply.status_code, reply.headers["location"]) == (303, "/api/app?error=login_failed")
    assert browser.cookies == {}


def test_a_callback_that_was_not_begun_in_this_browser_is_refused(
    browser: Browser, stack: Stack, secrets_seen: set[str]
) -> None:
    """An attacker cannot sign a victim in as themselves with a form of their own."""
    with Browser(stack, secrets_seen) as attacker:
        begun = attacker.call("GET", "/api/login")
        form = attacker.pick(begun.headers["location"], "bob")
    reply = browser.come_back(form)
    assert (reply.status_code, reply.json()["code"]) == (400, "login_failed")
    assert browser.cookies == {}


def test_another_tabs_state_does_not_open_this_tabs_flow(browser: Browser) -> None:
    """Each flow has a cookie of its own; a code cannot be slipped from one into the other."""
    first = browser.call("GET", "/api/login")
    second = browser.call("GET", "/api/login")
    assert len(browser.cookies) == 2
    form = browser.pick(first.headers["location"], "alice")
    other = parse_qs(urlsplit(second.headers["location"]).query)["state"][0]
    reply = browser.come_back(form | {"state": other})
    assert reply.headers["location"] == "/api/app?error=login_failed"


def test_a_code_is_good_once(browser: Browser) -> None:
    """The same form again opens nothing."""
    begun = browser.call("GET", "/api/login")
    flow = dict(browser.cookies)
    form = browser.pick(begun.headers["location"], "alice")
    assert browser.come_back(form).headers["location"] == "/api/app"
    browser.cookies = flow
    assert browser.come_back(form).headers["location"] == "/api/app?error=login_failed"


def test_a_session_that_came_along_is_ended_by_a_new_sign_in(browser: Browser) -> None:
    """A session planted before the sign-in is worth nothing after it."""
    browser.sign_in("alice")
    planted = browser.cookies["__Host-session"]
    browser.sign_in("alice")
    assert browser.cookies["__Host-session"] != planted
    browser.cookies["__Host-session"] = planted
    assert browser.call("GET", "/api/session").json()["code"] == "session_expired"


def test_an_access_token_becomes_a_session_that_ends_with_it(browser: Browser) -> None:
    """Client-side sign-in: 201, who it is, and a cookie."""
    reply = browser.call("POST", "/api/login", headers={"Authorization": f"Bearer {browser.token('bob')}"})
    assert reply.status_code == 201
    assert reply.json()["object_id"] == BOB.object_id
    session = browser.call("GET", "/api/session").json()
    assert session == reply.json()
    assert session["signed_in"] == "session"


def test_only_five_tabs_sign_in_at_once(browser: Browser) -> None:
    """The oldest flow is given up: a page elsewhere must not fill a browser with our cookies."""
    for _ in range(8):
        browser.call("GET", "/api/login")
    assert len(browser.cookies) == 5


@pytest.mark.parametrize("destination", ["image", "iframe", "script", "empty"])
def test_a_sign_in_is_begun_by_going_there(browser: Browser, destination: str) -> None:
    """Not by a picture or a frame in somebody else's page, nor by a script."""
    reply = browser.call("GET", "/api/login", headers={"Sec-Fetch-Dest": destination})
    assert (reply.status_code, reply.json()["code"]) == (403, "origin_rejected")
    assert browser.call("GET", "/api/login", headers={"Sec-Fetch-Dest": "document"}).status_code == 302


def test_a_callback_whose_flow_was_tampered_with_is_refused(browser: Browser) -> None:
    """What the cookie holds is sealed: it cannot be written, or read, by anybody else."""
    begun = browser.call("GET", "/api/login")
    form = browser.pick(begun.headers["location"], "alice")
    (name,) = browser.cookies
    browser.cookies[name] = browser.cookies[name][:-2] + ("AA" if not browser.cookies[name].endswith("AA") else "BB")
    assert browser.come_back(form).json()["code"] == "login_failed"


def test_an_app_has_no_session(browser: Browser, stack: Stack) -> None:
    """Sessions are for people; an app brings its token each time."""
    reply = browser.call("POST", "/api/login", headers={"Authorization": f"Bearer {app_token(stack)}"})
    assert (reply.status_code, reply.json()["code"]) == (403, "user_required")


def test_login_without_a_token_is_refused_even_with_a_session(browser: Browser) -> None:
    """A session does not beget sessions."""
    browser.sign_in("alice")
    reply = browser.page_call("POST", "/api/login")
    assert (reply.status_code, reply.json()["code"]) == (401, "token_missing")


def test_signing_out_without_a_session_is_no_fault(browser: Browser) -> None:
    """Whoever has no session is signed out already."""
    reply = browser.page_call("POST", "/api/logout")
    assert reply.status_code == 200
    assert "logout_hint" not in reply.json()["end_session_url"]


def test_the_profile_is_an_extra_that_may_be_missing(browser: Browser, stack: Stack) -> None:
    """Where Graph, or the way to a token for it, is away, the session is shown without it."""
    browser.sign_in("alice")
    stack.graph.faults.plan("me", Response(status_code=503))
    assert browser.call("GET", "/api/session?profile=graph").json()["profile"] is None
    reply = browser.call("GET", "/api/session?profile=graph", headers={"Authorization": f"Bearer {app_token(stack)}"})
    assert (reply.status_code, reply.json()["kind"], reply.json()["profile"]) == (200, "app", None)


def test_signing_out_ends_the_session_here_and_tells_where_it_ends_at_entra(browser: Browser, stack: Stack) -> None:
    """The cookie is gone, and would be worth nothing if it were kept."""
    browser.sign_in("alice")
    kept = browser.cookies["__Host-session"]
    reply = browser.page_call("POST", "/api/logout")
    assert reply.status_code == 200
    target = urlsplit(reply.json()["end_session_url"])
    assert f"{target.scheme}://{target.netloc}" == stack.urls["entra"]
    assert parse_qs(target.query)["post_logout_redirect_uri"] == [f"{stack.public_url}/api/app"]
    assert browser.cookies == {}
    assert reply.headers["clear-site-data"] == '"storage"'
    browser.cookies["__Host-session"] = kept
    assert browser.call("GET", "/api/session").json()["code"] == "session_expired"
    assert browser.page_call("POST", "/api/logout").status_code == 200


def test_signing_out_forgets_the_tokens_got_in_the_session(browser: Browser, stack: Stack) -> None:
    """A session by token shares them with the token, by which it can be seen: they are asked for again."""
    bearer = {"Authorization": f"Bearer {browser.token('bob')}"}
    browser.call("POST", "/api/login", headers=bearer)
    for _ in range(2):
        assert browser.call("GET", "/api/session?profile=graph").json()["profile"]
    exchanges = stack.entra.calls["token"]
    browser.page_call("POST", "/api/logout")
    assert browser.call("GET", "/api/session?profile=graph", headers=bearer).json()["profile"]
    assert stack.entra.calls["token"] == exchanges + 1


def test_signing_out_ends_whatever_sessions_come_along(browser: Browser, stack: Stack, secrets_seen: set[str]) -> None:
    """Nobody is signed in by two cookies; but who wants to leave leaves, whichever of them is theirs."""
    with Browser(stack, secrets_seen) as other:
        browser.sign_in("alice")
        other.sign_in("bob")
        kept = [opened.cookies["__Host-session"] for opened in (browser, other)]
        twins = "; ".join(f"__Host-session={value}" for value in ('"x"', "forged", *kept))
        headers = {"Cookie": twins}
        assert browser.call("GET", "/api/session", cookies=False, headers=headers).json()["code"] == "token_missing"
        reply = browser.page_call("POST", "/api/logout", cookies=False, headers=headers)
        assert (reply.status_code, browser.cookies) == (200, {})
        for value in kept:
            other.cookies["__Host-session"] = value
            assert other.call("GET", "/api/session").json()["code"] == "session_expired"


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"Origin": "http://localhost:1"}, "csrf_rejected"),
        ({"X-CSRF": "1", "Origin": "https://evil.example"}, "origin_rejected"),
        ({"X-CSRF": "1"}, "origin_rejected"),
    ],
    ids=["no header", "a foreign page", "no origin"],
)
@pytest.mark.parametrize("path", ["/api/logout", "/api/query"])
def test_a_foreign_page_cannot_act_with_a_persons_session(
    browser: Browser, path: str, headers: dict[str, str], code: str
) -> None:
    """The cookie alone is not enough to change anything."""
    browser.sign_in("alice")
    reply = browser.call("POST", path, json={"question": "x"}, headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (403, code)
    assert browser.call("GET", "/api/session").status_code == 200


@pytest.mark.parametrize(
    ("method", "path"), [("POST", "/api/logout"), ("POST", "/api/query"), ("DELETE", "/api/sessions")]
)
def test_a_form_does_nothing_with_a_persons_session(browser: Browser, method: str, path: str) -> None:
    """415, whoever sends it: what a page of another site can send without asking is never read."""
    browser.sign_in("alice")
    for options in (
        {"headers": {"Content-Type": "text/plain"}},
        {"headers": {"Content-Type": "text/plain"}, "content": b'{"question": "x"}'},
        {"content": b"{}"},
        {"data": {"question": "x"}},
        {"files": {"question": b"x"}},
    ):
        reply = browser.page_call(method, path, **options)
        assert (reply.status_code, reply.json()["code"]) == (415, "unsupported_media_type")
    assert browser.call("GET", "/api/session").status_code == 200


def test_a_token_ends_no_session_that_comes_along(browser: Browser) -> None:
    """A page of the same site must not sign somebody out with a token of its own: the cookie is not looked at."""
    browser.sign_in("alice")
    for authorization in (f"Bearer {browser.token('bob')}", "Basic x"):
        reply = browser.call("POST", "/api/logout", headers={"Authorization": authorization})
        assert (reply.status_code, {"set-cookie", "clear-site-data"} & reply.headers.keys()) == (200, set())
        assert "logout_hint" not in reply.json()["end_session_url"]
    assert browser.call("GET", "/api/session").json()["object_id"] == ALICE.object_id


def test_a_token_decides_alone_where_a_cookie_comes_along(browser: Browser) -> None:
    """Whoever brings a token is its person, whatever session the browser has."""
    browser.sign_in("alice")
    reply = browser.call("GET", "/api/session", headers={"Authorization": f"Bearer {browser.token('bob')}"})
    assert reply.json()["object_id"] == BOB.object_id
    assert browser.call("GET", "/api/session", headers={"Authorization": "Basic x"}).json()["code"] == "token_invalid"


@pytest.mark.parametrize("person", [ALICE, BOB], ids=lambda person: person.key)
def test_the_profile_comes_from_graph_under_the_persons_own_token(browser: Browser, person: object) -> None:
    """Name, job title and office, by session and by token alike."""
    assert person in (ALICE, BOB)
    who = ALICE if person is ALICE else BOB
    wanted = {"display_name": who.name, "job_title": who.job_title, "office": who.office}
    bearer = {"Authorization": f"Bearer {browser.token(who.key)}"}
    assert browser.call("GET", "/api/session?profile=graph", headers=bearer).json()["profile"] == wanted
    browser.sign_in(who.key)
    assert browser.call("GET", "/api/session?profile=graph").json()["profile"] == wanted


def test_a_form_that_comes_twice_opens_one_session(browser: Browser, stack: Stack) -> None:
    """A replayed form is refused here, before Entra is asked about its code."""
    begun = browser.call("GET", "/api/login")
    flow = dict(browser.cookies)
    form = browser.pick(begun.headers["location"], "alice")
    assert browser.come_back(form).headers["location"] == "/api/app"
    asked = stack.entra.calls["token"]
    browser.cookies = flow
    assert browser.come_back(form).headers["location"] == "/api/app?error=login_failed"
    assert stack.entra.calls["token"] == asked


def test_entras_own_logout_ends_the_session_here(browser: Browser) -> None:
    """By the `sid` of the sign-in; the reply is the same whatever is named, and costs nothing for nonsense."""
    begun = browser.call("GET", "/api/login")
    form = browser.pick(begun.headers["location"], "alice")
    browser.come_back(form)
    assert browser.call("GET", "/api/session").status_code == 200
    for sid in ("", "nobody", "../x", "x" * 200, form["session_state"]):
        reply = browser.call("GET", "/api/logout/frontchannel", params={"sid": sid}, cookies=False)
        assert (reply.status_code, reply.content) == (200, b"")
    assert browser.call("GET", "/api/session").json()["code"] == "session_expired"


def test_entras_own_logout_ends_a_session_by_token_too(browser: Browser) -> None:
    """The token tells what Entra calls the sign-in that it is of."""
    token = browser.token("bob")
    browser.call("POST", "/api/login", headers={"Authorization": f"Bearer {token}"})
    assert browser.call("GET", "/api/session").status_code == 200
    sid = jwt.decode(token, options={"verify_signature": False})["sid"]
    browser.call("GET", "/api/logout/frontchannel", params={"sid": sid}, cookies=False)
    assert browser.call("GET", "/api/session").json()["code"] == "session_expired"


def test_a_session_by_token_is_signed_out_at_entra_without_a_choice(browser: Browser, stack: Stack) -> None:
    """Where the token tells what Entra's logout page wants to know, the page is told."""
    access = Access(GATEWAY_CLIENT_ID, (GATEWAY_SCOPE,))
    claims = tokens.person_claims(BOB, access.audience, "a-session") | {"scp": access.scp, "login_hint": "bob's hint"}
    token = tokens.lasting(stack.issuer, 3600, claims | {"azp": SCRIPT_CLIENT_ID, "azpacr": tokens.PUBLIC})
    browser.call("POST", "/api/login", headers={"Authorization": f"Bearer {token}"})
    target = urlsplit(browser.page_call("POST", "/api/logout").json()["end_session_url"])
    assert parse_qs(target.query)["logout_hint"] == ["bob's hint"]


def test_whoever_revokes_everything_has_to_sign_in_again(
    browser: Browser, stack: Stack, secrets_seen: set[str]
) -> None:
    """All of a person's sessions and tokens end at once; nobody else's do."""
    with Browser(stack, secrets_seen) as second, Browser(stack, secrets_seen) as stranger:
        for opened, person in ((browser, "bob"), (second, "bob"), (stranger, "alice")):
            opened.sign_in(person)
        bearer = {"Authorization": f"Bearer {browser.token('bob')}"}
        assert browser.call("GET", "/api/session", headers=bearer).status_code == 200
        reply = browser.page_call("DELETE", "/api/sessions")
        assert (reply.status_code, browser.cookies) == (204, {})
        assert second.call("GET", "/api/session").json()["code"] == "session_expired"
        assert browser.call("GET", "/api/session", headers=bearer).json()["code"] == "reauth_required"
        assert stranger.call("GET", "/api/session").status_code == 200
        browser.sign_in("bob")
        assert browser.call("GET", "/api/session").status_code == 200
    _forget_revocations(stack)


def test_a_revoked_token_does_not_live_on_as_a_session(browser: Browser, stack: Stack, tmp_path: Path) -> None:
    """An instance that has not heard of the revocation may still make one of it; elsewhere it counts for nothing."""
    with newcomers(stack, 1) as (carol,), (tmp_path / "log").open("wb") as log:
        bearer = {"Authorization": f"Bearer {browser.token(carol.key)}"}
        late = Host(free_port(), stack.environment, log)
        try:
            assert httpx.get(f"{late.url}/api/session", headers=bearer, trust_env=False).status_code == 200
            assert browser.call("DELETE", "/api/sessions", headers=bearer).status_code == 204
            made = httpx.post(f"{late.url}/api/login", headers=bearer, trust_env=False)
        finally:
            late.stop()
        assert made.status_code == 201
        browser.cookies["__Host-session"] = made.headers["set-cookie"].partition("=")[2].partition(";")[0]
        assert browser.call("GET", "/api/session").json()["code"] == "session_expired"
        assert browser.ask("total sales by month").json()["code"] == "session_expired"


def test_an_operator_revokes_a_person_or_a_tenant(browser: Browser, stack: Stack) -> None:
    """With the role; without it, or with ids that are none, nothing happens."""
    browser.sign_in("alice")
    stack.entra.roles["bob"] = ("Gateway.Operate",)
    operator = {"Authorization": f"Bearer {browser.token('bob')}"}
    del stack.entra.roles["bob"]
    plain = {"Authorization": f"Bearer {browser.token('bob')}"}
    alice = f"principal={TENANT_ID}/{ALICE.object_id}"

    def revoke(query: str, headers: dict[str, str]) -> tuple[int, str]:
        reply = browser.call("DELETE", f"/api/sessions?{query}", headers=headers, cookies=False)
        return reply.status_code, reply.json()["code"] if reply.content else ""

    assert revoke(alice, plain) == (403, "insufficient_scope")
    for query in ("principal=x", f"principal={TENANT_ID}", f"principal={TENANT_ID}/*", "tenant=*", "everybody=1"):
        assert revoke(query, operator) == (400, "invalid_request")
    assert revoke(f"{alice}&tenant={TENANT_ID}", operator) == (400, "invalid_request")
    assert browser.call("GET", "/api/session").status_code == 200
    assert revoke(alice, operator) == (204, "")
    assert browser.call("GET", "/api/session").json()["code"] == "session_expired"
    browser.sign_in("alice")
    assert revoke(f"tenant={TENANT_ID}", operator) == (204, "")
    assert browser.call("GET", "/api/session").json()["code"] == "session_expired"
    assert browser.call("GET", "/api/session", headers=plain).json()["code"] == "reauth_required"
    _forget_revocations(stack)


def _forget_revocations(stack: Stack) -> None:
    """Lets the tokens of the tests to come count, which Entra dates back by five minutes."""
    with TableServiceClient.from_connection_string(stack.azurite.connection_string) as service:
        service.delete_table("principals")
    stack.restart_host()
