"""The Model Context Protocol as a data agent speaks it: bytes in, values out, no I/O.

JSON-RPC 2.0 over streamable HTTP (https://modelcontextprotocol.io/specification/2025-06-18/basic/transports): each
message is a POST, each reply one JSON body or a stream of events. A data agent offers exactly one tool with one
question to it. Whatever a peer sends, reading it raises an error of `lib.errors` and nothing else.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from lib.agents.failures import failure
from lib.agents.wire import MAX_EVENTS, at, read_json, text_of, write_json
from lib.errors import AgentFailed, AgentNotPublished

MAX_BLOCKS = 32
"""A data agent sends one or two; what comes behind so many is nothing it has to say."""
PROTOCOL = "2025-06-18"
PROTOCOLS = frozenset({"2025-03-26", PROTOCOL, "2025-11-25"})

_CLIENT = {"name": "fabric-data-agent-gateway", "version": "1"}
_BLANK = b" \t\r\n\xef\xbb\xbf"
_SESSION_ID = re.compile(r"[!-~]{1,512}")
_MEDIA_TYPE = re.compile(r"[a-z]+/[a-z0-9.+-]{1,100}")
_COMPOSED = frozenset({"$ref", "allOf", "anyOf", "oneOf"})
_TASK_SUPPORT = ("optional", "required")


@dataclass(frozen=True)
class Call:
    """One message to send. `id` marks it as JSON-RPC id and in Fabric's own logs (`x-ms-client-request-id`)."""

    id: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    method: str = ""


@dataclass(frozen=True)
class Reply:
    """What came back for the call `id`: `messages` are the JSON values in the body or in its events."""

    id: str
    status: int
    headers: Mapping[str, str] = field(repr=False)
    messages: tuple[Any, ...] = field(repr=False)


@dataclass(frozen=True)
class Session:
    """What `initialize` agreed on; most data agents keep no session and give no id.

    `tasks`: the agent runs questions as tasks (`lib.agents.tasks`), where its tool does too.
    """

    protocol: str
    id: str | None = field(default=None, repr=False)
    tasks: bool = False


@dataclass(frozen=True)
class Tool:
    """The agent's one tool, and the argument that takes the question."""

    name: str
    question_argument: str
    schema_hash: str
    description: str = ""
    tasks: bool = False

    def params(self, question: str) -> dict[str, Any]:
        """What a `tools/call` says to ask this question."""
        return {"name": self.name, "arguments": {self.question_argument: question}}


@dataclass(frozen=True)
class Block:
    """One content block. `content` is the text, the base64 data of an image or audio, or empty for other kinds."""

    kind: str
    content: str = field(repr=False)
    media_type: str = ""
    title: str = field(default="", repr=False)


@dataclass(frozen=True)
class ToolResult:
    """What the tool said. `is_error` is the tool's own word: failures also come without it."""

    blocks: tuple[Block, ...] = field(repr=False)
    is_error: bool = False


def initialize(call_id: str) -> Call:
    """The first message: which protocol we speak, that we know tasks, and who we are."""
    tasks: Mapping[str, Any] = {"requests": {"tools": {"call": {}}}}
    params = {"protocolVersion": PROTOCOL, "capabilities": {"tasks": tasks}, "clientInfo": _CLIENT}
    return request(None, "initialize", params, call_id)


def initialized(session: Session, call_id: str) -> Call:
    """The notification that ends the handshake."""
    return _call(call_id, session, {"method": "notifications/initialized"})


def list_tools(session: Session, call_id: str) -> Call:
    """Asks what the agent offers."""
    return request(session, "tools/list", {}, call_id)


def call_tool(session: Session, tool: Tool, question: str, call_id: str) -> Call:
    """Asks the agent."""
    return request(session, "tools/call", tool.params(question), call_id)


def request(session: Session | None, method: str, params: Mapping[str, Any], call_id: str) -> Call:
    """Any message that wants a response."""
    return _call(call_id, session, {"id": call_id, "method": method, "params": params})


def session_from(reply: Reply) -> Session:
    """What the reply to `initialize` agrees on."""
    result = response(reply)
    protocol = result.get("protocolVersion")
    if not isinstance(protocol, str) or protocol not in PROTOCOLS:
        raise AgentFailed("The agent speaks a version of its protocol that the gateway does not know.")
    session_id = reply.headers.get("mcp-session-id")
    if session_id is not None and not _SESSION_ID.fullmatch(session_id):
        raise AgentFailed
    tasks = at(result, "capabilities", "tasks", "requests", "tools", "call")
    return Session(protocol, session_id, isinstance(tasks, dict))


def acknowledged(reply: Reply) -> None:
    """Raises unless the notification was taken; what its reply holds does not matter."""
    if not _is_success(reply):
        raise failure(reply.status, reply.headers, list(reply.messages))


def tool_from(reply: Reply) -> Tool:
    """The one tool in the reply to `tools/list`. An agent without any is not published: `AgentNotPublished`."""
    tools = response(reply).get("tools")
    if tools == []:
        raise AgentNotPublished
    if not isinstance(tools, list) or len(tools) != 1 or not isinstance(tools[0], dict):
        raise AgentFailed("The agent does not offer exactly one tool, as a data agent does.")
    try:
        name, schema = text_of(tools[0].get("name")), tools[0].get("inputSchema")
        schema_hash = hashlib.sha256(write_json(schema).encode()).hexdigest()
        description, support = _optional_text(tools[0].get("description")), at(tools[0], "execution", "taskSupport")
        return Tool(name, _question_argument(schema), schema_hash, description, support in _TASK_SUPPORT)
    except ValueError as fault:
        raise AgentFailed("The agent's tool does not take exactly one question, as a data agent's does.") from fault


def result_from(reply: Reply) -> ToolResult:
    """What the tool said, from the reply to `tools/call`."""
    result = response(reply)
    content, is_error = result.get("content"), result.get("isError", False)
    if not isinstance(content, list) or not isinstance(is_error, bool):
        raise AgentFailed
    try:
        return ToolResult(tuple(_block(item) for item in content[:MAX_BLOCKS]), is_error)
    except ValueError as fault:
        raise AgentFailed from fault


def response(reply: Reply) -> dict[str, Any]:
    """The result in the one response to the call. An error in a response goes before the HTTP status."""
    responses = [message for message in reply.messages if answers(message, reply.id)]
    for error in (message["error"] for message in responses if "error" in message):
        code = error.get("code") if isinstance(error, dict) else None
        raise failure(reply.status, reply.headers, error, code if isinstance(code, int) else None)
    if not _is_success(reply):
        raise failure(reply.status, reply.headers, list(reply.messages))
    result = responses[0].get("result") if len(responses) == 1 else None
    if not isinstance(result, dict):
        raise AgentFailed
    return result


def _call(call_id: str, session: Session | None, message: Mapping[str, Any]) -> Call:
    headers = {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Accept-Encoding": "gzip",
        "User-Agent": f"{_CLIENT['name']}/{_CLIENT['version']}",
        "x-ms-client-request-id": call_id,
    }
    if session:
        headers["MCP-Protocol-Version"] = session.protocol
        if session.id:
            headers["Mcp-Session-Id"] = session.id
    body = json.dumps({"jsonrpc": "2.0", **message}, separators=(",", ":")).encode()
    return Call(call_id, headers, body, message["method"])


def messages_in(data: bytes) -> list[Any]:
    """The message in `data`, or each of a batch; what is no JSON answers nothing and is passed over."""
    if data.lstrip(_BLANK)[:1] not in {b"{", b"["}:
        return []
    try:
        value = read_json(data)
    except ValueError:
        return []
    return value[:MAX_EVENTS] if isinstance(value, list) else [value]


def _is_success(reply: Reply) -> bool:
    return 200 <= reply.status < 300  # noqa: PLR2004


def answers(message: Any, call_id: str) -> bool:
    """Whether `message` is a response to the call; an error without id is one to a call the server could not read.

    A notification, and a request of the server's own, has a method.
    """
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or "method" in message:
        return False
    return message.get("id") == call_id or (message.get("id") is None and "error" in message)


def _question_argument(schema: Any) -> str:
    """The single required property of the tool's input, which must be a plain text."""
    if not isinstance(schema, dict) or _COMPOSED & schema.keys():
        raise ValueError("a composed schema")
    required, properties = schema.get("required"), schema.get("properties")
    if not isinstance(required, list) or len(required) != 1 or not isinstance(properties, dict):
        raise ValueError("not one required property")
    name = text_of(required[0])
    described = properties.get(name)
    if not isinstance(described, dict) or _COMPOSED & described.keys() or described.get("type") != "string":
        raise ValueError("not a text")
    return name


def _block(item: Any) -> Block:
    """One content block (https://modelcontextprotocol.io/specification/2025-06-18/server/tools#tool-result)."""
    if not isinstance(item, dict):
        raise ValueError("not a block")  # noqa: TRY004
    kind = text_of(item.get("type"))
    if kind == "text":
        return Block("text", text_of(item.get("text")))
    if kind in {"image", "audio"}:
        return Block(kind, text_of(item.get("data")), _media_type(item))
    if kind == "resource" and isinstance(item.get("resource"), dict):
        resource = item["resource"]
        title = _optional_text(resource.get("title") or resource.get("name"))
        return Block("resource", _optional_text(resource.get("text")), _media_type(resource), title)
    return Block("other", "")


def _media_type(item: Mapping[str, Any]) -> str:
    value = item.get("mimeType")
    return value if isinstance(value, str) and _MEDIA_TYPE.fullmatch(value) else ""


def _optional_text(value: Any) -> str:
    return text_of(value) if isinstance(value, str) else ""
