"""`GET /agents`: the data agents the caller may ask."""

from lib.gateway import Gateway
from lib.web.request import Request
from lib.web.response import Response, json_response


async def listed(gateway: Gateway, request: Request) -> Response:
    """Name, description and identity mode of each agent."""
    principal = await gateway.authenticate(request)
    agents = [
        {"name": agent.name, "description": agent.description, "identity": agent.identity}
        for agent in gateway.agents.listed(principal.kind)
    ]
    return json_response({"agents": agents})
