"""The web client's files."""

import pytest

from tests.integration.browser import Browser


@pytest.mark.parametrize(
    ("path", "media_type"),
    [
        ("/api/app", "text/html; charset=utf-8"),
        ("/api/app/app.css", "text/css; charset=utf-8"),
        ("/api/app/app.js", "text/javascript; charset=utf-8"),
        ("/api/app/icon.svg", "image/svg+xml"),
    ],
)
def test_each_file_comes_with_its_type_and_a_strict_policy(browser: Browser, path: str, media_type: str) -> None:
    """Nothing of another origin, nothing inline."""
    reply = browser.call("GET", path)
    assert (reply.status_code, reply.headers["content-type"]) == (200, media_type)
    assert "default-src 'none'" in reply.headers["content-security-policy"]
    assert "unsafe" not in reply.headers["content-security-policy"]


@pytest.mark.parametrize("name", ["index.html", "..%2Flib%2Fsettings.py", "app.js%00", "nothing.js"])
def test_no_other_file_is_served(browser: Browser, name: str) -> None:
    """Names are looked up in a list, never on the disk."""
    assert browser.call("GET", f"/api/app/{name}").json()["code"] == "not_found"


def test_the_page_holds_no_script_or_style_of_its_own(browser: Browser) -> None:
    """The policy would refuse it."""
    page = browser.call("GET", "/api/app").text
    assert "<script>" not in page
    assert "style=" not in page
    assert "onclick" not in page
