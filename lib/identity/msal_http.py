"""msal's way to Entra: one httpx client in place of msal's own session, and nothing remembered between two calls.

Left to itself, msal (1.39) keeps replies by address, client and scope. An on-behalf-of assertion is no part of that
key, so one person's failure, and where a proxy adds `Retry-After` even one person's token, would be the next person's
reply. Its session keeps cookies, follows redirects with the credential in the body and reads proxies from the
environment, and a reply that is not JSON goes to its log, whole.
"""

import logging
import re
import ssl
import time
from collections.abc import Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from urllib.parse import urlencode

import httpx
from msal.token_cache import TokenCache

from lib.errors import IdentityProviderUnavailable
from lib.identity.claims import decode_segment
from lib.strict_json import parse_object
from lib.telemetry.http_calls import http_call

TIMEOUT_SECONDS = 5
CONNECTIONS = 16
LONGEST_RETRY_AFTER = 60
LONGEST_REPLY = 256 * 1024
LONGEST_LIFE_SECONDS = 7 * 24 * 3600

_ENDPOINTS = {"authorization_endpoint": "authorize", "token_endpoint": "token"}
_DISCOVERY = "/v2.0/.well-known/openid-configuration"
_MEMBERS = frozenset({
    "access_token", "expires_in", "id_token", "refresh_token", "scope", "token_type",
    "claims", "correlation_id", "error", "error_codes", "suberror",
})  # fmt: skip
"""What msal gets to see of a reply. Entra's `error_description` names people and apps: it goes no further."""
_TEXTS = _MEMBERS - {"expires_in", "error_codes"}
_NAME = re.compile(r"[a-z_]{1,40}")

_log = logging.getLogger(__name__)


class NoReplies(dict[Any, Any]):
    """The `http_cache` for msal: takes nothing in."""

    def __setitem__(self, key: object, value: object) -> None:
        """Forgets at once."""


class NoTokens(TokenCache):
    """The `token_cache` for msal: takes nothing in. Who may use a token again is for `on_behalf_of` to say."""

    def add(self, event: object, now: float | None = None) -> None:
        """Forgets at once."""


class MsalHttp:
    """The `http_client` for msal, for one authority. It is used from many threads at once."""

    def __init__(self, authority: str, transport: httpx.BaseTransport | None = None) -> None:
        """`transport` brings the replies; by default over TLS."""
        self._authority = authority
        self._client = httpx.Client(
            transport=transport or _tls(),
            timeout=TIMEOUT_SECONDS,
            follow_redirects=False,
            trust_env=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    def get(self, url: str, **_: object) -> httpx.Response:
        """Answers the one thing that msal looks up, a tenant's endpoints.

        They have the same form for every tenant (https://learn.microsoft.com/entra/identity-platform/v2-protocols).
        Asking for them would cost a round trip, and let the reply say where the gateway's credential is sent.
        """
        issuer = url.removesuffix(_DISCOVERY)
        if issuer == url or not self._is_ours(url):
            raise ValueError("not an address that is looked up here")
        endpoints = {name: f"{issuer}/oauth2/v2.0/{path}" for name, path in _ENDPOINTS.items()}
        return httpx.Response(httpx.codes.OK, json=endpoints)

    def post(self, url: str, data: Mapping[str, Any], headers: dict[str, str], **_: object) -> httpx.Response:
        """Posts a form and returns what msal needs of the reply, without its headers.

        Raises `IdentityProviderUnavailable` for every reply that is not an answer.
        """
        if not self._is_ours(url):
            raise ValueError("not an address of the authority")
        try:
            # urlencode, for msal's own assertions are bytes, which httpx would write as Python shows them
            form = {"Content-Type": "application/x-www-form-urlencoded"}
            response = self._posted(url, urlencode(data), form | headers)
        except httpx.HTTPError as fault:
            raise IdentityProviderUnavailable from fault
        status = response.status_code
        retry_after = _retry_after(response)
        if status == httpx.codes.TOO_MANY_REQUESTS:
            facts = {"event": "upstream_throttled", "peer": "entra", "status": status, "retry_after": retry_after}
            _log.warning("entra is asked too often", extra=facts)
        if status != httpx.codes.OK and (not response.is_client_error or status == httpx.codes.TOO_MANY_REQUESTS):
            raise IdentityProviderUnavailable(retry_after=retry_after)
        return httpx.Response(status, json=_answer(response))

    def _posted(self, url: str, body: str, headers: dict[str, str]) -> httpx.Response:
        """The reply, read within bounds: not unpacked, not past its size, and not past its time."""
        until = time.monotonic() + TIMEOUT_SECONDS
        asked = headers | {"Accept-Encoding": "identity"}
        with (
            http_call("entra", "POST") as call,
            self._client.stream("POST", url, content=body, headers=asked) as response,
        ):
            call.status = response.status_code
            content = bytearray()
            for chunk in response.iter_raw():
                content += chunk
                if len(content) > LONGEST_REPLY or time.monotonic() > until:
                    raise IdentityProviderUnavailable
        kept = {name: value for name, value in response.headers.items() if name == "retry-after"}
        return httpx.Response(response.status_code, headers=kept, content=bytes(content))

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()

    def _is_ours(self, url: str) -> bool:
        return url.startswith(f"{self._authority}/")


def _tls() -> httpx.HTTPTransport:
    limits = httpx.Limits(max_connections=CONNECTIONS, max_keepalive_connections=CONNECTIONS)
    return httpx.HTTPTransport(verify=ssl.create_default_context(), limits=limits)


def _answer(response: httpx.Response) -> dict[str, Any]:
    try:
        answer = {name: value for name, value in parse_object(response.content).items() if name in _MEMBERS}
        _refuse_odd(answer)
        if "id_token" in answer:  # msal reads its claims, and quotes what it cannot read
            parse_object(decode_segment(answer["id_token"].split(".")[1]))
    except (ValueError, AttributeError, IndexError):
        raise IdentityProviderUnavailable from None
    return answer


def _refuse_odd(answer: Mapping[str, Any]) -> None:
    """Raises ValueError for members of a type that msal does not expect.

    It would raise in the middle of its work, and for an odd `error` again at each call after that: its telemetry keeps
    the errors of an application until they are sent.
    """
    for name in answer.keys() & _TEXTS:
        if not isinstance(answer[name], str):
            raise ValueError(name)  # noqa: TRY004  # one kind of failure for an odd reply
    for name in answer.keys() & {"error", "suberror"}:
        if not _NAME.fullmatch(answer[name]):
            raise ValueError(name)
    seconds = answer.get("expires_in", 0)
    if type(seconds) is not int or not 0 <= seconds <= LONGEST_LIFE_SECONDS:
        raise ValueError("expires_in")


def _retry_after(response: httpx.Response) -> int | None:
    seconds = response.headers.get("Retry-After", "")
    return min(int(seconds), LONGEST_RETRY_AFTER) if re.fullmatch("[0-9]{1,6}", seconds) else None
