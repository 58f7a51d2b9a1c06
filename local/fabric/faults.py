"""The failures of Fabric's own kind, to be planned in `Fabric.faults`; most ask for the usual answer, and spoil it.

They complete those of `local.faults`. The front door leaves the application that would give the usual answer in
`scope["usual"]`, where a fault finds it.
"""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local.faults import drop

type RpcMessage = dict[str, Any]


def challenge(claims: str) -> ASGIApp:
    """401 with a claims challenge: Entra wants these claims in the token first.

    See https://learn.microsoft.com/entra/identity-platform/claims-challenge.
    """
    encoded = base64.b64encode(claims.encode()).decode()
    demand = f'Bearer realm="", error="insufficient_claims", claims="{encoded}"'
    return Response(status_code=401, headers={"WWW-Authenticate": demand})


def late(seconds: float, sleep: Callable[[float], Awaitable[object]] = asyncio.sleep) -> ASGIApp:
    """The usual answer, this much later."""

    async def fault(scope: Scope, receive: Receive, send: Send) -> None:
        await sleep(seconds)
        await scope["usual"](scope, receive, send)

    return fault


def cut(after_bytes: int) -> ASGIApp:
    """The usual answer, with the connection lost after so many bytes of its body."""

    async def fault(scope: Scope, receive: Receive, send: Send) -> None:
        start, body = await _usual(scope, receive)
        await send(start)
        await send({"type": "http.response.body", "body": body[:after_bytes], "more_body": True})
        await drop(scope, receive, send)

    return fault


def say(text: str, *, is_error: bool = False) -> ASGIApp:
    """Another text in an otherwise usual answer."""
    return _edited(lambda message: JSONResponse(_saying(message, text, is_error=is_error)))


def run_failed() -> ASGIApp:
    """A failed run, disguised as an answer."""
    return say("The Data Agent run failed before producing a result.")


def source_failed() -> ASGIApp:
    """A failed data source, disguised as an answer."""
    return say('{"error": "The data source could not be queried. RAID: 7e1b3c5d-9f20-4a61-8c73-5d4e6fa8b011"}')


def refuse(code: int, text: str) -> ASGIApp:
    """A JSON-RPC error in the place of the usual answer."""
    error = {"code": code, "message": text}
    return _edited(lambda message: JSONResponse({"jsonrpc": "2.0", "id": message["id"], "error": error}))


def misaddress() -> ASGIApp:
    """The usual answer under a JSON-RPC id that nobody asked with."""
    return _edited(lambda message: JSONResponse(message | {"id": "not-yours"}))


def chatter() -> ASGIApp:
    """The usual answer as the last event of a stream, behind a comment, a notification and somebody else's answer."""
    notice = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "Working on it"}}

    def edit(message: RpcMessage) -> Response:
        other = _saying(message, "This answer is for somebody else.") | {"id": "not-yours"}
        events = (f"event: message\r\ndata: {json.dumps(each)}\r\n\r\n" for each in (notice, other, message))
        return Response(": ping\r\n\r\n" + "".join(events), media_type="text/event-stream")

    return _edited(edit)


def _saying(message: RpcMessage, text: str, *, is_error: bool = False) -> RpcMessage:
    content = {"content": [{"type": "text", "text": text}], "isError": is_error}
    return message | {"result": message["result"] | content}


def _edited(edit: Callable[[RpcMessage], Response]) -> ASGIApp:
    async def fault(scope: Scope, receive: Receive, send: Send) -> None:
        _, body = await _usual(scope, receive)
        await edit(json.loads(body))(scope, receive, send)

    return fault


async def _usual(scope: Scope, receive: Receive) -> tuple[Message, bytes]:
    """The usual answer, asked for as JSON: the start of the response, and its body."""
    messages: list[Message] = []

    async def keep(message: Message) -> None:
        messages.append(message)

    MutableHeaders(scope=scope)["accept"] = "application/json"
    await scope["usual"](scope, receive, keep)
    start, *parts = messages
    return start, b"".join(part.get("body", b"") for part in parts)
