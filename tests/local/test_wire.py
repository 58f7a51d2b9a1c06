"""HTTP requests and responses as the Azure Functions host passes them on."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.types import Message, Receive

from local.wire import BodyTooLarge, ClientGone, HostResponse, join_headers, join_query, read_body, send_response


def _receive(messages: Iterable[Message]) -> Receive:
    queue = iter(messages)

    async def receive() -> Message:
        return next(queue)

    return receive


def _chunk(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


@pytest.mark.parametrize(
    ("query", "params"),
    [
        pytest.param("a=1&b=two", {"a": "1", "b": "two"}, id="plain"),
        pytest.param("q=a+b%26c", {"q": "a b&c"}, id="decoded"),
        pytest.param("a=1&a=2", {"a": "1,2"}, id="repeated-keys-are-joined"),
        pytest.param("agent=1&Agent=2", {"agent": "1,2"}, id="keys-ignore-case"),
        pytest.param("a=&b&c=3", {"c": "3"}, id="empty-values-are-dropped"),
        pytest.param("a=&a=1", {"a": ",1"}, id="an-empty-value-still-counts-among-others"),
    ],
)
def test_a_query_key_has_one_value(query: str, params: dict[str, str]) -> None:
    """`StringValues.ToString()` joins with a comma; an empty result is not sent to the worker."""
    assert join_query(f"http://h/api?{query}") == params


def test_repeated_headers_are_joined() -> None:
    """Names become lower case, lists are joined by a comma and cookies by a semicolon."""
    headers = [("Accept", "a"), ("COOKIE", "x=1"), ("accept", "b"), ("cookie", "y=2")]
    assert join_headers(headers) == {"accept": "a,b", "cookie": "x=1; y=2"}


@given(st.lists(st.binary()))
async def test_a_body_is_its_chunks(chunks: list[bytes]) -> None:
    """A body arrives whole, however it was cut."""
    body = b"".join(chunks)
    messages = [*(_chunk(chunk, more=True) for chunk in chunks), _chunk(b"")]
    assert await read_body(_receive(messages), str(len(body)), len(body)) == body


async def test_a_chunked_body_does_not_reach_the_function() -> None:
    """The host passes on what has a `Content-Length`, and nothing else."""
    assert await read_body(_receive([_chunk(b"body")]), None, 100) == b""


@pytest.mark.parametrize(
    ("length", "messages"),
    [
        pytest.param("11", [], id="declared-and-not-read"),
        pytest.param(None, [_chunk(b"123456", more=True), _chunk(b"78901", more=True)], id="chunked-and-not-read-on"),
    ],
)
async def test_a_body_past_the_limit_is_not_read(length: str | None, messages: list[Message]) -> None:
    """Reading stops at the limit: no message is asked for past the one that crosses it."""
    with pytest.raises(BodyTooLarge):
        await read_body(_receive(messages), length, 10)


async def test_a_client_that_leaves_has_no_body() -> None:
    """A request that ends half way is no request."""
    messages = [_chunk(b"half", more=True), {"type": "http.disconnect"}]
    with pytest.raises(ClientGone):
        await read_body(_receive(messages), "8", 10)


@pytest.mark.parametrize(
    ("response", "with_body", "headers", "body"),
    [
        pytest.param(
            HostResponse(200, (("X-A", "1"),), b"ab"), True, {b"x-a": b"1", b"content-length": b"2"}, b"ab", id="get"
        ),
        pytest.param(HostResponse(200, (), b"ab"), False, {b"content-length": b"2"}, b"", id="head"),
        pytest.param(HostResponse(404), True, {b"content-length": b"0"}, b"", id="empty"),
        pytest.param(HostResponse(204), True, {}, b"", id="no-content"),
        pytest.param(
            HostResponse(200, (("Content-Length", "9"),), b"a"), True, {b"content-length": b"1"}, b"a", id="own"
        ),
    ],
)
async def test_a_response_is_sent_with_its_own_length(
    response: HostResponse, with_body: bool, headers: dict[bytes, bytes], body: bytes
) -> None:
    """The length is counted, never believed; an answer to HEAD keeps the length and loses the body."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    await send_response(send, response, with_body=with_body)
    assert sent == [
        {"type": "http.response.start", "status": response.status, "headers": list(headers.items())},
        {"type": "http.response.body", "body": body},
    ]


def test_a_description_shows_no_content() -> None:
    """Headers, query and body stay out of a repr, and so out of a log."""
    assert repr(HostResponse(200, (("Set-Cookie", "secret"),), b"secret")) == "HostResponse(status=200)"
