"""A browser as far as these tests need one: it follows what the pages tell, and keeps and sends cookies by their rules.

The jars of HTTP libraries do not send Secure cookies to http://localhost, which real browsers do.
"""

import re
import ssl
from html import unescape
from http.cookies import SimpleCookie
from typing import Any, Self

import httpx

from local.entra import tokens
from local.people import GATEWAY_CLIENT_ID, SCRIPT_CLIENT_ID
from local.stack import Stack


def app_token(stack: Stack, *roles: str) -> str:
    """An app-only access token for the gateway; with the role that the gateway asks for, unless others are named."""
    claims = tokens.app_claims(SCRIPT_CLIENT_ID, SCRIPT_CLIENT_ID, GATEWAY_CLIENT_ID)
    return tokens.lasting(stack.issuer, 3600, claims | {"roles": list(roles or ("Query.All",))})


class Browser:
    """One person's browser; everything secret that passes through it is added to `secrets_seen`."""

    def __init__(self, stack: Stack, secrets_seen: set[str]) -> None:
        self.stack = stack
        self.cookies: dict[str, str] = {}
        self._strict: set[str] = set()
        self._secrets_seen = secrets_seen
        trusted = ssl.create_default_context(cafile=str(stack.certificates.ca))
        self._http = httpx.Client(verify=trusted, trust_env=False, timeout=60)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def call(
        self, method: str, path: str, *, cookies: bool = True, cross_site: bool = False, **options: Any
    ) -> httpx.Response:
        """One request to the gateway, with the cookies it has set so far; `cross_site` ones without the strict."""
        headers = dict(options.pop("headers", {}))
        sent = {name: value for name, value in self.cookies.items() if not (cross_site and name in self._strict)}
        if cookies and sent:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in sent.items())
        reply = self._http.request(method, self.stack.public_url + path, headers=headers, **options)
        for header in reply.headers.get_list("set-cookie"):
            self._keep(header)
        return reply

    def page_call(self, method: str, path: str, **options: Any) -> httpx.Response:
        """One request as a script of the gateway's own page sends it."""
        headers = {"X-CSRF": "1", "Origin": self.stack.public_url, "Sec-Fetch-Site": "same-origin"}
        return self.call(method, path, headers=headers | options.pop("headers", {}), **options)

    def ask(self, question: str, **fields: Any) -> httpx.Response:
        """One question of the page."""
        self._secrets_seen.add(question)
        reply = self.page_call("POST", "/api/query", json={"question": question, **fields})
        if reply.is_success:
            self._secrets_seen.add(reply.json()["answer"]["text"])
        return reply

    def token(self, person: str) -> str:
        """An access token as the script client gets it."""
        reply = self._http.get(f"{self.stack.urls['entra']}/local/token", params={"person": person})
        self._secrets_seen.add(reply.text)
        return reply.text

    def sign_in(self, person: str, return_to: str = "/api/app") -> httpx.Response:
        """Walks the whole way by redirect; returns the callback's reply."""
        begun = self.call("GET", "/api/login", params={"return_to": return_to})
        assert begun.status_code == 302, begun.text
        return self.come_back(self.pick(begun.headers["location"], person))

    def pick(self, authorize_url: str, person: str) -> dict[str, str]:
        """Picks a person on Entra's page; returns the fields of the form that its reply posts by itself."""
        page = self._http.get(authorize_url)
        assert page.status_code == 200, page.text
        assert f'value="{person}"' in page.text
        posted = self._http.post(authorize_url, data={"person": person})
        assert posted.status_code == 200, posted.text
        form = _hidden(posted.text)
        self._secrets_seen.update(value for name, value in form.items() if name in {"code", "state"})
        return form

    def come_back(self, form: dict[str, str]) -> httpx.Response:
        """Posts Entra's form to the callback, as a page of another site does."""
        return self.call("POST", "/api/login/callback", data=form, headers={"Origin": "null"}, cross_site=True)

    def _keep(self, header: str) -> None:
        ((name, morsel),) = SimpleCookie(header).items()
        assert "domain" not in header.lower(), "a __Host- cookie with a domain is refused by browsers"
        assert morsel["secure"]
        assert morsel["httponly"]
        assert morsel["path"] == "/"
        if morsel["max-age"] == "0":
            self.cookies.pop(name, None)
            return
        self.cookies[name] = morsel.value
        if morsel["samesite"].lower() == "strict":
            self._strict.add(name)
        self._secrets_seen.add(morsel.value)


def _hidden(page: str) -> dict[str, str]:
    """The hidden fields of a page's form."""
    inputs = [dict(re.findall(r'(\w+)="([^"]*)"', tag)) for tag in re.findall(r"<input[^>]*>", page)]
    return {tag["name"]: unescape(tag["value"]) for tag in inputs if tag.get("type") == "hidden"}
