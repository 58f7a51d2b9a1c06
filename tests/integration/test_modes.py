"""A gateway that takes access tokens alone."""

from collections.abc import Iterator

import httpx
import pytest

from local.stack import Host, Stack, free_port
from tests.integration.browser import Browser


@pytest.fixture(scope="module")
def gateway_url(stack: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One without sessions."""
    with (tmp_path_factory.mktemp("host") / "log").open("wb") as log:
        host = Host(free_port(), stack.environment | {"SESSIONS": "off"}, log)
        try:
            yield host.url
        finally:
            host.stop()


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "login"), ("POST", "login"), ("POST", "login/callback"), ("POST", "logout")]
)
def test_there_is_nowhere_to_sign_in(gateway_url: str, method: str, path: str) -> None:
    """The ways to a cookie do not exist."""
    reply = httpx.request(method, f"{gateway_url}/api/{path}", headers={"X-CSRF": "1"}, trust_env=False)
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


def test_a_cookie_is_not_looked_at_and_a_token_counts(gateway_url: str, browser: Browser) -> None:
    """Not even one that another gateway on the same storage has given."""
    browser.sign_in("alice")
    cookie = {"Cookie": f"__Host-session={browser.cookies['__Host-session']}"}
    reply = httpx.get(f"{gateway_url}/api/session", headers=cookie, trust_env=False)
    assert (reply.status_code, reply.json()["code"]) == (401, "token_missing")
    bearer = {"Authorization": f"Bearer {browser.token('alice')}"}
    assert httpx.get(f"{gateway_url}/api/session", headers=bearer, trust_env=False).status_code == 200
