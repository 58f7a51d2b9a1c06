"""`GET /app`: the web client, a few files of our own under a policy that lets nothing else in."""

import asyncio
from functools import cache
from pathlib import Path

from lib.errors import NotFound
from lib.gateway import Gateway
from lib.web.request import Request
from lib.web.response import Response

FOLDER = Path(__file__).parent.parent.parent / "web"
FILES = {
    "": ("index.html", "text/html; charset=utf-8"),
    "app.css": ("app.css", "text/css; charset=utf-8"),
    "app.js": ("app.js", "text/javascript; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


async def serve_file(_gateway: Gateway, request: Request) -> Response:
    """The page, its script, its style or its icon."""
    found = FILES.get(request.params.get("file", ""))
    if found is None:
        raise NotFound
    file, media_type = found
    body = await asyncio.to_thread(_content, file)
    return Response(200, body, (("Content-Type", media_type), ("Content-Security-Policy", POLICY)))


@cache
def _content(file: str) -> bytes:
    return (FOLDER / file).read_bytes()
