"""An agent that costs next to nothing: the messages of a data agent's MCP server, with canned answers, as one process.

The emulator in `local.fabric` is built on the official SDK and is slower than most that stands before it; rates are
measured against this one. It takes any token, and thinks for as many milliseconds as the last part of its id says.
"""

import argparse
import asyncio
import json
from collections import Counter
from typing import Any

import uvicorn
from starlette.types import Message, Receive, Scope, Send

from local.people import WORKSPACE_ID
from local.serving import listen

TOOL = "DataAgent_Sales"
ROWS = 12
_TOOL = {
    "name": TOOL,
    "description": "Answers questions about sales.",
    "inputSchema": {
        "type": "object",
        "properties": {"userQuestion": {"type": "string"}},
        "required": ["userQuestion"],
    },
}
_ANSWER = "\n".join(
    [
        "Total sales by month:",
        "",
        "| month | total_sales |",
        "| --- | --- |",
        *(f"| 2026-{row:02} | {1000 * row} |" for row in range(1, ROWS + 1)),
        "",
        "```sql",
        "SELECT month, SUM(amount) AS total_sales FROM orders GROUP BY month",
        "```",
    ]
)
_INFO = {"capabilities": {"tools": {}}, "serverInfo": {"name": "agent", "version": "1"}}
_UNKNOWN = {"code": -32601, "message": "Method not found"}


def path(milliseconds: int) -> str:
    """Where the agent is asked that thinks for so long."""
    return f"/v1/mcp/workspaces/{WORKSPACE_ID}/dataagents/00000000-0000-4000-8000-{milliseconds:012}/agent"


class CannedAgent:
    """The agent as an ASGI application; `GET /calls` tells how many questions have reached it."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One message, or the count."""
        if scope["method"] == "GET":
            known = scope["path"] == "/calls"
            await _reply(send, 200 if known else 405, json.dumps(self.calls).encode() if known else b"")
            return
        body = b""
        while True:
            part: Message = await receive()
            body += part.get("body", b"")
            if not part.get("more_body"):
                break
        message = json.loads(body) if body else {}
        method = str(message.get("method", ""))
        self.calls[method] += 1
        if method == "tools/call":
            await asyncio.sleep(int(scope["path"].rstrip("/").split("/")[-2].rpartition("-")[2]) / 1000)
        if "id" not in message:
            await _reply(send, 202, b"")
            return
        reply = {"jsonrpc": "2.0", "id": message["id"], **_outcome(method, message.get("params") or {})}
        await _reply(send, 200, json.dumps(reply).encode())


def _outcome(method: str, params: dict[str, Any]) -> dict[str, Any]:
    match method:
        case "initialize":
            return {"result": {"protocolVersion": params.get("protocolVersion"), **_INFO}}
        case "tools/list":
            return {"result": {"tools": [_TOOL]}}
        case "tools/call":
            return {"result": {"content": [{"type": "text", "text": _ANSWER}]}}
        case "ping":
            return {"result": {}}
        case _:
            return {"error": _UNKNOWN}


async def _reply(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _serve(options: argparse.Namespace) -> None:
    """Over TLS for the gateway, which speaks nothing else, and in plain text for the others."""
    agent, listeners = CannedAgent(), (listen(0), listen(0))
    print(*(listener.getsockname()[1] for listener in listeners), flush=True)
    configs = (_config(agent), _config(agent, options.certificate, options.key))
    servers = (uvicorn.Server(config).serve([each]) for config, each in zip(configs, listeners, strict=True))
    await asyncio.gather(*servers)


def _config(agent: CannedAgent, certificate: str | None = None, key: str | None = None) -> uvicorn.Config:
    return uvicorn.Config(
        agent,
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        ssl_certfile=certificate,
        ssl_keyfile=key,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.agent")
    parser.add_argument("--certificate", required=True)
    parser.add_argument("--key", required=True)
    asyncio.run(_serve(parser.parse_args()))
