"""The sign-in page: who is asking is decided by a click, and the browser is sent back with a code."""

import secrets
import uuid
from collections.abc import Mapping
from html import escape
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from local.entra.contexts import asked_contexts
from local.entra.errors import NO_STORE, Refused
from local.entra.grants import client_info
from local.entra.tenant import Code, Entra
from local.people import Person

CODE_SECONDS = 300
_REQUIRED = ("scope", "state", "nonce")
_S256_LENGTH = 43


async def authorize(entra: Entra, request: Request) -> Response:
    """GET or POST /oauth2/v2.0/authorize: the page, or with `person=<key>` or `deny` the way back to the client."""
    asked = dict(request.query_params)
    try:
        _check(entra, asked)
        choice = asked | {name: str(value) for name, value in (await request.form()).items()}
        if "deny" in choice:
            refused = Refused(65004)
            return _send_back(asked, {"error": refused.error, "error_description": refused.description})
        if "person" not in choice:
            return _picker(entra, asked)
        return _send_back(asked, _issue(entra, asked, choice["person"]))
    except Refused as refused:
        return _page("Sorry, but we're having trouble signing you in", f"<p>{escape(refused.description)}</p>", 400)


async def logout(entra: Entra, request: Request) -> Response:
    """GET /oauth2/v2.0/logout: on to `post_logout_redirect_uri` where some client registered it, else a page."""
    target = request.query_params.get("post_logout_redirect_uri", "")
    if any(target in client.redirect_uris for client in entra.registrations.values()):
        state = request.query_params.get("state")
        return RedirectResponse(_with_query(target, {"state": state} if state else {}), 302, NO_STORE)
    return _page("You signed out of your account", "<p>It's a good idea to close all browser windows.</p>")


def _check(entra: Entra, asked: Mapping[str, str]) -> None:
    """Raises Refused. As at Entra, a faulty request is told to the person, and never sent on to the client."""
    if asked.get("redirect_uri") not in entra.registration(asked.get("client_id", "")).redirect_uris:
        raise Refused(50011)
    if asked.get("response_type") != "code":
        raise Refused(700009, parameter="response_type")
    if asked.get("response_mode", "query") not in {"query", "form_post"}:
        raise Refused(700009, parameter="response_mode")
    for name in _REQUIRED:
        if not asked.get(name):
            raise Refused(900144, parameter=name)
    if asked.get("code_challenge_method") != "S256" or len(asked.get("code_challenge", "")) != _S256_LENGTH:
        raise Refused(9002325)
    asked_contexts(asked.get("claims", ""))


def _issue(entra: Entra, asked: Mapping[str, str], key: str) -> dict[str, str]:
    """The members of a successful authorization response."""
    if key not in entra.people:
        raise Refused(50034)
    person, code, sid = entra.people[key], f"1.{secrets.token_urlsafe(48)}", str(uuid.uuid4())
    entra.codes[code] = Code(
        client_id=asked["client_id"],
        redirect_uri=asked["redirect_uri"],
        scope=asked["scope"],
        challenge=asked["code_challenge"],
        nonce=asked["nonce"],
        person=person,
        sid=sid,
        contexts=asked_contexts(asked.get("claims", "")),  # one click proves whatever is asked
        expires=entra.issuer.now() + CODE_SECONDS,
    )
    account = {"client_info": client_info(entra, person)} if asked.get("client_info") == "1" else {}
    return {"code": code, **account, "session_state": sid}


def _send_back(asked: Mapping[str, str], response: Mapping[str, str]) -> Response:
    members = {**response, "state": asked["state"]}
    if asked.get("response_mode") != "form_post":
        return RedirectResponse(_with_query(asked["redirect_uri"], members), 302, NO_STORE)
    inputs = "".join(
        f'<input type="hidden" name="{escape(name)}" value="{escape(value)}">' for name, value in members.items()
    )
    form = f"""<form method="post" action="{escape(asked["redirect_uri"])}">{inputs}
<noscript><p>Script is disabled. Click to continue.</p><button>Continue</button></noscript></form>
<script>document.forms[0].submit()</script>"""
    return _page("Working…", form)


def _picker(entra: Entra, asked: Mapping[str, str]) -> Response:
    hint = asked.get("login_hint", "").lower()
    buttons = "".join(_button(key, person, chosen=person.username == hint) for key, person in entra.people.items())
    name = escape(entra.registration(asked["client_id"]).name)
    return _page(
        "Pick an account",
        f"""<p>to continue to {name}. This is the local stack: nobody needs a password.</p>
<form method="post"><ul>{buttons}</ul><p><button name="deny" value="1">Cancel: deny access</button></p></form>""",
    )


def _button(key: str, person: Person, *, chosen: bool) -> str:
    label = f"{escape(person.name)}<br><small>{escape(person.username)}, {escape(person.job_title)}</small>"
    return f'<li><button name="person" value="{escape(key)}"{" autofocus" * chosen}>{label}</button></li>'


def _page(title: str, body: str, status: int = 200) -> Response:
    style = "body{font:1rem system-ui;max-width:30rem;margin:4rem auto;padding:0 1rem}ul{list-style:none;padding:0}"
    buttons = "button{font:inherit;width:100%;padding:.75rem;margin:.25rem 0;text-align:left}"
    meta = '<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
    head = f"{meta}<title>{escape(title)}</title><style>{style}{buttons}</style>"
    content = (
        f'<!doctype html><html lang="en"><head>{head}</head><body><main><h1>{escape(title)}</h1>{body}</main></body>'
    )
    return HTMLResponse(f"{content}</html>", status, NO_STORE)


def _with_query(uri: str, members: Mapping[str, str]) -> str:
    return f"{uri}{'&' if '?' in uri else '?'}{urlencode(members)}" if members else uri
