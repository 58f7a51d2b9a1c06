"""The sign-in page and the way back from it."""

from html import unescape
from urllib.parse import parse_qsl, urlsplit

import httpx
import pytest

from local.entra import Entra
from local.people import ALICE, BOB, GATEWAY_CLIENT_ID
from tests.local.entra.gateway import CALLBACK, Gateway, hidden_inputs, request_for

AUTHORIZE = "/oauth2/v2.0/authorize"
LOGOUT = "/oauth2/v2.0/logout"


async def test_the_page_offers_every_person_and_a_way_out(client: httpx.AsyncClient) -> None:
    """It is a form of buttons, so that it works without script and with a keyboard."""
    page = await client.get(AUTHORIZE, params=request_for())
    for person in (ALICE, BOB):
        assert f'<button name="person" value="{person.key}">{person.name}' in page.text
    assert '<button name="deny" value="1">' in page.text
    assert "Fabric Data Agent Gateway" in page.text
    assert "<script" not in page.text
    assert page.headers["cache-control"] == "no-store, no-cache"


async def test_a_login_hint_puts_the_focus_on_that_person(client: httpx.AsyncClient) -> None:
    """Enter is enough then."""
    page = await client.get(AUTHORIZE, params=request_for(login_hint="Bob@contoso.example"))
    assert page.text.count("autofocus") == 1
    assert '<button name="person" value="bob" autofocus>' in page.text


async def test_a_person_picked_is_posted_back_to_the_client(client: httpx.AsyncClient) -> None:
    """form_post: a page that submits itself, or by a button where script is off; every value escaped."""
    reply = await client.post(AUTHORIZE, params=request_for(), data={"person": "alice"})
    assert f'<form method="post" action="{CALLBACK}">' in reply.text
    assert "<script>document.forms[0].submit()</script>" in reply.text
    assert "<noscript><p>Script is disabled. Click to continue.</p><button>" in reply.text
    assert "the state <&>" not in reply.text
    members = hidden_inputs(reply.text)
    assert members.keys() == {"code", "state", "session_state"}
    assert members["state"] == "the state <&>"


@pytest.mark.parametrize("mode", ["query", None], ids=["asked for", "by default"])
async def test_a_person_picked_by_get_comes_back_in_the_query(client: httpx.AsyncClient, mode: str | None) -> None:
    """A script picks with one GET; the redirect URI keeps its own query."""
    reply = await client.get(AUTHORIZE, params=request_for(response_mode=mode) | {"person": "bob"})
    assert reply.status_code == 302
    assert reply.headers["location"].startswith(f"{CALLBACK}&")
    assert dict(parse_qsl(urlsplit(reply.headers["location"]).query)).keys() == {
        "from",
        "code",
        "state",
        "session_state",
    }


async def test_msal_is_told_whose_account_it_is_when_it_asks(gateway: Gateway) -> None:
    """`client_info=1` asks for the account beside the code."""
    assert "client_info" in await gateway.sign_in(client_info="1")


async def test_denying_access_is_told_to_the_client_without_a_code(client: httpx.AsyncClient) -> None:
    """RFC 6749 section 4.1.2.1: error, description and state."""
    reply = await client.post(AUTHORIZE, params=request_for(), data={"deny": "1"})
    members = hidden_inputs(reply.text)
    assert members == {
        "error": "access_denied",
        "error_description": "AADSTS65004: User declined to consent to access the app.",
        "state": "the state <&>",
    }


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        pytest.param({"client_id": "somebody-else"}, 700016, id="unknown client"),
        pytest.param({"client_id": None}, 700016, id="no client"),
        pytest.param({"redirect_uri": CALLBACK + "/"}, 50011, id="almost the redirect URI"),
        pytest.param({"redirect_uri": None}, 50011, id="no redirect URI"),
        pytest.param({"response_type": "token"}, 700009, id="implicit grant"),
        pytest.param({"response_mode": "fragment"}, 700009, id="fragment"),
        pytest.param({"scope": None}, 900144, id="no scope"),
        pytest.param({"state": None}, 900144, id="no state"),
        pytest.param({"nonce": ""}, 900144, id="empty nonce"),
        pytest.param({"code_challenge": None}, 9002325, id="no PKCE"),
        pytest.param({"code_challenge": "short"}, 9002325, id="impossible challenge"),
        pytest.param({"code_challenge_method": "plain"}, 9002325, id="plain PKCE"),
        pytest.param({"claims": "{"}, 700009, id="claims that cannot be read"),
        pytest.param({"person": "mallory"}, 50034, id="unknown person"),
    ],
)
async def test_a_faulty_request_is_told_to_the_person_and_goes_nowhere(
    client: httpx.AsyncClient, entra: Entra, changes: dict[str, str | None], code: int
) -> None:
    """The client may be forged as well, so nothing is sent on to it."""
    reply = await client.get(AUTHORIZE, params={"person": "alice"} | request_for(**changes))
    assert reply.status_code == 400
    assert f"AADSTS{code}: " in unescape(reply.text)
    assert "<form" not in reply.text
    assert not entra.codes


async def test_logout_goes_on_to_a_registered_address_alone(client: httpx.AsyncClient) -> None:
    """Any other address is not followed."""
    registered = await client.get(LOGOUT, params={"post_logout_redirect_uri": CALLBACK, "state": "s"})
    assert (registered.status_code, registered.headers["location"]) == (302, f"{CALLBACK}&state=s")
    for target in ({"post_logout_redirect_uri": "https://evil.test"}, {}):
        other = await client.get(LOGOUT, params=target)
        assert other.status_code == 200
        assert "You signed out" in other.text


async def test_requests_are_counted_by_endpoint(client: httpx.AsyncClient, entra: Entra) -> None:
    """Tests count round trips to the tenant."""
    await client.get(AUTHORIZE, params=request_for(client_id=GATEWAY_CLIENT_ID))
    await client.get(LOGOUT)
    assert entra.calls == {"authorize": 1, "logout": 1}
