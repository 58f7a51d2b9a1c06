"""Rules for pages of other origins."""

from contextlib import suppress

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from lib.errors import CsrfRejected, GatewayError, OriginRejected, UnsupportedMediaType
from lib.web.origins import cors_headers, preflight_headers, refuse_forgery
from lib.web.request import Request

APP = "https://app.contoso.com"
ORIGINS = frozenset({APP})


def sent(**headers: str) -> Request:
    """A POST with these headers."""
    return Request("POST", {name.replace("_", "-"): value for name, value in headers.items()})


@pytest.mark.parametrize(
    "origin",
    [
        "",
        "null",
        "https://app.contoso.com.evil.example",
        "https://evil.example",
        "http://app.contoso.com",
        "https://APP.contoso.com",
        "https://app.contoso.com:8443",
        "https://app.contoso.com/",
        "*",
    ],
)
def test_only_an_exact_origin_may_read_replies(origin: str) -> None:
    """No pattern, no suffix, no other scheme or port."""
    assert cors_headers(sent(origin=origin), ORIGINS) == ()
    assert preflight_headers(sent(origin=origin), ORIGINS, ["POST"]) == ()


def test_a_known_page_may_read_replies_with_its_cookies() -> None:
    """The origin is named, never answered with a star."""
    headers = dict(cors_headers(sent(origin=APP), ORIGINS))
    assert headers["Access-Control-Allow-Origin"] == APP
    assert headers["Access-Control-Allow-Credentials"] == "true"
    assert "WWW-Authenticate" in headers["Access-Control-Expose-Headers"]


def test_a_preflight_names_methods_and_headers() -> None:
    """What a known page may send."""
    headers = dict(preflight_headers(sent(origin=APP), ORIGINS, ["GET", "POST"]))
    assert headers["Access-Control-Allow-Methods"] == "GET, POST"
    assert "X-CSRF" in headers["Access-Control-Allow-Headers"]


@pytest.mark.parametrize(
    ("headers", "refusal"),
    [
        pytest.param({"origin": APP}, CsrfRejected, id="no custom header"),
        pytest.param({"origin": APP, "x_csrf": "0"}, CsrfRejected, id="wrong custom header"),
        pytest.param({"x_csrf": "1"}, OriginRejected, id="nothing tells where it comes from"),
        pytest.param({"x_csrf": "1", "sec_fetch_site": "same-site"}, OriginRejected, id="another host of the site"),
        pytest.param({"x_csrf": "1", "origin": "null"}, OriginRejected, id="a page without an origin"),
        pytest.param({"x_csrf": "1", "origin": "https://evil.example"}, OriginRejected, id="a foreign page"),
        pytest.param({"x_csrf": "1", "sec_fetch_site": "cross-site"}, OriginRejected, id="a foreign site"),
        pytest.param({"x_csrf": "1", "sec_fetch_site": "none"}, OriginRejected, id="typed into the address bar"),
        pytest.param(
            {"x_csrf": "1", "origin": APP, "sec_fetch_site": "cross-site"}, OriginRejected, id="a known page elsewhere"
        ),
    ],
)
def test_a_request_that_a_foreign_page_could_forge_is_refused(
    headers: dict[str, str], refusal: type[GatewayError]
) -> None:
    """The custom header and the origin are both demanded."""
    with pytest.raises(refusal):
        refuse_forgery(sent(**headers), ORIGINS)


@pytest.mark.parametrize("media_type", [";", "text/plain", "application/x-www-form-urlencoded", "application/jsonp"])
@pytest.mark.parametrize("body", [b"", b"{}"], ids=["nothing", "something"])
def test_what_a_form_could_bring_is_refused(media_type: str, body: bytes) -> None:
    """A browser asks first before a page of another site may send JSON; anything else it just sends."""
    headers = {"x-csrf": "1", "origin": APP, "content-type": media_type}
    with pytest.raises(UnsupportedMediaType):
        refuse_forgery(Request("POST", headers, body=body), ORIGINS)


def test_a_body_without_a_media_type_is_refused() -> None:
    """Nor does a page of ours send one."""
    with pytest.raises(UnsupportedMediaType):
        refuse_forgery(Request("POST", {"x-csrf": "1", "origin": APP}, body=b"{}"), ORIGINS)


@pytest.mark.parametrize("media_type", ["application/json", "Application/JSON; charset=utf-8"])
def test_json_of_a_known_page_passes(media_type: str) -> None:
    """However its media type is written."""
    headers = {"x-csrf": "1", "origin": APP, "content-type": media_type}
    refuse_forgery(Request("POST", headers, body=b"{}"), ORIGINS)


@pytest.mark.parametrize(
    "headers",
    [
        {"x_csrf": "1", "origin": APP},
        {"x_csrf": "1", "origin": APP, "sec_fetch_site": "same-site"},
        {"x_csrf": "1", "sec_fetch_site": "same-origin"},
    ],
    ids=str,
)
def test_a_request_of_a_known_page_passes(headers: dict[str, str]) -> None:
    """Same-origin fetches may come without an Origin; Fetch Metadata speaks for them."""
    refuse_forgery(sent(**headers), ORIGINS)


NEARLY = st.sampled_from(
    ["", "https://", "http://", "app.contoso.com", "app.contoso.com.", APP, "null", "*", ".", "/", "\t"]
)
ORIGIN = st.text() | st.lists(NEARLY, max_size=4).map("".join)


@given(ORIGIN)
@example(APP)
@example(f" {APP}\t")  # white space around a header's value is no part of it (RFC 9110 section 5.5)
def test_no_other_text_is_taken_for_an_origin(origin: str) -> None:
    """A page is let in by exactly what the settings name, and told that name and no text of its own."""
    headers = dict(cors_headers(sent(origin=origin), ORIGINS))
    assert bool(headers) == (origin.strip() == APP)
    assert headers.get("Access-Control-Allow-Origin", APP) == APP
    assert bool(preflight_headers(sent(origin=origin), ORIGINS, ["POST"])) == bool(headers)


SITE = st.text() | st.sampled_from(["", "same-origin", "same-site", "cross-site", "none", "Same-Origin"])
CSRF = st.text() | st.sampled_from(["", "1", "1,1", "10", "true"])


@given(CSRF, ORIGIN, SITE)
@example("1", APP, "same-site")
@example("1", "", "same-origin")
def test_nothing_else_passes_for_a_request_of_a_known_page(csrf: str, origin: str, site: str) -> None:
    """What passes has the custom header, and comes from a known origin or, where none is named, from our own."""
    with suppress(CsrfRejected, OriginRejected):
        refuse_forgery(sent(x_csrf=csrf, origin=origin, sec_fetch_site=site), ORIGINS)
        assert csrf.strip() == "1"
        assert origin.strip() == APP or (not origin.strip() and site.strip() == "same-origin")
        assert site.strip() in {"", "same-origin", "same-site"}
