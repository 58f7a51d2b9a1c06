"""A stand-in for the backend that this gateway replaces, in its shape: run in an environment of its own.

FastAPI, slowapi, sessions in a dict of the process behind a cookie, an answer as `{"success": …}`, and a call of the
agent for each question, alike or not. It is kinder than that backend was: one pooled client, one call a question.
"""

import secrets
import sys
import uuid
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI, HTTPException, Request, Response  # type: ignore[import-not-found]
from pydantic import BaseModel
from slowapi import Limiter, _rate_limit_exceeded_handler  # type: ignore[import-not-found]
from slowapi.errors import RateLimitExceeded  # type: ignore[import-not-found]
from slowapi.util import get_remote_address  # type: ignore[import-not-found]

AGENT, PORT = sys.argv[1], int(sys.argv[2])
MANY = "1000000/minute"

limiter = Limiter(key_func=get_remote_address)
app = FastAPI()
app.state.limiter = limiter
app.add_exception_handler(RateLimitExceeded, _rate_limit_exceeded_handler)
client = httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=None))
sessions: dict[str, dict[str, Any]] = {}


class Question(BaseModel):
    """The body of a question; `after` is for how many milliseconds the agent thinks."""

    question: str
    after: int = 0


@app.post("/login")  # type: ignore[untyped-decorator]
async def login(response: Response) -> dict[str, Any]:
    """A session for whoever comes."""
    session_id = secrets.token_urlsafe(32)
    sessions[session_id] = {"user": "somebody", "token": "a token of Fabric's", "history": []}
    response.set_cookie("session_id", session_id, httponly=True)
    return {"success": True}


@app.post("/query")  # type: ignore[untyped-decorator]
@limiter.limit(MANY)  # type: ignore[untyped-decorator]
async def query(request: Request, body: Question) -> dict[str, Any]:
    """Asks the agent."""
    session = sessions.get(request.cookies.get("session_id", ""))
    if session is None:
        raise HTTPException(401, "Not authenticated")
    arguments = {"name": "DataAgent_Sales", "arguments": {"userQuestion": body.question}}
    message = {"jsonrpc": "2.0", "id": str(uuid.uuid4()), "method": "tools/call", "params": arguments}
    headers = {"Authorization": f"Bearer {session['token']}", "Accept": "application/json, text/event-stream"}
    reply = await client.post(AGENT.format(body.after), json=message, headers=headers)
    text = reply.json()["result"]["content"][0]["text"]
    session["history"] = [*session["history"][-9:], {"question": body.question, "answer": text}]
    return {"success": True, "answer": text, "question": body.question}


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="warning", access_log=False)
