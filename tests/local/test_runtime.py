"""What Microsoft's runtime returns, as the local host reads it. The runtime itself runs in `test_host.py`."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import pytest
from azure.functions import HttpResponse
from azure.functions.http import HttpResponseConverter
from azure.functions.queue import QueueMessage, QueueMessageInConverter

from local import runtime
from local.messages import Message, by_hand
from local.wire import HostResponse


def _sent(response: HttpResponse | str) -> HostResponse:
    return runtime._response(HttpResponseConverter.encode(response, expected_type=None))


def _with_cookie(set_cookie: str) -> list[str]:
    response = _sent(HttpResponse(headers={"Set-Cookie": set_cookie}))
    return [value for name, value in response.headers if name == "Set-Cookie"]


@pytest.mark.parametrize(
    ("header", "rendered"),
    [
        pytest.param("a=1", "a=1; domain=; path=", id="absent-attributes-are-written-empty"),
        pytest.param(
            "__Host-s=x; Path=/; Secure; HttpOnly; SameSite=Strict; Max-Age=60",
            "__Host-s=x; max-age=60; domain=; path=/; secure; samesite=strict; httponly",
            id="session",
        ),
        pytest.param("a=1; SameSite=None; Secure", "a=1; domain=; path=; secure; samesite=none", id="samesite-none"),
        pytest.param("a=1; SameSite=Lax", "a=1; domain=; path=; samesite=lax", id="samesite-lax"),
        pytest.param("a=; Path=/; Max-Age=0", "a=; max-age=0; domain=; path=/", id="deletion"),
        pytest.param("a=1; Domain=example.com; Path=/x", "a=1; domain=example.com; path=/x", id="domain"),
        pytest.param('a="+/=%"', "a=%2B%2F%3D%25; domain=; path=", id="values-are-percent-encoded"),
    ],
)
def test_a_cookie_is_rendered_as_the_host_does(header: str, rendered: str) -> None:
    """`Set-Cookie` goes through the runtime's typed cookie and ASP.NET Core's rendering of it."""
    assert _with_cookie(header) == [rendered]


@pytest.fixture(params=["UTC", "EST5"])
def _time_zone(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as patch:
        patch.setenv("TZ", request.param)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_time_zone")
def test_an_expiry_is_rendered_as_an_http_date() -> None:
    """`Expires` survives to the second, wherever the machine stands."""
    expiry = "expires=Thu, 01 Jan 2026 00:00:00 GMT"
    assert _with_cookie(f"a=1; {expiry}") == [f"a=1; {expiry}; domain=; path="]


def test_a_cookie_without_a_domain_has_no_domain_attribute() -> None:
    """Only a domain of None, which no header can say, keeps the attribute out."""
    cookie = SimpleCookie("__Host-s=x; Path=/; Secure")
    cookie["__Host-s"]["domain"] = None
    datum = HttpResponseConverter.encode(HttpResponse(), expected_type=None)
    datum.value["cookies"] = [cookie]
    assert ("Set-Cookie", "__Host-s=x; path=/; secure") in runtime._response(datum).headers


def test_a_response_keeps_status_headers_and_body() -> None:
    """What the function set goes out; the content type is the runtime's where it set none."""
    sent = _sent(HttpResponse(b"\x00\xff", status_code=201, headers={"X-A": "1"}, mimetype="application/octet-stream"))
    assert sent == HostResponse(201, (("X-A", "1"), ("content-type", "application/octet-stream")), b"\x00\xff")


def test_a_string_is_plain_text() -> None:
    """A function may return a bare string."""
    assert _sent("hé") == HostResponse(200, (("Content-Type", "text/plain; charset=utf-8"),), "hé".encode())


def test_no_response_is_no_content() -> None:
    """A function without a return binding answers 204."""
    assert runtime._response(None) == HostResponse(204)


def test_a_header_beyond_ascii_cannot_be_sent() -> None:
    """Kestrel refuses such a header, so the answer is a 500 there and here."""
    with pytest.raises(ValueError, match="not ASCII"):
        _sent(HttpResponse(headers={"X-A": "é"}))


BORN = datetime(2026, 11, 24, 9, 30, tzinfo=UTC)
FACTS = {
    "DequeueCount": 2,
    "ExpirationTime": (BORN + timedelta(minutes=2)).isoformat(),
    "Id": "the-id",
    "InsertionTime": BORN.isoformat(),
    "NextVisibleTime": (BORN + timedelta(minutes=10)).isoformat(),
    "PopReceipt": "the-receipt",
}


def _decoded(message: Message) -> QueueMessage:
    value: Any
    value, metadata = runtime._message_input(message)
    decoded: QueueMessage = QueueMessageInConverter.decode(value, trigger_metadata=metadata)
    return decoded


def test_a_queue_message_is_what_microsofts_converter_makes_of_it() -> None:
    """Its body is bytes, its count a number, and its times are in UTC."""
    decoded = _decoded(Message("Grüße", FACTS))
    assert (decoded.get_body(), decoded.dequeue_count) == ("Grüße".encode(), 2)
    assert (decoded.id, decoded.pop_receipt) == ("the-id", "the-receipt")
    assert (decoded.insertion_time, decoded.expiration_time) == (BORN, BORN + timedelta(minutes=2))
    assert decoded.time_next_visible == BORN + timedelta(minutes=10)


def test_a_queue_message_by_hand_has_what_the_host_makes_up() -> None:
    """It was never taken and never ends; it has no id and no receipt."""
    decoded = _decoded(by_hand("text", BORN))
    assert (decoded.get_body(), decoded.dequeue_count) == (b"text", 0)
    assert (decoded.id, decoded.pop_receipt) == (None, None)
    assert (decoded.insertion_time, decoded.expiration_time.year) == (BORN, 9999)


def test_a_fact_that_a_message_overwrote_is_read_as_one() -> None:
    """The converter knows no difference: the id is the message's, and a count that is no number fails."""
    assert _decoded(Message("{}", FACTS | {"Id": "7", "DequeueCount": "3"})).id == "7"
    with pytest.raises(ValueError, match="DequeueCount"):
        _decoded(Message("{}", FACTS | {"DequeueCount": "many"}))


def test_a_directory_without_an_app_is_named(tmp_path: Path) -> None:
    """The error says which file is missing."""
    with pytest.raises(FileNotFoundError, match=r"function_app\.py does not exist"):
        runtime.load(tmp_path)
