"""The protocol: the bytes we send, what recorded and made-up replies mean, and that no reply breaks the reader."""

import contextlib
import gzip
import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lib.agents import mcp
from lib.agents.failures import AddressUnknown, FabricTokenRejected, ServerFault, ToolUnknown
from lib.agents.mcp import Block, Session, Tool, ToolResult
from lib.agents.reading import PART_COST, ReplyReader
from lib.agents.wire import MAX_BODY, MAX_EVENTS, STEP
from lib.errors import AgentAccessDenied, AgentFailed, AgentNotPublished, GatewayError, StepUpRequired
from tests.lib.agents.recorded import Wire, answer, in_events, in_json, read, refusal, sample

TOOL = Tool("DataAgent_Sales_Agent", "userQuestion", "0" * 64)
SCHEMA = {"type": "object", "properties": {"userQuestion": {"type": "string"}}, "required": ["userQuestion"]}
CONTENT = {"content": [{"type": "text", "text": "42"}], "isError": False}


# What we send


def test_initialize_says_which_protocol_we_speak() -> None:
    """The first message offers 2025-06-18 and tasks, and no capability that we do not use."""
    call = mcp.initialize("c1")
    assert json.loads(call.body) == {
        "jsonrpc": "2.0",
        "id": "c1",
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18",
            "capabilities": {"tasks": {"requests": {"tools": {"call": {}}}}},
            "clientInfo": {"name": "fabric-data-agent-gateway", "version": "1"},
        },
    }
    assert call.headers == {
        "Content-Type": "application/json",
        "Accept": "application/json, text/event-stream",
        "Accept-Encoding": "gzip",
        "User-Agent": "fabric-data-agent-gateway/1",
        "x-ms-client-request-id": "c1",
    }


def test_every_later_message_names_the_protocol() -> None:
    """After `initialize` the agreed version goes along, and no session where none was opened."""
    session = Session("2025-03-26")
    for call in (
        mcp.initialized(session, "c2"),
        mcp.list_tools(session, "c3"),
        mcp.call_tool(session, TOOL, "How much?", "c4"),
    ):
        assert call.headers["MCP-Protocol-Version"] == "2025-03-26"
        assert "Mcp-Session-Id" not in call.headers


def test_a_session_is_named_in_every_later_message() -> None:
    """A server that opens a session hears its id again."""
    session = Session("2025-06-18", "s-1")
    assert mcp.initialized(session, "c2").headers["Mcp-Session-Id"] == "s-1"
    assert mcp.call_tool(session, TOOL, "How much?", "c4").headers["Mcp-Session-Id"] == "s-1"


def test_a_notification_has_no_id() -> None:
    """What wants no response carries no JSON-RPC id, and is still traceable in Fabric's logs."""
    call = mcp.initialized(Session("2025-06-18"), "c2")
    assert json.loads(call.body) == {"jsonrpc": "2.0", "method": "notifications/initialized"}
    assert call.headers["x-ms-client-request-id"] == "c2"


def test_the_question_goes_to_the_argument_that_was_discovered() -> None:
    """The tool and its argument are named as the agent named them; the question is JSON, whatever it holds."""
    call = mcp.call_tool(Session("2025-06-18"), TOOL, 'Wie "hoch"?\n\u2028\ud800', "c4")
    assert json.loads(call.body)["params"] == {
        "name": "DataAgent_Sales_Agent",
        "arguments": {"userQuestion": 'Wie "hoch"?\n\u2028\ud800'},
    }
    assert call.body.isascii()


def test_no_question_shows_in_a_repr() -> None:
    """Neither messages nor results can be logged by accident."""
    call = mcp.call_tool(Session("2025-06-18", "s-secret"), TOOL, "secret question", "c4")
    reply = read(in_json(answer("u3", {"content": [{"type": "text", "text": "secret answer"}]})))
    result = mcp.result_from(reply)
    assert "secret" not in f"{call!r} {reply!r} {result!r} {result.blocks!r} {Session('2025-06-18', 'secret')!r}"


# What comes back, recorded


@pytest.mark.parametrize("name", ["initialize.json", "initialize.sse"])
@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_a_recorded_handshake(name: str, size: int) -> None:
    """Whole or as an event stream, in any portions, it agrees on the protocol."""
    assert mcp.session_from(read(sample(name), "u1", size)) == Session("2025-06-18")


def test_a_recorded_acknowledgement() -> None:
    """202 without a body is all that a notification gets."""
    mcp.acknowledged(read(sample("initialized"), "-"))


@pytest.mark.parametrize("name", ["tools-list.json", "tools-list.sse"])
def test_a_recorded_tool(name: str) -> None:
    """Name, argument and description are the agent's own; the hash is that of its schema."""
    tool = mcp.tool_from(read(sample(name), "u2"))
    assert (tool.name, tool.question_argument) == ("DataAgent_Sales_Agent", "userQuestion")
    assert tool.description == "Answers questions about sales, units and orders of 2026 by month, product and region."
    assert tool.schema_hash == mcp.tool_from(read(in_json(answer("u2", {"tools": [tools_entry()]})), "u2")).schema_hash


def test_a_recorded_draft() -> None:
    """An agent that was never published says so in its own way."""
    with pytest.raises(AgentNotPublished):
        mcp.tool_from(read(sample("tools-list.draft"), "u2"))


@pytest.mark.parametrize("name", ["tools-call.json", "tools-call.sse", "tools-call.chatter"])
def test_a_recorded_answer(name: str) -> None:
    """Whole, as a stream, or behind a notification and somebody else's answer: it is the same answer."""
    (block,) = mcp.result_from(read(sample(name))).blocks
    assert block.kind == "text"
    assert block.content.startswith("The table shows the total sales by product (top 3)")


def test_a_recorded_challenge() -> None:
    """A claims challenge comes out as claims."""
    with pytest.raises(StepUpRequired) as step_up:
        mcp.result_from(read(sample("tools-call.challenge")))
    assert json.loads(step_up.value.claims) == {"access_token": {"nbf": {"essential": True, "value": "1604106651"}}}


def test_a_recorded_refusal_of_no_token() -> None:
    """Without a token Fabric says 401 and nothing of claims."""
    with pytest.raises(FabricTokenRejected):
        mcp.session_from(read(sample("token-missing"), "u1"))


# What comes back, made up


def tools_entry(**changes: Any) -> dict[str, Any]:
    """The one tool of a data agent."""
    return {"name": "DataAgent_Sales_Agent", "description": "Sales", "inputSchema": SCHEMA, **changes}


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_a_stream_is_read_until_the_answer(line_end: str) -> None:
    """What a server sends behind the answer, or never sends, does not matter."""
    first = in_events({"jsonrpc": "2.0", "method": "notifications/progress"}, answer("u3", CONTENT), line_end=line_end)
    status, headers, body = first
    reader = ReplyReader(mcp.Call("u3", {}, b""), status, headers)
    assert list(reader.feed(body)) == []
    assert reader.is_complete
    assert mcp.result_from(reader.reply()) == ToolResult((Block("text", "42"),))


def test_a_request_of_the_server_is_not_our_answer() -> None:
    """A server may ask for something under the same id: that is not a response."""
    asked = {"jsonrpc": "2.0", "id": "u3", "method": "sampling/createMessage", "params": {}}
    assert mcp.result_from(read(in_events(asked, answer("u3", CONTENT)))).blocks[0].content == "42"


def test_a_batch_is_searched_for_the_answer() -> None:
    """Protocol 2025-03-26 lets a server put several messages into one body."""
    batch = in_json([{"jsonrpc": "2.0", "method": "notifications/message"}, answer("u3", CONTENT)])
    assert mcp.result_from(read(batch)).blocks[0].content == "42"


def test_a_compressed_answer_is_read() -> None:
    """A body in gzip is unfolded."""
    status, headers, body = in_json(answer("u3", CONTENT), content_encoding="gzip")
    assert mcp.result_from(read((status, headers, gzip.compress(body)))).blocks[0].content == "42"


@pytest.mark.parametrize(
    "wire",
    [
        in_json(answer("u4", CONTENT)),
        in_json(answer("u3", CONTENT) | {"jsonrpc": "1.0"}),
        in_json({"id": "u3", "result": CONTENT}),
        in_json([answer("u3", CONTENT), answer("u3", CONTENT)]),
        in_json({"jsonrpc": "2.0", "id": "u3"}),
        in_json({"jsonrpc": "2.0", "id": ["u3"], "result": CONTENT}),
        in_json({"jsonrpc": "2.0", "result": CONTENT}),
        in_json(answer("u3", None)),
        in_json(answer("u3", [])),
        in_json(answer("u3", "42")),
        in_json(answer("u3", {})),
        in_json(answer("u3", {"content": "42"})),
        in_json(answer("u3", {"content": {"type": "text"}})),
        in_json(answer("u3", {"content": ["42"]})),
        in_json(answer("u3", {"content": [{"text": "42"}]})),
        in_json(answer("u3", {"content": [{"type": 1, "text": "42"}]})),
        in_json(answer("u3", {"content": [{"type": "text", "text": 42}]})),
        in_json(answer("u3", {"content": [{"type": "image", "data": None}]})),
        in_json(answer("u3", {"content": [], "isError": "no"})),
        in_json(answer("u3", {"task": {"taskId": "t", "status": "working"}, "resultType": "task"})),
        in_json({"jsonrpc": "2.0", "id": "u3", "error": "text"}),
        in_json(refusal("u3", -32603, "secret")),
        in_json(None),
        in_json("42"),
        (200, {"content-type": "application/json"}, b""),
        (200, {"content-type": "application/json"}, b'{"jsonrpc":"2.0","id":"u3","result":{"content":[' + b"[" * 10**5),
        (200, {"content-type": "application/json"}, b'{"jsonrpc":"2.0","id":"u3","result":' + b"9" * 5000 + b"}"),
        (200, {"content-type": "text/html"}, b"<html>secret</html>"),
        (200, {"content-type": "text/event-stream"}, b"<html>secret</html>\n\n"),
        (200, {"content-type": "text/event-stream"}, b"data: secret\n\n"),
        (200, {"content-type": "text/event-stream"}, b""),
        (200, {}, b""),
        (*in_events(answer("u3", CONTENT))[:2], in_events(answer("u3", CONTENT))[2][:-1]),
        (204, {}, b""),
        (418, {}, b"teapot"),
    ],
)
def test_a_reply_that_is_no_answer_fails_and_is_not_repeated(wire: Wire) -> None:
    """Wrong ids, shapes, types, depths and sizes are all one failure, and the caller reads none of it."""
    with pytest.raises(AgentFailed) as failed:
        mcp.result_from(read(wire))
    assert "secret" not in f"{failed.value!r} {failed.value.detail}"


def test_an_answer_longer_than_4_mib_fails() -> None:
    """A body without end is not read to its end."""
    with pytest.raises(AgentFailed):
        read((200, {"content-type": "application/json"}, b" " * (MAX_BODY + 1)), size=2**20)


HOSTILE = {
    "tiny events": ("text/event-stream", b"data:[]\n\n" * 466_000),
    "events": ("text/event-stream", b'data:{"id":1}\n\n' * 290_000),
    "empty lines": ("text/event-stream", b"\n" * MAX_BODY),
    "data lines": ("text/event-stream", b"data\n" * 838_000),
    "one event": ("text/event-stream", b"data:[" + b"[]," * 1_390_000 + b"[]]\n\n"),
    "lists": ("application/json", b"[" + b"[]," * 1_390_000 + b"[]]"),
    "numbers": ("application/json", b"[" + b"0," * 2_090_000 + b"0]"),
}
"""Bodies of 4 MiB, some 8 KiB in gzip."""


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("size", [8, 2**16])
def test_a_body_of_many_little_things_is_no_answer(name: str, size: int) -> None:
    """Reading it would hold up everybody else, so it ends at a bound: of lines, of events, of values."""
    media_type, body = HOSTILE[name]
    wire = (200, {"content-type": media_type, "content-encoding": "gzip"}, gzip.compress(body))
    with pytest.raises(AgentFailed):
        mcp.result_from(read(wire, size=size))


@pytest.mark.parametrize("size", [8, 2**16])
def test_others_get_their_turn_while_a_long_body_is_read(size: int) -> None:
    """The reader pauses after each step of what a body unfolds to, and after many small parts as well."""
    body = gzip.compress(b" " * (MAX_BODY - 999) + json.dumps(answer("u3", CONTENT)).encode())
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    reader = ReplyReader(mcp.Call("u3", {}, b""), 200, headers)
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    pauses = sum(1 for part in parts for _ in reader.feed(part))
    assert pauses >= MAX_BODY // STEP - 1
    assert mcp.result_from(reader.reply()).blocks[0].content == "42"
    reader = ReplyReader(mcp.Call("u3", {}, b""), 200, {})
    assert sum(1 for _ in range(2 * STEP // PART_COST) for _ in reader.feed(b" ")) == 2


def test_a_batch_is_looked_through_as_far_as_answers_go() -> None:
    """The first thousand messages are."""
    other: dict[str, Any] = {"jsonrpc": "2.0", "method": "x"}
    wire = in_json([*[other] * (MAX_EVENTS - 1), answer("u3", CONTENT)])
    assert mcp.result_from(read(wire, size=2**16)).blocks[0].content == "42"
    with pytest.raises(AgentFailed):
        mcp.result_from(read(in_json([*[other] * MAX_EVENTS, answer("u3", CONTENT)]), size=2**16))


def test_a_coding_that_nobody_asked_for_fails() -> None:
    """A body that cannot be read within bounds is not read."""
    with pytest.raises(AgentFailed):
        read(in_json(answer("u3", CONTENT), content_encoding="br"))


@pytest.mark.parametrize(
    ("wire", "expected"),
    [
        (in_json(refusal("u3", -32601, "Method not found"), 404), AddressUnknown),
        (in_json(refusal("u3", -32602, "Invalid params"), 500), ToolUnknown),
        (in_json(refusal(None, -32602, "Invalid params"), 400), ToolUnknown),
        (in_json(refusal("u3", -32603, "Stage configuration not found."), 500), AgentNotPublished),
        (in_json(refusal("u3", -32603, "Internal error"), 403), AgentAccessDenied),
        (in_json({"errorCode": "EntityNotFound"}, 400), AddressUnknown),
        (in_json(answer("u3", CONTENT), 500), ServerFault),
        ((502, {"content-type": "text/html"}, b"<html>CapacityLimitExceeded</html>"), ServerFault),
        (in_events(refusal("u3", -32602, "Unknown tool: x")), ToolUnknown),
    ],
)
def test_an_error_within_a_reply_goes_before_its_status(wire: Wire, expected: type[GatewayError]) -> None:
    """A JSON-RPC error or a code of Fabric tells more than HTTP does; an error page tells nothing."""
    with pytest.raises(GatewayError) as raised:
        mcp.result_from(read(wire))
    assert type(raised.value) is expected


@pytest.mark.parametrize("version", ["2025-03-26", "2025-06-18", "2025-11-25"])
def test_three_versions_are_spoken(version: str) -> None:
    """The server chooses among the versions that differ in nothing we use."""
    wire = in_json(answer("u1", {"protocolVersion": version, "capabilities": {}}))
    assert mcp.session_from(read(wire, "u1")) == Session(version)


@pytest.mark.parametrize("version", ["2024-11-05", "2026-07-28", None, 20250618, ["2025-06-18"], {}])
def test_any_other_version_fails(version: object) -> None:
    """A version we do not know is not guessed at."""
    with pytest.raises(AgentFailed):
        mcp.session_from(read(in_json(answer("u1", {"protocolVersion": version})), "u1"))


@pytest.mark.parametrize(
    ("capabilities", "tasks"),
    [
        ({"tools": {}, "tasks": {"requests": {"tools": {"call": {}}}, "cancel": {}}}, True),
        ({"tasks": {"requests": {"tools": {"call": {"more": 1}}}}}, True),
        ({"tasks": {"requests": {"tools": {"call": None}}}}, False),
        ({"tasks": {"requests": {"tools": {"call": "yes"}}}}, False),
        ({"tasks": {"requests": {"tools": {}}}}, False),
        ({"tasks": {"requests": ["tools"]}}, False),
        ({"tasks": {"list": {}}}, False),
        ({"tasks": True}, False),
        ({"tools": {}}, False),
        ("tasks", False),
        (None, False),
    ],
)
def test_a_server_says_whether_a_question_may_be_a_task(capabilities: object, tasks: bool) -> None:
    """Only the capability for calls of tools counts."""
    wire = in_json(answer("u1", {"protocolVersion": "2025-06-18", "capabilities": capabilities}))
    assert mcp.session_from(read(wire, "u1")) == Session("2025-06-18", tasks=tasks)


@pytest.mark.parametrize(
    ("execution", "tasks"),
    [
        ({"taskSupport": "optional"}, True),
        ({"taskSupport": "required"}, True),
        ({"taskSupport": "forbidden"}, False),
        ({"taskSupport": ["optional"]}, False),
        ({"taskSupport": {}}, False),
        ({}, False),
        ("optional", False),
        (None, False),
    ],
)
def test_a_tool_says_whether_a_question_may_be_a_task(execution: object, tasks: bool) -> None:
    """A tool that does not say so, or says something else, is asked without a task."""
    wire = in_json(answer("u2", {"tools": [tools_entry(execution=execution)]}))
    assert mcp.tool_from(read(wire, "u2")).tasks is tasks


def test_a_session_id_is_kept() -> None:
    """A server that opens a session names it in a header."""
    wire = in_json(answer("u1", {"protocolVersion": "2025-06-18"}), mcp_session_id="s-1")
    assert mcp.session_from(read(wire, "u1")) == Session("2025-06-18", "s-1")


@pytest.mark.parametrize("session_id", ["", "with blank", "x" * 513, "caf\u00e9"])
def test_a_session_id_that_is_none_fails(session_id: str) -> None:
    """A header that could not be sent back as it is, is not a session's id."""
    wire = in_json(answer("u1", {"protocolVersion": "2025-06-18"}), mcp_session_id=session_id)
    with pytest.raises(AgentFailed):
        mcp.session_from(read(wire, "u1"))


@pytest.mark.parametrize("status", [200, 202, 204])
def test_a_notification_may_be_taken_in_three_ways(status: int) -> None:
    """Any success will do, with whatever body."""
    mcp.acknowledged(read((status, {"content-type": "text/plain"}, b"Accepted"), "u1"))


def test_a_notification_may_be_refused() -> None:
    """A refusal counts here as anywhere."""
    with pytest.raises(AgentAccessDenied):
        mcp.acknowledged(read((403, {}, b""), "u1"))


def test_an_agent_without_a_tool_is_not_published() -> None:
    """The empty list is how Fabric shows a draft."""
    with pytest.raises(AgentNotPublished):
        mcp.tool_from(read(in_json(answer("u2", {"tools": []})), "u2"))


@pytest.mark.parametrize(
    "tools",
    [
        None,
        {},
        "x",
        ["x"],
        [tools_entry(), tools_entry()],
        [tools_entry(name=None)],
        [tools_entry(inputSchema=None)],
        [tools_entry(inputSchema=[])],
        [tools_entry(inputSchema=SCHEMA | {"anyOf": []})],
        [tools_entry(inputSchema=SCHEMA | {"$ref": "#/x"})],
        [tools_entry(inputSchema=SCHEMA | {"required": []})],
        [tools_entry(inputSchema=SCHEMA | {"required": ["userQuestion", "more"]})],
        [tools_entry(inputSchema=SCHEMA | {"required": "userQuestion"})],
        [tools_entry(inputSchema=SCHEMA | {"required": [["userQuestion"]]})],
        [tools_entry(inputSchema=SCHEMA | {"required": ["other"]})],
        [tools_entry(inputSchema=SCHEMA | {"properties": []})],
        [tools_entry(inputSchema=SCHEMA | {"properties": {"userQuestion": "string"}})],
        [tools_entry(inputSchema=SCHEMA | {"properties": {"userQuestion": {"type": "array"}}})],
        [tools_entry(inputSchema=SCHEMA | {"properties": {"userQuestion": {"type": "string", "oneOf": []}}})],
    ],
)
def test_a_tool_that_is_not_a_data_agents_fails(tools: Any) -> None:
    """Exactly one tool with exactly one required text: nothing else is a question to a data agent."""
    with pytest.raises(AgentFailed):
        mcp.tool_from(read(in_json(answer("u2", {"tools": tools})), "u2"))


def test_the_argument_is_found_among_optional_ones() -> None:
    """The question goes to the required text, whatever it is called and whatever else there may be."""
    schema = {"properties": {"query": {"type": "string"}, "limit": {"type": "integer"}}, "required": ["query"]}
    wire = in_json(answer("u2", {"tools": [tools_entry(inputSchema=schema, description=None)]}))
    tool = mcp.tool_from(read(wire, "u2"))
    assert (tool.question_argument, tool.description) == ("query", "")


def test_the_schema_hash_pins_the_schema() -> None:
    """The same schema in another order has the same hash, any other schema another one."""
    reordered = dict(reversed(SCHEMA.items()))
    changed = SCHEMA | {"title": "x"}
    first, same, other = (
        mcp.tool_from(read(in_json(answer("u2", {"tools": [tools_entry(inputSchema=schema)]})), "u2"))
        for schema in (SCHEMA, reordered, changed)
    )
    assert first == same
    assert other == replace(first, schema_hash=other.schema_hash) != first


def test_blocks_keep_their_kind() -> None:
    """Texts, images and resources come out with what a client may need; what is unknown is only counted."""
    content = [
        {"type": "text", "text": "a\ud800"},
        {"type": "image", "data": "aGk=", "mimeType": "image/png"},
        {"type": "audio", "data": "aGk=", "mimeType": "AUDIO"},
        {"type": "resource", "resource": {"title": "Rows", "text": "a,b", "mimeType": "text/csv", "uri": "x:y"}},
        {"type": "resource", "resource": {"name": "Rows", "blob": "aGk=", "mimeType": 7}},
        {"type": "resource", "resource": {"text": 7, "title": 7}},
        {"type": "resource", "resource": "x"},
        {"type": "resource_link", "uri": "https://evil.example"},
        {"type": "\ud800"},
    ]
    result = mcp.result_from(read(in_json(answer("u3", {"content": content, "isError": True}))))
    assert result.is_error
    assert result.blocks == (
        Block("text", "a?"),
        Block("image", "aGk=", "image/png"),
        Block("audio", "aGk="),
        Block("resource", "a,b", "text/csv", "Rows"),
        Block("resource", "", "", "Rows"),
        Block("resource", ""),
        Block("other", ""),
        Block("other", ""),
        Block("other", ""),
    )


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
SHAPES = st.fixed_dictionaries(
    {"jsonrpc": st.just("2.0"), "id": st.sampled_from(["u3", "u4", None])},
    optional={
        "result": st.fixed_dictionaries(
            {},
            optional={
                "content": st.lists(
                    st.fixed_dictionaries(
                        {"type": st.sampled_from(["text", "image", "resource", "x"])},
                        optional={"text": JSON, "data": JSON, "mimeType": JSON, "resource": JSON},
                    )
                )
                | JSON,
                "isError": st.booleans() | JSON,
                "protocolVersion": st.just("2025-06-18") | JSON,
                "capabilities": JSON,
                "tools": st.lists(
                    st.fixed_dictionaries(
                        {"name": JSON, "inputSchema": st.just(SCHEMA) | JSON}, optional={"execution": JSON}
                    )
                )
                | JSON,
            },
        )
        | JSON,
        "error": st.fixed_dictionaries({"code": JSON, "message": JSON}) | JSON,
        "method": st.text(),
    },
)
BODIES = st.binary() | (SHAPES | JSON).map(lambda value: json.dumps(value).encode())


@given(
    status=st.sampled_from([200, 202, 204, 302, 400, 401, 404, 429, 500]),
    media_type=st.sampled_from(["application/json", "text/event-stream", "text/html", ""]),
    bodies=st.lists(BODIES, max_size=3),
    size=st.integers(1, 50),
)
def test_no_reply_breaks_the_reader(status: int, media_type: str, bodies: list[bytes], size: int) -> None:
    """Any bytes under any status are a value or one of our errors, nothing else."""
    frame = b"data: %s\n\n" if media_type == "text/event-stream" else b"%s"
    wire = (status, {"content-type": media_type}, b"".join(frame % body for body in bodies))
    for meaning in (mcp.session_from, mcp.acknowledged, mcp.tool_from, mcp.result_from):
        with contextlib.suppress(GatewayError):
            meaning(read(wire, size=size))
