"""Conversations on the whole stack: who may look, and what there is to see for whom nothing is kept."""

import secrets

import pytest

from local.stack import Stack
from tests.integration.browser import Browser, app_token

UNKNOWN = "0123456789abcdef" * 2


def bearer(token: str) -> dict[str, str]:
    """The header that a script sends."""
    return {"Authorization": f"Bearer {token}"}


def test_who_has_no_conversations_has_an_empty_list(browser: Browser, stack: Stack) -> None:
    """A person by session or by token, and an app: each has their own."""
    browser.sign_in("alice")
    for headers in ({}, bearer(browser.token("bob")), bearer(app_token(stack))):
        reply = browser.call("GET", "/api/conversations", headers=headers)
        assert (reply.status_code, reply.json()) == (200, {"conversations": []}), reply.text


@pytest.mark.parametrize(
    "wanted", [UNKNOWN, secrets.token_hex(16), UNKNOWN.upper(), "x", "x" * 300, "%00", "..%2f", "é"]
)
def test_an_unknown_id_is_not_found_whatever_it_looks_like(browser: Browser, wanted: str) -> None:
    """The same problem for each; deleting it is no fault."""
    headers = bearer(browser.token("alice"))
    reply = browser.call("GET", f"/api/conversations/{wanted}", headers=headers)
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")
    assert reply.json()["detail"] == "You have no conversation with that id."
    reply = browser.call("DELETE", f"/api/conversations/{wanted}", headers=headers)
    assert (reply.status_code, reply.content) == (204, b"")


def test_deleting_by_cookie_takes_a_page_of_ours(browser: Browser) -> None:
    """The header that no foreign page can send, and the origin."""
    browser.sign_in("alice")
    path = f"/api/conversations/{UNKNOWN}"
    assert browser.page_call("DELETE", path).status_code == 204
    reply = browser.call("DELETE", path)
    assert (reply.status_code, reply.json()["code"]) == (403, "csrf_rejected")
    reply = browser.call("DELETE", path, headers={"X-CSRF": "1", "Origin": "https://evil.example"})
    assert (reply.status_code, reply.json()["code"]) == (403, "origin_rejected")


@pytest.mark.parametrize(
    ("path", "allowed"), [("", "GET, HEAD, OPTIONS"), (f"/{UNKNOWN}", "GET, DELETE, HEAD, OPTIONS")], ids=["all", "one"]
)
def test_other_methods_are_told_which_there_are(browser: Browser, stack: Stack, path: str, allowed: str) -> None:
    """Both paths are their own, and a page of an allowed origin may delete."""
    for method in ("POST", "PUT", "PATCH"):
        reply = browser.call(method, f"/api/conversations{path}", headers=bearer(browser.token("alice")))
        assert (reply.status_code, reply.headers["allow"]) == (405, allowed)
    reply = browser.call("OPTIONS", f"/api/conversations{path}", headers={"Origin": stack.public_url})
    assert (reply.status_code, reply.headers["access-control-allow-methods"]) == (204, allowed)
    assert browser.call("GET", f"/api/conversations{path or '/x'}/more").json()["code"] == "not_found"


@pytest.mark.parametrize("path", ["", f"/{UNKNOWN}"], ids=["all", "one"])
def test_who_is_not_signed_in_learns_nothing(browser: Browser, path: str) -> None:
    """401, whatever is asked for."""
    for method in ("GET", "DELETE") if path else ("GET",):
        reply = browser.call(method, f"/api/conversations{path}")
        assert (reply.status_code, reply.json()["code"]) == (401, "token_missing")
