"""`GET /session` and `POST /logout`: who am I, and goodbye."""

from dataclasses import asdict
from urllib.parse import urlencode

from lib.errors import InvalidRequest
from lib.gateway import Gateway
from lib.web.cookies import SESSION_COOKIE, expire_cookie, session_cookie
from lib.web.origins import refuse_forgery
from lib.web.request import Request
from lib.web.response import Response, json_response


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
    """Ends the session here and tells where Entra ends its own. Ending it twice is no fault."""
    refuse_forgery(request, gateway.site.origins)
    ended = None
    if value := session_cookie(request):
        ended = await gateway.sessions.end(value)
    settings = gateway.settings
    parameters = {"post_logout_redirect_uri": f"{settings.public_base_url}/api/app"}
    if ended and ended.signed_in.login_hint:
        parameters["logout_hint"] = ended.signed_in.login_hint
    end_session = f"{settings.entra_authority_host}/{settings.tenant_id}/oauth2/v2.0/logout?{urlencode(parameters)}"
    return json_response({"end_session_url": end_session}, headers=(expire_cookie(SESSION_COOKIE, same_site="Strict"),))
