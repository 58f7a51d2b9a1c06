"""JSON documents from Entra and Graph, read within bounds of size and time."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import httpx

from lib.strict_json import parse_object
from lib.telemetry.http_calls import HttpCall, http_call

FETCH_SECONDS = 3
LONGEST_DOCUMENT = 256 * 1024


class DocumentUnusable(Exception):
    """The reply is no document: a failure, a redirect, too long, or not JSON."""


async def fetch_document(
    http: httpx.AsyncClient, peer: str, url: str, headers: Mapping[str, str] = MappingProxyType({})
) -> dict[str, Any]:
    """The JSON object at `url`, which is `peer`'s. Raises `DocumentUnusable`, TimeoutError or an httpx error."""
    # a compressed document could be any size once unpacked: none is asked for, and none is unpacked
    asked = {"Accept": "application/json", "Accept-Encoding": "identity", **headers}
    with http_call(peer, "GET") as call:
        body = await _body(http, url, asked, call)
    try:
        return parse_object(bytes(body))
    except ValueError as fault:
        raise DocumentUnusable("the document is not JSON") from fault


async def _body(http: httpx.AsyncClient, url: str, headers: Mapping[str, str], call: HttpCall) -> bytearray:
    async with (
        asyncio.timeout(FETCH_SECONDS),
        http.stream("GET", url, headers=headers, follow_redirects=False, timeout=FETCH_SECONDS) as response,
    ):
        call.status = response.status_code
        if response.status_code != httpx.codes.OK:
            raise DocumentUnusable("the reply is a failure or a redirect")
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > LONGEST_DOCUMENT:
                raise DocumentUnusable("the document is too long")
    return body
