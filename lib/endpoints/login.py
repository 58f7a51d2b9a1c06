"""Signing in: by redirect through Entra, or with an access token that the caller already has."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from urllib.parse import parse_qsl

from lib.errors import (
    GatewayError,
    InvalidRequest,
    LoginFailed,
    OriginRejected,
    TokenMissing,
    UnsupportedMediaType,
    UserRequired,
)
from lib.gateway import Gateway
from lib.identity.flows import FLOW_COOKIE, FLOW_SECONDS, MOST_FLOWS, flow_cookie_name
from lib.identity.principal import Assertion
from lib.identity.sessions import SignedIn
from lib.identity.step_up import challenged
from lib.telemetry import metrics
from lib.telemetry.signals import count
from lib.web.cookies import SESSION_COOKIE, cookie, cookie_names, expire_cookie, session_cookie, set_cookie
from lib.web.request import Request
from lib.web.response import Response, json_response, redirect
from lib.web.serve import tell_failure

DEFAULT_RETURN_TO = "/api/app"
_FORM_FIELDS = 20


async def begin(gateway: Gateway, request: Request) -> Response:
    """`GET /login`: sends the browser to Entra; what the callback has to know travels sealed in a cookie."""
    gateway.require_sessions()
    if request.header("sec-fetch-dest") not in {"", "document"}:  # an image or a frame elsewhere signs nobody in
        raise OriginRejected("A sign-in is begun by going to this address, not by including it.")
    before, handle = session_cookie(request), request.query.get("step_up")
    weaker = await challenged(gateway.sessions, gateway.revocations, before, handle) if handle else None
    url, flow = await gateway.sign_in.begin(request.query.get("return_to") or DEFAULT_RETURN_TO, weaker)
    sealed = await gateway.flows.seal(replace(flow, session=before))
    # Entra posts the form from its own site, and only SameSite=None cookies come along with that
    name = flow_cookie_name(flow.state)
    begun = set_cookie(name, sealed, same_site="None", max_age_seconds=FLOW_SECONDS)
    given_up = cookie_names(request.header("cookie"), FLOW_COOKIE)[: -(MOST_FLOWS - 1)]
    return redirect(url, headers=(begun, *(expire_cookie(old, same_site="None") for old in given_up)))


async def callback(gateway: Gateway, request: Request) -> Response:
    """`POST /login/callback`: Entra's form; redeems the code, opens the session and goes where the caller wanted.

    Anybody can begin a sign-in and bring a code, and each one costs a row and a call to Entra: what fails counts
    against the address it comes from, and past the limit neither is made.
    """
    gateway.require_sessions()
    form = _form(request)
    name = flow_cookie_name(form.get("state", ""))
    with gateway.counting(request, LoginFailed):
        flow = await gateway.flows.open(cookie(request.header("cookie"), name))
    forget_flow = expire_cookie(name, same_site="None")
    try:
        gateway.refuse_flood(request)
        with gateway.counting(request, LoginFailed):
            signed_in = await gateway.sign_in.complete(form, flow, partial(gateway.flows.spend, flow))
            session = await _open(gateway, flow.session, signed_in, flow.challenge_handle)
    except GatewayError as error:  # told to the page that began, and so not to the boundary
        tell_failure(error)
        count(metrics.SIGN_INS, {"result": "failed", "code": error.code})
        mark = "&" if "?" in flow.return_to else "?"
        return redirect(f"{flow.return_to}{mark}error={error.code}", 303, headers=(forget_flow,))
    count(metrics.SIGN_INS, {"result": "completed", "code": ""})
    return redirect(flow.return_to, 303, headers=(forget_flow, session))


async def exchange(gateway: Gateway, request: Request) -> Response:
    """`POST /login`: a validated access token becomes a session, which ends when the token does."""
    gateway.require_sessions()
    if not request.header("authorization"):
        raise TokenMissing
    principal = await gateway.authenticate(request)
    if not isinstance(principal.grant, Assertion):
        raise UserRequired("Only a person can have a session.")
    assertion = principal.grant
    signed_in = SignedIn(
        principal.tenant_id,
        principal.object_id,
        principal.name,
        principal.username,
        assertion.login_hint,
        assertion.sid,
        assertion=assertion.token,
        assertion_expires_at=assertion.expires_at,
        assertion_issued_at=assertion.issued_at,
        acrs=" ".join(sorted(principal.acrs)),
    )
    session = await _open(gateway, session_cookie(request), signed_in)
    return json_response(replace(principal, signed_in="session").described(), 201, headers=(session,))


async def _open(gateway: Gateway, before: str, signed_in: SignedIn, challenge_handle: str = "") -> tuple[str, str]:
    """The cookie of a new session. The one of `before` is ended, never adopted: none can be planted.

    The claims of the challenge there, where the sign-in has answered it, are what tokens will be asked for with.
    """
    ended = await gateway.sessions.end(before) if before else None
    if ended and challenge_handle and ended.signed_in.challenge_handle == challenge_handle:
        signed_in = replace(signed_in, claims=ended.signed_in.challenge)
    value, session = await gateway.sessions.open(signed_in)
    lifetime = max(0, int(session.ends - session.created))
    return set_cookie(SESSION_COOKIE, value, same_site="Strict", max_age_seconds=lifetime)


def _form(request: Request) -> Mapping[str, str]:
    if request.media_type != "application/x-www-form-urlencoded":
        raise UnsupportedMediaType("Entra posts a form here; nothing else is read.")
    try:
        pairs = parse_qsl(request.body.decode("ascii"), strict_parsing=True, max_num_fields=_FORM_FIELDS)
    except ValueError as fault:
        raise InvalidRequest("The form cannot be read.") from fault
    form = dict(pairs)
    if len(form) != len(pairs):
        raise InvalidRequest("The form names a field twice.")
    return form
