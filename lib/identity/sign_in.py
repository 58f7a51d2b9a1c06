"""Signing in at Entra by redirect: authorization code with PKCE, state and nonce.

(RFC 6749 section 4.1, RFC 7636, OpenID Connect Core 3.1; RFC 9700 for how to put them together.) What the callback has
to know travels in a sealed cookie of the browser that began, never in a table, so that an unauthenticated request
writes nothing.
"""

import base64
import hashlib
import hmac
import logging
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING
from urllib.parse import unquote

from lib.errors import (
    ConsentRequired,
    GatewayError,
    IdentityProviderUnavailable,
    InvalidRequest,
    LoginFailed,
    ReauthRequired,
    TokenExpired,
    TokenInvalid,
)
from lib.identity.authorization import authorization_url
from lib.identity.flows import FLOW_SECONDS, Flow
from lib.identity.sessions import SignedIn
from lib.settings import Settings

if TYPE_CHECKING:
    from lib.identity.entra import EntraClient, Spend
    from lib.identity.tokens import TokenValidator

CALLBACK_PATH = "/api/login/callback"
LONGEST_RETURN_TO = 512
_SECRET_BYTES = 32

_RELATIVE = re.compile(r"/[A-Za-z0-9/_\-.?=&%]*")
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f\\@]|//")
_ERROR_NAME = re.compile(r"[a-z_]{1,40}")
_OUTCOMES: dict[str, type[GatewayError]] = {
    "consent_required": ConsentRequired,
    "server_error": IdentityProviderUnavailable,
    "temporarily_unavailable": IdentityProviderUnavailable,
}
"""What some `error`s of an authorization response mean; any other one is a sign-in that failed."""

_log = logging.getLogger(__name__)


def checked_return_to(value: str, origins: Iterable[str]) -> str:
    """`value`, where a browser may be sent there after signing in: a path here, or a page of one of the `origins`.

    Raises `InvalidRequest` for anything else. An origin is compared as text, never parsed: what a browser makes of an
    odd address need not be what Python makes of it.
    """
    path = value
    for origin in origins:
        if value == origin or value.startswith(f"{origin}/"):
            path = value.removeprefix(origin) or "/"
    if len(value) > LONGEST_RETURN_TO or not _RELATIVE.fullmatch(path) or _UNSAFE.search(unquote(path)):
        raise InvalidRequest("`return_to` must be a path of the gateway or an address of an allowed origin.")
    return value


class SignIn:
    """Begins and completes sign-ins of people of the gateway's own tenant."""

    def __init__(
        self,
        settings: Settings,
        entra: "EntraClient",
        validator: "TokenValidator",
        *,
        now: Callable[[], float] = time.time,
        random: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        self._settings = settings
        self._entra = entra
        self._validator = validator
        self._now = now
        self._random = random
        self._redirect_uri = settings.public_base_url + CALLBACK_PATH

    async def begin(self, return_to: str, challenged: SignedIn | None = None) -> tuple[str, Flow]:
        """Where to send the browser, and what to remember until it is back. Raises `InvalidRequest`.

        `challenged` is the earlier sign-in whose challenge this one is to answer, if there is one.
        """
        flow = Flow(
            state=self._secret(),
            code_verifier=self._secret(),
            nonce=self._secret(),
            return_to=checked_return_to(return_to, self._settings.allowed_origins),
            issued_at=int(self._now()),
            challenge_handle=challenged.challenge_handle if challenged else "",
        )
        url = authorization_url(
            self._settings,
            redirect_uri=self._redirect_uri,
            scope=self._settings.fabric_scope,
            state=flow.state,
            nonce=_hashed(flow.nonce),
            code_challenge=_base64url(hashlib.sha256(flow.code_verifier.encode()).digest()),
            claims=challenged.challenge if challenged else "",
            login_hint=challenged.login_hint if challenged else "",
        )
        return url, flow

    async def complete(self, form: Mapping[str, str], flow: Flow, spend: "Spend") -> SignedIn:
        """Who has signed in, from the form that Entra posts back.

        `spend` uses `flow` up; it is awaited where there is a code, and Entra can be asked about it.
        Raises `LoginFailed`, `ConsentRequired`, `StepUpRequired`, or an `Unavailable` error.
        """
        if not hmac.compare_digest(form.get("state", "").encode(errors="replace"), flow.state.encode()):
            raise LoginFailed
        if self._now() - flow.issued_at > FLOW_SECONDS:
            raise LoginFailed
        if "error" in form or not form.get("code"):
            raise _failure(form.get("error", ""))
        try:
            return await self._redeem(form["code"], flow, spend)
        except (TokenInvalid, TokenExpired, ReauthRequired) as fault:  # the code or the id token is not this sign-in's
            raise LoginFailed from fault

    async def _redeem(self, code: str, flow: Flow, spend: "Spend") -> SignedIn:
        token = await self._entra.redeem(
            code,
            spend,
            redirect_uri=self._redirect_uri,
            scope=self._settings.fabric_scope,
            nonce=flow.nonce,
            code_verifier=flow.code_verifier,
        )
        if token.id_token is None or token.refresh_token is None:
            raise LoginFailed
        person = await self._validator.validate_id_token(token.id_token, _hashed(flow.nonce))
        return SignedIn(
            tenant_id=person.tenant_id,
            object_id=person.object_id,
            name=person.name,
            username=person.username,
            login_hint=person.login_hint,
            sid=person.sid,
            refresh_token=token.refresh_token,
        )

    def _secret(self) -> str:
        return _base64url(self._random(_SECRET_BYTES))


def _failure(error: str) -> GatewayError:
    fault = _OUTCOMES.get(error, LoginFailed)()
    name = error if _ERROR_NAME.fullmatch(error) else ""
    _log.info("a sign-in failed at entra", extra={"event": "sign_in_failed", "error": name, "code": fault.code})
    return fault


def _hashed(nonce: str) -> str:
    """The nonce as it leaves the gateway; the value itself stays in the cookie (OpenID Connect Core 15.5.2)."""
    return hashlib.sha256(nonce.encode()).hexdigest()


def _base64url(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")
