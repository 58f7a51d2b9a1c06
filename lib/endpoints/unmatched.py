"""Every path that no other endpoint has."""

from lib.errors import NotFound
from lib.gateway import Gateway
from lib.web.request import Request
from lib.web.response import Response

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")


async def not_found(_gateway: Gateway, _request: Request) -> Response:
    """There is nothing here, whatever the method."""
    raise NotFound
