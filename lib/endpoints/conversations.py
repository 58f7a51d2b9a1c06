"""`GET /conversations`, `GET` and `DELETE /conversations/{id}`: what the gateway keeps of one's own questions."""

from dataclasses import asdict
from datetime import UTC, datetime

from lib.gateway import Gateway
from lib.web.request import Request
from lib.web.response import Response, empty, json_response


async def listed(gateway: Gateway, request: Request) -> Response:
    """The caller's conversations without what was said, the one that was continued last in front."""
    principal = await gateway.authenticate(request)
    conversations = [
        {
            "id": one.id,
            "agent": one.agent,
            "created": _time(one.created),
            "updated": _time(one.updated),
            "turn_count": one.turn_count,
        }
        for one in await gateway.conversations.listed(principal)
    ]
    return json_response({"conversations": conversations})


async def show(gateway: Gateway, request: Request) -> Response:
    """One conversation of the caller with its last turns, oldest first."""
    principal = await gateway.authenticate(request)
    found = await gateway.conversations.find(principal, request.params["id"])
    body = {
        "id": found.id,
        "agent": found.agent,
        "created": _time(found.created),
        "updated": _time(found.updated),
        "turns": [asdict(turn) for turn in found.turns],
    }
    return json_response(body)


async def delete(gateway: Gateway, request: Request) -> Response:
    """Ends a conversation of the caller; ending it twice is no fault."""
    principal = await gateway.authenticate(request)
    await gateway.conversations.delete(principal, request.params["id"])
    return empty()


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
