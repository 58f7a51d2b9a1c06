"""`GET /session`, `POST /logout`, `DELETE /sessions` and front-channel logout: who am I, and goodbye."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from urllib.parse import urlencode

from lib.environ import GUID
from lib.errors import GatewayError, InvalidRequest
from lib.gateway import Gateway
from lib.identity.principal import OPERATOR_ROLE, grant_of
from lib.identity.revocation import EVERY
from lib.web.cookies import SESSION_COOKIE, expire_cookie, session_cookies
from lib.web.origins import refuse_forgery
from lib.web.request import Request
from lib.web.response import Response, empty, json_response
from lib.web.serve import tell_failure

_SID = re.compile(r"[A-Za-z0-9_.-]{1,128}")
_CLEAR = ("Clear-Site-Data", '"storage"')
"""What a page of ours kept in the browser goes too. The cookie is expired by its name: "cookies" would take away those
of every host of the registrable domain (https://www.w3.org/TR/clear-site-data)."""


async def show(gateway: Gateway, request: Request) -> Response:
    """The caller as the gateway sees them; `?profile=graph` adds what Microsoft Graph tells."""
    wanted = request.query.get("profile", "")
    if wanted not in {"", "graph"}:
        raise InvalidRequest("`profile` can only be `graph`.")
    principal = await gateway.authenticate(request)
    body = principal.described()
    if wanted:
        profile = await gateway.profile(principal)
        body["profile"] = asdict(profile) if profile else None
    return json_response(body)


async def logout(gateway: Gateway, request: Request) -> Response:
    """Ends the session here and tells where Entra ends its own. Ending it twice is no fault.

    Where an `Authorization` comes along the cookie is not looked at, as everywhere, and there is nothing to end: a
    token ends by itself, or by revocation.
    """
    gateway.require_sessions()
    if "authorization" in request.headers:
        return json_response({"end_session_url": _end_session_url(gateway)})
    refuse_forgery(request, gateway.site.origins)
    login_hint = ""
    for value in session_cookies(request):
        if ended := await gateway.sessions.end(value):
            login_hint = ended.signed_in.login_hint
            gateway.on_behalf_of.forget(grant_of(ended, gateway.sessions))
    gone = (expire_cookie(SESSION_COOKIE, same_site="Strict"), _CLEAR)
    return json_response({"end_session_url": _end_session_url(gateway, login_hint)}, headers=gone)


async def revoke(gateway: Gateway, request: Request) -> Response:
    """Ends all sessions, and all tokens issued before now: one's own; for operators a principal's or a tenant's."""
    principal = await gateway.authenticate(request)
    named = {name: value for name, value in request.query.items() if name in {"principal", "tenant"}}
    if len(named) > 1 or len(named) < len(request.query):
        raise InvalidRequest("Name one `principal` (tenant id/object id) or one `tenant`, or neither.")
    if named:
        principal.require(OPERATOR_ROLE)
    tenant_id, object_id = _named(named) if named else (principal.tenant_id, principal.object_id)
    await gateway.revocations.revoke(tenant_id, object_id)
    if object_id != EVERY:
        await gateway.sessions.end_all(tenant_id, object_id)
        await gateway.questions.forget(await gateway.row_keys.partition(tenant_id, object_id))
    return empty(headers=() if named else (expire_cookie(SESSION_COOKIE, same_site="Strict"),))


async def front_channel(gateway: Gateway, request: Request) -> Response:
    """`GET /logout/frontchannel`: Entra tells that a sign-in has ended.

    Whatever it names, and whatever becomes of it, the reply is the same: nobody reads it but Entra's page, and what
    went wrong is for those who operate the gateway. To name what is not known counts as a failure, and past the limit
    nothing is looked for.
    """
    sid = request.query.get("sid", "")
    try:
        if gateway.settings.sessions and _SID.fullmatch(sid):
            gateway.refuse_flood(request)
            if not await gateway.sessions.end_by_sid(sid):
                gateway.count_failure(request)
    except GatewayError as error:
        tell_failure(error)
    return empty(200)


def _end_session_url(gateway: Gateway, login_hint: str = "") -> str:
    """Where Entra ends its own session; with the `login_hint` of a sign-in it need not ask which one."""
    settings = gateway.settings
    parameters = {"post_logout_redirect_uri": f"{settings.public_base_url}/api/app"}
    if login_hint:
        parameters["logout_hint"] = login_hint
    return f"{settings.entra_authority_host}/{settings.tenant_id}/oauth2/v2.0/logout?{urlencode(parameters)}"


def _named(named: Mapping[str, str]) -> tuple[str, str]:
    """Tenant and object id of the principal that is named, the object id `EVERY` where it is a whole tenant."""
    tenant_id, _, object_id = named.get("principal", named.get("tenant", "")).lower().partition("/")
    if not GUID.fullmatch(tenant_id) or ("principal" in named) != bool(GUID.fullmatch(object_id)):
        raise InvalidRequest("`principal` is tenant id/object id, `tenant` a tenant id; ids are GUIDs.")
    return tenant_id, object_id or EVERY
