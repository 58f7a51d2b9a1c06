"""`GET /health` and `GET /health/ready`: alive, and able to serve."""

from lib.gateway import Gateway
from lib.identity.principal import OPERATOR_ROLE
from lib.web.request import Request
from lib.web.response import Response, json_response

_ALIVE = json_response({"status": "alive"})


async def alive(_gateway: Gateway, _request: Request) -> Response:
    """That this process answers: no I/O, no settings, always 200."""
    return _ALIVE


async def ready(gateway: Gateway, request: Request) -> Response:
    """Whether what the gateway stands on can be reached: 200 or 503. Details are for operators."""
    report = await gateway.readiness.report()
    body: dict[str, object] = {"status": report.status}
    if request.header("authorization"):
        principal = await gateway.authenticate(request)
        principal.require(OPERATOR_ROLE)
        body["checks"] = {name: "ok" if passed else "failing" for name, passed in report.checks.items()}
        body["agents"] = {name: "ok" if passed else "failing" for name, passed in report.agents.items()}
    return json_response(body, 200 if report.ready else 503)
